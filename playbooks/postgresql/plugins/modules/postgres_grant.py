"""Owns what ansible-doc says of PostgresGrant: all the work is the action plugin's of that name."""

DOCUMENTATION = r"""
module: postgres_grant
short_description: Privileges of roles within the databases of a PostgreSQL server
description:
  - Keeps what one role may do with the tables of one database, those of later as well.
  - PostgreSQL can hold no owner of a privilege, so what the worker remembers stands in for it.
options:
  roles:
    description: The roles that the same play makes; in check mode they exist only there.
    type: list
    elements: list
    default: []
  databases:
    description: The databases that the same play makes, with their owners.
    type: list
    elements: list
    default: []
extends_documentation_fragment: [mergeyard]
"""

EXAMPLES = r"""
- name: Bring all of them to what is wanted
  postgres_grant:
    state: replaced
    config: "{{ mergeyard.kinds.PostgresGrant.replaced }}"
    system: "{{ mergeyard.system.connection }}"

- name: List what is there
  postgres_grant:
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
