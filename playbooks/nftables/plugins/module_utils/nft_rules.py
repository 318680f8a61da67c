"""Owns how a FirewallRule is written for nft and read back from its JSON. Pure; knows no processes or files.

A rule is a chain of its own, which a jump leads to from the chain of its direction. The jump's comment holds order and
document, its match the end; the chain holds one line per IP version, before it one that logs. Everything written was
matched against the alphabet of its place first, so no value can end a statement.
"""

from __future__ import annotations

import calendar
import datetime
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.mergeyard.pairing import Refused, Spec, shown  # type: ignore[import-not-found]
from ansible.module_utils.nft_values import (  # type: ignore[import-not-found]
    Networks,
    addresses,
    canonical_networks,
    canonical_ports,
    elements,
    of_family,
    port_elements,
    written,
)

TABLE = "inet mergeyard"
HOOKS = {"incoming": "input", "forwarded": "forward", "outgoing": "output"}
DIRECTIONS = {hook: direction for direction, hook in HOOKS.items()}
PREFIX = "rule_"
NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}")
COMMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9 .,:/()#+_-]{0,99}")
MARKER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")
MARKED = re.compile(r"Mergeyard ([0-9]{1,4}): (.+)")
DAY = re.compile(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}")
LONGEST = 127  # bytes of a comment, as the kernel keeps it
EVERYWHERE = {4: "0.0.0.0/0", 6: "::/0"}
ICMP = {4: "icmp", 6: "ipv6-icmp"}
REJECT = {4: "icmp", 6: "icmpv6"}  # named, because nft lists a rejecting line without its IP version
CHOICES = {
    "direction": ("incoming", [*HOOKS]),
    "protocol": ("tcp", ["tcp", "udp", "icmp", "any"]),
    "action": (None, ["accept", "drop", "reject"]),
}
FIELDS = {"name", "sources", "destinations", "ports", "order", "until", "comment", "log", *CHOICES}


@dataclass(frozen=True)
class Line:
    """One rule of nft within a chain of ours."""

    family: int
    sources: Networks
    destinations: Networks  # none: any
    protocol: str
    ports: tuple[str, ...]
    action: str  # or log
    note: str  # the comment, or what a log line begins with


def text(at: str, value: object, pattern: re.Pattern[str]) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise Refused(f"{at}: {shown(value)} cannot be written into a firewall.")
    return value


def day(value: object) -> str:
    try:
        datetime.date.fromisoformat(text("until", value, DAY))
    except ValueError as error:
        raise Refused(f"until: {shown(value)} is not a day.") from error
    return str(value)


def valid(spec: Spec) -> Spec:
    """The spec with defaults as nft will list it, every value fit for its place; raises Refused."""
    if unknown := [key for key in spec if key not in FIELDS]:
        raise Refused(f"There is no field {shown(unknown[0])}.")
    result: Spec = {"name": text("name", spec.get("name"), NAME)}
    for name, (default, allowed) in CHOICES.items():
        result[name] = spec.get(name, default)
        if result[name] not in allowed:
            raise Refused(f"{name}: must be one of {', '.join(allowed)} (is {shown(spec.get(name))}).")
    result["sources"] = canonical_networks("sources", spec.get("sources"))
    if "destinations" in spec:
        result["destinations"] = canonical_networks("destinations", spec["destinations"])
    if "ports" in spec:
        if result["protocol"] not in ("tcp", "udp"):
            raise Refused(f"ports: {result['protocol']} has none; leave them out.")
        result["ports"] = canonical_ports(spec["ports"])
    result["order"], result["log"] = spec.get("order", 500), spec.get("log", False)
    if isinstance(result["order"], bool) or not isinstance(result["order"], int) or not 1 <= result["order"] <= 9999:
        raise Refused(f"order: must be a number from 1 to 9999 (is {shown(result['order'])}).")
    if not isinstance(result["log"], bool):
        raise Refused(f"log: must be true or false (is {shown(result['log'])}).")
    if "until" in spec:
        result["until"] = day(spec["until"])
    if "comment" in spec:
        result["comment"] = text("comment", spec["comment"], COMMENT)
    lines_of(result)
    return result


