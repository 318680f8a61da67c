"""Owns how a pool of servers is written as HAProxy configuration and read back from it. Pure: no files, no sockets.

Everything that is written was matched against the alphabet of its place first, so no value can end a line, begin a
keyword or leave its directory. HAProxy has no word for a draining server at its start, so it is one of weight 0, and a
comment beside it keeps the weight that it comes back to. A server with a name that stops being one is left without an
address; else HAProxy would take no configuration at all, whoever changes what.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Any

from ansible.module_utils.mergeyard.pairing import Spec  # type: ignore[import-not-found]
from ansible.module_utils.mergeyard.values import (  # type: ignore[import-not-found]
    choice,
    flag,
    known,
    listed,
    number,
    once,
    text,
)

NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}")
ADDRESS = re.compile(r"(?=.{1,120}\Z)[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
HOST = re.compile(r"(?=.{1,120}\Z)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
CHECK_PATH = re.compile(r"(?=.{1,100}\Z)/[A-Za-z0-9._/-]*")
TEAM = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}")
BALANCE = ("roundrobin", "leastconn", "source", "uri")
STATES = ("ready", "drain", "maintenance")
FIELDS = ("servers", "balance", "health_check", "timeout", "contact")
CHECK_NUMBERS = {"interval": (1, 300), "status": (100, 599), "rise": (1, 20), "fall": (1, 20)}
POOL = "pool_"  # a route's backend begins with a host name, which has no such character
LENIENT = " init-addr last,libc,none"
SERVER = re.compile(
    r"    server (\S+) ([^\s:]+):(\d{1,5}) weight (\d{1,9})"
    rf"(?:{LENIENT})?( check)?( backup)?( disabled)?(?: # drain (\d{{1,9}}))?"
)


def backend_of_pool(spec: Spec) -> str:
    return POOL + text("name", spec["name"], NAME)


def place_of(server: dict[str, Any]) -> str:
    """A server's name in its backend."""
    return f"{server['address']}:{server['port']}"


def is_name(address: str) -> bool:
    """Whether it has to be looked up."""
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return True
    return False


def weight_of(server: dict[str, Any]) -> int:
    """The weight that it runs with."""
    return 0 if server["state"] == "drain" else int(server["weight"])


def valid_pool(given: dict[str, Any], *, check_host: bool) -> Spec:
    """A pool's fields with defaults. `check_host`: whether it says itself which host its health check asks for."""
    result: Spec = {
        "servers": [
            valid_server(f"servers.{at}", server) for at, server in enumerate(listed("servers", given.get("servers")))
        ],
        "balance": choice("balance", given.get("balance", "roundrobin"), BALANCE),
        "health_check": valid_check(given.get("health_check", {}), host=check_host),
        "timeout": number("timeout", given.get("timeout", 30), 1, 3600),
    }
    if "contact" in given:
        result["contact"] = text("contact", given["contact"], TEAM)
    once("servers", [place_of(server) for server in result["servers"]])  # type: ignore[attr-defined]
    return result


def valid_server(at: str, value: object) -> Spec:
    given = known(at, value, ("address", "port", "weight", "backup", "state"))
    return {
        "address": text(f"{at}.address", given.get("address"), ADDRESS),
        "port": number(f"{at}.port", given.get("port"), 1, 65535),
        "weight": number(f"{at}.weight", given.get("weight", 100), 0, 256),
        "backup": flag(f"{at}.backup", given.get("backup", False)),
        "state": choice(f"{at}.state", given.get("state", "ready"), STATES),
    }


def valid_check(value: object, *, host: bool) -> Spec:
    given = known("health_check", value, ("enabled", "path", *(["host"] if host else []), *CHECK_NUMBERS))
    check: Spec = {"enabled": flag("health_check.enabled", given.get("enabled", False))}
    if not check["enabled"]:
        return check
    check["path"] = text("health_check.path", given.get("path"), CHECK_PATH)
    if "host" in given:
        check["host"] = text("health_check.host", given["host"], HOST)
    for name, (low, high) in CHECK_NUMBERS.items():
        if name in given:
            check[name] = number(f"health_check.{name}", given[name], low, high)
    return check


