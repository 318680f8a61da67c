#!/usr/bin/python
"""Owns the entry of ReverseProxySite at the system, and that no host is left without a site while it changes hands.

The work is done by module_utils/mergeyard/checked_files. What a file says is module_utils/nginx_sites, how nginx is
asked nginx_server; events are the action plugin's of the same name.
"""

from __future__ import annotations

from typing import Any

from ansible.module_utils.mergeyard.checked_files import CheckedFiles
from ansible.module_utils.mergeyard.pairing import Outcome, Spec
from ansible.module_utils.mergeyard.remote import run
from ansible.module_utils.nginx_server import Nginx
from ansible.module_utils.nginx_sites import Sites

DOCUMENTATION = r"""
module: reverse_proxy_site
short_description: Sites of an nginx that passes requests on
description:
  - Writes one file per site into a directory that nginx.conf includes.
  - Everything is checked by nginx before it is put in place, and takes effect by a reload that loses no request.
options:
  leaving:
    description: Sites to delete in the same call. What is new may take their hosts over, without a moment in between.
    type: list
    elements: dict
    default: []
extends_documentation_fragment: [mergeyard]
"""

EXAMPLES = r"""
- name: Bring all of them to what is wanted
  reverse_proxy_site:
    state: replaced
    config: "{{ mergeyard.kinds.ReverseProxySite.replaced }}"
    leaving: "{{ mergeyard.kinds.ReverseProxySite.deleted }}"
    system: "{{ mergeyard.system.connection }}"

- name: List what is there
  reverse_proxy_site:
    state: gathered
    system: "{{ mergeyard.system.connection }}"
"""

RETURN = r"""
resources:
  description:
    - Of each resource path, kind, status (ok or failed) and changed, the spec before and after (null where it is not
      there), the reasons of a change, and the message that says what failed.
    - With O(state=gathered) the identity, spec and owner (marker) of each that is there.
  returned: when nobody reads events, as in a play started by hand
  type: list
  elements: dict
"""


class SiteFiles(CheckedFiles):
    def __init__(self, connection: dict[str, Any]) -> None:
        super().__init__(Nginx(connection), Sites(connection))

    def write(self, outcomes: list[Outcome], *, check: bool) -> None:
        """A host leaves its site only together with the one that takes it: if that one is refused, both stay."""
        coming = {host for outcome in outcomes for host in taken(outcome)}
        while any(given_up(outcome) & coming for outcome in outcomes):
            super().write(outcomes, check=True)
            if not self.held_back(outcomes):
                break
        super().write(outcomes, check=check)

    def held_back(self, outcomes: list[Outcome]) -> bool:
        """Whether a site would have given a host up to one that is refused; it is failed."""
        takers = {host: one.resource.path for one in outcomes if one.failure for host in taken(one)}
        giving = [outcome for outcome in outcomes if given_up(outcome) & {*takers}]
        for outcome in giving:
            host = min(given_up(outcome) & {*takers})
            outcome.fail(f"{host} stays here, as {takers[host]} is refused, which is to take it; correct that one.")
        return bool(giving)


def hosts_of(spec: Spec | None) -> set[str]:
    hosts = (spec or {}).get("hosts")
    return {host for host in hosts if isinstance(host, str)} if isinstance(hosts, list) else set()


def given_up(outcome: Outcome) -> set[str]:
    """The hosts that a site loses."""
    return hosts_of(outcome.before) - hosts_of(outcome.after) if outcome.changed else set()


def taken(outcome: Outcome) -> set[str]:
    """The hosts that a site is to have and has not."""
    return set() if outcome.resource.leaving else hosts_of(outcome.resource.spec) - hosts_of(outcome.before)


if __name__ == "__main__":
    run("ReverseProxySite", SiteFiles)
