"""Owns the controller's side of HAProxy pools: the module of the same name does the work where HAProxy is."""

from __future__ import annotations

from typing import Any

import ansible.module_utils
from ansible import constants

ansible.module_utils.__path__[:] = [
    *dict.fromkeys([*ansible.module_utils.__path__, *constants.DEFAULT_MODULE_UTILS_PATH])
]

from ansible.module_utils.mergeyard.action import ModuleAction, plain  # noqa: E402


class ActionModule(ModuleAction):  # type: ignore[misc]
    KIND = "BalancerBackend"

    def open(self) -> None:
        """What the same work does to routes goes along, as in check mode they still are what they were."""
        super().open()
        routes = plain(self._task.args).get("routes") or []
        self.connection["routes"] = [moved(route) for route in routes if route["status"] == "ok" and route["changed"]]


def moved(route: dict[str, Any]) -> dict[str, Any]:
    """Where a route's requests go then: to a pool, to servers of its own, or nowhere."""
    spec = route["after"] or route["before"]
    kept = {name: spec[name] for name in ("host", "path", "pool") if name in spec}
    return {**kept, "gone": route["after"] is None}
