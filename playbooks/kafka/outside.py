"""Owns how tests look at Kafka and meddle with it from outside: per kind `read`, `make`, `tamper`, `remove`.

Written apart from the modules so that one checks the other: with confluent-kafka what they do by kafka-python.
"""

from __future__ import annotations

from typing import Any

from playbooks.servers import Testbed

HOUR = 3_600_000
SECONDS = 10
MECHANISMS = {1: "SCRAM-SHA-256", 2: "SCRAM-SHA-512"}
SETTINGS = ("compression.type", "segment.ms", "message.timestamp.type", "min.insync.replicas", "retention.bytes")


def client(testbed: Testbed, **settings: Any) -> Any:
    """An administrator's client; with settings a user's. Hold it until the answer is there: its end cancels."""
    from confluent_kafka.admin import AdminClient

    return AdminClient({"bootstrap.servers": testbed.extra["plain"], "log_level": 0, **settings})


def user_settings(testbed: Testbed, name: str, password: str, mechanism: str = "SCRAM-SHA-512") -> dict[str, Any]:
    """What a client of a user's is configured with."""
    return {
        "bootstrap.servers": testbed.extra["scram"],
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": mechanism,
        "sasl.username": name,
        "sasl.password": password,
        "log_level": 0,
    }


def signs_in(testbed: Testbed, name: str, password: str, mechanism: str) -> bool:
    """By librdkafka, which goes on trying for as long as it is asked to."""
    from confluent_kafka import KafkaError, KafkaException

    refused: list[int] = []
    settings = user_settings(testbed, name, password, mechanism)
    asking = client(testbed, **settings, error_cb=lambda error: refused.append(error.code()))
    for _ in range(100):
        try:
            asking.list_topics(timeout=0.1)
        except KafkaException:
            asking.poll(0)
            if KafkaError._AUTHENTICATION in refused:
                return False
        else:
            return True
    raise TimeoutError("the broker neither lets the user in nor refuses")


def done(futures: dict[Any, Any]) -> None:
    for future in futures.values():
        future.result(SECONDS)


class Topics:
    @staticmethod
    def read(testbed: Testbed, spec: dict[str, Any]) -> dict[str, Any] | None:
        asked = client(testbed)
        topic = asked.list_topics(timeout=SECONDS).topics.get(spec["name"])
        if topic is None:
            return None
        [described] = asked.describe_configs([Topics._resource(spec["name"])]).values()
        everything = "scram" in testbed.extra  # Apache Kafka lists what is not set too
        entries = described.result(SECONDS).items()
        configs = {name: entry.value for name, entry in entries if not everything or entry.source == 1}
        policy = {"delete": "delete", "compact": "compact"}
        result: dict[str, Any] = {
            "name": spec["name"],
            "partitions": len(topic.partitions),
            "replication": len(topic.partitions[0].replicas),
            "cleanup_policy": policy.get(configs.get("cleanup.policy", "delete"), "compact_and_delete"),
            "retention_hours": int(configs.get("retention.ms", 168 * HOUR)) // HOUR,
            "settings": {name: configs[name] for name in SETTINGS if name in configs},
        }
        if "max.message.bytes" in configs:
            result["max_message_kib"] = int(configs["max.message.bytes"]) // 1024
        compaction: dict[str, int] = {}
        if "min.cleanable.dirty.ratio" in configs:
            compaction["dirty_percent"] = round(float(configs["min.cleanable.dirty.ratio"]) * 100)
        if "min.compaction.lag.ms" in configs:
            compaction["keep_hours"] = int(configs["min.compaction.lag.ms"]) // HOUR
        return {**result, "compaction": compaction} if compaction else result

    @staticmethod
    def make(testbed: Testbed, spec: dict[str, Any]) -> None:
        """One that keeps less than most, so that nobody who takes it over would delete something."""
        from confluent_kafka.admin import NewTopic

        asked, policy = client(testbed), spec.get("cleanup_policy", "delete")
        config = {"cleanup.policy": policy.replace("_and_delete", ",delete"), "retention.ms": str(HOUR)}
        done(asked.create_topics([NewTopic(spec["name"], spec["partitions"], spec["replication"], config=config)]))

    @staticmethod
    def tamper(testbed: Testbed, spec: dict[str, Any]) -> None:
        from confluent_kafka.admin import AlterConfigOpType, ConfigEntry

        entry = ConfigEntry("retention.ms", str(HOUR), incremental_operation=AlterConfigOpType.SET)
        asked = client(testbed)
        done(asked.incremental_alter_configs([Topics._resource(spec["name"], incremental_configs=[entry])]))

    @staticmethod
    def remove(testbed: Testbed, spec: dict[str, Any]) -> None:
        asked = client(testbed)
        if spec["name"] in asked.list_topics(timeout=SECONDS).topics:
            done(asked.delete_topics([spec["name"]]))

    @staticmethod
    def _resource(name: str, **more: Any) -> Any:
        from confluent_kafka.admin import ConfigResource

        return ConfigResource(ConfigResource.Type.TOPIC, name, **more)


