"""Owns queues of RabbitMQ and their bindings. What a queue is made with stays, so no marker could follow a move."""

from __future__ import annotations

import ansible.module_utils
from ansible import constants

ansible.module_utils.__path__[:] = [
    *dict.fromkeys([*ansible.module_utils.__path__, *constants.DEFAULT_MODULE_UTILS_PATH])
]

from collections import Counter, defaultdict  # noqa: E402
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

LONGEST_KEY = 255
TYPES = ("classic", "quorum")
EXCHANGES = ("amq.direct", "amq.fanout", "amq.headers", "amq.match", "amq.rabbitmq.trace", "amq.topic")  # of a new host
NO_LIMIT = -1


class ActionModule(RabbitAction):  # type: ignore[misc]
    KIND = "RabbitQueue"
    IDENTITY = ("vhost", "name")
    MARKED = False

    def read(self, resources: list[Resource]) -> dict[Identity, Found]:
        self.look_for_hosts()
        rows = self.get("exchanges", query="?columns=vhost,name")
        self.exchanges = {(row["vhost"], row["name"]) for row in rows}
        self.exchanges |= {(vhost, name) for vhost in self.arriving for name in EXCHANGES}
        limits = {row["vhost"]: row["value"].get("max-queues", NO_LIMIT) for row in self.get("vhost-limits")}
        self.most = limits | self.arriving
        there = {(one.spec["vhost"], one.spec["name"]): one for one in self.gather()}
        self.count = Counter(vhost for vhost, _ in there)
        return {key: there[key] for one in resources if (key := one.identity(self.IDENTITY)) in there}

    def gather(self) -> list[Found]:
        self.bound: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
        for row in self.get("bindings"):
            if row["destination_type"] == "queue" and row["source"]:
                self.bound[row["vhost"], row["destination"]].append(row)
        rows = self.get("queues", query="?disable_stats=true&enable_queue_totals=true")
        self.made = {(row["vhost"], row["name"]): row for row in rows}
        return [self.found(row, self.bound[place]) for place, row in self.made.items()]

    def found(self, row: dict[str, Any], bound: list[dict[str, Any]]) -> Found:
        spec: Spec = {
            "vhost": row["vhost"],
            "name": row["name"],
            "type": row.get("type") or row["arguments"].get("x-queue-type", "classic"),
            "bindings": in_order([binding(one) for one in bound if not one["arguments"]]),
        }
        sources = sorted({one["source"] for one in bound if one["arguments"]})
        return Found(spec, remarks=tuple(f"it was bound to {one} with arguments on the broker" for one in sources))

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
                f"type: it is a {shown(found.spec['type'])} queue, and RabbitMQ cannot change that; make a new queue."
            )
        self.must_be_host("vhost", spec["vhost"])
        bindings: list[dict[str, str]] = spec["bindings"]
        for one in bindings:
            name_of("bindings", one["exchange"])
            if len(one["routing_key"].encode(errors="replace")) > LONGEST_KEY:
                raise Refused(f"bindings: {shown(one['routing_key'])} is longer than RabbitMQ's {LONGEST_KEY} bytes.")
            if (spec["vhost"], one["exchange"]) not in self.exchanges:
                raise Refused(
                    f"bindings: there is no exchange {shown(one['exchange'])} in the virtual host "
                    f"{shown(spec['vhost'])}; choose one that is there, such as amq.topic."
                )
        place = str(spec["vhost"]), str(spec["name"])
        if found is None:
            self.must_have_room(place[0])
        elif unfit := unlike_ours(self.made[place]):
            raise Refused(
                f"It {unfit}, for which there is no field and which RabbitMQ cannot change; make a new queue."
            )
        return {**spec, "bindings": in_order(bindings)}

    def must_have_room(self, vhost: str) -> None:
        most = self.most.get(vhost, NO_LIMIT)
        if most != NO_LIMIT and self.count[vhost] >= most:
            raise Refused(
                f"The virtual host {shown(vhost)} may have {most} queues and has no room for another; raise its "
                "max_queues, or delete a queue first."
            )
        self.count[vhost] += 1

    def bring(self, outcome: Outcome) -> None:
        spec = outcome.after
        vhost, name = place = str(spec["vhost"]), str(spec["name"])
        if outcome.before is None:
            body = {"durable": True, "auto_delete": False, "arguments": {"x-queue-type": spec["type"]}}
            self.put("queues", vhost, name, body=body)
        rows = self.bound[place]
        held = [binding(row) for row in rows if not row["arguments"]]
        for one in spec["bindings"]:
            if one not in held:
                to = ("bindings", vhost, "e", one["exchange"], "q", name)
                self.ask("POST", to, body={"routing_key": one["routing_key"], "arguments": {}})
        for row in rows:
            if row["arguments"] or binding(row) not in spec["bindings"]:
                self.delete("bindings", vhost, "e", row["source"], "q", name, row["properties_key"])

    def remove(self, outcome: Outcome) -> None:
        spec = outcome.resource.spec
        self.delete("queues", str(spec["vhost"]), str(spec["name"]))


def binding(row: dict[str, Any]) -> dict[str, str]:
    return {"exchange": row["source"], "routing_key": row["routing_key"]}


def unlike_ours(row: dict[str, Any]) -> str:
    """What a queue was made with that no field stands for; empty if nothing."""
    if not row["durable"]:
        return "is not durable"
    if row["auto_delete"]:
        return "is deleted when its last reader goes"
    if row.get("exclusive"):
        return "belongs to one connection"
    arguments = sorted({*row["arguments"]} - {"x-queue-type"})
    return f"was made with {shown(', '.join(arguments))}" if arguments else ""


def in_order(bindings: list[dict[str, str]]) -> list[dict[str, str]]:
    """Sorted, each once: their order says nothing."""
    seen = {(one["exchange"], one["routing_key"]) for one in bindings}
    return [{"exchange": exchange, "routing_key": key} for exchange, key in sorted(seen)]
