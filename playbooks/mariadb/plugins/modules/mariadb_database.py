"""Owns what ansible-doc says of MariaDbDatabase: all the work is the action plugin's of that name."""

DOCUMENTATION = r"""
module: mariadb_database
short_description: Databases of a MariaDB server
description:
  - Creates, changes and deletes databases; it never writes inside one.
  - The owner stands in the database's comment.
extends_documentation_fragment: [mergeyard]
"""

EXAMPLES = r"""
- name: Bring all of them to what is wanted
  mariadb_database:
    state: replaced
    config: "{{ mergeyard.kinds.MariaDbDatabase.replaced }}"
    system: "{{ mergeyard.system.connection }}"

- name: List what is there
  mariadb_database:
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
