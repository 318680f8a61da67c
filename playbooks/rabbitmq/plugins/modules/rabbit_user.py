"""Owns what ansible-doc says of RabbitUser: all the work is the action plugin's of that name."""

DOCUMENTATION = r"""
module: rabbit_user
short_description: Users of a RabbitMQ broker and their permissions
description:
  - Keeps users through the management API. The password is compared with the stored hash, and set only if it differs.
  - The owner stands in a tag.
options:
  virtual_hosts:
    description: Virtual hosts that the call before brought, RV(made) of it; in check mode one may exist only there.
    type: list
    elements: list
    default: []
extends_documentation_fragment: [mergeyard]
"""

EXAMPLES = r"""
- name: Bring all of them to what is wanted
  rabbit_user:
    state: replaced
    config: "{{ mergeyard.kinds.RabbitUser.replaced }}"
    system: "{{ mergeyard.system.connection }}"

- name: List what is there
  rabbit_user:
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
