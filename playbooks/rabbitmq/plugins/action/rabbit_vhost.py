"""Owns virtual hosts of RabbitMQ and their limits. The marker stands in the description."""

from __future__ import annotations

from typing import Any

import ansible.module_utils
from ansible import constants

ansible.module_utils.__path__[:] = [
    *dict.fromkeys([*ansible.module_utils.__path__, *constants.DEFAULT_MODULE_UTILS_PATH])
]

from ansible.module_utils.mergeyard.pairing import Found, Identity, Outcome, Resource, Spec  # noqa: E402
from ansible.module_utils.rabbit import RabbitAction, name_of  # noqa: E402

MARKER = "Managed by Mergeyard: "
LIMITS = {"max_connections": "max-connections", "max_queues": "max-queues"}


class ActionModule(RabbitAction):  # type: ignore[misc]
    KIND = "RabbitVhost"
    TOLD = ("name", "max_queues")

    rows: dict[str, dict[str, Any]]  # name -> as the broker tells it

    def read(self, resources: list[Resource]) -> dict[Identity, Found]:
        wanted = {resource.spec["name"] for resource in resources}
        return {(one.spec["name"],): one for one in self.gather() if one.spec["name"] in wanted}

    def gather(self) -> list[Found]:
        limits = {row["vhost"]: row["value"] for row in self.get("vhost-limits")}
        self.rows = {row["name"]: row for row in self.get("vhosts")}
        return [self.found(row, limits.get(name, {})) for name, row in self.rows.items()]

    def found(self, row: dict[str, object], limits: dict[str, int]) -> Found:
        description = str(row.get("description") or "")
        spec: Spec = {"name": row["name"], **{field: limits.get(key, -1) for field, key in LIMITS.items()}}
        marker = description.removeprefix(MARKER) if description.startswith(MARKER) else None
        return Found(spec, marker)

    def after(self, resource: Resource, found: Found | None) -> Spec:
        name_of("name", resource.spec["name"])
        return resource.spec

    def bring(self, outcome: Outcome) -> None:
        name = str(outcome.after["name"])
        if (description := MARKER + outcome.resource.path) != self.rows.get(name, {}).get("description"):
            self.put("vhosts", name, body={"description": description, **self.kept(name)})
        for field, key in LIMITS.items():
            if outcome.after[field] != -1:
                self.put("vhost-limits", name, key, body={"value": outcome.after[field]})
            elif outcome.before and outcome.before[field] != -1:
                self.delete("vhost-limits", name, key)

    def kept(self, name: str) -> dict[str, object]:
        """What operators set that no field stands for, and that RabbitMQ would forget if it were not sent again."""
        there = self.rows.get(name, {}).get("metadata") or {}
        default = there.get("default_queue_type") or "undefined"
        kept = {} if default == "undefined" else {"default_queue_type": default}
        return {"tags": ",".join(there.get("tags") or []), **kept}

    def remove(self, outcome: Outcome) -> None:
        self.delete("vhosts", str(outcome.resource.spec["name"]))
