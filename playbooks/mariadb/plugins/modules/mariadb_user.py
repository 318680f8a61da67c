"""Owns what ansible-doc says of MariaDbUser: all the work is the action plugin's of that name."""

DOCUMENTATION = r"""
module: mariadb_user
short_description: Users of a MariaDB server and their privileges
description:
  - Keeps accounts, how they sign in and what they may do in which databases.
  - The password is compared with what the server stores, and set only if it differs.
extends_documentation_fragment: [mergeyard]
"""

EXAMPLES = r"""
- name: Bring all of them to what is wanted
  mariadb_user:
    state: replaced
    config: "{{ mergeyard.kinds.MariaDbUser.replaced }}"
    system: "{{ mergeyard.system.connection }}"

- name: List what is there
  mariadb_user:
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
