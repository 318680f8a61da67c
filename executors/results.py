"""Owns what became of a claimed work item: results per resource, where each resource now stands, who is held back.

Everything of one end is one transaction that holds only while the claim's fence does. It must not know Ansible, the
queue or documents.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from django.db import transaction
from django.db.models import Exists, Q
from django.utils import timezone

from executors.claim import DONE_WELL, REAPPLY, Claim, canceller, interrupt, move_if, next_state
from executors.events import Stale
from executors.models import Cursor, ItemNeed, ItemResource, Resource, Run, WorkItem
from executors.states import ITEM_READY, ItemState, ResultState, RunState, SyncState

T = TypeVar("T")
BATCH = 400


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one resource, already masked."""

    state: ResultState
    before: Any = None
    after: Any = None
    reasons: tuple[str, ...] = ()
    message: str = ""
    digest: str = ""  # of what was applied
    absent: bool = False  # it was refused, and the system does not have it


@dataclass(frozen=True, slots=True)
class End:
    """How a run ended, with the results it had by then."""

    item: ItemState
    run: RunState
    why: str
    results: Mapping[str, Result]
    error: str = ""


def finish(claim: Claim, end: End) -> None:
    """Record the end of a run. Raises Stale, and nothing is changed, if the item was taken over.

    When it raises, the rows in memory are as before too: it can be tried again.
    """
    before = claim.item.state, claim.run.state
    try:
        _finish(claim, end)
    except BaseException:
        claim.item.state, claim.run.state = before
        raise


def _finish(claim: Claim, end: End) -> None:
    with transaction.atomic():
        who, over = canceller(claim.item, end.item), {"lease_until": None, "cancel_requested": False}
        if not move_if(claim.item, end.item, where=claim.ours, why=end.why, who=who, **over):
            raise Stale(f"work item {claim.item.pk} is no longer ours")
        if not move_if(claim.run, end.run, where=claim.ours, why=end.why, who=who, error=end.error):
            raise Stale(f"run {claim.run.pk} is no longer ours")
        rows = [row for row in claim.item.resources.all() if row.path in end.results]
        record(claim.item, rows, results=end.results, run=claim.run)
        if end.item not in DONE_WELL:
            skip_dependents(claim.item)


def managed(item: WorkItem, rows: list[ItemResource]) -> set[tuple[str, str]]:
    """Kind and identity of those that are on their system because of us."""
    found: set[tuple[str, str]] = set()
    for batch in _batches(rows):
        standing = Resource.objects.filter(system=item.system, identity__in={row.identity for row in batch})
        found |= set(standing.filter(ours=True).values_list("kind", "identity"))
    return found


def set_out(item: WorkItem, rows: list[ItemResource]) -> None:
    """These do not exist yet and are about to: they are ours even if nobody hears how it ends.

    The one write that holds after a take-over too: it says what the play did, not what became of the work, and nobody
    else can tell. It stands back where something was applied since.
    """
    for batch in _batches(rows):
        keys = Q(pk__in=[])
        for row in batch:
            keys |= Q(kind=row.kind, identity=row.identity)
        Resource.objects.filter(keys, system=item.system, applied_position__lt=item.position).update(ours=True)


def brought(was: bool, result: Result, *, deleted: bool) -> bool:
    """Whether a resource is on its system because of us, after a result; `was`: before it, or since it was set out."""
    if result.state == ResultState.FAILED:
        return was and not result.absent
    return not deleted


class MainMoved(Exception):
    """Main, or who may approve, is not what a run was prepared for any more; nothing was written."""


def start(claim: Claim, *, main: str = "", still: Q | None = None, **fields: Any) -> None:
    """The play is about to begin, at the commit of main that it was prepared for. Raises Stale, MainMoved.

    `still` is what else has to be as it was seen.
    """
    where = claim.ours
    if main:
        where &= Q(Exists(Cursor.objects.filter(pk=1, sha=main)))
    if still is not None:
        where &= still
    if move_if(claim.run, RunState.RUNNING, where=where, **fields):
        return
    if Run.objects.filter(claim.ours, pk=claim.run.pk, state=RunState.STARTING).exists():
        raise MainMoved
    raise Stale(f"run {claim.run.pk} is no longer ours")


def supersede(claim: Claim, paths: Iterable[str]) -> None:
    """Mark resources that a later commit was already applied to; they are not run. Raises Stale."""
    ours = Exists(WorkItem.objects.filter(claim.ours, pk=claim.item.pk, state=ItemState.RUNNING))
    message = "A later commit was applied to this resource already."
    with transaction.atomic():
        for batch in _batches(list(paths)):
            rows = claim.item.resources.filter(ours, path__in=batch)
            if not rows.update(result=ResultState.SUPERSEDED, message=message, finished_at=timezone.now()):
                raise Stale(f"work item {claim.item.pk} is no longer ours")


