"""The plan: base tree against head tree, per resource and field by field.

Pure. A plan is an object; its texts are templates over it. Every changed path is one item, known by a SHA-256 that
approvals are given to. It says what changes and never whether it may.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from changes.comparing import FieldChange, compare, listed
from changes.documents import Address, Document, InvalidFile, Json, as_data, digest
from changes.kinds import Catalog, Kind
from changes.risks import fields_at_risk, holds, names_over
from changes.snapshot import IdentityKey, Snapshot, identity_key, value_key

__all__ = ["FieldChange", "Operation", "Plan", "PlanItem", "make_plan", "whole"]


ADOPTS = (
    "It takes over what others may have made on the system under this name, and brings it to what is written here, "
    "with the default for all that is not."
)


class Operation(StrEnum):
    CREATE = "create"
    UPDATE = "update"
    TRANSFER = "transfer"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class PlanItem:
    """One changed path. `address`, `identity`, `base` and `head` are for resources; `old_path` for transfers."""

    path: str
    operation: Operation
    address: Address | None
    identity: str | None
    old_path: str | None
    base: Document | None
    head: Document | None
    base_blob: str | None
    head_blob: str | None
    fields: tuple[FieldChange, ...]
    risks: tuple[str, ...]
    digest: str

    @property
    def old_address(self) -> Address | None:
        return Address.parse(self.old_path) if self.old_path else None


@dataclass(frozen=True, slots=True)
class Plan:
    items: tuple[PlanItem, ...]

    @property
    def resources(self) -> tuple[PlanItem, ...]:
        return tuple(item for item in self.items if item.address)

    @property
    def others(self) -> tuple[PlanItem, ...]:
        return tuple(item for item in self.items if not item.address)

    def by_system(self) -> dict[str, tuple[PlanItem, ...]]:
        found: dict[str, list[PlanItem]] = defaultdict(list)
        for item in self.items:
            if item.address:
                found[item.address.system].append(item)
        return {system: tuple(found[system]) for system in sorted(found)}

    def counts(self) -> dict[Operation, int]:
        """How many items of each operation there are; all four are there."""
        return {operation: sum(item.operation is operation for item in self.items) for operation in Operation}


def make_plan(base: Snapshot, head: Snapshot, paths: Iterable[str], catalog: Catalog) -> Plan:
    """The plan over the paths that differ between base and head; a path that does not differ is left out."""
    differing = {path for path in paths if base.files.get(path) != head.files.get(path)}
    transfers = _transfers(base, head, differing, catalog)
    left, items = set(transfers.values()), []
    for path in sorted(differing | set(transfers)):
        if path not in left:
            items.append(_item(base, head, path, old_path=transfers.get(path), catalog=catalog))
    return Plan(tuple(items))


def _transfers(base: Snapshot, head: Snapshot, paths: set[str], catalog: Catalog) -> dict[str, str]:
    """New path -> old path, for what left a path while head has its remote identity at another.

    The other path is usually new; where it is not, the thing on the system still has an owner and must not be deleted.
    """
    pairs: dict[str, str] = {}
    for old in sorted(paths):
        document = base.documents.get(old)
        if document is None or old in head.files:
            continue
        key = identity_key(document, catalog)
        places = [path for path in head.by_identity.get(key, ()) if path not in pairs] if key else []
        new = next((path for path in places if path not in base.documents), None) or next(iter(places), None)
        if new:
            pairs[new] = old
    return pairs


def _item(base: Snapshot, head: Snapshot, path: str, *, old_path: str | None, catalog: Catalog) -> PlanItem:
    before, after = base.documents.get(old_path or path), head.documents.get(path)
    base_blob, head_blob = base.files.get(old_path or path), head.files.get(path)
    if old_path:
        operation = Operation.TRANSFER
    elif head_blob is None:
        operation = Operation.DELETE
    else:
        operation = Operation.CREATE if base_blob is None else Operation.UPDATE
    document = after if head_blob is not None else before
    kind = catalog.kinds.get(document.address.kind) if document else None
    was, becomes = whole(before, catalog), whole(after, catalog)
    fields = compare(_fields(was), _fields(becomes))
    risks: tuple[str, ...] = ()
    if kind:
        shared = _shared(kind, before, after, head)
        fields, risks = _with_risks(fields, kind, operation, was, becomes, shared)
    if after and after.adopt and not (before and before.adopt):
        risks = (*risks, ADOPTS)
    key = identity_key(document, catalog) if document else None
    place: dict[str, Json] = {"path": path, "operation": operation, "old_path": old_path}
    return PlanItem(
        path=path,
        operation=operation,
        address=_address(path),
        identity=key[2] if key else None,
        old_path=old_path,
        base=before,
        head=after,
        base_blob=base_blob,
        head_blob=head_blob,
        fields=fields,
        risks=risks or _default_risks(operation, path),
        digest=_digest(place, key, becomes or was, head_blob or base_blob),
    )


def _address(path: str) -> Address | None:
    try:
        return Address.parse(path)
    except InvalidFile:
        return None


def whole(document: Document | None, catalog: Catalog) -> dict[str, Json]:
    """The whole document with the defaults of its kind, as plain data; {} for none."""
    if document is None:
        return {}
    data = as_data(document)
    kind = catalog.kinds.get(document.address.kind)
    if kind:
        data["spec"] = kind.complete(document.spec, document.address.name)
    if "depends_on" in data:
        data["depends_on"] = sorted(listed(data["depends_on"]), key=str)
    return data


def _fields(data: dict[str, Json]) -> dict[str, Json]:
    """What a reader is told the difference of: the kind stands in the path."""
    return {key: value for key, value in data.items() if key != "kind"}


def _digest(place: dict[str, Json], key: IdentityKey | None, document: dict[str, Json], blob: str | None) -> str:
    """Over identity, place and the whole document with defaults for a resource, else over place and blob.

    The place is path and operation, and for a resource the path a transfer comes from: an approval is for both sides.
    """
    if key is None:
        return digest({"path": place["path"], "operation": place["operation"], "blob": blob})
    return digest({**place, "identity": key, "document": document})


def _default_risks(operation: Operation, path: str) -> tuple[str, ...]:
    if operation is Operation.DELETE and path.startswith("resources/"):
        return ("It is removed from the system, with all it holds.",)
    return ()


def _with_risks(
    fields: tuple[FieldChange, ...],
    kind: Kind,
    operation: Operation,
    was: dict[str, Json],
    becomes: dict[str, Json],
    shared: dict[str, str],
) -> tuple[tuple[FieldChange, ...], tuple[str, ...]]:
    """The fields with the risk of each, and all risks of the item."""
    before, after = _spec(was), _spec(becomes)
    told: dict[str, list[str]] = defaultdict(list)
    found = []
    for risk in kind.risky:
        if risk.on == operation:
            found.append(risk.message)
        elif risk.field and (holds(risk, fields, before, after) or (risk.on == "shared" and risk.field in shared)):
            message = f"{shared[risk.field]} {risk.message}" if risk.on == "shared" else risk.message
            found.append(message)
            for change in fields_at_risk(risk, fields):
                told[change.field].append(message)
    marked = (replace(change, risk=" ".join(told[change.field])) for change in fields)
    return tuple(marked), tuple(dict.fromkeys(found))


def _shared(kind: Kind, before: Document | None, after: Document | None, head: Snapshot) -> dict[str, str]:
    """Field -> who else has a value that comes into it, among the documents of other teams."""
    found: dict[str, str] = {}
    if after is None:
        return found
    known = kind.shares(before.spec) if before else ()
    for field, value in kind.shares(after.spec):
        for name in names_over(value) if (field, value) not in known else ():
            paths = head.claimed.get(value_key(after, field, name), frozenset())
            others = sorted(path for path in paths if head.documents[path].address.team != after.address.team)
            if others:
                found.setdefault(field, f"{name} is also in {head.documents[others[0]].address}.")
    return found


def _spec(data: dict[str, Json]) -> dict[str, Json] | None:
    spec = data.get("spec")
    return spec if isinstance(spec, dict) else None
