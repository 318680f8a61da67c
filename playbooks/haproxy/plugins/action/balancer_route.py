"""Owns the controller's side of HAProxy routes: the module of the same name does the work where HAProxy is."""

from __future__ import annotations

import ansible.module_utils
from ansible import constants

ansible.module_utils.__path__[:] = [
    *dict.fromkeys([*ansible.module_utils.__path__, *constants.DEFAULT_MODULE_UTILS_PATH])
]

from ansible.module_utils.mergeyard.action import ModuleAction, plain  # noqa: E402


class ActionModule(ModuleAction):  # type: ignore[misc]
    KIND = "BalancerRoute"
    IDENTITY = ("host", "path")

    def open(self) -> None:
        """The pools that the same work brings go along, as in check mode they are not there yet."""
        super().open()
        pools = plain(self._task.args).get("pools") or []
        self.connection["coming"] = [
            pool["after"]["name"] for pool in pools if pool["status"] == "ok" and pool["after"] is not None
        ]