def give_up(claim: Claim, *, state: RunState, why: str, error: str = "") -> None:
    """The run ended without a result, by our fault or a stop: the item is tried again or parked. Raises Stale."""
    with transaction.atomic():
        claim.item.refresh_from_db(fields=["cancel_requested", "attempts"])
        if state == RunState.INTERRUPTED:
            after = interrupt(claim.item, why=why, where=claim.ours, counted=False)
        else:
            after = next_state(claim.item)
            ours = claim.ours & Q(cancel_requested=claim.item.cancel_requested)
            who = canceller(claim.item, after)
            if not move_if(claim.item, after, where=ours, why=why, who=who, lease_until=None):
                after = None
            else:
                move_if(claim.run, state, where=claim.ours, why=why, who=who, error=error)
        if after is None:
            raise Stale(f"work item {claim.item.pk} is no longer ours")
        if after in (ItemState.PARKED, ItemState.CANCELLED):
            skip_dependents(claim.item)


def record(item: WorkItem, rows: list[ItemResource], *, results: Mapping[str, Result], run: Run) -> None:
    now = timezone.now()
    for row in rows:
        result = results[row.path]
        row.result, row.before, row.after = result.state, result.before, result.after
        row.reasons, row.message, row.digest = list(result.reasons), result.message, result.digest
        row.run, row.finished_at = run, now
    fields = ["result", "before", "after", "reasons", "message", "digest", "run", "finished_at"]
    ItemResource.objects.bulk_update(rows, fields, batch_size=100)
    for batch in _batches(sorted(rows, key=lambda row: row.identity)):
        identities = {row.identity for row in batch}
        standing = Resource.objects.select_for_update().filter(system=item.system, identity__in=identities)
        standing = standing.order_by("pk")  # discovery locks them in this order too
        by_key = {(resource.kind, resource.identity): resource for resource in standing}
        changed = [by_key[row.kind, row.identity] for row in batch if (row.kind, row.identity) in by_key]
        for row in batch:
            if resource := by_key.get((row.kind, row.identity)):
                _stand(resource, row, results[row.path], item=item)
        fields = [
            "applied_blob",
            "ours",
            "applied_commit",
            "applied_position",
            "sync",
            "message",
            "last_run",
            "changed_at",
        ]
        Resource.objects.bulk_update(changed, fields, batch_size=100)


def _stand(resource: Resource, row: ItemResource, result: Result, *, item: WorkItem) -> None:
    """Where a resource stands after a result. A commit is never recorded over a later one."""
    if resource.applied_position > item.position or row.result == ResultState.SUPERSEDED:
        return
    resource.last_run, resource.message, resource.changed_at = row.run, row.message, timezone.now()
    deleted = row.operation == "delete"
    resource.ours = brought(resource.ours, result, deleted=deleted)
    if row.result == ResultState.FAILED:
        resource.sync = SyncState.FAILED
        return
    resource.applied_blob = "" if deleted else row.blob
    # What is applied again at a later commit was made so by the commit that last changed it.
    again = row.operation == REAPPLY and row.blob == resource.blob
    resource.applied_commit_id = resource.commit_id if again else item.rollout.commit_id
    resource.applied_position = item.position
    if resource.sync == SyncState.UNAPPROVED:
        return
    if resource.applied_blob != resource.blob:
        resource.sync = SyncState.PENDING  # a later commit wants something else
    else:
        resource.sync = SyncState.DELETED if deleted else SyncState.SYNCED


def skip_dependents(item: WorkItem) -> None:
    """What needs a success that will not come now is skipped, transitively, and says because of what."""
    frontier = [(item, _cause(item))]
    while frontier:
        ended, cause = frontier.pop()
        needs = ItemNeed.objects.filter(needs=ended, must_succeed=True, item__state__in=ITEM_READY)
        for need in needs.select_related("item__rollout__commit"):
            if move_if(need.item, ItemState.SKIPPED, where=Q(), why=cause):
                frontier.append((need.item, cause))


def _cause(item: WorkItem) -> str:
    words = {
        ItemState.FAILED: "failed",
        ItemState.CANCELLED: "was cancelled",
        ItemState.PARKED: "was parked",
    }
    word = words.get(ItemState(item.state), "did not succeed")
    return f"Skipped because {item.system} (wave {item.wave + 1}) {word}, and this depends on it."


def revive_dependents(item: WorkItem) -> list[WorkItem]:
    """What was skipped because of an item waits again, unless something else still keeps it from starting."""
    frontier, found = [item], []
    while frontier:
        revived = frontier.pop()
        needs = ItemNeed.objects.filter(needs=revived, must_succeed=True, item__state=ItemState.SKIPPED)
        for need in needs.select_related("item__rollout__commit"):
            others = ItemNeed.objects.filter(item=need.item, must_succeed=True)
            if others.exclude(needs__state__in=(*DONE_WELL, *ITEM_READY, ItemState.RUNNING, ItemState.ASKING)).exists():
                continue
            if move_if(need.item, ItemState.WAITING, where=Q(), why=f"{item.system} is tried again."):
                frontier.append(need.item)
                found.append(need.item)
    return found


def _batches(rows: list[T]) -> Iterable[list[T]]:
    return (rows[start : start + BATCH] for start in range(0, len(rows), BATCH))
