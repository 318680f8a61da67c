"""Owns who may do what on Kafka: KafkaAcl specs to and from the cluster's ACLs. One document holds all of one user's.

So a right that nobody wrote down is drift, whatever it is for. ACLs of principals that are no users are left alone.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any, NamedTuple

import ansible.module_utils
from ansible import constants

ansible.module_utils.__path__[:] = [
    *dict.fromkeys([*ansible.module_utils.__path__, *constants.DEFAULT_MODULE_UTILS_PATH])
]

from ansible.module_utils.kafka_broker import said  # noqa: E402
from ansible.module_utils.kafka_cluster import Absent, BrokerAction, printable  # noqa: E402
from ansible.module_utils.mergeyard.pairing import (  # noqa: E402
    Found,
    Identity,
    Outcome,
    Refused,
    Resource,
    Spec,
    SystemDown,
    Unsure,
    shown,
)
from kafka.protocol.admin import CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest  # noqa: E402

ANY = 1
TOPIC, GROUP, TRANSACTIONAL_ID = 2, 3, 5
LITERAL, PREFIXED = 3, 4
OTHERS = {4: "the cluster", 6: "delegation tokens", 7: "users"}  # resources that no field stands for
PERMISSIONS = {"deny": 2, "allow": 3}
MATCHES = {"exact": LITERAL, "prefix": PREFIXED}
OPERATIONS = {
    "read": 3,
    "write": 4,
    "describe": 8,
    "create": 5,
    "delete": 6,
    "alter": 7,
    "describe_configs": 10,
    "alter_configs": 11,
    "all": 2,
}
NO_AUTHORIZER = 54


class Right(NamedTuple):
    """One ACL but for its principal, in Kafka's own numbers."""

    resource: int
    name: str
    pattern: int
    host: str
    permission: int
    operation: int

    @property
    def sentence(self) -> str:
        on = {TOPIC: "topic", GROUP: "group", TRANSACTIONAL_ID: "transactional id"}.get(self.resource, "")
        what = f"{on} {shown(self.name)}" if on else OTHERS.get(self.resource, f"resource type {self.resource}")
        names = {number: name for name, number in OPERATIONS.items()}
        operation = names.get(self.operation, f"operation {self.operation}")
        return f"{operation} on {what} was {'denied' if self.permission == 2 else 'given'} to it on Kafka"


# The spec's lists: the resource, the pattern if the list has only one, and the field that names what it is about.
LISTS = {
    "topics": (TOPIC, LITERAL, "topic"),
    "topic_prefixes": (TOPIC, PREFIXED, "prefix"),
    "groups": (GROUP, 0, "group"),
    "transactional_ids": (TRANSACTIONAL_ID, 0, "id"),
}


def chosen(field: str, value: object, known: dict[str, int]) -> int:
    if value not in known:
        raise Refused(f"{field}: {shown(value)} is none of {', '.join(known)}.")
    return known[str(value)]


def host_of(field: str, value: object) -> str:
    """As Kafka writes the address of a client, which it compares as a text: eight groups where it is of IPv6."""
    try:
        address = None if value == "*" else ipaddress.ip_address(str(value))
    except ValueError as error:
        raise Refused(f"{field}: {shown(value)} is no address; Kafka knows single ones and * only.") from error
    if isinstance(address, ipaddress.IPv6Address):
        return ":".join(f"{int(group, 16):x}" for group in address.exploded.split(":"))
    return str(address or "*")


def rights_of(spec: Spec) -> set[Right]:
    """Every ACL that a spec stands for."""
    rights = set()
    for field, (resource, pattern, named) in LISTS.items():
        entries: Any = spec.get(field) or []
        for entry in entries:
            name = printable(f"{field}.{named}", entry[named])
            match = pattern or chosen(f"{field}.match", entry["match"], MATCHES)
            permission = chosen(f"{field}.permission", entry["permission"], PERMISSIONS)
            host = host_of(f"{field}.host", entry["host"])
            for operation in entry["operations"]:
                number = chosen(f"{field}.operations", operation, OPERATIONS)
                rights.add(Right(resource, name, match, host, permission, number))
    return rights


def spec_of(user: str, rights: set[Right]) -> tuple[Spec, set[Right]]:
    """The spec that a user's ACLs correspond to, always in the same order, and those that no field stands for."""
    spec: Spec = {"user": user}
    left = set(rights)
    names = {number: name for name, number in OPERATIONS.items()}
    for field, (resource, pattern, named) in LISTS.items():
        entries: dict[tuple[Any, ...], list[str]] = {}
        for operation in OPERATIONS.values():
            for right in sorted(one for one in rights if one.resource == resource and one.operation == operation):
                if right.pattern in (pattern or LITERAL, pattern or PREFIXED):
                    left.discard(right)
                    key = right.name, right.pattern, right.host, right.permission
                    entries.setdefault(key, []).append(names[operation])
        if entries:
            spec[field] = [entry(named, *key, entries[key], match=not pattern) for key in sorted(entries)]
    return spec, left