def lines_of(spec: Spec) -> list[Line]:
    """What the chain of a valid spec holds."""
    found = []
    for family in (4, 6):
        sources, destinations = of_family(spec["sources"], family), of_family(spec.get("destinations", []), family)
        if "destinations" in spec and bool(sources) != bool(destinations):
            raise Refused(f"sources and destinations must both hold IPv{family} networks, or neither; write two rules.")
        if not sources:
            continue
        ports = tuple(spec.get("ports", ()))  # type: ignore[arg-type]
        match = (family, sources, destinations, str(spec["protocol"]), ports)
        if spec["log"]:
            found.append(Line(*match, "log", f"{spec['name']}: "))
        found.append(Line(*match, str(spec["action"]), str(spec.get("comment", ""))))
    return found


def line_text(line: Line) -> str:
    ip = "ip" if line.family == 4 else "ip6"
    somewhere = [
        f"{ip} {field} {written(networks)}"
        for field, networks in (("saddr", line.sources), ("daddr", line.destinations))
        if networks and networks != (EVERYWHERE[line.family],)
    ]
    # Not `meta nfproto`, which nft leaves out of some listings, so that a start would bring back a wider rule.
    parts = somewhere or [f"{ip} version {line.family}"]
    if line.ports:
        parts.append(f"{line.protocol} dport {written(line.ports)}")
    elif line.protocol != "any":
        parts.append(f"meta l4proto {ICMP[line.family] if line.protocol == 'icmp' else line.protocol}")
    if line.action == "log":
        parts.append(f'limit rate 10/second burst 20 packets log prefix "{line.note}"')
    else:
        how = "tcp reset" if line.protocol == "tcp" else f"{REJECT[line.family]} type port-unreachable"
        how = f" with {how}" if line.action == "reject" else ""
        parts.append(line.action + how + (f' comment "{line.note}"' if line.note else ""))
    return " ".join(parts)


def jump_text(spec: Spec, marker: str) -> str:
    comment = f"Mergeyard {spec['order']}: {text('path', marker, MARKER)}"
    if len(comment) > LONGEST:
        raise Refused("The names of team, system and document are too long together for nft's comment; shorten one.")
    end = f"meta time < {end_of(str(spec['until']))} " if "until" in spec else ""
    return f'{end}jump {PREFIX}{spec["name"]} comment "{comment}"'


def end_of(until: str) -> int:
    """The first second after a day, in UTC."""
    after = datetime.date.fromisoformat(until) + datetime.timedelta(days=1)
    return calendar.timegm(after.timetuple())


def parsed_line(rule: dict[str, Any]) -> Line | None:
    """A rule from nft's JSON; None if we would never write it."""
    try:
        return line_of(rule)
    except (KeyError, TypeError, ValueError):  # named sets, other protocols' fields, whatever else nft knows
        return None


def line_of(rule: dict[str, Any]) -> Line | None:
    found: dict[str, Any] = {"sources": None, "destinations": None, "protocol": "any", "ports": (), "families": set()}
    action, note = "", str(rule.get("comment", ""))
    for statement in rule.get("expr", []):
        [(kind, value)] = statement.items()
        if kind == "match" and not action:
            if value.get("op") != "==" or not take_match(found, value["left"], value["right"]):
                return None
        elif kind == "log":
            action, note = "log", str((value or {}).get("prefix", ""))
        elif kind in ("accept", "drop", "reject") and not action:
            action = kind
            if kind == "reject" and not take_reject(found, value or {}):
                return None
        elif kind != "limit" or value != {"rate": 10, "burst": 20, "per": "second"}:
            return None
    if not action or len(found["families"]) > 1:
        return None
    family = next(iter(found["families"]), 0)
    sources = found["sources"] or ((EVERYWHERE[family],) if family else ())
    return Line(family, sources, found["destinations"] or (), found["protocol"], found["ports"], action, note)


