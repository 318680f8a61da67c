#!/usr/bin/python
"""Owns the entry of BalancerBackend at the system; module_utils/haproxy_files does the work beside the balancer.

Events are the action plugin's of the same name.
"""

from __future__ import annotations

from ansible.module_utils.haproxy_files import PoolFiles
from ansible.module_utils.mergeyard.remote import run

DOCUMENTATION = r"""
module: balancer_backend
short_description: Pools of servers of an HAProxy that routes share
description:
  - Writes one file per pool into a directory that HAProxy is started with, and the map that its frontend looks up.
  - Everything is checked by HAProxy before it is put in place, and takes effect without the loss of a request.
options:
  routes:
    description: Routes that the same play brought, RV(made) of theirs; in check mode they still are what they were.
    type: list
    elements: list
    default: []
  gone:
    description: Routes that the same play deleted, RV(gone) of theirs.
    type: list
    elements: list
    default: []
extends_documentation_fragment: [mergeyard]
"""

EXAMPLES = r"""
- name: Bring all of them to what is wanted
  balancer_backend:
    state: replaced
    config: "{{ mergeyard.kinds.BalancerBackend.replaced }}"
    system: "{{ mergeyard.system.connection }}"

- name: List what is there
  balancer_backend:
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
made:
  description: What is there after the call, for later calls of the play.
  returned: unless O(state=gathered)
  type: list
  elements: list
gone:
  description: What is there no more, for later calls of the play.
  returned: unless O(state=gathered)
  type: list
  elements: list
"""

if __name__ == "__main__":
    run("BalancerBackend", PoolFiles)
