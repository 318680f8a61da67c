"""Owns the talk with one BIND through dnspython: transfers, single questions, signed updates, errors as sentences.

It must not know documents or specs: it gives what a zone holds as it is, and sends updates that others made.
"""

from __future__ import annotations

import contextlib
import socket
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdata
import dns.rdataset
import dns.rdatatype
import dns.tsig
import dns.tsigkeyring
import dns.update
import dns.xfr
import dns.zone
from ansible.module_utils.dns_records import MARK, MARK_LABEL, TYPES, absolute, mark_name, marked_name, value_of
from ansible.module_utils.mergeyard.pairing import SystemDown  # type: ignore[import-not-found]

SECONDS = 8
TRANSFER_SECONDS = 120
OF_SIGNING = ("RRSIG", "NSEC", "NSEC3", "NSEC3PARAM", "DNSKEY", "CDS", "CDNSKEY", "TYPE65534")
RCODES = {
    dns.rcode.REFUSED: "the key may not do that",
    dns.rcode.NOTAUTH: "it is not responsible for that zone, or does not know the key",
    dns.rcode.NOTZONE: "the name is not in the zone",
    dns.rcode.SERVFAIL: "it failed; its log says why",
    dns.rcode.YXDOMAIN: "another record of that name came into being just now; apply it again",
    dns.rcode.YXRRSET: "another record of that name came into being just now; apply it again",
    dns.rcode.NXRRSET: "the record was changed by somebody else just now; apply it again",
}
OF_THE_KEY: dict[type[Exception], str] = {
    dns.tsig.PeerBadKey: "it does not know the key, or not with that algorithm",
    dns.tsig.PeerBadSignature: "the key's secret is not the one that it knows",
    dns.tsig.PeerBadTime: "its clock and this one differ by too much",
}


class ZoneTrouble(Exception):
    """One zone cannot be used; its text is a sentence without an end."""


@dataclass
class Content:
    """What a zone holds, names as documents write them: record sets, all types of each name, marks and whose they are.

    A mark that two paths claim, which nobody here writes, is that of the first.
    """

    sets: dict[tuple[str, str], dns.rdataset.Rdataset] = field(default_factory=dict)
    types: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    marks: dict[tuple[str, str], list[tuple[str, dns.rdata.Rdata]]] = field(default_factory=lambda: defaultdict(list))

    def add(self, name: str, dataset: dns.rdataset.Rdataset) -> None:
        sort = dns.rdatatype.to_text(dataset.rdtype)
        marked = marked_name(name)
        if marked is not None and sort == "TXT":
            for data in dataset:
                if found := MARK.fullmatch(value_of(data)):
                    self.marks[marked, found[1]].append((found[2], data))
        elif sort not in OF_SIGNING:
            self.types[name].add(sort)
            if sort in TYPES and marked is None:
                self.sets[name, sort] = dataset


