"""Owns what ansible-doc says of PostgresRole: all the work is the action plugin's of that name."""

DOCUMENTATION = r"""
module: postgres_role
short_description: Roles of a PostgreSQL server
description:
  - Keeps roles, their settings and limits.
  - The password is compared with the stored verifier, and set only if it differs.
  - The owner stands in the role's comment.
options:
  databases:
    description: The databases that the same play makes, with their owners.
    type: list
    elements: list
    default: []
  withdrawn:
    description: The privileges that the same play takes back, as database and role.
    type: list
    elements: list
    default: []
  dropped:
    description: The databases that the same play deletes, with their owners.
    type: list
    elements: list
    default: []
extends_documentation_fragment: [mergeyard]
"""

EXAMPLES = r"""
- name: Bring all of them to what is wanted
  postgres_role:
    state: replaced
    config: "{{ mergeyard.kinds.PostgresRole.replaced }}"
    system: "{{ mergeyard.system.connection }}"

- name: List what is there
  postgres_role:
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
