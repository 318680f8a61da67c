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
options:
  config:
    description: The sites, each with C(path) and C(spec).
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


class SiteFiles(CheckedFiles):
    def __init__(self, connection: dict[str, Any]) -> None:
        super().__init__(Nginx(connection), Sites(connection))


if __name__ == "__main__":
    run("ReverseProxySite", SiteFiles)
