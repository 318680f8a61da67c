"""Owns the table that holds all rules: its own lines, the transaction that changes it, its text for the next start.

Pure; knows no processes or files.
"""

from __future__ import annotations

import calendar
import datetime
import json
import re
from collections.abc import Iterator
from typing import Any

from ansible.module_utils.nft_rules import (  # type: ignore[import-not-found]
    HOOKS,
    MARKED,
    NAME,
    PREFIX,
    TABLE,
    Jump,
    parsed_jump,
    parsed_line,
    spec_of,
)
from ansible.module_utils.nft_values import of_family, written  # type: ignore[import-not-found]

OWN = "Mergeyard"
HEADER = "# Written by Mergeyard from what runs. What is changed here by hand is undone.\n"
AT_ONCE = f"table {TABLE}\ndelete table {TABLE}\n"  # in one transaction with what follows
TIME = re.compile(r'meta time < "([0-9-]{10} [0-9:]{8})"')
ESTABLISHED = "ct state established,related accept"
# What neighbours tell each other so that IPv6 works at all, and switches know where to; conntrack knows nothing of it.
NEIGHBOURLY = [
    *(f"mld-listener-{what}" for what in ("query", "report", "done")),
    *(f"nd-{what}" for what in ("router-solicit", "router-advert", "neighbor-solicit", "neighbor-advert")),
    "mld2-listener-report",
]
LOOPBACK = {"input": "iifname", "output": "oifname"}


def policies(connection: dict[str, Any]) -> dict[str, str]:
    """What happens to what no rule names, per chain."""
    found = {hook: str(connection.get(direction, "accept")) for direction, hook in HOOKS.items()}
    return {hook: "drop" if policy == "drop" else "accept" for hook, policy in found.items()} | {"output": "accept"}


def own_lines(hook: str, management: list[str], port: int) -> list[str]:
    """What stands before all rules: open connections, the host itself, neighbours, the way in for administrators."""
    if hook not in LOOPBACK:
        return [ESTABLISHED]
    lines = [ESTABLISHED, f"{LOOPBACK[hook]} lo accept", f"icmpv6 type {written(NEIGHBOURLY)} accept"]
    ways = [(ip, of_family(management, family)) for ip, family in (("ip", 4), ("ip6", 6))] if hook == "input" else []
    return lines + [f"{ip} saddr {written(networks)} tcp dport {port} accept" for ip, networks in ways if networks]


def static(hook: str) -> list[list[dict[str, Any]]]:
    """The first of these lines, which no connection changes, as nft lists them."""
    lines: list[tuple[str, dict[str, Any], object]] = [("in", {"ct": {"key": "state"}}, ["established", "related"])]
    if hook in LOOPBACK:
        lines.append(("==", {"meta": {"key": LOOPBACK[hook]}}, "lo"))
        lines.append(("==", {"payload": {"protocol": "icmpv6", "field": "type"}}, {"set": NEIGHBOURLY}))
    return [[{"match": {"op": op, "left": left, "right": right}}, {"accept": None}] for op, left, right in lines]


class Table:
    """The table as nft lists it, as JSON and as text; without both there is none yet."""

    def __init__(self, listed: list[dict[str, Any]], text: str) -> None:
        self.text = text
        self.chains = {item["chain"]["name"]: item["chain"] for item in listed if "chain" in item}
        rules = [item["rule"] for item in listed if "rule" in item]
        self.rules = {name: [rule for rule in rules if rule["chain"] == name] for name in (*HOOKS.values(),)}
        for rule in rules:
            if rule["chain"] not in HOOKS.values():
                self.rules.setdefault(rule["chain"], []).append(rule)
        self.jumps: dict[str, list[Jump]] = {}
        for hook in HOOKS.values():
            for jump in map(parsed_jump, self.rules[hook]):
                if jump is not None:
                    self.jumps.setdefault(jump.target, []).append(jump)
        self.blocks = blocks_of(text)

    def names(self) -> list[str]:
        """The rules that a document could describe."""
        found = (name.removeprefix(PREFIX) for name in self.chains if name.startswith(PREFIX))
        return sorted(name for name in found if NAME.fullmatch(name))

    def described(self, name: str) -> Any:
        chain = PREFIX + name
        if chain not in self.chains:
            return None
        return spec_of(name, self.rules.get(chain, []), self.jumps.get(chain, []))

    def own_rules(self, hook: str) -> list[dict[str, Any]]:
        return [rule for rule in self.rules[hook] if rule.get("comment") == OWN]

    def is_as_it_should_be(self, connection: dict[str, Any], management: list[str]) -> bool:
        """Whether the chains of the directions and what stands before all rules are ours as they were written."""
        for hook, policy in policies(connection).items():
            chain = self.chains.get(hook, {})
            if (chain.get("hook"), chain.get("prio"), chain.get("policy")) != (hook, 0, policy):
                return False
            expected = own_lines(hook, management, int(connection["port"]))
            own = self.own_rules(hook)
            first = static(hook)
            if len(own) != len(expected) or [rule["expr"] for rule in own[: len(first)]] != first:
                return False
            ways = [parsed_line(rule) for rule in own[len(first) :]]
            opened = [network for way in ways if way for network in way.sources]
            if hook == "input" and opened != management:
                return False
            if any(way is None or way.ports != (str(connection["port"]),) or way.action != "accept" for way in ways):
                return False
        return True


def ours(rule: dict[str, Any]) -> bool:
    comment = str(rule.get("comment", ""))
    return comment == OWN or MARKED.fullmatch(comment) is not None


def blocks_of(text: str) -> dict[str, str]:
    """Each chain of a table's text, and for a rule's chain the jumps to it, which is what a start would bring back."""
    blocks: dict[str, str] = {}
    jumps: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if found := re.match(r"\s*chain (\S+) \{", line):
            name = found[1]
            blocks[name] = ""
        elif name:
            blocks[name] += line + "\n"
            if name in HOOKS.values() and (led := re.search(r"\bjump (\S+)", line)):
                jumps[led[1]] = jumps.get(led[1], "") + f"{name}: {line}\n"
    return {name: block.rstrip("}\n") + jumps.get(name, "") for name, block in blocks.items()}


def for_the_next_start(text: str) -> str:
    """A listing made in UTC as a file: times as numbers, which mean the same in every zone of a host."""

    def seconds(found: re.Match[str]) -> str:
        return f"meta time < {calendar.timegm(datetime.datetime.fromisoformat(found[1]).timetuple())}"

    return HEADER + AT_ONCE + TIME.sub(seconds, text)


def beginning(table: Table, connection: dict[str, Any]) -> Iterator[str]:
    """Statements that make the table and its chains, and take out of them what is ours."""
    yield f"add table {TABLE}"
    for hook, policy in policies(connection).items():
        yield f"add chain {TABLE} {hook} {{ type filter hook {hook} priority 0; policy {policy}; }}"
    for hook in HOOKS.values():
        for rule in filter(ours, table.rules[hook]):
            yield f"delete rule {TABLE} {hook} handle {int(rule['handle'])}"


def own_statements(connection: dict[str, Any], management: list[str]) -> Iterator[str]:
    for hook in HOOKS.values():
        for line in own_lines(hook, management, int(connection["port"])):
            yield f'add rule {TABLE} {hook} {line} comment "{OWN}"'


def listed(answer: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(answer)["nftables"]
    return found
