#!/usr/bin/python
"""Owns the entry of BalancerRoute at the system; module_utils/haproxy_files does the work beside the balancer.

Events are the action plugin's of the same name.
"""

from __future__ import annotations

from ansible.module_utils.haproxy_files import RouteFiles
from ansible.module_utils.mergeyard.remote import run

DOCUMENTATION = r"""
module: balancer_route
short_description: Routes of an HAProxy by host name and path
description:
  - Writes one file per route into a directory that HAProxy is started with, and the map that its frontend looks up.
  - Everything is checked by HAProxy before it is put in place, and takes effect without the loss of a request.
options:
  config:
    description: The routes, each with C(path) and C(spec).
    type: list
    elements: dict
    default: []
  state:
    description: Whether they are to exist exactly like this, not to exist, or are to be listed.
    choices: [replaced, deleted, gathered]
    required: true
    type: str
  system:
    description: The connection of the system, as system.yml describes it.
    required: true
    type: dict
"""

if __name__ == "__main__":
    run("BalancerRoute", RouteFiles)
