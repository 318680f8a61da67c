"""Owns policies of RabbitMQ for queues. RabbitMQ has no place for an ownership marker on a policy."""

from __future__ import annotations

import ansible.module_utils
from ansible import constants

ansible.module_utils.__path__[:] = [
    *dict.fromkeys([*ansible.module_utils.__path__, *constants.DEFAULT_MODULE_UTILS_PATH])
]

from typing import Any  # noqa: E402

from ansible.module_utils.mergeyard.pairing import Found, Identity, Outcome, Resource, Spec  # noqa: E402
from ansible.module_utils.rabbit import RabbitAction, expression, name_of  # noqa: E402

KEYS = {  # field -> RabbitMQ's key, and what one of ours is of theirs
    "message_ttl_seconds": ("message-ttl", 1000),
    "max_length": ("max-length", 1),
    "overflow": ("overflow", 0),
    "dead_letter_exchange": ("dead-letter-exchange", 0),
    "expires_seconds": ("expires", 1000),
}


class ActionModule(RabbitAction):  # type: ignore[misc]
    KIND = "RabbitPolicy"
    IDENTITY = ("vhost", "name")
    MARKED = False

    def read(self, resources: list[Resource]) -> dict[Identity, Found]:
        self.look_for_hosts()
        wanted = {resource.identity(self.IDENTITY) for resource in resources}
        return {key: one for one in self.gather() if (key := (one.spec["vhost"], one.spec["name"])) in wanted}

    def gather(self) -> list[Found]:
        return [self.found(row) for row in self.get("policies")]

    def found(self, row: dict[str, Any]) -> Found:
        left = dict(row["definition"])
        spec: Spec = {name: row[name] for name in ("vhost", "name", "pattern", "priority")}
        for field, (key, factor) in KEYS.items():
            if key in left:
                value = left.pop(key)
                spec[field] = value if not factor else value // factor if value % factor == 0 else value / factor
        remarks = [f"{key} was set to {value} on the broker" for key, value in sorted(left.items())]
        if row["apply-to"] != "queues":
            remarks.append(f"it was made to apply to {row['apply-to']}")
        return Found(spec, remarks=tuple(remarks))

    def after(self, resource: Resource, found: Found | None) -> Spec:
        for field in self.IDENTITY:
            name_of(field, resource.spec[field])
        self.must_be_host("vhost", resource.spec["vhost"])
        expression("pattern", resource.spec["pattern"])
        return resource.spec

    def bring(self, outcome: Outcome) -> None:
        spec = outcome.after
        definition = {
            key: spec[field] * factor if factor else spec[field]
            for field, (key, factor) in KEYS.items()
            if field in spec
        }
        body = {
            "pattern": spec["pattern"],
            "priority": spec["priority"],
            "apply-to": "queues",
            "definition": definition,
        }
        self.put("policies", str(spec["vhost"]), str(spec["name"]), body=body)

    def remove(self, outcome: Outcome) -> None:
        spec = outcome.resource.spec
        self.delete("policies", str(spec["vhost"]), str(spec["name"]))
