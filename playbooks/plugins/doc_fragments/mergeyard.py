"""Owns the words for what every resource module takes, of which each module's documentation is an extension."""


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  config:
    description:
      - The resources, all in one call. Ignored with O(state=gathered).
      - The fields of C(spec) are those that the kind's file describes, C(kinds/KIND.yml) beside the playbooks.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: The document that it comes from. It is the resource's owner on the system.
        type: str
        required: true
      spec:
        description: What is to exist on the system, with the defaults filled in.
        type: dict
        required: true
      adopt:
        description: Whether it may be taken over if others made it.
        type: bool
        default: false
      managed:
        description: Whether it is remembered as ours, for systems that can hold no owner.
        type: bool
        default: false
  state:
    description: Whether they are to exist exactly like this, not to exist, or all that is there is to be listed.
    choices: [replaced, deleted, gathered]
    required: true
    type: str
  system:
    description: The connection of the system, as C(system.yml) describes it.
    required: true
    type: dict
notes:
  - Check mode says exactly what the same call without it would do.
  - Secrets are read from C(mergeyard_dir)/secrets.json and are never arguments.
"""
