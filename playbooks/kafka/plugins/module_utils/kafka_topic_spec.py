"""Owns a topic as a spec: Kafka's own settings for it and back, its copies, and what taking it over would delete.

Pure. It must not know the connection or Ansible.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from ansible.module_utils.mergeyard.pairing import Refused, Spec, shown  # type: ignore[import-not-found]
from ansible.module_utils.mergeyard.values import known  # type: ignore[import-not-found]

HOUR = 3_600_000
POLICIES = {"delete": "delete", "compact": "compact", "compact_and_delete": "compact,delete"}
SETTINGS = ("compression.type", "message.timestamp.type", "min.insync.replicas", "retention.bytes", "segment.ms")
COMPACTION = ("dirty_percent", "keep_hours")
LONGEST_RETENTION, LONGEST_DELAY = 87_600, 8_760  # hours that a document may say


def policy(value: str) -> str:
    parts = ",".join(sorted(part.strip() for part in value.split(",")))
    return next((name for name, written in POLICIES.items() if written == parts), value)


def hours(milliseconds: str) -> int | float:
    value = int(milliseconds)
    return -1 if value < 0 else value // HOUR if value % HOUR == 0 else value / HOUR


def kib(value: str) -> int | float:
    return int(value) // 1024 if int(value) % 1024 == 0 else int(value) / 1024


def percent(value: str) -> int | float:
    share = round(float(value) * 100, 6)
    return int(share) if share == int(share) else share


def configs_of(spec: Spec) -> dict[str, str]:
    """Kafka's settings for a spec; what is not in it is not overridden on the topic."""
    settings = known("settings", spec.get("settings") or {}, SETTINGS)
    compaction = known("compaction", spec.get("compaction") or {}, COMPACTION)
    if spec["cleanup_policy"] not in POLICIES:
        raise Refused(f"cleanup_policy: {shown(spec['cleanup_policy'])} is none of {', '.join(POLICIES)}.")
    configs = {
        "cleanup.policy": POLICIES[str(spec["cleanup_policy"])],
        "retention.ms": str(int(str(spec["retention_hours"])) * HOUR),
        **{name: str(value) for name, value in settings.items()},
    }
    if "max_message_kib" in spec:
        configs["max.message.bytes"] = str(int(str(spec["max_message_kib"])) * 1024)
    if "dirty_percent" in compaction:
        configs["min.cleanable.dirty.ratio"] = str(compaction["dirty_percent"] / 100)
    if "keep_hours" in compaction:
        configs["min.compaction.lag.ms"] = str(compaction["keep_hours"] * HOUR)
    return configs


def spec_of(name: str, partitions: int, replication: int, configs: dict[str, str]) -> tuple[Spec, dict[str, str]]:
    """The spec that a topic corresponds to, and the overrides that no field of it stands for."""
    left = dict(configs)
    spec: Spec = {
        "name": name,
        "partitions": partitions,
        "replication": replication,
        "cleanup_policy": policy(left.pop("cleanup.policy", "delete")),
        "retention_hours": hours(left.pop("retention.ms", str(168 * HOUR))),
    }
    if "max.message.bytes" in left:
        spec["max_message_kib"] = kib(left.pop("max.message.bytes"))
    compaction: dict[str, int | float] = {}
    if "min.cleanable.dirty.ratio" in left:
        compaction["dirty_percent"] = percent(left.pop("min.cleanable.dirty.ratio"))
    if "min.compaction.lag.ms" in left:
        compaction["keep_hours"] = hours(left.pop("min.compaction.lag.ms"))
    if compaction:
        spec["compaction"] = compaction
    spec["settings"] = {name: left.pop(name) for name in SETTINGS if name in left}
    return spec, left


def copies_of(partitions: Mapping[int, Any]) -> int:
    """How many copies are kept of each message; a partition that moves to other brokers has more until it is there."""
    return min((len(partition.replicas) for partition in partitions.values()), default=1)


def loss(found: Spec, after: Spec) -> str:
    """Why a topic of others is not brought to `after`: it would delete messages that are kept now. Empty if not."""
    if field := next(less(found, after), None):
        name, value = field
        return (
            f"{name}: the topic keeps more than this would, so taking it over would delete messages; "
            f"{f'write {value}' if value else 'leave it out'} now, and change it in a later request, whose plan says "
            "what is lost."
        )
    return ""


def less(found: Any, after: Any) -> Iterator[tuple[str, object]]:
    """Fields by which less is kept than now, each with what to write for as much; None: nothing."""
    before, ways = (POLICIES.get(one["cleanup_policy"], "").split(",") for one in (found, after))
    if {*ways} - {*before}:
        yield "cleanup_policy", found["cleanup_policy"]
    if "delete" in ways:
        now = found["retention_hours"] if found["retention_hours"] >= 0 else math.inf
        enough = math.ceil(min(now, LONGEST_RETENTION))
        if after["retention_hours"] < enough:
            yield "retention_hours", enough
        was, becomes = (one["settings"].get("retention.bytes") for one in (found, after))
        if was != becomes and (becomes is None or 0 <= int(becomes) < (math.inf if was in (None, "-1") else int(was))):
            yield "settings.retention.bytes", was
    if "compact" in ways:
        delays = [one.get("compaction", {}).get("keep_hours", 0) for one in (found, after)]
        enough = math.ceil(min(delays[0], LONGEST_DELAY))
        if delays[1] < enough:
            yield "compaction.keep_hours", enough
