"""Owns what ansible-doc says of KafkaTopic: all the work is the action plugin's of that name."""

DOCUMENTATION = r"""
module: kafka_topic
short_description: Topics of a Kafka cluster
description:
  - Creates and deletes topics, adds partitions and sets configurations through Kafka's own protocol.
  - Kafka can hold no owner, so what the worker remembers stands in for it.
extends_documentation_fragment: [mergeyard]
"""

EXAMPLES = r"""
- name: Bring all of them to what is wanted
  kafka_topic:
    state: replaced
    config: "{{ mergeyard.kinds.KafkaTopic.replaced }}"
    system: "{{ mergeyard.system.connection }}"

- name: List what is there
  kafka_topic:
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
