"""Owns Kafka topics: KafkaTopic specs to and from Kafka's own settings, through confluent-kafka's AdminClient.

What Kafka would refuse is asked of it before anything is done (`validate_only`), in check mode and without. Works also
with the broker of the demo (Tansu), which lists only the settings that were set and does what it is asked to try.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import ansible.module_utils
from ansible import constants

ansible.module_utils.__path__[:] = [
    *dict.fromkeys([*ansible.module_utils.__path__, *constants.DEFAULT_MODULE_UTILS_PATH])
]

from ansible.module_utils.kafka_broker import failure  # noqa: E402
from ansible.module_utils.kafka_cluster import as_wanted, chunks, connect, wait_until_seen  # noqa: E402
from ansible.module_utils.kafka_topic_spec import configs_of, copies_of, loss, spec_of  # noqa: E402
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
from kafka.protocol.admin import (  # noqa: E402
    CreatePartitionsRequest,
    DescribeAclsRequest,
    DescribeClientQuotasRequest,
)

SECONDS = 10
ALWAYS_LISTED_BY_KAFKA = "index.interval.bytes"  # no field of ours ever sets it
# Set for as long as partitions are moved to other brokers, by who moves them, and so none of the topic's own.
OF_A_MOVE = ("leader.replication.throttled.replicas", "follower.replication.throttled.replicas")
GROWING = (CreatePartitionsRequest,)
ALL_OF_KAFKA = (*GROWING, DescribeAclsRequest, DescribeClientQuotasRequest)  # who knows these keeps to validate_only


def said(error: Exception) -> str:
    """What the broker or librdkafka, whose codes are below zero, said to it, as a sentence."""
    inner = error.args[0] if error.args else error
    text = str(inner.str() if hasattr(inner, "str") else error).strip()
    return failure(inner.code() if hasattr(inner, "code") else 0, text.removeprefix("Broker: "))


def failures(futures: dict[str, Future[Any]]) -> dict[str, str]:
    """Name -> what the broker answered, for those that it did not do."""
    failed = {}
    for name, future in futures.items():
        try:
            future.result(SECONDS * 2)
        except Exception as error:
            failed[name] = said(error)
    return failed


class ActionModule(ResourceAction):  # type: ignore[misc]
    KIND = "KafkaTopic"
    MARKED = False
    LONGEST_TEXT = 32_767

    def open(self) -> None:
        from confluent_kafka import admin

        self.api, self.current, self.refusals = admin, {}, {}
        servers, password = str(self.connection["bootstrap_servers"]), str(self.system_secrets.get("sasl_password", ""))
        broker = connect(
            self.connection, password
        )  # what librdkafka would retry for as long as it may is known at once
        try:
            self.may_grow, self.may_try = broker.offers(GROWING), broker.offers(ALL_OF_KAFKA)
        finally:
            broker.close()
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
        found = self.found([str(resource.spec["name"]) for resource in resources])
        if self.may_try and self._task.args["state"] == "replaced":
            self.refusals = self.tried(resources, found)
        elif self.may_try:
            self.refusals = self.not_ours_to_delete([str(one.spec["name"]) for one in found.values()])
        return found

    def not_ours_to_delete(self, names: list[str]) -> dict[str, str]:
        """Name -> why the user that Mergeyard signs in as may not delete it."""
        from confluent_kafka import TopicCollection

        refusals = {}
        for group in chunks(names):
            asked = self.client.describe_topics(
                TopicCollection(group), include_authorized_operations=True, request_timeout=SECONDS
            )
            for name, future in asked.items():
                with contextlib.suppress(Exception):  # then it is tried
                    allowed = future.result(SECONDS * 2).authorized_operations
                    if allowed is not None and self.api.AclOperation.DELETE not in allowed:
                        refusals[name] = "Kafka refused it: whom Mergeyard signs in as may not delete the topic."
        return refusals

    def pair(self, outcome: Outcome, found: Found | None, state: str) -> None:
        super().pair(outcome, found, state)
        refusal = self.refusals.get(str(outcome.resource.spec.get("name")))
        if state == "deleted" and outcome.changed and refusal:
            outcome.fail(refusal)

    def tried(self, resources: list[Resource], found: dict[Identity, Found]) -> dict[str, str]:
        """Name -> what Kafka would refuse. What is refused here already is not asked."""
        specs = []
        for resource in resources:
            with contextlib.suppress(Refused, KeyError, TypeError, ValueError):
                specs.append(self.wanted(resource, found.get(resource.identity(self.IDENTITY))))
        refusals: dict[str, str] = {}
        for group in chunks(specs):
            refusals |= self.brought([spec for spec in group if spec["name"] not in self.current], dry=True)
            refusals |= self.changed([spec for spec in group if spec["name"] in self.current], dry=True)
        return refusals

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
            self.current[asked.name] = overrides
            spec, left = spec_of(asked.name, len(partitions), copies_of(partitions), overrides)
            remarks = tuple(f"{name} was set to {value} on Kafka" for name, value in sorted(left.items()))
            found[(asked.name,)] = Found(spec, remarks=remarks)
        return found

    def overrides(self, entries: dict[str, Any]) -> dict[str, str]:
        """What is in force and was set for the topic; cleanup and retention always, as a spec always has them."""
        kept = ("cleanup.policy", "retention.ms")
        set_here = self.api.ConfigSource.DYNAMIC_TOPIC_CONFIG.value
        everything = ALWAYS_LISTED_BY_KAFKA not in entries
        return {
            name: str(entry.value)
            for name, entry in entries.items()
            if entry.value is not None
            and name not in OF_A_MOVE
            and (everything or entry.source == set_here or name in kept)
        }

    def after(self, resource: Resource, found: Found | None) -> Spec:
        after = self.wanted(resource, found)
        if refusal := self.refusals.get(str(after["name"])):
            raise Refused(refusal)
        return after

    def wanted(self, resource: Resource, found: Found | None) -> Spec:
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
        brokers, copies = len(self.metadata.brokers), int(str(after["replication"]))
        if found is None and copies > brokers:
            raise Refused(
                f"replication: {copies} copies of each message need {copies} brokers, and the cluster has {brokers}; "
                f"write {brokers}."
            )
        if found is not None:
            before, wanted = int(str(found.spec["partitions"])), int(str(after["partitions"]))
            if wanted < before:
                raise Refused(
                    f"The topic has {before} partitions, and Kafka cannot take any away; write {before} or more."
                )
            if found.spec["replication"] != after["replication"]:
                moving = " While it is moved to other brokers it has more; then try again later."
                raise Refused(
                    f"replication: the topic keeps {found.spec['replication']} copies of each message, and Kafka "
                    "cannot change that in place; write that number, or make a new topic."
                    + (moving if int(str(found.spec["replication"])) > copies else "")
                )
            if resource.adopt and not resource.managed and (why := loss(found.spec, after)):
                raise Refused(why)
            if wanted > before and not self.may_grow:
                raise Refused("Partitions cannot be added, as the broker does not know how; make a new topic.")
        return after

    def write(self, outcomes: list[Outcome]) -> Iterator[tuple[Outcome, str]]:
        for group in chunks(outcomes):
            failures = self.deleted([str(one.before["name"]) for one in group if one.before and not one.after])
            failures |= self.brought([one.after for one in group if one.after and not one.before])
            failures |= self.changed([one.after for one in group if one.after and one.before])
            for outcome in group:
                yield outcome, failures.get(str(outcome.resource.spec["name"]), "")
        wait_until_seen(self.seen, outcomes)

    def seen(self, outcomes: list[Outcome]) -> bool:
        self.look()
        names = {str(outcome.resource.spec["name"]): outcome.after is not None for outcome in outcomes}
        if any((name in self.metadata.topics) != wanted for name, wanted in names.items()):
            return False
        there = self.found([*names])
        return all(as_wanted(outcome, there.get((outcome.resource.spec["name"],))) for outcome in outcomes)

    def deleted(self, names: list[str]) -> dict[str, str]:
        return failures(self.client.delete_topics(names, operation_timeout=SECONDS)) if names else {}

    def brought(self, specs: list[Spec], *, dry: bool = False) -> dict[str, str]:
        """Name -> why it is not made. This and the next do nothing but tell if `dry`."""
        new = [
            self.api.NewTopic(spec["name"], spec["partitions"], spec["replication"], config=configs_of(spec))
            for spec in specs
        ]
        if not new:
            return {}
        return failures(self.client.create_topics(new, operation_timeout=SECONDS, validate_only=dry))

    def changed(self, specs: list[Spec], *, dry: bool = False) -> dict[str, str]:
        """Settings first, which Kafka refuses more often: what follows cannot be taken back."""
        failed: dict[str, str] = {}
        asked = [self.alteration(str(spec["name"]), configs_of(spec)) for spec in specs]
        if alterations := [one for one in asked if one is not None]:  # one of them is false in itself
            futures = self.client.incremental_alter_configs(alterations, validate_only=dry, request_timeout=SECONDS)
            failed = failures({resource.name: future for resource, future in futures.items()})
        growing = {
            str(spec["name"]): spec["partitions"]
            for spec in specs
            if len(self.metadata.topics[spec["name"]].partitions) != spec["partitions"] and spec["name"] not in failed
        }
        if growing:
            new = [self.api.NewPartitions(name, partitions) for name, partitions in growing.items()]
            not_added = failures(self.client.create_partitions(new, validate_only=dry, request_timeout=SECONDS))
            failed |= {name: f"Partitions cannot be added. {why}" for name, why in not_added.items()}
        return failed

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