class DnsServer:
    """One server and the key for it. Raises SystemDown if it does not answer."""

    def __init__(self, connection: dict[str, Any], secret: str) -> None:
        self.host, self.port = str(connection["host"]), int(connection.get("port", 53))
        self.key_name = dns.name.from_text(str(connection["key_name"]))
        try:
            self.keyring = dns.tsigkeyring.from_text({str(connection["key_name"]): secret})
        except ValueError as error:
            raise SystemDown("The secret tsig_key is not a key in base64, as tsig-keygen prints it.") from error
        self.key = {
            "keyring": self.keyring,
            "keyname": self.key_name,
            "keyalgorithm": dns.name.from_text(str(connection.get("algorithm", "hmac-sha256"))),
        }
        self.connect()

    def connect(self) -> None:
        try:
            self.socket = socket.create_connection((self.host, self.port), timeout=SECONDS)
        except OSError as error:
            cause = (error.strerror or str(error)).lower()
            raise SystemDown(f"BIND at {self.host}:{self.port} does not answer: {cause}.") from error
        self.address = self.socket.getpeername()[0]
        self.socket.setblocking(False)

    def close(self) -> None:
        self.socket.close()

    def ask(self, message: dns.message.Message) -> dns.message.Message:
        """One message and its answer. What is wrong with the key raises ZoneTrouble, what is wrong else SystemDown."""
        try:
            return dns.query.tcp(message, self.address, timeout=SECONDS, sock=self.socket)
        except tuple(OF_THE_KEY) as error:
            raise ZoneTrouble(OF_THE_KEY[type(error)]) from error
        except (dns.exception.DNSException, OSError, EOFError) as error:
            raise SystemDown(
                f"BIND at {self.host}:{self.port} does not answer as it should: {words(error)}."
            ) from error

    def content(self, zone: str, names: Iterable[str]) -> Content:
        """The whole zone where it may be transferred, else what it holds under these names. Raises ZoneTrouble."""
        try:
            return self.transferred(zone)
        except ZoneTrouble:
            return self.looked_up(zone, names)

    def transferred(self, zone: str) -> Content:
        into = dns.zone.Zone(dns.name.from_text(zone), relativize=False)
        query, _ = dns.xfr.make_query(into, serial=None, **self.key)
        try:
            dns.query.inbound_xfr(self.address, into, query, port=self.port, timeout=SECONDS, lifetime=TRANSFER_SECONDS)
        except tuple(OF_THE_KEY) as error:
            raise ZoneTrouble(OF_THE_KEY[type(error)]) from error
        except dns.xfr.TransferError as error:
            raise ZoneTrouble(RCODES.get(error.rcode, dns.rcode.to_text(error.rcode))) from error
        except (dns.exception.DNSException, OSError, EOFError) as error:
            raise SystemDown(f"The zone {zone} cannot be read from BIND at {self.host}: {words(error)}.") from error
        content = Content()
        for name, dataset in into.iterate_rdatasets():
            content.add(relative(name, zone), dataset)
        return content

    def looked_up(self, zone: str, names: Iterable[str]) -> Content:
        content = Content()
        for name in names:
            for asked in (name, mark_name(name)):
                for dataset in self.at(zone, asked):
                    content.add(asked, dataset)
        return content

    def at(self, zone: str, name: str) -> Iterator[dns.rdataset.Rdataset]:
        """Everything of one name. What an update may require is tested on the zone itself, so no wildcard answers."""
        owner = absolute(name, zone)
        test = self.update(zone)
        test.present(owner)
        if self.ask(test).rcode() == dns.rcode.NXDOMAIN:
            return
        query = dns.message.make_query(owner, "ANY")
        query.flags &= ~dns.flags.RD
        query.use_tsig(self.keyring, self.key_name, algorithm=self.key["keyalgorithm"])
        answer = self.ask(query)
        if answer.rcode() != dns.rcode.NOERROR:
            raise ZoneTrouble(RCODES.get(answer.rcode(), dns.rcode.to_text(answer.rcode())))
        yield from (found.to_rdataset() for found in answer.answer if found.name == owner)

    def update(self, zone: str) -> dns.update.UpdateMessage:
        return dns.update.UpdateMessage(dns.name.from_text(zone), **self.key)

    def trial(self, zone: str) -> dns.update.UpdateMessage:
        """An update that is never done: it requires a zone without its SOA. BIND looks first if the key may do it."""
        update = self.update(zone)
        update.absent(absolute("@", zone), "SOA")
        return update

    def must_take_updates(self, zone: str) -> None:
        """An update that changes nothing tells whether the zone is there and the key may change it."""
        if failure := self.send(self.update(zone)):
            raise ZoneTrouble(failure)

    def send(self, message: dns.update.UpdateMessage, *, dry: bool = False) -> str:
        """Empty if the update was done, or would be (`dry`: a trial), else why not. It is done whole or not at all."""
        code = self.ask(message).rcode()
        done = dns.rcode.YXRRSET if dry else dns.rcode.NOERROR
        return "" if code == done else RCODES.get(code, dns.rcode.to_text(code))


def relative(name: dns.name.Name, zone: str) -> str:
    return str(name.relativize(dns.name.from_text(zone)).to_text()).lower()


def words(error: BaseException) -> str:
    if isinstance(error, dns.exception.Timeout):
        return "no answer in time"
    if isinstance(error, EOFError):
        return "it closed the connection"
    with contextlib.suppress(AttributeError):
        return str(error.strerror or error).lower().rstrip(".")  # type: ignore[attr-defined]
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


__all__ = ["MARK_LABEL", "Content", "DnsServer", "ZoneTrouble"]
