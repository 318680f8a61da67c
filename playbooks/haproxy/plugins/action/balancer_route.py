"""Owns the controller's side of HAProxy routes: the module of the same name does the work where HAProxy is."""

from __future__ import annotations

import ansible.module_utils
from ansible import constants

ansible.module_utils.__path__[:] = [
    *dict.fromkeys([*ansible.module_utils.__path__, *constants.DEFAULT_MODULE_UTILS_PATH])
]

from ansible.module_utils.mergeyard.action import ModuleAction  # noqa: E402


class ActionModule(ModuleAction):  # type: ignore[misc]
    KIND = "BalancerRoute"
    IDENTITY = ("host", "path")
    TOLD = ("host", "path", "pool")

    def open(self) -> None:
        """The pools that the same work brings go along, as in check mode they are not there yet."""
        super().open()
        self.connection["coming"] = [name for [name] in self.told("pools")]
