#!/usr/bin/python
"""Owns the entry of ReverseProxySite at the system; the work is done by module_utils/mergeyard/checked_files.

What a file says is module_utils/nginx_sites, how nginx is asked nginx_server; events are the action plugin's of the
same name.
"""

from __future__ import annotations

from typing import Any

from ansible.module_utils.mergeyard.checked_files import CheckedFiles
from ansible.module_utils.mergeyard.remote import run
from ansible.module_utils.nginx_server import Nginx
from ansible.module_utils.nginx_sites import Sites

DOCUMENTATION = r"""
module: reverse_proxy_site
short_description: Sites of an nginx that passes requests on
description:
  - Writes one file per site into a directory that nginx.conf includes.
  - Everything is checked by nginx before it is put in place, and takes effect by a reload that loses no request.
extends_documentation_fragment: [mergeyard]
"""

EXAMPLES = r"""
- name: Bring all of them to what is wanted
  reverse_proxy_site:
    state: replaced
    config: "{{ mergeyard.kinds.ReverseProxySite.replaced }}"
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
  returned: always
  type: list
  elements: dict
"""


class SiteFiles(CheckedFiles):
    def __init__(self, connection: dict[str, Any]) -> None:
        super().__init__(Nginx(connection), Sites(connection))


if __name__ == "__main__":
    run("ReverseProxySite", SiteFiles)
