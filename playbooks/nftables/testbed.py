"""Owns a firewall in a network of its own, with a client's network joined to it, for tests and the demo."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from playbooks import ssh_server
from playbooks.servers import Example, MissingTool, Testbed

MEMORY_ONLY = True
SERVER, SERVER6, CLIENT, OTHER_CLIENT = "10.77.0.1", "fd77::1", "10.77.0.2", "10.77.0.3"
TABLE = ["inet", "mergeyard"]

EXAMPLES = {
    "FirewallRule": Example(
        spec={
            "name": "conformance",
            "direction": "incoming",
            "sources": ["10.77.8.0/24", "10.77.10.5/32", "fd77:8::/64"],
            "destinations": ["10.77.0.1/32", "fd77::1/128"],
            "protocol": "udp",
            "ports": ["514", "8000-8010"],
            "action": "accept",
            "order": 300,
            "until": "2099-12-31",
            "comment": "Orders reach the shop",
            "log": True,
        },
        updates={
            "direction": "forwarded",
            "sources": ["10.77.8.0/23", "10.99.0.1/32", "fd77:9::/64"],
            "destinations": ["10.77.0.0/24", "fd77::/64"],
            "protocol": "tcp",
            "ports": ["53"],
            "action": "reject",
            "order": 20,
            "until": "2098-06-30",
            "comment": "Another reason (ticket 42)",
            "log": False,
        },
        # An address within a network; of another direction than the rest, so that it is in the place of none of them.
        refused={"direction": "outgoing", "sources": ["10.77.8.1/24"]},
    )
}


def _program(name: str, package: str) -> str:
    found = shutil.which(name, path="/usr/sbin:/sbin:/usr/bin:/bin")
    if not found:
        raise MissingTool(f"{name} is not installed; install the Debian package {package}.")
    return found


def start(directory: Path) -> Testbed:
    directory = directory.absolute()
    _program("nft", "nftables")
    directory.mkdir(parents=True, exist_ok=True)
    host = ssh_server.start(directory, title="The firewall's host", network=True)
    connection = {
        **host.connection,
        "management": ["127.0.0.0/8", "::1/128"],
        "rules_file": str(directory / "nftables.d" / "mergeyard.nft"),
    }
    reach = f"ssh -p {connection['port']} -i {directory / 'ssh' / 'client'} {connection['user']}@127.0.0.1"
    return Testbed(
        title=_version(),
        connection=connection,
        secrets={"ssh_key": host.key},
        servers=[host.server],
        clients={"FirewallRule": f"{reach} nft list table inet mergeyard"},
        extra={"host": host.pid, "client": ssh_server.client_of(host), "directory": str(directory)},
    )


def _version() -> str:
    said = subprocess.run(
        [_program("nft", "nftables"), "--version"], capture_output=True, text=True, check=False
    ).stdout
    return " ".join(said.replace(" v", " ").split()[:2])


def nft(testbed: Testbed, *words: str, text: str = "", zone: str = "UTC") -> str:
    """nft in the host's network; without root only who is let in by SSH may use it there."""
    command = ["env", f"TZ={zone}", _program("nft", "nftables"), *words]
    if os.geteuid() == 0:
        return ssh_server.inside(testbed.extra["host"], command, input=text).stdout
    return ssh_server.signed_in(Path(testbed.extra["directory"]), testbed.connection, command, input=text).stdout


def listed(testbed: Testbed) -> list[dict[str, Any]]:
    answer = nft(testbed, "-j", "list", "table", *TABLE)
    return json.loads(answer)["nftables"] if answer else []


def _rules(testbed: Testbed, chain: str) -> list[dict[str, Any]]:
    return [item["rule"] for item in listed(testbed) if item.get("rule", {}).get("chain") == chain]


def _jumps(testbed: Testbed, name: str) -> list[dict[str, Any]]:
    rules = [item["rule"] for item in listed(testbed) if "rule" in item]
    return [rule for rule in rules if {"jump": {"target": f"rule_{name}"}} in rule["expr"]]