def take_match(found: dict[str, Any], left: dict[str, Any], right: Any) -> bool:
    meta, payload = left.get("meta", {}).get("key"), left.get("payload", {})
    protocol, field = payload.get("protocol"), payload.get("field")
    if meta == "nfproto" and right in ("ipv4", "ipv6"):
        found["families"].add(int(right[-1]))
    elif (protocol, field) in (("ip", "version"), ("ip6", "version")):
        found["families"].add(int(right))
    elif meta == "l4proto" and right in ("tcp", "udp"):
        found["protocol"] = right
    elif meta == "l4proto" and right in ICMP.values():
        found["protocol"] = "icmp"
        found["families"].add(4 if right == "icmp" else 6)
    elif protocol in ("ip", "ip6") and field in ("saddr", "daddr"):
        family = 4 if protocol == "ip" else 6
        found["families"].add(family)
        found["sources" if field == "saddr" else "destinations"] = addresses(elements(right), family)
    elif protocol in ("tcp", "udp") and field == "dport":
        found["protocol"], found["ports"] = protocol, port_elements(elements(right))
    else:
        return False
    return True


def take_reject(found: dict[str, Any], how: dict[str, Any]) -> bool:
    if found["protocol"] == "tcp":
        return how.get("type") == "tcp reset"
    found["families"] |= {family for family, name in REJECT.items() if how.get("type") == name}
    return how == {"type": how.get("type"), "expr": "port-unreachable"}


@dataclass(frozen=True)
class Jump:
    """What leads to a rule's chain."""

    hook: str
    handle: int
    target: str
    order: int
    until: str | None
    marker: str | None
    understood: bool


def parsed_jump(rule: dict[str, Any]) -> Jump | None:
    """A jump to a chain of a rule, from nft's JSON."""
    *matches, last = rule.get("expr") or [{}]
    target = str((last.get("jump") or {}).get("target", ""))
    if rule.get("chain") not in DIRECTIONS or not target.startswith(PREFIX):
        return None
    until, understood = None, len(matches) < 2
    for match in (each.get("match") or {} for each in matches):
        end = str(match.get("right"))
        if match.get("op") == "<" and match.get("left") == {"meta": {"key": "time"}} and end.endswith(" 00:00:00"):
            until = str(datetime.date.fromisoformat(end[:10]) - datetime.timedelta(days=1))
        else:
            understood = False
    marked = MARKED.fullmatch(str(rule.get("comment", "")))
    order, marker = (int(marked[1]), marked[2]) if marked else (500, None)
    return Jump(rule["chain"], rule["handle"], target, order, until, marker, understood)


def spec_of(name: str, rules: list[dict[str, Any]], jumps: list[Jump]) -> tuple[Spec, str | None, list[str]]:
    """A rule as it is: the spec that it shows, who manages it, and what no spec can show."""
    lines = [parsed_line(rule) for rule in rules]
    known = [line for line in lines if line is not None]
    deciding = [line for line in known if line.action != "log"]
    jump = jumps[0] if jumps else None
    marker = next((jump.marker for jump in jumps if jump.marker), None)
    spec: Spec = {"name": name, "direction": DIRECTIONS[jump.hook] if jump else "incoming"}
    spec |= {"order": jump.order if jump else 500, "log": any(line.action == "log" for line in known)}
    if jump and jump.until:
        spec["until"] = jump.until
    first = deciding[0] if deciding else Line(0, (), (), "any", (), "accept", "")
    spec |= {"protocol": first.protocol, "action": first.action}
    spec["sources"] = [network for line in deciding for network in line.sources or EVERYWHERE.values()]
    if destinations := [network for line in deciding for network in line.destinations]:
        spec["destinations"] = destinations
    if first.ports:
        spec["ports"] = [*first.ports]
    if first.note:
        spec["comment"] = first.note
    return spec, marker, [*remarks(spec, rules, lines, jumps)]


def remarks(spec: Spec, rules: list[dict[str, Any]], lines: list[Line | None], jumps: list[Jump]) -> Iterator[str]:
    if not jumps:
        yield "nothing leads to it in any direction"
    if len(jumps) > 1 or not all(jump.understood for jump in jumps):
        yield "what leads to it was changed by hand"
    if None in lines:
        yield f"this was added by hand: {shown(rules[lines.index(None)].get('expr'))}"
        return
    try:
        expected = lines_of(spec)
    except Refused:
        return  # differs from what is wanted, and is named by its field
    if expected != lines:
        yield "its lines were changed by hand"
