"""Owns an nginx on a host of its own that is reached by SSH, with two tiny web servers behind it, for tests."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from playbooks import ssh_server
from playbooks.servers import CannotStart, Example, MissingTool, Server, Testbed, answers, kept_ports

MEMORY_ONLY = False
SECONDS = 5
CERTIFICATES = "/srv"  # where the host sees the test bed's certificates
WEB_SERVERS = Path(__file__).parents[1] / "web_servers.py"
TLS = {"certificate": f"{CERTIFICATES}/site.pem", "key": f"{CERTIFICATES}/site.key"}

EXAMPLES = {
    "ReverseProxySite": Example(
        spec={
            "hosts": ["conformance.example.com"],
            "paths": [
                {
                    "path": "/api/v1",
                    "servers": [
                        {"address": "127.0.0.1", "port": 8081, "weight": 3},
                        {"address": "localhost", "port": 8082, "backup": True},
                    ],
                    "websocket": True,
                    "timeout": 10,
                },
                {"path": "/", "servers": [{"address": "127.0.0.1", "port": 8083}]},
            ],
            "tls": {**TLS, "redirect": False},
            "response_headers": {"X-Frame-Options": "DENY", "Cache-Control": "max-age=60, public; x='y'"},
            "request_headers": {"X-Environment": "test", "X-Team": "payments"},
            "rate_limit": {"requests": 50, "per": "minute", "burst": 100},
            "max_body_size": 8,
        },
        updates={
            "hosts": ["changed.example.com", "*.changed.example.com"],
            "paths": [{"path": "/", "servers": [{"address": "127.0.0.1", "port": 8084}], "timeout": 5}],
            "tls": TLS,
            "tls.redirect": True,
            "tls.certificate": f"{CERTIFICATES}/chain.pem",
            "tls.key": f"{CERTIFICATES}/private.pem",
            "response_headers": {"X-Frame-Options": "SAMEORIGIN"},
            "request_headers": {"X-Environment": "production"},
            "rate_limit": {"requests": 5},
            "rate_limit.per": "second",
            "rate_limit.burst": 20,
            "max_body_size": 16,
        },
        vary=lambda number: {"name": f"conformance-{number}", "hosts": [f"x{number}.conformance.example.com"]},
        refused={"paths": [{"servers": [{"address": "does-not-exist.invalid", "port": 80}]}]},
    )
}

CONFIGURATION = """\
daemon off;
{user}pid {directory}/nginx.pid;
error_log {directory}/error.log;
worker_processes 2;
events {{
    worker_connections 256;
}}
http {{
    access_log off;
    client_body_temp_path {directory}/temporary/body;
    proxy_temp_path {directory}/temporary/proxy;
    fastcgi_temp_path {directory}/temporary/fastcgi;
    uwsgi_temp_path {directory}/temporary/uwsgi;
    scgi_temp_path {directory}/temporary/scgi;
    server {{
        listen 127.0.0.1:{http} default_server;
        return 404 "no site here";
    }}
    server {{
        listen 127.0.0.1:{https} ssl default_server;
        ssl_reject_handshake on;
    }}
    include {directory}/etc/sites/*.conf;
}}
"""


def _program(name: str, package: str) -> str:
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if not found:
        raise MissingTool(f"{name} is not installed; install the Debian package {package}.")
    return found


def start(directory: Path) -> Testbed:
    nginx, openssl = _program("nginx", "nginx-light"), _program("openssl", "openssl")
    directory = directory.absolute()
    ports = kept_ports(directory / "nginx", ["http", "https", "blue", "green"], title="nginx")
    for place in ("etc/sites", "temporary", "certificates"):
        (directory / place).mkdir(parents=True, exist_ok=True)
    _make_certificate(openssl, directory / "certificates")
    user = "user root;\n" if os.geteuid() == 0 else ""
    config = directory / "etc" / "nginx.conf"
    config.write_text(CONFIGURATION.format(directory=directory, user=user, **ports))
    host = ssh_server.start(directory, title="nginx's host", mounts={CERTIFICATES: str(directory / "certificates")})
    behind = Server(
        "The web servers behind nginx",
        [sys.executable, "-I", str(WEB_SERVERS), f"blue={ports['blue']}", f"green={ports['green']}"],
        log=directory / "web_servers.log",
    )
    server = Server("nginx", ssh_server.entering(host.pid, [nginx, "-c", str(config)]), log=directory / "nginx.log")
    testbed = Testbed(
        title=_version(nginx),
        connection={
            **host.connection,
            "configuration": str(config),
            "sites_directory": str(directory / "etc" / "sites"),
            "pid_file": str(directory / "nginx.pid"),
            "addresses": ["127.0.0.1"],
            "http_port": ports["http"],
            "https_port": ports["https"],
            "certificate_directories": [CERTIFICATES],
        },
        secrets={"ssh_key": host.key},
        servers=[host.server, behind, server],
        clients={"ReverseProxySite": f"curl -H 'Host: <host>' http://127.0.0.1:{ports['http']}<path>"},
        extra={**ports, "certificate": str(directory / "certificates" / "site.pem"), "host": host.pid},
    )
    try:
        behind.wait_until(lambda: answers(ports["blue"]) and answers(ports["green"]))
        server.wait_until(lambda: answers(ports["http"]))
    except CannotStart:
        testbed.stop()
        raise
    return testbed


def _version(nginx: str) -> str:
    said = subprocess.run([nginx, "-v"], capture_output=True, text=True, check=False).stderr
    return said.strip().rpartition(" ")[2].replace("/", " ")


def _make_certificate(openssl: str, directory: Path) -> None:
    if not (directory / "site.pem").exists():
        argv = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        argv += ["-subj", "/CN=example.com", "-addext", "subjectAltName=DNS:*.conformance.example.com", "-days", "30"]
        argv += ["-keyout", str(directory / "site.key"), "-out", str(directory / "site.pem")]
        subprocess.run(argv, check=True, capture_output=True)
    for name, other in (("site.pem", "chain.pem"), ("site.key", "private.pem")):
        shutil.copy(directory / name, directory / other)


def request(testbed: Testbed, host: str, path: str, *, body: bytes | None = None) -> tuple[int, dict[str, str], str]:
    """Status, headers and body of one request without encryption."""
    connection = http.client.HTTPConnection("127.0.0.1", testbed.extra["http"], timeout=SECONDS)
    try:
        connection.request("GET" if body is None else "POST", path, body=body, headers={"Host": host})
        answer = connection.getresponse()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, headers, answer.read().decode(errors="replace")
    finally:
        connection.close()


def read(testbed: Testbed, kind: str, spec: dict[str, Any]) -> dict[str, Any] | None:
    """The site as nginx itself lists its configuration, if the running one answers for it."""
    argv = [_program("nginx", "nginx-light"), "-T", "-q", "-c", testbed.connection["configuration"]]
    files = re.split(r"(?m)^# configuration file (\S+):$", ssh_server.inside(testbed.extra["host"], argv).stdout)
    listed = dict(zip(files[1::2], files[2::2], strict=True))
    text = listed.get(str(_file(testbed, spec)))
    if text is None or not _answers(testbed, spec):
        return None
    return _site(spec["name"], _tree(iter(re.findall(r'#.*|"[^"]*"|[{};]|[^\s;{}"]+', text))))


def _answers(testbed: Testbed, spec: dict[str, Any]) -> bool:
    return request(testbed, spec["hosts"][0].replace("*", "any"), "/")[2] != "no site here"


Block = list[tuple[list[str], "Block"]]


def _tree(words: Any) -> Block:
    """Directives with what is within them."""
    found: Block = []
    line: list[str] = []
    for word in words:
        if word == "}":
            break
        if word in "{;":
            found.append((line, _tree(words) if word == "{" else []))
            line = []
        elif not word.startswith("#"):
            line.append(word.strip('"'))
    return found


def _all(block: Block, name: str) -> list[list[str]]:
    return [words[1:] for words, _ in block if words[0] == name]


def _site(name: str, top: Block) -> dict[str, Any]:
    server = [inner for words, inner in top if words[0] == "server"][-1]
    flat = [words for words, _ in server]
    upstreams = {words[1]: inner for words, inner in top if words[0] == "upstream"}
    locations = [(words[-1], inner) for words, inner in server if words[0] == "location" and words[1] != "="]
    found: dict[str, Any] = {
        "name": name,
        "hosts": _all(server, "server_name")[0],
        "paths": [_path(place, inner, upstreams) for place, inner in locations],
        "response_headers": {words[1]: words[2] for words in flat if words[0] == "add_header"},
        "request_headers": _own_headers(locations[0][1]) if locations else {},
    }
    for [size] in _all(server, "client_max_body_size"):
        found["max_body_size"] = int(size.removesuffix("m"))
    for [file] in _all(server, "ssl_certificate"):
        redirect = sum(words[0] == "server" for words, _ in top) == 2
        found["tls"] = {"certificate": file, "key": _all(server, "ssl_certificate_key")[0][0], "redirect": redirect}
    for words in _all(top, "limit_req_zone"):
        count, per = re.findall(r"rate=(\d+)r/(.)", words[-1])[0]
        burst = re.findall(r"burst=(\d+)", " ".join(_all(server, "limit_req")[0]))
        period = {"s": "second", "m": "minute"}[per]
        found["rate_limit"] = {"requests": int(count), "per": period, "burst": int(burst[0]) if burst else 0}
    return found


def _path(place: str, inner: Block, upstreams: dict[str, Block]) -> dict[str, Any]:
    upstream = upstreams[_all(inner, "proxy_pass")[0][0].removeprefix("http://")]
    return {
        "path": place.rstrip("/") or "/",
        "servers": [_server(words) for words in _all(upstream, "server")],
        "websocket": ["Connection", "upgrade"] in _all(inner, "proxy_set_header"),
        "timeout": int(_all(inner, "proxy_read_timeout")[0][0].removesuffix("s")),
    }


def _server(words: list[str]) -> dict[str, Any]:
    address, _, port = words[0].rpartition(":")
    weight = next(int(word.removeprefix("weight=")) for word in words if word.startswith("weight="))
    return {"address": address, "port": int(port), "weight": weight, "backup": "backup" in words}


def _own_headers(location: Block) -> dict[str, str]:
    """Those that a site may set: without the ones that say something of the connection."""
    headers = {words[0]: words[1] for words in _all(location, "proxy_set_header")}
    return {name: value for name, value in headers.items() if "$" not in value and name != "Connection"}


def _file(testbed: Testbed, spec: dict[str, Any]) -> Path:
    return Path(testbed.connection["sites_directory"]) / f"{spec['name']}.conf"


def _reload(testbed: Testbed) -> None:
    os.kill(testbed.servers[-1].pid, signal.SIGHUP)


def _reload_until(testbed: Testbed, spec: dict[str, Any], *, answered: bool) -> None:
    _reload(testbed)
    limit = time.monotonic() + SECONDS
    while _answers(testbed, spec) != answered and time.monotonic() < limit:
        time.sleep(0.02)


def make(testbed: Testbed, kind: str, spec: dict[str, Any]) -> None:
    place = f"{testbed.connection['addresses'][0]}:{testbed.connection['http_port']}"
    hosts = " ".join(spec["hosts"])
    _file(testbed, spec).write_text(f"server {{\n    listen {place};\n    server_name {hosts};\n    return 204;\n}}\n")
    _reload_until(testbed, spec, answered=True)


def tamper(testbed: Testbed, kind: str, spec: dict[str, Any]) -> None:
    file = _file(testbed, spec)
    file.write_text(re.sub(r"client_max_body_size \d+m", "client_max_body_size 3m", file.read_text()))
    _reload(testbed)


def remove(testbed: Testbed, kind: str, spec: dict[str, Any]) -> None:
    _file(testbed, spec).unlink(missing_ok=True)
    _reload_until(testbed, spec, answered=False)
