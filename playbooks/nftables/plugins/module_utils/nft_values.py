"""Owns networks and ports: as people write them, as nft takes them, and as its JSON gives them back. Pure.

nft joins what touches, so all three have one canonical form: no overlaps, in order, as few as possible.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Any, cast

from ansible.module_utils.mergeyard.pairing import Refused, shown  # type: ignore[import-not-found]

Networks = tuple[str, ...]
NETWORK = re.compile(r"[0-9A-Fa-f:.]{2,39}(/[0-9]{1,3})?")
PORTS = re.compile(r"([1-9][0-9]{0,4})(?:-([1-9][0-9]{0,4}))?")


def network(at: str, value: object) -> Any:
    if not isinstance(value, str) or not NETWORK.fullmatch(value):
        raise Refused(f"{at}: {shown(value)} is not a network like 10.1.0.0/16.")
    try:
        found = ipaddress.ip_network(value, strict=False)
    except ValueError as error:
        raise Refused(f"{at}: {shown(value)} is not a network like 10.1.0.0/16.") from error
    if "/" in value and int(found.network_address) != int(ipaddress.ip_interface(value).ip):
        raise Refused(f"{at}: {shown(value)} names one address within a network; the network is {found}.")
    return found


def canonical_networks(at: str, value: object) -> list[str]:
    if not isinstance(value, list) or not value:
        raise Refused(f"{at}: must be a list of networks.")
    found = [network(f"{at}.{index}", each) for index, each in enumerate(value)]
    return [*joined(each for each in found if each.version == 4), *joined(each for each in found if each.version == 6)]


def joined(networks: Iterable[Any]) -> Networks:
    return tuple(str(each) for each in ipaddress.collapse_addresses(networks))


def of_family(networks: object, family: int) -> Networks:
    return tuple(each for each in cast("list[str]", networks) if (":" in each) == (family == 6))


def canonical_ports(value: object) -> list[str]:
    if not isinstance(value, list) or not value:
        raise Refused("ports: must be a list of ports.")
    spans = []
    for index, each in enumerate(value):
        found = PORTS.fullmatch(each) if isinstance(each, str) else None
        low, high = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
        if not 1 <= low <= high <= 65535:
            raise Refused(
                f"ports.{index}: {shown(each)} is not a port from 1 to 65535, or two of them from low to high."
            )
        spans.append((low, high))
    return [*joined_ports(spans)]


def joined_ports(spans: Iterable[tuple[int, int]]) -> Networks:
    kept: list[tuple[int, int]] = []
    for low, high in sorted(spans):
        if kept and low <= kept[-1][1] + 1:
            kept[-1] = (kept[-1][0], max(high, kept[-1][1]))
        else:
            kept.append((low, high))
    return tuple(str(low) if low == high else f"{low}-{high}" for low, high in kept)


def written(values: Iterable[str]) -> str:
    return "{ " + ", ".join(values) + " }"


def elements(right: Any) -> list[Any]:
    """The members of what a match compares with, a single one too."""
    return [*right["set"]] if isinstance(right, dict) and "set" in right else [right]


def addresses(found: list[Any], family: int) -> Networks:
    networks: list[Any] = []
    for each in found:
        if isinstance(each, dict) and "range" in each:
            first, last = (ipaddress.ip_address(end) for end in each["range"])
            networks += ipaddress.summarize_address_range(first, last)  # type: ignore[type-var]
        elif isinstance(each, dict):
            networks.append(ipaddress.ip_network(f"{each['prefix']['addr']}/{each['prefix']['len']}"))
        else:
            networks.append(ipaddress.ip_network(each))
    return joined(networks)


def port_elements(found: list[Any]) -> Networks:
    return joined_ports(
        (each["range"][0], each["range"][1]) if isinstance(each, dict) else (each, each) for each in found
    )
