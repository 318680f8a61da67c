"""Owns what ansible-doc says of LdapGroup: all the work is the action plugin's of that name."""

DOCUMENTATION = r"""
module: ldap_group
short_description: Groups of people in an LDAP directory
description:
  - Keeps entries of the object class groupOfNames and their members.
extends_documentation_fragment: [mergeyard]
"""

EXAMPLES = r"""
- name: Bring all of them to what is wanted
  ldap_group:
    state: replaced
    config: "{{ mergeyard.kinds.LdapGroup.replaced }}"
    system: "{{ mergeyard.system.connection }}"

- name: List what is there
  ldap_group:
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
