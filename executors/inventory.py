"""Owns what a play is given: item.json and secrets.json, from a system's declaration and the item's documents.

Pure. Values stay values: connection fields and specs are only ever data in these files, never variables, hosts or
arguments. It must not know git, the database, files or Ansible.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from changes.declarations import System
from changes.documents import Document, Json, digest
from changes.kinds import Kind, SystemType

HOST = "system"
INVENTORY = f"[all]\n{HOST} ansible_connection=local\n"
RESERVED = "__ansible"


@dataclass(frozen=True, slots=True)
class Assigned:
    """One resource of the play with its secrets' values. `managed`: it is on the system because of us."""

    document: Document
    deleted: bool
    managed: bool = False
    secrets: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Handover:
    """The content of item.json and of secrets.json; for each path, the digest of its spec as it stands there."""

    item: dict[str, Json]
    secrets: dict[str, Json]
    digests: dict[str, str] = field(default_factory=dict)


def hand_over(
    system: System,
    resources: Iterable[Assigned],
    *,
    system_type: SystemType,
    kinds: Mapping[str, Kind],
    secrets: Mapping[str, str],
) -> Handover:
    """Every kind of the type is there, even with nothing to do, each list in the order given."""
    lists: dict[str, dict[str, list[Json]]] = {name: {"replaced": [], "deleted": []} for name in system_type.kinds}
    values: dict[str, Json] = {}
    digests: dict[str, str] = {}
    for resource in resources:
        address = resource.document.address
        entry: dict[str, Json] = {
            "path": address.short,
            "team": address.team,
            "name": address.name,
            "spec": kinds[address.kind].complete(resource.document.spec, address.name),
            "adopt": resource.document.adopt,
            "managed": resource.managed,
        }
        digests[address.path] = digest(entry["spec"])
        lists[address.kind]["deleted" if resource.deleted else "replaced"].append(entry)
        if resource.secrets:
            values[address.short] = dict(resource.secrets)
    item: dict[str, Json] = {
        "system": {
            "name": system.name,
            "type": system.type,
            "environment": system.environment,
            "connection": system_type.full_connection(system.connection),
        },
        "kinds": {name: {state: list(entries) for state, entries in states.items()} for name, states in lists.items()},
    }
    return Handover(item, {"system": dict(secrets), "resources": values}, digests)


def reserved_key(value: Json) -> str | None:
    """The first mapping key that Ansible would take for an instruction, at any depth."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key.startswith(RESERVED):
                return key
            if found := reserved_key(inner):
                return found
    elif isinstance(value, list):
        return next((found for inner in value if (found := reserved_key(inner))), None)
    return None
