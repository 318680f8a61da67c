"""Owns how much clients may use of Kafka: KafkaQuota specs to and from the quotas of users and client ids.

Other quotas (per address, or for clients of a user that have none) are neither listed nor touched.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import ansible.module_utils
from ansible import constants

ansible.module_utils.__path__[:] = [
    *dict.fromkeys([*ansible.module_utils.__path__, *constants.DEFAULT_MODULE_UTILS_PATH])
]

from ansible.module_utils.kafka_broker import said  # noqa: E402
from ansible.module_utils.kafka_cluster import ALTER_CONFIGS, BrokerAction, chunks, printable  # noqa: E402
from ansible.module_utils.mergeyard.pairing import (  # noqa: E402
    Found,
    Identity,
    Outcome,
    Refused,
    Resource,
    Spec,
    SystemDown,
)
from kafka.protocol.admin import AlterClientQuotasRequest, DescribeClientQuotasRequest  # noqa: E402

EVERY = "*"
USER, CLIENT = "user", "client-id"
LIMITS = {  # field -> Kafka's name of it, and how many of Kafka's units one of ours has
    "write_kib_per_second": ("producer_byte_rate", 1024),
    "read_kib_per_second": ("consumer_byte_rate", 1024),
    "request_percent": ("request_percentage", 1),
}

Entity = tuple[tuple[str, str | None], ...]


def entity_of(identity: Identity) -> Entity:
    """Whom Kafka holds a quota for. A name of None stands for all users that have no quota of their own."""
    user, client = (str(part) for part in identity)
    named = ((USER, user), (CLIENT, client))
    return tuple((type, name) for type, name in named if name != EVERY) or ((USER, None),)


def identity_of(entity: dict[str, str | None]) -> Identity | None:
    """None for an entity that no identity stands for."""
    if entity == {USER: None}:
        return EVERY, EVERY
    if {*entity} <= {USER, CLIENT} and not {None, EVERY} & {*entity.values()}:
        return entity.get(USER, EVERY), entity.get(CLIENT, EVERY)
    return None


def number(value: float) -> int | float:
    return int(value) if value == int(value) else value


def limits_of(spec: Spec) -> dict[str, float]:
    limits = {}
    for field, (name, units) in LIMITS.items():
        if field in spec:
            value: Any = spec[field]
            if isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0:
                raise Refused(f"{field}: a limit is a number above 0.")
            limits[name] = float(value * units)
    return limits


class ActionModule(BrokerAction):  # type: ignore[misc]
    KIND = "KafkaQuota"
    IDENTITY = ("user", "client_id")
    ASKS = (DescribeClientQuotasRequest, AlterClientQuotasRequest)
    NEEDS = ALTER_CONFIGS
    WHAT = "quotas for clients as Apache Kafka has them"

    def everything(self) -> dict[Identity, dict[str, float]]:
        answer = self.broker.ask(DescribeClientQuotasRequest(version=0, components=[], strict=False))
        if answer.error_code:
            raise SystemDown(f"The quotas on Kafka cannot be read. {said(answer.error_code, answer.error_message)}")
        found = {}
        for one in answer.entries:
            identity = identity_of({part.entity_type: part.entity_name for part in one.entity})
            if identity is not None:
                found[identity] = {limit.key: limit.value for limit in one.values}
        return found

    def found(self, identity: Identity, there: dict[str, float], resource: Resource | None) -> Found:
        left = dict(there)
        spec: Spec = dict(zip(self.IDENTITY, identity, strict=True))
        for field, (name, units) in LIMITS.items():
            if name in left:
                spec[field] = number(left.pop(name) / units)
        return Found(spec, remarks=tuple(f"{name} was set to {left[name]} on Kafka" for name in sorted(left)))

    def read(self, resources: list[Resource]) -> dict[Identity, Found]:
        there: dict[Identity, Found] = super().read(resources)
        self.refusals = self.tried(resources) if self._task.args["state"] == "replaced" else {}
        return there

    def tried(self, resources: list[Resource]) -> dict[Identity, str]:
        """What Kafka would refuse, by identity. What is refused here already is not asked."""
        wanted = {}
        for resource in resources:
            with contextlib.suppress(Refused, TypeError, ValueError, OverflowError):
                identity, limits = resource.identity(self.IDENTITY), limits_of(resource.spec)
                if limits != self.existing.get(identity):
                    wanted[identity] = limits
        refusals: dict[Identity, str] = {}
        for group in chunks([*wanted]):
            refusals |= self.altered({identity: wanted[identity] for identity in group}, dry=True)
        return refusals

    def after(self, resource: Resource, found: Found | None) -> Spec:
        self.must_not_be_own(resource)
        for field in self.IDENTITY:
            printable(field, resource.spec[field])
        if not limits_of(resource.spec):
            raise Refused("It limits nothing; delete the document if there shall be no quota.")
        if refusal := self.refusals.get(resource.identity(self.IDENTITY)):
            raise Refused(refusal)
        return {name: resource.spec[name] for name in (*self.IDENTITY, *LIMITS) if name in resource.spec}

    def send(self, group: list[Outcome]) -> Iterator[tuple[Outcome, str]]:
        by_identity = {one.resource.identity(self.IDENTITY): one for one in group}
        wanted = {identity: limits_of(one.after) if one.after else {} for identity, one in by_identity.items()}
        failures = self.altered(wanted)
        for identity, outcome in by_identity.items():
            yield outcome, failures.get(identity, "")

    def altered(self, wanted: dict[Identity, dict[str, float]], *, dry: bool = False) -> dict[Identity, str]:
        """Why Kafka refuses these limits, by identity, where it does; does nothing more if `dry`."""
        identities = {entity_of(identity): identity for identity in wanted}
        entries = [self.entry(entity, identity, wanted[identity]) for entity, identity in identities.items()]
        request = AlterClientQuotasRequest(version=0, validate_only=dry, entries=entries)
        failures = {}
        for result in self.broker.ask(request).entries:
            entity = {part.entity_type: part.entity_name for part in result.entity}
            identity = identities[tuple((type, entity[type]) for type in (USER, CLIENT) if type in entity)]
            failures[identity] = said(result.error_code, result.error_message)
        return failures

    def entry(self, entity: Entity, identity: Identity, wanted: dict[str, float]) -> Any:
        made = AlterClientQuotasRequest.EntryData
        now = self.existing.get(identity, {})
        changes = {name: value for name, value in wanted.items() if now.get(name) != value}
        return made(
            entity=[made.EntityData(entity_type=type, entity_name=name) for type, name in entity],
            ops=[
                *(made.OpData(key=name, value=value, remove=False) for name, value in changes.items()),
                *(made.OpData(key=name, value=0.0, remove=True) for name in now if name not in wanted),
            ],
        )
