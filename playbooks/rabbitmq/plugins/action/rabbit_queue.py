"""Owns queues of RabbitMQ and their bindings. What a queue is made with stays, so no marker could follow a move."""

from __future__ import annotations

import ansible.module_utils
from ansible import constants

ansible.module_utils.__path__[:] = [
    *dict.fromkeys([*ansible.module_utils.__path__, *constants.DEFAULT_MODULE_UTILS_PATH])
]

from collections import defaultdict  # noqa: E402
from typing import Any  # noqa: E402

from ansible.module_utils.mergeyard.pairing import (  # noqa: E402
    Found,
    Identity,
    Outcome,
    Refused,
    Resource,
    Spec,
    shown,
)
from ansible.module_utils.rabbit import RabbitAction, name_of  # noqa: E402

TYPES = ("classic", "quorum")


class ActionModule(RabbitAction):  # type: ignore[misc]
    KIND = "RabbitQueue"
    IDENTITY = ("vhost", "name")
    MARKED = False

    def read(self, resources: list[Resource]) -> dict[Identity, Found]:
        wanted = {resource.identity(self.IDENTITY) for resource in resources}
        return {key: one for one in self.gather() if (key := (one.spec["vhost"], one.spec["name"])) in wanted}

    def gather(self) -> list[Found]:
        bindings: dict[tuple[str, str], list[dict[str, str]]] = defaultdict(list)
        for row in self.get("bindings"):
            if row["destination_type"] == "queue" and row["source"]:
                one = {"exchange": row["source"], "routing_key": row["routing_key"]}
                bindings[row["vhost"], row["destination"]].append(one)
        rows = self.get("queues", query="?disable_stats=true&enable_queue_totals=true")
        return [self.found(row, bindings[row["vhost"], row["name"]]) for row in rows]

    def found(self, row: dict[str, Any], bindings: list[dict[str, str]]) -> Found:
        spec: Spec = {
            "vhost": row["vhost"],
            "name": row["name"],
            "type": row.get("type") or row["arguments"].get("x-queue-type", "classic"),
            "bindings": in_order(bindings),
        }
        return Found(spec)

    def after(self, resource: Resource, found: Found | None) -> Spec:
        spec = resource.spec
        for field in self.IDENTITY:
            name_of(field, spec[field])
        if str(spec["name"]).startswith("amq."):
            raise Refused("name: names that begin with amq. are RabbitMQ's own; choose another one.")
        if spec["type"] not in TYPES:
            raise Refused(f"type: must be one of {', '.join(TYPES)}.")
        if found is not None and found.spec["type"] != spec["type"]:
            raise Refused(
                f"It is a {shown(found.spec['type'])} queue, and RabbitMQ cannot change that; make a new queue."
            )
        bindings: list[dict[str, str]] = spec["bindings"]
        for one in bindings:
            name_of("bindings", one["exchange"])
        return {**spec, "bindings": in_order(bindings)}

    def bring(self, outcome: Outcome) -> None:
        spec = outcome.after
        vhost, name = str(spec["vhost"]), str(spec["name"])
        if outcome.before is None:
            body = {"durable": True, "auto_delete": False, "arguments": {"x-queue-type": spec["type"]}}
            self.put("queues", vhost, name, body=body)
        held = list((outcome.before or {}).get("bindings", []))
        for one in spec["bindings"]:
            if one not in held:
                place = ("bindings", vhost, "e", one["exchange"], "q", name)
                self.ask("POST", place, body={"routing_key": one["routing_key"], "arguments": {}})
        for one in held:
            if one not in spec["bindings"]:
                for row in self.get("bindings", vhost, "e", one["exchange"], "q", name):
                    if row["routing_key"] == one["routing_key"]:
                        self.delete("bindings", vhost, "e", one["exchange"], "q", name, row["properties_key"])

    def remove(self, outcome: Outcome) -> None:
        spec = outcome.resource.spec
        self.delete("queues", str(spec["vhost"]), str(spec["name"]))


def in_order(bindings: list[dict[str, str]]) -> list[dict[str, str]]:
    """Sorted, each once: their order says nothing."""
    seen = {(one["exchange"], one["routing_key"]) for one in bindings}
    return [{"exchange": exchange, "routing_key": key} for exchange, key in sorted(seen)]
