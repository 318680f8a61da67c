"""Owns how a BalancerRoute is written as HAProxy configuration and read back from it. Pure; knows no files or sockets.

Everything that is written was matched against the alphabet of its place first, so no value can end a line, begin a
keyword or leave its directory.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.mergeyard.pairing import Refused, Spec, shown  # type: ignore[import-not-found]

HEADER = "# mergeyard: "
WARNING = "# Written by Mergeyard. What is changed here by hand is undone."
HOST = re.compile(r"(?=.{1,120}\Z)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
PATH = re.compile(r"(?=.{1,100}\Z)/([A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*)?")
ADDRESS = re.compile(r"(?=.{1,120}\Z)[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
CHECK_PATH = re.compile(r"(?=.{1,100}\Z)/[A-Za-z0-9._/-]*")
TEAM = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}")
MARKER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")
BALANCE = re.compile(r"roundrobin|leastconn|source|uri")
FILE = re.compile(r"([a-z0-9.-]+(?::[A-Za-z0-9._-]+)*)\.cfg")


@dataclass(frozen=True)
class Route:
    """A route's file as it is: the spec that it shows, who manages it, and what no spec can show."""

    spec: Spec
    marker: str | None
    remarks: tuple[str, ...]


def backend_of(spec: Spec) -> str:
    """HAProxy's name for the pool, and with .cfg the name of its file. A path holds no colon, so it can be undone."""
    return str(spec["host"]) + str(spec["path"]).rstrip("/").replace("/", ":")


def identity_of(backend: str) -> Spec:
    host, *parts = backend.split(":")
    return {"host": host, "path": "/" + "/".join(parts)}


def map_key(backend: str) -> str:
    """What the frontend looks up, longest first. The slash at its end keeps /api from matching /apix."""
    return backend.replace(":", "/") + "/"


def text(at: str, value: object, pattern: re.Pattern[str]) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise Refused(f"{at}: {shown(value)} cannot be written into a balancer's configuration.")
    return value


