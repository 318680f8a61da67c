"""Owns how a DnsRecord's values are written and read as record data, and the text records that mark what is ours. Pure.

Values have one canonical form: small letters, no dot at a name's end, addresses as DNS prints them, sorted. It must
not know servers, sockets or Ansible.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable

import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdataset
import dns.rdatatype
from ansible.module_utils.mergeyard.pairing import Refused, shown  # type: ignore[import-not-found]
from dns.rdtypes.ANY.TXT import TXT

TYPES = ("A", "AAAA", "CNAME", "TXT", "MX", "SRV", "PTR")
MARK_LABEL = "_mergeyard"
MARK = re.compile(r"Managed by Mergeyard \(([A-Z]+)\): (.+)")
MARK_TTL = 3600
LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
ZONE = re.compile(rf"{LABEL}(?:\.{LABEL})*")
NAME = re.compile(rf"@|\*|(?:\*\.)?{LABEL}(?:\.{LABEL})*")
TARGET = re.compile(rf"{LABEL}(?:\.{LABEL})+\.?")
NUMBER = re.compile(r"0|[1-9][0-9]{0,4}")
LONGEST = 253
LARGEST = 20_000  # old and new values go in one message of 65,535 bytes
PIECE = 255  # bytes in one string of a text record (RFC 1035, 3.3.14)


def absolute(name: str, zone: str) -> dns.name.Name:
    """A name of a document as DNS knows it."""
    return dns.name.from_text(f"{zone}." if name == "@" else f"{name}.{zone}.")


def mark_name(name: str) -> str:
    return MARK_LABEL if name == "@" else f"{MARK_LABEL}.{name}"


def marked_name(name: str) -> str | None:
    """The name that a mark's name speaks of, or None if it is none."""
    if name == MARK_LABEL:
        return "@"
    return name.removeprefix(f"{MARK_LABEL}.") if name.startswith(f"{MARK_LABEL}.") else None


def must_be_name(name: str, zone: str, zones: Iterable[str]) -> None:
    """Raises Refused for what cannot be an owner name here, or is one of another zone."""
    if not NAME.fullmatch(name):
        raise Refused(f"name: {shown(name)} cannot be a name in a zone.")
    if name.split(".")[0] == MARK_LABEL:
        raise Refused(f"name: {MARK_LABEL} is reserved for the records that say what is managed here.")
    whole = f"{name}.{zone}"
    if name == zone or name.endswith(f".{zone}"):
        raise Refused(f"name: {shown(name)} holds the zone again; write only what stands before .{zone}.")
    if len(f"{MARK_LABEL}.{whole}") > LONGEST:
        raise Refused(f"name: {shown(whole)} is too long; name and zone may have {LONGEST - 12} characters together.")
    inner = [other for other in zones if len(other) > len(zone) and f".{whole}".endswith(f".{other}")]
    if name != "@" and inner:
        raise Refused(f"name: {shown(whole)} lies in the zone {inner[0]}; write that zone.")


def _address(value: str, version: type[ipaddress.IPv4Address] | type[ipaddress.IPv6Address]) -> str:
    try:
        version(value)
    except ValueError:
        raise Refused(f"values: {shown(value)} is not an {version.__name__.removesuffix('Address')} address.") from None
    return value


def _target(value: str) -> str:
    if value == ".":
        return value
    if not TARGET.fullmatch(value) or len(value.rstrip(".")) > LONGEST:
        raise Refused(f"values: {shown(value)} is not the whole name of a host, in small letters.")
    return f"{value.rstrip('.')}."


def _numbers(value: str, count: int, form: str) -> str:
    *numbers, target = value.split(" ")
    if len(numbers) != count or not all(NUMBER.fullmatch(number) and int(number) < 65536 for number in numbers):
        raise Refused(f"values: {shown(value)} does not have the form {form}.")
    return " ".join([*numbers, _target(target)])


def _alias(value: str) -> str:
    if value == ".":
        raise Refused("values: '.' is not the whole name of a host.")
    return _target(value)


WRITTEN: dict[str, Callable[[str], str]] = {
    "A": lambda value: _address(value, ipaddress.IPv4Address),
    "AAAA": lambda value: _address(value, ipaddress.IPv6Address),
    "CNAME": _alias,
    "PTR": _alias,
    "MX": lambda value: _numbers(value, 1, "10 mail.example.com"),
    "SRV": lambda value: _numbers(value, 3, "10 5 5060 sip.example.com"),
}


def text_data(value: str) -> dns.rdata.Rdata:
    data = value.encode()
    pieces = [data[start : start + PIECE] for start in range(0, len(data), PIECE)]
    return TXT(dns.rdataclass.IN, dns.rdatatype.TXT, pieces)


def data_of(sort: str, value: object) -> dns.rdata.Rdata:
    """The record data for one value; raises Refused for what cannot be one."""
    if not isinstance(value, str) or not value.isprintable() or not value.isascii() or not value:
        raise Refused(f"values: {shown(value)} cannot be a value of a record.")
    if sort == "TXT":
        return text_data(value)
    return dns.rdata.from_text(dns.rdataclass.IN, sort, WRITTEN[sort](value), origin=dns.name.root, relativize=False)


def dataset_of(sort: str, values: object, ttl: object) -> dns.rdataset.Rdataset:
    if not isinstance(values, list) or not values:
        raise Refused("values: a record needs at least one value.")
    if not isinstance(ttl, int) or isinstance(ttl, bool) or not 0 <= ttl < 2**31:
        raise Refused(f"ttl: {shown(ttl)} is not a number of seconds.")
    dataset = dns.rdataset.Rdataset(dns.rdataclass.IN, dns.rdatatype.from_text(sort), ttl=ttl)
    for value in values:
        data = data_of(sort, value)
        if data in dataset:
            raise Refused(f"values: {shown(value)} is there twice; remove one of them.")
        dataset.add(data)
    if sum(map(len, values)) > LARGEST:
        raise Refused(f"values: together they have more than the {LARGEST} characters that fit into an answer.")
    if sort == "CNAME" and len(dataset) > 1:
        raise Refused("values: a CNAME stands for one name only.")
    return dataset


def value_of(data: dns.rdata.Rdata) -> str:
    """A value as a document would have it."""
    if data.rdtype == dns.rdatatype.TXT:
        return b"".join(data.strings).decode(errors="backslashreplace")
    text: str = data.to_text()
    return text if data.rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA) else _without_dot(text.lower())


def _without_dot(text: str) -> str:
    return text if text == "." or text.endswith(" .") else text.removesuffix(".")


def values_of(dataset: Iterable[dns.rdata.Rdata]) -> list[str]:
    return sorted(value_of(data) for data in dataset)


def mark_of(sort: str, path: str) -> dns.rdata.Rdata:
    return text_data(f"Managed by Mergeyard ({sort}): {path}")
