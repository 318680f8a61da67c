"""Owns Kafka topics: KafkaTopic specs to and from Kafka's own settings, through confluent-kafka's AdminClient.

Works with Apache Kafka and with the demo's broker (Tansu), which lists only the settings that were set.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import ansible.module_utils
from ansible import constants

ansible.module_utils.__path__[:] = [
    *dict.fromkeys([*ansible.module_utils.__path__, *constants.DEFAULT_MODULE_UTILS_PATH])
]

from ansible.module_utils.kafka_cluster import as_wanted, chunks, connect, wait_until_seen  # noqa: E402
from ansible.module_utils.mergeyard.action import ResourceAction  # noqa: E402
from ansible.module_utils.mergeyard.pairing import (  # noqa: E402
    Found,
    Identity,
    Outcome,
    Refused,
    Resource,
    Spec,
    SystemDown,
    shown,
)

HOUR = 3_600_000
SECONDS = 10
POLICIES = {"delete": "delete", "compact": "compact", "compact_and_delete": "compact,delete"}
SETTINGS = ("compression.type", "message.timestamp.type", "min.insync.replicas", "retention.bytes", "segment.ms")
ALWAYS_LISTED_BY_KAFKA = "index.interval.bytes"  # no field of ours ever sets it


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
    settings: Any = spec.get("settings") or {}
    compaction: Any = spec.get("compaction") or {}
    if spec["cleanup_policy"] not in POLICIES:
        raise Refused(f"cleanup_policy: {shown(spec['cleanup_policy'])} is none of {', '.join(POLICIES)}.")
    configs = {
        "cleanup.policy": POLICIES[str(spec["cleanup_policy"])],
        "retention.ms": str(int(str(spec["retention_hours"])) * HOUR),
        **{str(name): str(value) for name, value in settings.items()},
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


def said(error: Exception) -> str:
    """What the broker answered, as a sentence."""
    inner = error.args[0] if error.args else error
    text = str(inner.str() if hasattr(inner, "str") else error).strip()
    return f"Kafka refused it: {text.removeprefix('Broker: ').rstrip('.')}."


class ActionModule(ResourceAction):  # type: ignore[misc]
    KIND = "KafkaTopic"
    MARKED = False

    def open(self) -> None:
        from confluent_kafka import admin

        self.api, self.current = admin, {}
        servers, password = str(self.connection["bootstrap_servers"]), str(self.system_secrets.get("sasl_password", ""))
        connect(self.connection, password).close()  # what librdkafka would retry for as long as it may is known at once
        quiet = logging.getLogger("mergeyard.kafka")
        quiet.addHandler(logging.NullHandler())
        quiet.propagate = False
        settings = {
            "bootstrap.servers": servers,
            "security.protocol": self.connection.get("security_protocol", "PLAINTEXT"),
            "socket.timeout.ms": SECONDS * 1000,
        }
        if "sasl_mechanism" in self.connection:
            settings["sasl.mechanism"] = self.connection["sasl_mechanism"]
            settings["sasl.username"] = self.connection["sasl_username"]
            settings["sasl.password"] = password
        self.client = admin.AdminClient(settings, logger=quiet)
        self.look()

    def look(self) -> None:
        try:
            self.metadata = self.client.list_topics(timeout=SECONDS - 2)
        except Exception as error:
            servers = self.connection["bootstrap_servers"]
            raise SystemDown(f"Kafka at {servers} does not answer: {said(error)}") from error

    def close(self) -> None:
        self.client = None

    def read(self, resources: list[Resource]) -> dict[Identity, Found]:
        return self.found([str(resource.spec["name"]) for resource in resources])

    def gather(self) -> list[Found]:
        return list(self.found([name for name in self.metadata.topics if not name.startswith("__")]).values())

    def found(self, names: list[str]) -> dict[Identity, Found]:
        present = [name for name in names if name in self.metadata.topics]
        if not present:
            return {}
        resource = self.api.ConfigResource
        futures = self.client.describe_configs(
            [resource(resource.Type.TOPIC, name) for name in present], request_timeout=SECONDS
        )
        found: dict[Identity, Found] = {}
        for asked, future in futures.items():
            try:
                overrides = self.overrides(future.result())
            except Exception as error:
                raise SystemDown(f"The settings of topic {asked.name} cannot be read. {said(error)}") from error
            partitions = self.metadata.topics[asked.name].partitions
            copies = len(partitions[0].replicas) if 0 in partitions else 1
            self.current[asked.name] = overrides
            spec, left = spec_of(asked.name, len(partitions), copies, overrides)
            remarks = tuple(f"{name} was set to {value} on Kafka" for name, value in sorted(left.items()))
            found[(asked.name,)] = Found(spec, remarks=remarks)
        return found

    def overrides(self, entries: dict[str, Any]) -> dict[str, str]:
        """What is in force and was set for this topic; cleanup and retention always, as a spec always has them."""
        kept = ("cleanup.policy", "retention.ms")
        set_here = self.api.ConfigSource.DYNAMIC_TOPIC_CONFIG.value
        everything = ALWAYS_LISTED_BY_KAFKA not in entries
        return {
            name: str(entry.value)
            for name, entry in entries.items()
            if entry.value is not None and (everything or entry.source == set_here or name in kept)
        }

    def after(self, resource: Resource, found: Found | None) -> Spec:
        for name, value in configs_of(resource.spec).items():
            # librdkafka takes C strings: what follows a NUL would be lost without a word.
            if not value.isprintable():
                raise Refused(f"{name}: {shown(value)} holds characters that no setting of Kafka may have.")
        after, _ = spec_of(
            str(resource.spec["name"]),
            int(str(resource.spec["partitions"])),
            int(str(resource.spec["replication"])),
            configs_of(resource.spec),
        )
        if found is not None:
            before, wanted = int(str(found.spec["partitions"])), int(str(after["partitions"]))
            if wanted < before:
                raise Refused(
                    f"The topic has {before} partitions, and Kafka cannot take any away; write {before} or more."
                )
            if found.spec["replication"] != after["replication"]:
                raise Refused(
                    f"The topic keeps {found.spec['replication']} copies of each message, and Kafka cannot change that "
                    "in place; write that number, or make a new topic."
                )
        return after

    def write(self, outcomes: list[Outcome]) -> Iterator[tuple[Outcome, str]]:
        for group in chunks([outcome for outcome in outcomes if outcome.after is None]):
            names = {str(outcome.before["name"]): outcome for outcome in group if outcome.before}
            yield from self.finished(names, self.client.delete_topics([*names], operation_timeout=SECONDS))
        for group in chunks([outcome for outcome in outcomes if outcome.before is None]):
            names = {str(outcome.after["name"]): outcome for outcome in group if outcome.after}
            new = [
                self.api.NewTopic(
                    name, outcome.after["partitions"], outcome.after["replication"], config=configs_of(outcome.after)
                )
                for name, outcome in names.items()
            ]
            yield from self.finished(names, self.client.create_topics(new, operation_timeout=SECONDS))
        for group in chunks([outcome for outcome in outcomes if outcome.before and outcome.after]):
            yield from self.changed(group)
        wait_until_seen(self.seen, outcomes)

    def seen(self, outcomes: list[Outcome]) -> bool:
        self.look()
        names = {str(outcome.resource.spec["name"]): outcome.after is not None for outcome in outcomes}
        if any((name in self.metadata.topics) != wanted for name, wanted in names.items()):
            return False
        there = self.found([*names])
        return all(as_wanted(outcome, there.get((outcome.resource.spec["name"],))) for outcome in outcomes)

    def finished(self, names: dict[str, Outcome], futures: dict[str, Future[Any]]) -> Iterator[tuple[Outcome, str]]:
        for name, future in futures.items():
            try:
                future.result(SECONDS * 2)
            except Exception as error:
                yield names[name], said(error)
            else:
                yield names[name], ""

    def changed(self, outcomes: list[Outcome]) -> Iterator[tuple[Outcome, str]]:
        names = {str(outcome.after["name"]): outcome for outcome in outcomes if outcome.after}
        growing = [name for name, one in names.items() if one.before["partitions"] != one.after["partitions"]]
        for name in growing:
            if failure := self.grow(name, names[name].after["partitions"]):
                yield names.pop(name), failure
        alterations = {name: self.alteration(name, configs_of(outcome.after)) for name, outcome in names.items()}
        for name in [name for name, alteration in alterations.items() if alteration is None]:
            alterations.pop(name)
            yield names.pop(name), ""
        if alterations:
            futures = self.client.incremental_alter_configs([*alterations.values()], request_timeout=SECONDS)
            yield from self.finished(names, {resource.name: future for resource, future in futures.items()})

    def alteration(self, name: str, wanted: dict[str, str]) -> Any:
        """The request that sets what differs and takes back what the spec does not hold; None if nothing does."""
        current, operation = self.current[name], self.api.AlterConfigOpType
        entries = [
            self.api.ConfigEntry(key, value, incremental_operation=operation.SET)
            for key, value in wanted.items()
            if current.get(key) != value
        ] + [
            self.api.ConfigEntry(key, None, incremental_operation=operation.DELETE)
            for key in current
            if key not in wanted
        ]
        if not entries:
            return None
        return self.api.ConfigResource(self.api.ConfigResource.Type.TOPIC, name, incremental_configs=entries)

    def grow(self, name: str, partitions: int) -> str:
        try:
            self.client.create_partitions([self.api.NewPartitions(name, partitions)])[name].result(SECONDS * 2)
        except Exception as error:
            return f"Partitions cannot be added. {said(error)}"
        return ""
