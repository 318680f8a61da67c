"""Owns what ansible-doc says of RabbitPolicy: all the work is the action plugin's of that name."""

DOCUMENTATION = r"""
module: rabbit_policy
short_description: Policies for the queues of a RabbitMQ broker
description:
  - Keeps policies through the management API.
  - RabbitMQ can hold no owner of a policy, so what the worker remembers stands in for it.
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
  rabbit_policy:
    state: replaced
    config: "{{ mergeyard.kinds.RabbitPolicy.replaced }}"
    system: "{{ mergeyard.system.connection }}"

- name: List what is there
  rabbit_policy:
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
