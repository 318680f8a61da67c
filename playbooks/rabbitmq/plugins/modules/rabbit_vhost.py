"""Owns what ansible-doc says of RabbitVhost: all the work is the action plugin's of that name."""

DOCUMENTATION = r"""
module: rabbit_vhost
short_description: Virtual hosts of a RabbitMQ broker
description:
  - Keeps virtual hosts and their limits through the management API.
  - The owner stands in the description.
extends_documentation_fragment: [mergeyard]
"""

EXAMPLES = r"""
- name: Bring all of them to what is wanted
  rabbit_vhost:
    state: replaced
    config: "{{ mergeyard.kinds.RabbitVhost.replaced }}"
    system: "{{ mergeyard.system.connection }}"

- name: List what is there
  rabbit_vhost:
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
