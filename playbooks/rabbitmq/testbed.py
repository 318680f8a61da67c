"""Owns a RabbitMQ node with its management plugin, for tests. Its own epmd is started beside it and ends with it."""

from __future__ import annotations

import base64
import json
import secrets as random
import shutil
import signal
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import quote

from playbooks.servers import Example, MissingTool, Server, Testbed, answers, kept_ports

MEMORY_ONLY = False
ADMIN = "mergeyard"
SECONDS = 10
PROGRAM = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
VHOSTS: dict[str, list[dict[str, Any]]] = {"RabbitVhost": [{"name": "conformance"}, {"name": "conformance-other"}]}

EXAMPLES = {
    "RabbitVhost": Example(
        spec={"max_connections": 50, "max_queues": 20},
        updates={"max_connections": 10, "max_queues": 5},
    ),
    "RabbitUser": Example(
        spec={
            "role": "monitoring",
            "permissions": [
                {"vhost": "conformance", "configure": "^orders", "write": "^orders", "read": ".*"},
                {"vhost": "conformance-other", "read": "^orders"},
            ],
        },
        updates={"role": "none", "permissions": [{"vhost": "conformance", "write": "^orders"}]},
        secrets={"password": "s3cret-Pässword-{{ 7*7 }}"},
        needs=VHOSTS,
        refused={"permissions": [{"vhost": "nowhere"}]},
    ),
    "RabbitPolicy": Example(
        spec={
            "vhost": "conformance",
            "pattern": "^orders",
            "priority": 3,
            "message_ttl_seconds": 60,
            "max_length": 100,
            "overflow": "drop-head",
            "dead_letter_exchange": "amq.fanout",
            "expires_seconds": 3600,
        },
        updates={
            "pattern": "^carts",
            "priority": 4,
            "message_ttl_seconds": 30,
            "max_length": 50,
            "overflow": "reject-publish",
            "dead_letter_exchange": "amq.direct",
            "expires_seconds": 7200,
        },
        needs=VHOSTS,
        refused={"vhost": "nowhere"},
    ),
    "RabbitQueue": Example(
        spec={
            "vhost": "conformance",
            "type": "classic",
            "bindings": [
                {"exchange": "amq.direct", "routing_key": "orders"},
                {"exchange": "amq.topic", "routing_key": "orders.*"},
            ],
        },
        updates={"bindings": [{"exchange": "amq.topic", "routing_key": "carts.#"}]},
        frozen={"type": "quorum"},
        needs=VHOSTS,
        refused={"bindings": [{"exchange": "nowhere"}]},
    ),
}


def start(directory: Path) -> Testbed:
    epmd = shutil.which("epmd")
    if not PROGRAM.exists() or epmd is None:
        raise MissingTool("No RabbitMQ is installed; install the Debian package rabbitmq-server.")
    ports = kept_ports(directory, ["amqp", "api", "distribution", "epmd"], title="RabbitMQ")
    kept = directory / "password"
    if not kept.exists():
        kept.touch(mode=0o600)
        kept.write_text(random.token_urlsafe(24))
    config = directory / "rabbitmq.conf"
    config.touch(mode=0o600)
    config.write_text(
        f"listeners.tcp.1 = 127.0.0.1:{ports['amqp']}\n"
        f"management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {ports['api']}\n"
        f"default_user = {ADMIN}\ndefault_pass = {kept.read_text()}\nloopback_users = none\nlog.console = false\n"
        f"management.http_log_dir = {directory / 'requests'}\n"
    )
    (directory / "plugins").write_text("[rabbitmq_management].\n")
    names = Server(
        "The Erlang port mapper",
        [epmd, "-address", "127.0.0.1", "-port", str(ports["epmd"])],
        log=directory / "epmd.log",
        drop_root=True,
    )
    names.wait_until(lambda: answers(ports["epmd"]))
    node = Server(
        "RabbitMQ",
        [str(PROGRAM)],
        log=directory / "rabbitmq.log",
        drop_root=True,
        stop=signal.SIGKILL,  # asked to end, it takes longer than anybody waits; its tables are on disk
        env=_environment(directory, ports),
    )
    testbed = Testbed(
        title="RabbitMQ",
        connection={"host": "127.0.0.1", "port": ports["api"], "user": ADMIN},
        secrets={"password": kept.read_text()},
        servers=[names, node],
        clients=dict.fromkeys(EXAMPLES, f"http://127.0.0.1:{ports['api']}/"),
        extra={"amqp": ports["amqp"], "requests": directory / "requests"},
    )
    try:
        node.wait_until(lambda: answers(ports["api"]) and answers(ports["amqp"]), within=90)
        testbed.title = f"RabbitMQ {_ask(testbed, 'GET', 'overview')[1]['rabbitmq_version']}"
    except BaseException:
        testbed.stop()
        raise
    return testbed


def _environment(directory: Path, ports: dict[str, int]) -> dict[str, str]:
    return {
        "PATH": "/usr/lib/rabbitmq/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(directory),
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        "RABBITMQ_NODENAME": f"mergeyard-{ports['amqp']}@localhost",
        "RABBITMQ_MNESIA_BASE": str(directory / "data"),
        "RABBITMQ_LOG_BASE": str(directory / "logs"),
        "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq.conf"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(directory / "advanced.config"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "plugins"),
        "RABBITMQ_GENERATED_CONFIG_DIR": str(directory / "generated"),
        "RABBITMQ_PID_FILE": str(directory / "pid"),
        "RABBITMQ_DIST_PORT": str(ports["distribution"]),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +S 1:1 +sbwt none",
        "RUNNING_UNDER_SYSTEMD": "yes",  # the node itself and no shell before it
        "ERL_EPMD_PORT": str(ports["epmd"]),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
    }