class Users:
    @staticmethod
    def read(testbed: Testbed, spec: dict[str, Any]) -> dict[str, Any] | None:
        asked = client(testbed)
        user = asked.describe_user_scram_credentials().result(SECONDS).get(spec["name"])
        if user is None:
            return None
        [credential] = user.scram_credential_infos
        mechanism = MECHANISMS[credential.mechanism.value]
        return {"name": spec["name"], "mechanism": mechanism, "iterations": credential.iterations}

    @staticmethod
    def make(testbed: Testbed, spec: dict[str, Any]) -> None:
        Users.set_password(testbed, spec["name"], "made by others", mechanism=1)

    @staticmethod
    def tamper(testbed: Testbed, spec: dict[str, Any]) -> None:
        Users.set_password(testbed, spec["name"], "drifted", mechanism=1, iterations=7777)

    @staticmethod
    def set_password(testbed: Testbed, name: str, password: str, *, mechanism: int, iterations: int = 4096) -> None:
        from confluent_kafka.admin import ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion

        info = ScramCredentialInfo(ScramMechanism(mechanism), iterations)
        asked = client(testbed)
        done(asked.alter_user_scram_credentials([UserScramCredentialUpsertion(name, info, password.encode())]))

    @staticmethod
    def remove(testbed: Testbed, spec: dict[str, Any]) -> None:
        from confluent_kafka.admin import ScramMechanism, UserScramCredentialDeletion

        asked = client(testbed)
        user = asked.describe_user_scram_credentials().result(SECONDS).get(spec["name"])
        infos = user.scram_credential_infos if user else []
        gone = [UserScramCredentialDeletion(spec["name"], ScramMechanism(info.mechanism.value)) for info in infos]
        if gone:
            done(asked.alter_user_scram_credentials(gone))


class Rights:
    @staticmethod
    def read(testbed: Testbed, spec: dict[str, Any]) -> dict[str, Any] | None:
        """Each ACL by its own: entries that differ in nothing but what may be done are one."""
        asked = client(testbed)
        bindings = asked.describe_acls(Rights._of(spec["user"])).result(SECONDS)
        lists: dict[str, dict[tuple[str, ...], dict[str, Any]]] = {}
        for one in bindings:
            literal, kind = one.resource_pattern_type.name == "LITERAL", one.restype.name
            if kind == "TOPIC":
                field, head = ("topics", {"topic": one.name}) if literal else ("topic_prefixes", {"prefix": one.name})
            else:
                field, named = {"GROUP": ("groups", "group")}.get(kind, ("transactional_ids", "id"))
                head = {named: one.name, "match": "exact" if literal else "prefix"}
            entry = {**head, "host": one.host, "permission": one.permission_type.name.lower(), "operations": []}
            key = tuple(str(value) for value in entry.values())
            lists.setdefault(field, {}).setdefault(key, entry)["operations"].append(one.operation.name.lower())
        order = ("read", "write", "describe", "create", "delete", "alter", "describe_configs", "alter_configs", "all")
        for entries in lists.values():
            for entry in entries.values():
                entry["operations"].sort(key=order.index)
        found = {field: [entries[key] for key in sorted(entries)] for field, entries in lists.items()}
        return {"user": spec["user"], **found} if found else None

    @staticmethod
    def make(testbed: Testbed, spec: dict[str, Any]) -> None:
        from confluent_kafka.admin import AclBinding, AclOperation, AclPermissionType, ResourcePatternType, ResourceType

        asked, way = client(testbed), (ResourcePatternType.LITERAL, f"User:{spec['user']}", "*")
        new = AclBinding(ResourceType.TOPIC, "by-others", *way, AclOperation.READ, AclPermissionType.ALLOW)
        done(asked.create_acls([new]))

    tamper = make

    @staticmethod
    def remove(testbed: Testbed, spec: dict[str, Any]) -> None:
        asked = client(testbed)
        done(asked.delete_acls([Rights._of(spec["user"])]))

    @staticmethod
    def _of(user: str) -> Any:
        from confluent_kafka import admin

        any_resource = admin.ResourceType.ANY, None, admin.ResourcePatternType.ANY
        return admin.AclBindingFilter(
            *any_resource, f"User:{user}", None, admin.AclOperation.ANY, admin.AclPermissionType.ANY
        )