def _values(right: Any) -> list[str]:
    values = right["set"] if isinstance(right, dict) and "set" in right else [right]
    shown = []
    for value in values:
        if isinstance(value, dict) and "prefix" in value:
            shown.append(f"{value['prefix']['addr']}/{value['prefix']['len']}")
        elif isinstance(value, dict):
            shown.append("-".join(map(str, value["range"])))
        else:
            shown.append(str(value))
    return shown


def _networks(right: Any, ip: str) -> list[str]:
    return [value if "/" in value else f"{value}/{32 if ip == 'ip' else 128}" for value in _values(right)]


def read(testbed: Testbed, kind: str, spec: dict[str, Any]) -> dict[str, Any] | None:
    jumps, rules = _jumps(testbed, spec["name"]), _rules(testbed, f"rule_{spec['name']}")
    if not jumps or not rules:
        return None
    [jump] = jumps
    comment = jump.get("comment", "Mergeyard 500: by hand")
    result: dict[str, Any] = {
        "name": spec["name"],
        "direction": {"input": "incoming", "forward": "forwarded", "output": "outgoing"}[jump["chain"]],
        "order": int(comment.split(":")[0].split()[1]),
        "log": any("log" in statement for rule in rules for statement in rule["expr"]),
    }
    if len(jump["expr"]) > 1:
        day, time = jump["expr"][0]["match"]["right"].split()
        assert time == "00:00:00"
        year, month, number = map(int, day.split("-"))
        result["until"] = {(2100, 1, 1): "2099-12-31", (2098, 7, 1): "2098-06-30"}.get((year, month, number), day)
    for rule in rules:
        _take(rule, result)
    return result


def _take(rule: dict[str, Any], result: dict[str, Any]) -> None:
    last = next(iter(rule["expr"][-1]))
    if last == "log":
        return
    result["action"] = last
    if "comment" in rule:
        result["comment"] = rule["comment"]
    for match in (statement["match"] for statement in rule["expr"][:-1]):
        payload = match["left"].get("payload", {})
        if payload.get("field") in ("saddr", "daddr"):
            name = "sources" if payload["field"] == "saddr" else "destinations"
            result[name] = [*result.get(name, []), *_networks(match["right"], payload["protocol"])]
        elif payload.get("field") == "dport":
            result |= {"protocol": payload["protocol"], "ports": _values(match["right"])}
        elif match["left"] == {"meta": {"key": "l4proto"}}:
            result["protocol"] = match["right"]


def make(testbed: Testbed, kind: str, spec: dict[str, Any]) -> None:
    chain = f"rule_{spec['name']}"
    nft(
        testbed,
        "-f",
        "-",
        text=f"""
            add table inet mergeyard
            add chain inet mergeyard input {{ type filter hook input priority 0; policy accept; }}
            add chain inet mergeyard {chain}
            add rule inet mergeyard {chain} ip saddr 10.88.0.0/16 tcp dport 9 drop
            add rule inet mergeyard input jump {chain}
        """,
    )


def tamper(testbed: Testbed, kind: str, spec: dict[str, Any]) -> None:
    chain = f"rule_{spec['name']}"
    nft(testbed, "flush", "chain", *TABLE, chain)
    nft(testbed, "add", "rule", *TABLE, chain, "ip", "saddr", "10.0.0.0/8", "accept")


def remove(testbed: Testbed, kind: str, spec: dict[str, Any]) -> None:
    for jump in _jumps(testbed, spec["name"]):
        nft(testbed, "delete", "rule", *TABLE, jump["chain"], "handle", str(jump["handle"]))
    nft(testbed, "flush", "chain", *TABLE, f"rule_{spec['name']}")
    nft(testbed, "delete", "chain", *TABLE, f"rule_{spec['name']}")
