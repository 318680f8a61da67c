"""Owns how merged changes become a rollout: work items, their resources and needs, and the resources' wanted state.

Reads snapshots that the caller made; writes rows inside the caller's transaction. It must not know git or the queue.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from django.db.models import F
from django.utils import timezone

from changes.declarations import DEFAULT_ZONE
from changes.documents import Address, Document, canonical_json
from changes.plan import Operation, Plan, PlanItem
from changes.snapshot import IdentityKey, Snapshot
from executors import order
from executors.models import Commit, ItemNeed, ItemReference, ItemResource, Resource, Rollout, WorkItem
from executors.states import ItemState, SyncState
from executors.waves import Arrangement, Edge, Node, arrange

REAPPLY = "reapply"
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
    """The changes of one cause, with their order, and what their documents refer to: the new ones, the old ones."""

    changes: dict[str, Change]
    edges: tuple[Edge, ...] = ()
    rests_on: dict[str, frozenset[IdentityKey]] = field(default_factory=dict)
    rested_on: dict[str, frozenset[IdentityKey]] = field(default_factory=dict)

    @property
    def identities(self) -> frozenset[IdentityKey]:
        return frozenset(change.identity for change in self.changes.values())

    def holds(self, keys: Iterable[str]) -> order.Holds:
        """What an item with these changes holds."""
        keys = list(keys)
        nothing: frozenset[IdentityKey] = frozenset()
        rests_on = nothing.union(*(self.rests_on.get(key, nothing) for key in keys))
        return order.Holds(
            changes=frozenset(self.changes[key].identity for key in keys),
            deletes=frozenset(self.changes[key].identity for key in keys if self.changes[key].deleted),
            rests_on=rests_on,
            refers_to=rests_on.union(*(self.rested_on.get(key, nothing) for key in keys)),
        )


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
    rests_on: dict[str, frozenset[IdentityKey]] = {}
    rested_on: dict[str, frozenset[IdentityKey]] = {}
    for key, change in changes.items():
        rested_on[key] = _rests(base.documents.get(change.old_path or change.address.path), base)
        if change.deleted:
            edges += _edges_of_delete(change, paths=paths, changes=changes, base=base)
        elif change.document is not None:
            edges += [Edge(paths[path], key) for path in head.needs(change.document) if path in paths]
            rests_on[key] = _rests(change.document, head)
    return Work(changes, tuple(edges), rests_on, rested_on)


def _rests(document: Document | None, snapshot: Snapshot) -> frozenset[IdentityKey]:
    """The identities that a document refers to."""
    needed = snapshot.needs(document) if document else ()
    return frozenset(key for path in needed if (key := snapshot.identity_key(snapshot.documents[path])))


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
    return Work(changes, tuple(edges), {key: _rests(change.document, merged) for key, change in changes.items()})


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
            order=place,
        )
        for item, play in zip(items, arrangement.items, strict=True)
        for place, key in enumerate(play.keys)
    ]
    ItemResource.objects.bulk_create(rows, batch_size=500)
    _record_needs(rollout, items, arrangement, work=work)
    return rollout


def _record_needs(rollout: Rollout, items: list[WorkItem], arrangement: Arrangement, *, work: Work) -> None:
    """What the items wait for, here and in other rollouts, and what they refer to, for those that come later."""
    needs = {(items[one].pk, items[other].pk): True for one, other in arrangement.needs}
    references: list[ItemReference] = []
    for item, play in zip(items, arrangement.items, strict=True):
        holds = work.holds(play.keys)
        for earlier in order.earlier(rollout.pk, holds):
            needs.setdefault((item.pk, earlier), False)
        references += [
            ItemReference(item=item, system=system, kind=kind, identity=identity, stays=key in holds.rests_on)
            for key in sorted(holds.refers_to)
            for system, kind, identity in [key]
        ]
    ItemReference.objects.bulk_create(references, batch_size=500)
    ItemNeed.objects.bulk_create(
        [ItemNeed(item_id=item, needs_id=needed, must_succeed=must) for (item, needed), must in sorted(needs.items())],
        batch_size=500,
    )


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
            ours=True,
            sync=SyncState.SYNCED,
        )
        for change in changes
    ]
    Resource.objects.bulk_create(rows, batch_size=500)


def disown(changes: Iterable[Change], *, message: str) -> None:
    """Mark resources that main changed without an approval: what was approved stays wanted."""
    rows = [Resource(**_names(change), sync=SyncState.UNAPPROVED, message=message) for change in changes]
    _upsert(rows, ["sync", "message"])


def settle(identities: Iterable[IdentityKey]) -> None:
    """Main says of these what was approved again: their rows show where they stand. In the caller's transaction."""
    keys = frozenset(identities)
    for batch in order.batches(keys):
        unapproved = Resource.objects.filter(identity__in=batch, sync=SyncState.UNAPPROVED)
        known = unapproved.select_for_update().order_by("pk").values_list("pk", "system", "kind", "identity")
        rows = unapproved.filter(pk__in=[pk for pk, *key in known if tuple(key) in keys])
        rows.filter(blob="", applied_blob="", ours=False).update(sync=SyncState.DELETED, message="")
        rows.exclude(blob="").filter(blob=F("applied_blob")).update(sync=SyncState.SYNCED, message="")
        rows.update(sync=SyncState.PENDING, message="")


def wanted_blobs(paths: Iterable[str]) -> dict[str, str]:
    """The blob that was approved last for each of these paths that has one."""
    paths, found = list(paths), dict[str, str]()
    for start in range(0, len(paths), BATCH):
        rows = Resource.objects.filter(path__in=paths[start : start + BATCH]).exclude(blob="")
        found |= dict(rows.values_list("path", "blob"))
    return found


def move_zones(base: Snapshot, head: Snapshot) -> None:
    """What may still run goes to the zone that main names for its system now."""
    for name, system in head.systems.items():
        known = base.systems.get(name)
        if known is None or known.zone != system.zone:
            done = (ItemState.SUCCEEDED, ItemState.SUPERSEDED)
            WorkItem.objects.filter(system=name).exclude(state__in=done).update(zone=system.zone)


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
