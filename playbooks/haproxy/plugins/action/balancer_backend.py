"""Owns the controller's side of HAProxy pools: the module of the same name does the work where HAProxy is."""

from __future__ import annotations

import ansible.module_utils
from ansible import constants

ansible.module_utils.__path__[:] = [
    *dict.fromkeys([*ansible.module_utils.__path__, *constants.DEFAULT_MODULE_UTILS_PATH])
]

from ansible.module_utils.mergeyard.action import ModuleAction  # noqa: E402


class ActionModule(ModuleAction):  # type: ignore[misc]
    KIND = "BalancerBackend"
    TOLD = ("name",)

    def open(self) -> None:
        """Where the same work sends requests goes along, as in check mode routes still are what they were."""
        super().open()
        self.connection["routes"], self.connection["gone"] = self.told("routes"), self.told("gone")
