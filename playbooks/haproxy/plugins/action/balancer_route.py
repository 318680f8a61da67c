"""Owns the controller's side of HAProxy routes: runs the module of the same name where HAProxy is, and sends its
results as events. What is done there is the module's; this plugin must not know it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ansible.module_utils
from ansible import constants

ansible.module_utils.__path__[:] = [
    *dict.fromkeys([*ansible.module_utils.__path__, *constants.DEFAULT_MODULE_UTILS_PATH])
]

from ansible.module_utils.mergeyard.action import ResourceAction, plain  # noqa: E402
from ansible.module_utils.mergeyard.pairing import Found, Outcome, SystemDown  # noqa: E402


class ActionModule(ResourceAction):  # type: ignore[misc]
    KIND = "BalancerRoute"
    IDENTITY = ("host", "path")

    def open(self) -> None:
        """The module opens what it needs, on the balancer's host."""

    def close(self) -> None:
        """Nothing is held open here."""

    def module(self, state: str, config: list[dict[str, Any]]) -> list[dict[str, Any]]:
        answer = self._execute_module(
            module_name="balancer_route",
            module_args={"state": state, "config": config, "system": self.connection},
            task_vars=self.task_vars,
        )
        if answer.get("failed") or "resources" not in answer:
            raise SystemDown(str(answer.get("msg") or "The balancer's host gave no result."))
        resources: list[dict[str, Any]] = plain(answer["resources"])
        return resources

    def settle(self, outcomes: list[Outcome], state: str) -> Iterator[Outcome]:
        """The module decides and does everything in one call; its results are taken over."""
        config = [{"path": outcome.resource.path, "spec": outcome.resource.spec} for outcome in outcomes]
        try:
            results = {result["path"]: result for result in self.module(state, config)} if config else {}
        except SystemDown as down:
            yield from self.all_failed(outcomes, str(down))
            return
        for outcome in outcomes:
            result = results[outcome.resource.path]
            outcome.before, outcome.after = result["before"], result["after"]
            outcome.reasons, outcome.changed, outcome.failure = result["reasons"], result["changed"], result["message"]
            yield outcome

    def gather(self) -> list[Found]:
        return [Found(item["spec"], item["marker"]) for item in self.module("gathered", [])]
