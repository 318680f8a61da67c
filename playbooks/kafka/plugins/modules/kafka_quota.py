"""Owns what ansible-doc says of KafkaQuota: all the work is the action plugin's of that name."""

DOCUMENTATION = r"""
module: kafka_quota
short_description: How much clients may use of a Kafka cluster
description:
  - Sets the quotas of users and client ids.
  - Kafka can hold no owner, so what the worker remembers stands in for it.
extends_documentation_fragment: [mergeyard]
"""

EXAMPLES = r"""
- name: Bring all of them to what is wanted
  kafka_quota:
    state: replaced
    config: "{{ mergeyard.kinds.KafkaQuota.replaced }}"
    system: "{{ mergeyard.system.connection }}"

- name: List what is there
  kafka_quota:
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