def _ask(
    testbed: Testbed, method: str, *path: str, body: dict[str, Any] | None = None, user: str = "", password: str = ""
) -> tuple[int, Any]:
    """Status and decoded answer of the HTTP API; written apart from the modules so that one checks the other."""
    address = f"http://127.0.0.1:{testbed.connection['port']}/api/{'/'.join(quote(part, safe='') for part in path)}"
    login = f"{user or ADMIN}:{password or testbed.secrets['password']}".encode()
    request = urllib.request.Request(address, method=method, data=None if body is None else json.dumps(body).encode())
    request.add_header("Authorization", f"Basic {base64.b64encode(login).decode()}")
    request.add_header("Content-Type", "application/json")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=SECONDS) as answer:
            content, status = answer.read(), answer.status
    except urllib.error.HTTPError as error:
        content, status = error.read(), error.code
    return status, json.loads(content) if content else None


def _place(kind: str, spec: dict[str, Any]) -> tuple[str, ...]:
    folder = {"RabbitVhost": "vhosts", "RabbitUser": "users", "RabbitPolicy": "policies", "RabbitQueue": "queues"}[kind]
    return (folder, spec["vhost"], spec["name"]) if "vhost" in spec else (folder, spec["name"])


def read(testbed: Testbed, kind: str, spec: dict[str, Any]) -> dict[str, Any] | None:
    status, row = _ask(testbed, "GET", *_place(kind, spec))
    if status == 404:
        return None
    name = spec["name"]
    if kind == "RabbitVhost":
        found = _ask(testbed, "GET", "vhost-limits", name)[1]
        limits = found[0]["value"] if found else {}
        return {
            "name": name,
            "max_connections": limits.get("max-connections", -1),
            "max_queues": limits.get("max-queues", -1),
        }
    if kind == "RabbitUser":
        rights = _ask(testbed, "GET", "users", name, "permissions")[1]
        permissions = [{key: one[key] for key in ("vhost", "configure", "write", "read")} for one in rights]
        return {
            "name": name,
            "role": next((tag for tag in row["tags"] if not tag.startswith("mergeyard:")), "none"),
            "permissions": sorted(permissions, key=lambda one: one["vhost"]),
        }
    if kind == "RabbitQueue":
        bound = [one for one in _ask(testbed, "GET", *_place(kind, spec), "bindings")[1] if one["source"]]
        pairs = sorted((one["source"], one["routing_key"]) for one in bound)
        return {
            "vhost": row["vhost"],
            "name": name,
            "type": row["type"],
            "bindings": [{"exchange": exchange, "routing_key": key} for exchange, key in pairs],
        }
    return _policy(row)


def _policy(row: dict[str, Any]) -> dict[str, Any]:
    set_ = row["definition"]
    spec = {key: row[key] for key in ("vhost", "name", "pattern", "priority")}
    for field, key, factor in (("message_ttl_seconds", "message-ttl", 1000), ("expires_seconds", "expires", 1000)):
        if key in set_:
            spec[field] = set_[key] // factor
    for key in ("max-length", "overflow", "dead-letter-exchange"):
        if key in set_:
            spec[key.replace("-", "_")] = set_[key]
    return spec


def make(testbed: Testbed, kind: str, spec: dict[str, Any]) -> None:
    body: dict[str, Any] = {
        "RabbitVhost": {"description": "somebody's"},
        "RabbitUser": {"password": "somebody's", "tags": "management"},
        "RabbitPolicy": {"pattern": "^other", "definition": {"max-length": 7}, "apply-to": "queues"},
        "RabbitQueue": {"durable": True, "arguments": {"x-queue-type": spec.get("type")}},
    }[kind]
    _ask(testbed, "PUT", *_place(kind, spec), body=body)


def accepts(testbed: Testbed, kind: str, spec: dict[str, Any], secrets: dict[str, str]) -> bool:
    """Whether the broker knows the password; a user who may not see the management pages is told so only then."""
    _, answer = _ask(testbed, "GET", "whoami", user=spec["name"], password=secrets["password"])
    return "name" in answer or answer.get("reason") == "Not management user"


def kept(testbed: Testbed, kind: str, spec: dict[str, Any]) -> str:
    """The salted hash."""
    return str(_ask(testbed, "GET", *_place(kind, spec))[1]["password_hash"])


def tamper(testbed: Testbed, kind: str, spec: dict[str, Any]) -> None:
    if kind == "RabbitVhost":
        _ask(testbed, "PUT", "vhost-limits", spec["name"], "max-queues", body={"value": 99})
    elif kind == "RabbitUser":
        body = {"configure": ".*", "write": ".*", "read": ".*"}
        _ask(testbed, "PUT", "permissions", "conformance-other", spec["name"], body=body)
    elif kind == "RabbitPolicy":
        _ask(testbed, "PUT", *_place(kind, spec), body={"pattern": "^other", "definition": {"max-length": 7}})
    else:
        place = ("bindings", spec["vhost"], "e", "amq.direct", "q", spec["name"])
        _ask(testbed, "POST", *place, body={"routing_key": "by-hand", "arguments": {}})


def remove(testbed: Testbed, kind: str, spec: dict[str, Any]) -> None:
    _ask(testbed, "DELETE", *_place(kind, spec))
