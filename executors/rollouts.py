"""Owns how merged changes become a rollout: work items, their resources and needs, and the resources' wanted state.

Reads snapshots that the caller made; writes rows inside the caller's transaction. It must not know git or the queue.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from django.utils import timezone

from changes.documents import Address, Document, canonical_json
from changes.plan import Operation, Plan, PlanItem
from changes.snapshot import IdentityKey, Snapshot
from executors.models import Commit, ItemNeed, ItemResource, Resource, Rollout, WorkItem
from executors.states import ITEM_OPEN, SyncState
from executors.waves import Arrangement, Edge, Node, arrange

REAPPLY = "reapply"
DEFAULT_ZONE = "default"
BATCH = 400


@dataclass(frozen=True, slots=True)
class Change:
    """One resource of a rollout: what it becomes, from which blob."""

    key: str
    address: Address
    identity: IdentityKey
    operation: str
    blob: str
    document: Document | None  # none: it cannot be read, and its run will say so
    old_path: str = ""

    @property
    def deleted(self) -> bool:
        return self.operation == Operation.DELETE


@dataclass(frozen=True, slots=True)
class Work:
    """The changes of one cause, with their order, and identities outside of it that they rest on."""

    changes: dict[str, Change]
    edges: tuple[Edge, ...] = ()
    rests_on: dict[str, tuple[IdentityKey, ...]] = field(default_factory=dict)


def work_of(plan: Plan, *, base: Snapshot, head: Snapshot) -> Work:
    """The work of a merge between two trees."""
    changes = {change.key: change for item in plan.resources for change in _changes(item, base, head)}
    paths: dict[str, str] = {}  # where a change is found by the path of its document, old or new
    for key, change in changes.items():
        if not key.startswith("-"):
            paths[change.address.path] = key
            if change.old_path:
                paths.setdefault(change.old_path, key)
    edges: list[Edge] = []
    rests_on: dict[str, tuple[IdentityKey, ...]] = {}
    for key, change in changes.items():
        if change.document is None:
            continue
        if change.deleted:
            edges += _edges_of_delete(change, paths=paths, changes=changes, base=base)
            continue
        needed = head.needs(change.document)
        edges += [Edge(paths[path], key) for path in needed if path in paths]
        outside = (head.identity_key(head.documents[path]) for path in needed if path not in paths)
        rests_on[key] = tuple(identity for identity in outside if identity)
    return Work(changes, tuple(edges), rests_on)


def _changes(item: PlanItem, base: Snapshot, head: Snapshot) -> Iterator[Change]:
    """One, or two where a document names another thing than before: the old thing is deleted."""
    address = item.address
    if address is None:
        return
    if item.operation == Operation.DELETE:
        identity = _identity(item.base, address, base)
        yield Change(address.path, address, identity, item.operation, item.base_blob or "", item.base)
        return
    identity = _identity(item.head, address, head)
    old_path = item.old_path or ""
    yield Change(address.path, address, identity, item.operation, item.head_blob or "", item.head, old_path)
    before = base.identity_key(item.base) if item.base else None
    if before and before != identity and not head.by_identity.get(before):
        old = item.base.address if item.base else address
        yield Change(f"-{old.path}", old, before, Operation.DELETE, item.base_blob or "", item.base)


def _identity(document: Document | None, address: Address, snapshot: Snapshot) -> IdentityKey:
    found = snapshot.identity_key(document) if document else None
    return found or (address.system, address.kind, canonical_json({"name": address.name}))


def _edges_of_delete(
    change: Change, *, paths: dict[str, str], changes: dict[str, Change], base: Snapshot
) -> Iterator[Edge]:
    """What referred to a deleted resource goes before it, whether it is deleted too or drops its reference."""
    for referrer in base.referrers_of(change.address.path):
        for key in (paths.get(referrer), f"-{referrer}"):
            if key in changes and key is not None and key != change.key:
                yield Edge(key, change.key)
    if change.key.startswith("-"):
        yield Edge(change.address.path, change.key, apart=True)  # the new thing of the same document comes first


def reapply_work(resources: Iterable[Resource], *, documents: dict[str, Document], merged: Snapshot) -> Work:
    """Everything merged on a system, once more, by the blobs that were approved."""
    changes: dict[str, Change] = {}
    for row in resources:
        address = Address.parse(row.path)
        identity = (row.system, row.kind, row.identity)
        document = documents.get(row.path)
        changes[row.path] = Change(row.path, address, identity, REAPPLY, row.blob, document)
    edges = [
        Edge(path, key)
        for key, change in changes.items()
        if change.document
        for path in merged.needs(change.document)
        if path in changes
    ]
    return Work(changes, tuple(edges))


def record(commit: Commit, work: Work, *, cause: str, reason: str, snapshots: tuple[Snapshot, ...]) -> Rollout | None:
    """Write a rollout with everything below it; None if there is nothing to do. In the caller's transaction.

    `snapshots` tell of systems: the first that knows one says its zone and type.
    """
    if not work.changes:
        return None
    arrangement = arrange(_nodes(work, snapshots), work.edges)
    rollout = Rollout.objects.create(commit=commit, cause=cause, reason=reason[:300])
    items = _items(rollout, arrangement, snapshots)
    rows = [
        ItemResource(
            item=item,
            path=work.changes[key].address.path,
            old_path=work.changes[key].old_path,
            kind=work.changes[key].address.kind,
            identity=work.changes[key].identity[2],
            operation=work.changes[key].operation,
            blob=work.changes[key].blob,
            order=order,
        )
        for item, play in zip(items, arrangement.items, strict=True)
        for order, key in enumerate(play.keys)
    ]
    needs = {(items[one].pk, items[other].pk): True for one, other in arrangement.needs}
    for item, play in zip(items, arrangement.items, strict=True):
        for earlier in _earlier(rollout, item, [work.changes[key] for key in play.keys], work=work):
            needs.setdefault((item.pk, earlier), False)
    ItemResource.objects.bulk_create(rows, batch_size=500)
    ItemNeed.objects.bulk_create(
        [ItemNeed(item_id=item, needs_id=needed, must_succeed=must) for (item, needed), must in sorted(needs.items())],
        batch_size=500,
    )
    return rollout


def _nodes(work: Work, snapshots: tuple[Snapshot, ...]) -> Iterator[Node]:
    for key, change in work.changes.items():
        kinds = _kinds(change.address.system, snapshots)
        rank = kinds.index(change.address.kind) if change.address.kind in kinds else len(kinds)
        yield Node(key, change.address.system, rank, change.deleted)


def _kinds(system: str, snapshots: tuple[Snapshot, ...]) -> tuple[str, ...]:
    for snapshot in snapshots:
        declared = snapshot.systems.get(system)
        if declared and declared.type in snapshot.catalog.types:
            return snapshot.catalog.types[declared.type].kinds
    return ()


def _items(rollout: Rollout, arrangement: Arrangement, snapshots: tuple[Snapshot, ...]) -> list[WorkItem]:
    zones = {
        name: system.zone for snapshot in reversed(snapshots) for name, system in snapshot.systems.items()
    }  # the first snapshot wins
    items = [
        WorkItem(
            rollout=rollout,
            position=rollout.commit.position,
            wave=play.wave,
            system=play.system,
            zone=zones.get(play.system, DEFAULT_ZONE),
        )
        for play in arrangement.items
    ]
    return WorkItem.objects.bulk_create(items, batch_size=500)


def _earlier(rollout: Rollout, item: WorkItem, changes: list[Change], *, work: Work) -> set[int]:
    """Open items of earlier rollouts that share a resource with an item or hold something it depends on.

    For a delete that is every earlier open item of the system: which of them still refers to it is not in the trees.
    """
    keys = {change.identity for change in changes}
    keys |= {identity for change in changes for identity in work.rests_on.get(change.key, ())}
    held = ItemResource.objects.filter(item__state__in=ITEM_OPEN).exclude(item__rollout=rollout)
    found: set[int] = set()
    identities = sorted({identity for _, _, identity in keys})
    for start in range(0, len(identities), BATCH):
        batch = identities[start : start + BATCH]
        for pk, *key in held.filter(identity__in=batch).values_list("item_id", "item__system", "kind", "identity"):
            if tuple(key) in keys:
                found.add(pk)
    if any(change.deleted for change in changes):
        earlier = WorkItem.objects.filter(system=item.system, state__in=ITEM_OPEN).exclude(rollout=rollout)
        found |= set(earlier.values_list("pk", flat=True))
    return found


def want(commit: Commit, changes: Iterable[Change]) -> None:
    """Note on the resources' rows what main wants of them now. In the caller's transaction."""
    now = timezone.now()
    rows = [
        Resource(
            **_names(change),
            blob="" if change.deleted else change.blob,
            commit=commit,
            sync=SyncState.PENDING,
            message="",
            changed_at=now,
        )
        for change in changes
    ]
    _upsert(rows, ["path", "team", "name", "blob", "commit", "sync", "message", "changed_at"])


def want_applied(commit: Commit, changes: Iterable[Change]) -> None:
    """The same for what is on its system already."""
    rows = [
        Resource(
            **_names(change),
            blob=change.blob,
            commit=commit,
            applied_blob=change.blob,
            applied_commit=commit,
            applied_position=commit.position,
            sync=SyncState.SYNCED,
        )
        for change in changes
    ]
    Resource.objects.bulk_create(rows, batch_size=500)


def disown(changes: Iterable[Change], *, message: str) -> None:
    """Mark resources that main changed without an approval: what was approved stays wanted."""
    rows = [Resource(**_names(change), sync=SyncState.UNAPPROVED, message=message) for change in changes]
    _upsert(rows, ["sync", "message"])


def _names(change: Change) -> dict[str, str]:
    system, kind, identity = change.identity
    address = change.address
    return {
        "system": system,
        "kind": kind,
        "identity": identity,
        "path": address.path,
        "team": address.team,
        "name": address.name,
    }


def _upsert(rows: list[Resource], fields: list[str]) -> None:
    last = {(row.system, row.kind, row.identity): row for row in rows}
    # The end of a run locks its resources by primary key: in another order the two could wait for each other for ever.
    identities = sorted({identity for _, _, identity in last})
    for start in range(0, len(identities), BATCH):
        known = Resource.objects.filter(identity__in=identities[start : start + BATCH])
        list(known.select_for_update().order_by("pk").values_list("pk", flat=True))
    Resource.objects.bulk_create(
        last.values(),
        update_conflicts=True,
        unique_fields=["system", "kind", "identity"],
        update_fields=fields,
        batch_size=100,
    )