def number(at: str, value: object, low: int, high: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise Refused(f"{at}: must be a number from {low} to {high} (is {shown(value)}).")
    return value


def flag(at: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise Refused(f"{at}: must be true or false (is {shown(value)}).")
    return value


def known(at: str, value: object, keys: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Refused(f"{at}: must be a mapping.")
    if unknown := [key for key in value if key not in keys]:
        raise Refused(f"{at}: there is no field {shown(unknown[0])}.")
    return value


def valid_server(at: str, value: object) -> Spec:
    given = known(at, value, ("address", "port", "weight", "backup"))
    return {
        "address": text(f"{at}.address", given.get("address"), ADDRESS),
        "port": number(f"{at}.port", given.get("port"), 1, 65535),
        "weight": number(f"{at}.weight", given.get("weight", 100), 0, 256),
        "backup": flag(f"{at}.backup", given.get("backup", False)),
    }


CHECK_NUMBERS = {"interval": (1, 300), "status": (100, 599), "rise": (1, 20), "fall": (1, 20)}


def valid_check(value: object) -> Spec:
    given = known("health_check", value, ("enabled", "path", *CHECK_NUMBERS))
    check: Spec = {"enabled": flag("health_check.enabled", given.get("enabled", False))}
    if not check["enabled"]:
        return check
    check["path"] = text("health_check.path", given.get("path"), CHECK_PATH)
    for name, (low, high) in CHECK_NUMBERS.items():
        if name in given:
            check[name] = number(f"health_check.{name}", given[name], low, high)
    return check


def valid(spec: Spec) -> Spec:
    """The spec with defaults, every value fit for its place; raises Refused."""
    given = known("spec", spec, ("host", "path", "servers", "balance", "health_check", "timeout", "contact"))
    servers = given.get("servers")
    if not isinstance(servers, list) or not servers:
        raise Refused("servers: the pool needs at least one server.")
    result: Spec = {
        "host": text("host", given.get("host"), HOST),
        "path": text("path", given.get("path", "/"), PATH),
        "servers": [valid_server(f"servers.{index}", server) for index, server in enumerate(servers)],
        "balance": text("balance", given.get("balance", "roundrobin"), BALANCE),
        "health_check": valid_check(given.get("health_check", {})),
        "timeout": number("timeout", given.get("timeout", 30), 1, 3600),
    }
    if "contact" in given:
        result["contact"] = text("contact", given["contact"], TEAM)
    named: set[str] = set()
    for server in result["servers"]:  # type: ignore[attr-defined]
        name = f"{server['address']}:{server['port']}"
        if name in named:
            raise Refused(f"servers: {name} is in the pool twice.")
        named.add(name)
    return result


def render(spec: Spec, marker: str) -> str:
    """The file of a valid spec."""
    return "".join(f"{line}\n" for line in lines(spec, text("path", marker, MARKER)))


def lines(spec: Spec, marker: str) -> Iterator[str]:
    check: Any = spec["health_check"]
    servers: Any = spec["servers"]
    yield HEADER + marker
    yield WARNING
    yield f"backend {backend_of(spec)}"
    if "contact" in spec:
        yield f"    description contact:{spec['contact']}"
    yield f"    balance {spec['balance']}"
    yield f"    timeout server {spec['timeout']}s"
    if check["enabled"]:
        yield "    option httpchk"
        yield f"    http-check send meth GET uri {check['path']} ver HTTP/1.1 hdr Host {spec['host']}"
        if "status" in check:
            yield f"    http-check expect status {check['status']}"
        options = [f"inter {check['interval']}s"] if "interval" in check else []
        options += [f"{name} {check[name]}" for name in ("rise", "fall") if name in check]
        if options:
            yield f"    default-server {' '.join(options)}"
    for server in servers:
        place = f"{server['address']}:{server['port']}"
        options = [f"weight {server['weight']}", *(["check"] if check["enabled"] else [])]
        options += ["backup"] if server["backup"] else []
        yield f"    server {place} {place} {' '.join(options)}"


def parse(content: str, name: str) -> Route:
    """A route's file, read back. `name` is its backend's, which its file name gives."""
    spec: Spec = {**identity_of(name), "servers": [], "health_check": {"enabled": False}}
    given = content.splitlines()
    marker = given[0].removeprefix(HEADER) if given and given[0].startswith(HEADER) else None
    strange = [line.strip() for line in given if not understood(line.strip(), spec, name)]
    remarks = [f"this was added by hand: {shown(line)}" for line in strange]
    if marker and not remarks and not same_again(spec, marker, given):
        remarks.append("its file was edited by hand")
    return Route(spec, marker, tuple(remarks))


def same_again(spec: Spec, marker: str, given: list[str]) -> bool:
    try:
        return render(valid(spec), marker).splitlines() == given
    except Refused:
        return True  # a value that we would never write differs from what is wanted, and is named by its field


def understood(line: str, spec: Spec, name: str) -> bool:
    """Takes what a line says into the spec; false for a line that we would never write."""
    check: Any = spec["health_check"]
    servers: Any = spec["servers"]
    if not line or line == WARNING or line.startswith(HEADER) or line == f"backend {name}":
        return True
    if found := re.fullmatch(r"description contact:(\S+)", line):
        spec["contact"] = found[1]
    elif found := re.fullmatch(r"balance (\S+)", line):
        spec["balance"] = found[1]
    elif found := re.fullmatch(r"timeout server (\d{1,9})s", line):
        spec["timeout"] = int(found[1])
    elif line == "option httpchk":
        check["enabled"] = True
    elif found := re.fullmatch(r"http-check send meth GET uri (\S+) ver HTTP/1.1 hdr Host \S+", line):
        check["path"] = found[1]
    elif found := re.fullmatch(r"http-check expect status (\d{1,9})", line):
        check["status"] = int(found[1])
    elif re.fullmatch(r"default-server( (inter \d{1,9}s|rise \d{1,9}|fall \d{1,9}))+", line):
        for option, value in re.findall(r"(inter|rise|fall) (\d+)", line):
            check["interval" if option == "inter" else option] = int(value)
    elif found := re.fullmatch(r"server \S+ ([^\s:]+):(\d{1,5}) weight (\d{1,9})( check)?( backup)?", line):
        server = {"address": found[1], "port": int(found[2]), "weight": int(found[3]), "backup": bool(found[5])}
        servers.append(server)
    else:
        return False
    return True