def entry(
    named: str, name: str, pattern: int, host: str, permission: int, operations: list[str], *, match: bool
) -> dict[str, Any]:
    matched = {"match": "exact" if pattern == LITERAL else "prefix"} if match else {}
    allowed = "allow" if permission == PERMISSIONS["allow"] else "deny"
    return {named: name, **matched, "operations": operations, "host": host, "permission": allowed}


class ActionModule(BrokerAction):  # type: ignore[misc]
    KIND = "KafkaAcl"
    IDENTITY = ("user",)
    ASKS = (DescribeAclsRequest, CreateAclsRequest, DeleteAclsRequest)
    WHAT = "access rights as Apache Kafka has them (ACLs)"

    def everything(self) -> dict[Identity, set[Right]]:
        answer = self.broker.ask(
            DescribeAclsRequest(
                version=1,
                resource_type_filter=ANY,
                resource_name_filter=None,
                pattern_type_filter=ANY,
                principal_filter=None,
                host_filter=None,
                operation=ANY,
                permission_type=ANY,
            )
        )
        if answer.error_code:
            down = Absent if answer.error_code == NO_AUTHORIZER else SystemDown
            raise down(f"The rights on Kafka cannot be read. {said(answer.error_code, answer.error_message)}")
        found: dict[Identity, set[Right]] = {}
        for resource in answer.resources:
            on = resource.resource_type, resource.resource_name, resource.pattern_type
            for acl in resource.acls:
                if acl.principal.startswith("User:"):
                    rights = found.setdefault((acl.principal.removeprefix("User:"),), set())
                    rights.add(Right(*on, acl.host, acl.permission_type, acl.operation))
        return found

    def found(self, identity: Identity, there: set[Right], resource: Resource | None) -> Found:
        spec, left = spec_of(str(identity[0]), there)
        return Found(spec, remarks=tuple(right.sentence for right in sorted(left)))

    def after(self, resource: Resource, found: Found | None) -> Spec:
        self.must_not_be_own(resource)
        rights = rights_of(resource.spec)
        if not rights:
            raise Refused("It gives no right on anything; delete the document if the user shall have none.")
        after, _ = spec_of(str(resource.spec["user"]), rights)
        return after

    def send(self, group: list[Outcome]) -> Iterator[tuple[Outcome, str]]:
        """New rights first, then those to be taken back, so that no right is missing in between."""
        failures: dict[int, str] = {}
        wanted = {id(outcome): rights_of(outcome.after) if outcome.after else set() for outcome in group}
        new = [(one, right) for one in group for right in sorted(wanted[id(one)] - self.rights_now(one))]
        old = [(one, right) for one in group for right in sorted(self.rights_now(one) - wanted[id(one)])]
        if new:
            answer = self.broker.ask(CreateAclsRequest(version=1, creations=[creation(*pair) for pair in new]))
            for (outcome, _), result in zip(new, answer.results, strict=True):
                if result.error_code and not isinstance(failures.get(id(outcome)), Unsure):
                    failures[id(outcome)] = said(result.error_code, result.error_message)
        old = [(one, right) for one, right in old if id(one) not in failures]
        if old:
            answer = self.broker.ask(DeleteAclsRequest(version=1, filters=[exactly(*pair) for pair in old]))
            for (outcome, _), result in zip(old, answer.filter_results, strict=True):
                if result.error_code:
                    failures[id(outcome)] = said(result.error_code, result.error_message)
        for outcome in group:
            yield outcome, failures.get(id(outcome), "")

    def rights_now(self, outcome: Outcome) -> set[Right]:
        rights: set[Right] = self.existing.get(outcome.resource.identity(self.IDENTITY), set())
        return rights


def creation(outcome: Outcome, right: Right) -> Any:
    return CreateAclsRequest.AclCreation(
        resource_type=right.resource,
        resource_name=right.name,
        resource_pattern_type=right.pattern,
        principal=f"User:{outcome.resource.spec['user']}",
        host=right.host,
        operation=right.operation,
        permission_type=right.permission,
    )


def exactly(outcome: Outcome, right: Right) -> Any:
    return DeleteAclsRequest.DeleteAclsFilter(
        resource_type_filter=right.resource,
        resource_name_filter=right.name,
        pattern_type_filter=right.pattern,
        principal_filter=f"User:{outcome.resource.spec['user']}",
        host_filter=right.host,
        operation=right.operation,
        permission_type=right.permission,
    )