class Quotas:
    """By kafka-python's own client, as confluent-kafka has no quotas."""

    NAMES = {
        "producer_byte_rate": ("write_kib_per_second", 1024),
        "consumer_byte_rate": ("read_kib_per_second", 1024),
        "request_percentage": ("request_percent", 1),
    }

    @staticmethod
    def read(testbed: Testbed, spec: dict[str, Any]) -> dict[str, Any] | None:
        values = Quotas.values(testbed, spec)
        if not values:
            return None
        limits = {name: int(values[key] // units) for key, (name, units) in Quotas.NAMES.items() if key in values}
        return {"user": spec["user"], "client_id": spec.get("client_id", "*"), **limits}

    @staticmethod
    def values(testbed: Testbed, spec: dict[str, Any]) -> dict[str, float]:
        from kafka.protocol.admin import DescribeClientQuotasRequest

        answer = Quotas._ask(testbed, DescribeClientQuotasRequest(components=[], strict=False))
        for entry in answer.entries:
            if {part.entity_type: part.entity_name for part in entry.entity} == Quotas._entity(spec):
                return {value.key: value.value for value in entry.values}
        return {}

    @staticmethod
    def make(testbed: Testbed, spec: dict[str, Any]) -> None:
        Quotas._alter(testbed, spec, {"request_percentage": (3.0, False)})

    tamper = make

    @staticmethod
    def remove(testbed: Testbed, spec: dict[str, Any]) -> None:
        gone = dict.fromkeys(Quotas.values(testbed, spec), (0.0, True))
        if gone:
            Quotas._alter(testbed, spec, gone)

    @staticmethod
    def _entity(spec: dict[str, Any]) -> dict[str, str | None]:
        named = {"user": spec["user"], "client-id": spec.get("client_id", "*")}
        return {type: name for type, name in named.items() if name != "*"} or {"user": None}

    @staticmethod
    def _alter(testbed: Testbed, spec: dict[str, Any], changes: dict[str, tuple[float, bool]]) -> None:
        from kafka.protocol.admin import AlterClientQuotasRequest

        entity = [*Quotas._entity(spec).items()]
        ops = [(key, value, remove) for key, (value, remove) in changes.items()]
        answer = Quotas._ask(testbed, AlterClientQuotasRequest(entries=[(entity, ops)], validate_only=False))
        assert answer.entries[0].error_code == 0, answer.entries[0].error_message

    @staticmethod
    def _ask(testbed: Testbed, request: Any) -> Any:
        from kafka import KafkaAdminClient

        asked = KafkaAdminClient(bootstrap_servers=testbed.extra["plain"])
        try:
            return asked._manager.run(asked._manager.send, request)
        finally:
            asked.close()


KINDS: dict[str, Any] = {"KafkaUser": Users, "KafkaTopic": Topics, "KafkaAcl": Rights, "KafkaQuota": Quotas}