def pool_lines(backend: str, spec: Spec, *, check_host: object) -> Iterator[str]:
    """The section of a valid pool. `check_host`: the host that its health check asks for, if any."""
    check: Any = spec["health_check"]
    yield f"backend {backend}"
    if "contact" in spec:
        yield f"    description contact:{spec['contact']}"
    yield f"    balance {spec['balance']}"
    yield f"    timeout server {spec['timeout']}s"
    if check["enabled"]:
        yield "    option httpchk"
        host = f" ver HTTP/1.1 hdr Host {check_host}" if check_host else ""
        yield f"    http-check send meth GET uri {check['path']}{host}"
        if "status" in check:
            yield f"    http-check expect status {check['status']}"
        options = [f"inter {check['interval']}s"] if "interval" in check else []
        options += [f"{name} {check[name]}" for name in ("rise", "fall") if name in check]
        if options:
            yield f"    default-server {' '.join(options)}"
    for server in spec["servers"]:  # type: ignore[attr-defined]
        yield server_line(server, check=check["enabled"])


def server_line(server: dict[str, Any], *, check: bool) -> str:
    lenient = LENIENT if is_name(server["address"]) else ""
    words = [f"    server {place_of(server)} {place_of(server)} weight {weight_of(server)}{lenient}"]
    words += ["check"] if check else []
    words += ["backup"] if server["backup"] else []
    words += ["disabled"] if server["state"] == "maintenance" else []
    words += [f"# drain {server['weight']}"] if server["state"] == "drain" else []
    return " ".join(words)


def read_pool(backend: str, lines: list[str], spec: Spec) -> list[str]:
    """Takes what the lines of a pool say into the spec; the lines that we would never write are left."""
    spec.update({"servers": [], "health_check": {"enabled": False}})
    return [line for line in lines if line != f"backend {backend}" and not understood(line, spec)]


def understood(line: str, spec: Spec) -> bool:
    check: Any = spec["health_check"]
    words = line.strip()
    if found := re.fullmatch(r"description contact:(\S+)", words):
        spec["contact"] = found[1]
    elif found := re.fullmatch(r"balance (\S+)", words):
        spec["balance"] = found[1]
    elif found := re.fullmatch(r"timeout server (\d{1,9})s", words):
        spec["timeout"] = int(found[1])
    elif words == "option httpchk":
        check["enabled"] = True
    elif found := re.fullmatch(r"http-check send meth GET uri (\S+)(?: ver HTTP/1.1 hdr Host (\S+))?", words):
        check.update({"path": found[1], "host": found[2]} if found[2] else {"path": found[1]})
    elif found := re.fullmatch(r"http-check expect status (\d{1,9})", words):
        check["status"] = int(found[1])
    elif re.fullmatch(r"default-server( (inter \d{1,9}s|rise \d{1,9}|fall \d{1,9}))+", words):
        for option, value in re.findall(r"(inter|rise|fall) (\d+)", words):
            check["interval" if option == "inter" else option] = int(value)
    elif found := SERVER.fullmatch(f"    {words}"):
        spec["servers"].append(read_server(found))  # type: ignore[attr-defined]
    else:
        return False
    return True


def read_server(found: re.Match[str]) -> Spec:
    return {
        "address": found[2],
        "port": int(found[3]),
        "weight": int(found[8] or found[4]),
        "backup": bool(found[6]),
        "state": "maintenance" if found[7] else "drain" if found[8] and not int(found[4]) else "ready",
    }


def fixed_part(content: str) -> list[str]:
    """A file's lines without what a running HAProxy can be told: weights and states, and our comments."""
    lines = [line for line in content.splitlines() if line.strip() and not line.startswith("#")]
    return [re.sub(r" weight \d+|( disabled)?( # drain \d+)?$", "", line) for line in lines]
