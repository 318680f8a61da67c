"""Owns what the Kafka kinds share: signing in with the system's own user, asking in groups, waiting until it is seen.

It must not know topics, users, rights or quotas.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, TypeVar

from ansible.module_utils.kafka_broker import (  # type: ignore[import-not-found]
    NOT_AUTHORIZED,
    Broker,
    NotSignedIn,
    OtherMechanisms,
    said,
)
from ansible.module_utils.mergeyard.action import ResourceAction  # type: ignore[import-not-found]
from ansible.module_utils.mergeyard.pairing import (  # type: ignore[import-not-found]
    Found,
    Identity,
    Outcome,
    Refused,
    Resource,
    SystemDown,
    shown,
)

Thing = TypeVar("Thing")

CHUNK = 100
ALTER, ALTER_CONFIGS = 7, 11  # what one may be allowed to do on the cluster
SEEN_SECONDS = 5.0
SEEN_SECONDS_EACH = 0.05


class Absent(SystemDown):  # type: ignore[misc]
    """The cluster cannot have any such thing, so there is none to be listed either."""


def printable(field: str, value: object) -> str:
    """The value as a text that arrives as it is: names in Kafka may hold much, but nobody would see what this is."""
    text = str(value)
    if not text.isprintable():
        raise Refused(f"{field}: {shown(text)} holds characters that no name in Kafka may have.")
    return text


def chunks(things: list[Thing]) -> Iterator[list[Thing]]:
    for start in range(0, len(things), CHUNK):
        yield things[start : start + CHUNK]


def wait_until_seen(seen: Callable[[list[Outcome]], bool], outcomes: list[Outcome]) -> None:
    """A broker answers before it shows what it did. Who looks next shall see it, within reason."""
    written = [outcome for outcome in outcomes if not outcome.failure]
    limit, pause = time.monotonic() + SEEN_SECONDS + len(written) * SEEN_SECONDS_EACH, 0.01
    while not seen(written) and time.monotonic() < limit:
        time.sleep(pause)
        pause = min(pause * 1.5, 0.5)


def as_wanted(outcome: Outcome, found: Found | None) -> bool:
    return bool(found.spec == outcome.after and not found.remarks) if found else outcome.after is None


def connect(connection: Mapping[str, Any], password: str) -> Broker:
    """Signed in as the system file says; SystemDown within ten seconds otherwise."""
    servers, user = str(connection["bootstrap_servers"]), str(connection.get("sasl_username", ""))
    protocol = str(connection.get("security_protocol", "PLAINTEXT"))
    try:
        return Broker(servers, protocol, str(connection.get("sasl_mechanism", "")), user, password)
    except NotSignedIn as error:
        raise SystemDown(f"Kafka at {servers} does not let {user} in with the password that is kept for it.") from error
    except OtherMechanisms as error:
        raise SystemDown(f"Kafka at {servers} signs in by other mechanisms: {error}.") from error


class BrokerAction(ResourceAction):  # type: ignore[misc]
    """A kind whose resources are read and written as a whole, by requests to one broker."""

    MARKED = False
    LONGEST_TEXT = 32_767
    ASKS: ClassVar[tuple[Any, ...]]  # the requests that the broker must know
    WHAT: ClassVar[str]  # what the broker must have, for the sentence that says it has not
    NEEDS: ClassVar[int] = ALTER  # what Mergeyard's user must be allowed on the cluster

    broker: Broker

    def everything(self) -> dict[Identity, Any]:
        """What exists, by identity, as the kind's other methods take it. Raises Absent where there can be none."""
        raise NotImplementedError

    def found(self, identity: Identity, there: Any, resource: Resource | None) -> Found:
        raise NotImplementedError

    def send(self, group: list[Outcome]) -> Iterator[tuple[Outcome, str]]:
        raise NotImplementedError

    def open(self) -> None:
        self.broker = connect(self.connection, str(self.system_secrets.get("sasl_password", "")))

    def close(self) -> None:
        self.broker.close()

    def all_there(self) -> dict[Identity, Any]:
        if not self.broker.offers(self.ASKS):
            raise Absent(f"The broker at {self.broker.servers} has no {self.WHAT}.")
        return self.everything()

    def read(self, resources: list[Resource]) -> dict[Identity, Found]:
        self.existing = self.all_there()
        self.may_write = not self.check or self.broker.may(self.NEEDS)
        by_identity = {resource.identity(self.IDENTITY): resource for resource in resources}
        return {
            identity: self.found(identity, self.existing[identity], resource)
            for identity, resource in by_identity.items()
            if identity in self.existing
        }

    def gather(self) -> list[Found]:
        try:
            there = self.all_there()
        except Absent:
            return []
        return [self.found(identity, one, None) for identity, one in sorted(there.items()) if not self.is_own(identity)]

    def is_own(self, identity: Identity) -> bool:
        """Whether it is about the user that Mergeyard itself signs in as."""
        return "sasl_username" in self.connection and identity[0] == self.connection["sasl_username"]

    def must_not_be_own(self, resource: Resource) -> None:
        identity = resource.identity(self.IDENTITY)
        if self.is_own(identity):
            raise Refused(
                f"{shown(identity[0])} is who Mergeyard itself signs in as on this system; choose another name."
            )

    def settle(self, outcomes: list[Outcome], state: str) -> Iterator[Outcome]:
        """In check mode too it is known what the user who is signed in may not change."""
        for outcome in super().settle(outcomes, state):
            if outcome.changed and not self.may_write:
                outcome.fail(said(NOT_AUTHORIZED, None))
            yield outcome

    def write(self, outcomes: list[Outcome]) -> Iterator[tuple[Outcome, str]]:
        for group in chunks(outcomes):
            yield from self.send(group)
        wait_until_seen(self.seen, outcomes)

    def seen(self, outcomes: list[Outcome]) -> bool:
        there = self.everything()

        def found(identity: Identity) -> Found | None:
            return self.found(identity, there[identity], None) if identity in there else None

        return all(as_wanted(outcome, found(outcome.resource.identity(self.IDENTITY))) for outcome in outcomes)
