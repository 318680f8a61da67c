"""Owns what ansible-doc says of DnsRecord: all the work is the action plugin's of that name."""

DOCUMENTATION = r"""
module: dns_record
short_description: Record sets of the zones of a DNS server
description:
  - Changes each record set by one update that is signed (RFC 2136, RFC 8945), which BIND 9 and others understand.
  - The owner stands in a TXT record beside it.
options:
  leaving:
    description: Resources to delete in the same call. What is new may take their place, and is there when they go.
    type: list
    elements: dict
    default: []
extends_documentation_fragment: [mergeyard]
"""

EXAMPLES = r"""
- name: Bring all of them to what is wanted
  dns_record:
    state: replaced
    config: "{{ mergeyard.kinds.DnsRecord.replaced }}"
    leaving: "{{ mergeyard.kinds.DnsRecord.deleted }}"
    system: "{{ mergeyard.system.connection }}"

- name: List what is there
  dns_record:
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
