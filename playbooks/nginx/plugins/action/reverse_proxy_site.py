"""Owns the controller's side of a ReverseProxySite: the module of the same name does the work on the host."""

from __future__ import annotations

import ansible.module_utils
from ansible import constants

ansible.module_utils.__path__[:] = [
    *dict.fromkeys([*ansible.module_utils.__path__, *constants.DEFAULT_MODULE_UTILS_PATH])
]

from ansible.module_utils.mergeyard.action import ModuleAction  # noqa: E402


class ActionModule(ModuleAction):  # type: ignore[misc]
    KIND = "ReverseProxySite"
