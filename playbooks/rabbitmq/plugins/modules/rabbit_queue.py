"""Owns what ansible-doc says of RabbitQueue: all the work is the action plugin's of that name."""

DOCUMENTATION = r"""
module: rabbit_queue
short_description: Queues of a RabbitMQ broker and their bindings
description:
  - Keeps queues through the management API. What a queue is made with stays as it is.
  - RabbitMQ can hold no owner of a queue, so what the worker remembers stands in for it.
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
  rabbit_queue:
    state: replaced
    config: "{{ mergeyard.kinds.RabbitQueue.replaced }}"
    system: "{{ mergeyard.system.connection }}"

- name: List what is there
  rabbit_queue:
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
