"""Owns the controller's side of SkeletonThing: the module of the same name works where the system is."""

from __future__ import annotations

import ansible.module_utils
from ansible import constants

# So that `ansible.module_utils` also has what lies in this type's own `plugins/module_utils` and the shared one.
ansible.module_utils.__path__[:] = [
    *dict.fromkeys([*ansible.module_utils.__path__, *constants.DEFAULT_MODULE_UTILS_PATH])
]

from ansible.module_utils.mergeyard.action import ModuleAction  # noqa: E402


class ActionModule(ModuleAction):  # type: ignore[misc]
    KIND = "SkeletonThing"
    IDENTITY = ("name",)
