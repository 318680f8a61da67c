"""Owns who works on a work item: the claim, its lease and fence, the take-over of what a dead worker left.

Leases are measured by the database's clock alone. Every later write of a run carries the fence of its claim in its
WHERE, so a worker that was taken over can record nothing but that it set out to create something. It must not know
documents, Ansible or the queue.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, models, transaction
from django.db.models import Exists, F, OuterRef, Q
from django.db.models.functions import Now
from django.utils import timezone

from changes.declarations import DEFAULT_ZONE
from changes.models import Transition, User
from executors import events
from executors.models import Event, ItemNeed, ItemResource, Resource, Rollout, Run, WorkItem
from executors.states import (
    ITEM_FINAL,
    ITEM_MOVES,
    ITEM_OPEN,
    ITEM_READY,
    RUN_MOVES,
    RUN_OPEN,
    Cause,
    ItemState,
    ResultState,
    RunState,
)

BATCH = 400
REAPPLY = "reapply"
DONE_WELL = (ItemState.SUCCEEDED, ItemState.SUPERSEDED)


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to work on an item until the lease ends, and the run that was opened for it.

    `begun` is in seconds of boot time, before the claim was written: the lease ends no sooner than its length after it.
    """

    item: WorkItem
    run: Run
    begun: float

    @property
    def ours(self) -> Q:
        """What the WHERE of every write to the item must hold."""
        return Q(fence=self.run.fence)


@dataclass(frozen=True, slots=True)
class Lease:
    held: bool
    cancel_requested: bool = False


def boot_time() -> float:
    """Seconds that go on while the host sleeps, and that nobody can set."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def move_if(
    row: WorkItem | Run, after: str, *, where: Q, why: str = "", who: User | None = None, **fields: Any
) -> bool:
    """A move of state that holds only under `where`; False and nothing changed if it does not. Begin a transaction."""
    moves = ITEM_MOVES if isinstance(row, WorkItem) else RUN_MOVES
    before = row.state
    if after not in moves[before]:
        return False
    if isinstance(row, WorkItem):
        fields |= {"reason": why, "finished_at": timezone.now() if after in ITEM_FINAL else None}
    elif after not in RUN_OPEN:
        fields.setdefault("finished_at", timezone.now())
    with transaction.atomic():
        changed = type(row)._default_manager.filter(where, pk=row.pk, state=before).update(state=after, **fields)
        if not changed:
            return False
        noun = row._meta.model_name or ""
        Transition.objects.create(noun=noun, noun_id=row.pk, before=before, after=after, who=who, why=why)
    row.state = after
    for name, value in fields.items():
        if not isinstance(value, models.Expression | models.F):
            setattr(row, name, value)
    if isinstance(row, WorkItem):
        announce(row)
    return True


def announce(item: WorkItem) -> None:
    """Tell the pages, once the move is committed."""
    rollout, number, state = item.rollout_id, item.rollout.change_request_id, item.state
    pk = item.pk
    transaction.on_commit(lambda: events.hint(rollout=rollout, item=pk, state=state, change_request=number))


def unmet_needs() -> models.QuerySet[ItemNeed]:
    """For OuterRef: what keeps an item from starting."""
    must = Q(must_succeed=True) & ~Q(needs__state__in=DONE_WELL)
    return ItemNeed.objects.filter(Q(needs__state__in=ITEM_OPEN) | must, item=OuterRef("pk"))


def ready() -> models.QuerySet[WorkItem]:
    """Items that may start, whatever their system is doing now."""
    merged = Rollout.objects.filter(pk=OuterRef("rollout_id"), cause=Cause.MERGE)
    quarantined = merged.filter(commit__quarantined=True)  # what else runs there has blobs that were approved
    return WorkItem.objects.filter(
        ~Exists(unmet_needs()), ~Exists(quarantined), state__in=ITEM_READY, cancel_requested=False
    )


def free() -> Q:
    """No item of the same system is running."""
    running = WorkItem.objects.filter(system=OuterRef("system"), state=ItemState.RUNNING)
    return Q(~Exists(running))


def _lease_end() -> models.Expression:
    lease = timedelta(seconds=settings.MERGEYARD_LEASE_SECONDS)
    return models.ExpressionWrapper(Now() + lease, output_field=models.DateTimeField())


def claim(system: str, *, worker: str, zone: str = DEFAULT_ZONE) -> Claim | None:
    """The first ready item of a system by commit position, with a run opened for it; None if there is none.

    Work of another zone is left to its workers: a system may have moved after its job was queued.
    """
    candidates = ready().filter(free(), system=system, zone=zone).select_related("rollout__commit")
    for item in candidates.order_by("position", "wave", "id")[:100]:
        pending, late = outdated(item)
        if not pending:
            _supersede(item, late)
            continue
        try:
            begun = boot_time()
            with transaction.atomic():
                run = _take(item, worker)
        except IntegrityError:
            return None  # another worker started on this system in the same moment
        if run is not None:
            return Claim(item, run, begun)
    return None


def outdated(item: WorkItem) -> tuple[list[ItemResource], list[ItemResource]]:
    """What of an item is still to be applied, and what a later commit was applied to already."""
    rows = list(item.resources.filter(result__in=(ResultState.PENDING, ResultState.FAILED)))
    applied: dict[tuple[str, str], int] = {}
    for start in range(0, len(rows), BATCH):
        identities = {row.identity for row in rows[start : start + BATCH]}
        standing = Resource.objects.filter(system=item.system, identity__in=identities)
        applied |= {(kind, one): at for kind, one, at in standing.values_list("kind", "identity", "applied_position")}

    def late(row: ItemResource) -> bool:
        at = applied.get((row.kind, row.identity), 0)
        return at > item.position or (at == item.position and row.operation != REAPPLY)

    return [row for row in rows if not late(row)], [row for row in rows if late(row)]


def _supersede(item: WorkItem, late: list[ItemResource]) -> None:
    """Nothing of it is left to do: it ends without a run."""
    why = "Later commits were applied to its resources already." if late else "All of it was applied already."
    with transaction.atomic():
        if move_if(item, ItemState.SUPERSEDED, where=Q(fence=item.fence), why=why):
            for start in range(0, len(late), BATCH):
                rows = item.resources.filter(pk__in=[row.pk for row in late[start : start + BATCH]])
                rows.update(result=ResultState.SUPERSEDED, message=why, finished_at=timezone.now())


def _take(item: WorkItem, worker: str) -> Run | None:
    allowed = Q(pk__in=[item.pk]) & Q(~Exists(unmet_needs())) & free()
    allowed &= Q(fence=item.fence, cancel_requested=False, rollout_id=item.rollout_id, zone=item.zone)
    fields: dict[str, Any] = {"fence": item.fence + 1, "attempts": F("attempts") + 1, "lease_until": _lease_end()}
    if not move_if(item, ItemState.RUNNING, where=allowed, why=f"Taken by worker {worker}.", **fields):
        return None
    item.refresh_from_db(fields=["attempts", "lease_until"])
    return Run.objects.create(item=item, number=item.fence, fence=item.fence, worker=worker)


def renew(claim: Claim) -> Lease:
    """Prolong the lease; tells whether somebody wants the run to end."""
    running = WorkItem.objects.filter(claim.ours, pk=claim.item.pk, state=ItemState.RUNNING)
    if not running.update(lease_until=_lease_end()):
        return Lease(held=False)
    return Lease(held=True, cancel_requested=cancel_wanted(claim))


def cancel_wanted(claim: Claim) -> bool:
    return WorkItem.objects.filter(claim.ours, pk=claim.item.pk, cancel_requested=True).exists()


def next_state(item: WorkItem) -> ItemState:
    """Of an item whose run ended without a result: again, unless its attempts are used up."""
    if item.cancel_requested:
        return ItemState.CANCELLED
    return ItemState.WAITING if item.attempts < settings.MERGEYARD_MAX_ATTEMPTS else ItemState.PARKED


def canceller(item: WorkItem, after: str) -> User | None:
    """Who is behind a move of running work: whoever asked for its end, if that is what it comes to."""
    if after != ItemState.CANCELLED:
        return None
    return User.objects.filter(pk__in=WorkItem.objects.filter(pk=item.pk).values("cancelled_by")).first()


def expired() -> models.QuerySet[WorkItem]:
    return WorkItem.objects.filter(state=ItemState.RUNNING, lease_until__lt=Now())


def interrupt(
    item: WorkItem, *, why: str, where: Q, counted: bool = True, left: Sequence[Event] = ()
) -> ItemState | None:
    """End an item's open run without a result; None, and nothing changed, if `where` does not hold any more.

    Not counted is an attempt that was given back on purpose. `left`: events of the run that its worker did not store.
    """
    if not counted:
        item.attempts -= 1
    after = next_state(item)
    sentence = why
    if after == ItemState.PARKED:
        sentence = f"{why} It was tried {item.attempts} times, so it is parked until somebody retries it."
    with transaction.atomic():
        where &= Q(fence=item.fence, cancel_requested=item.cancel_requested)  # one that came just now counts
        who = canceller(item, after)
        if not move_if(item, after, where=where, why=sentence, who=who, lease_until=None, attempts=item.attempts):
            return None
        for run in item.runs.filter(fence=item.fence, state__in=RUN_OPEN):
            move_if(run, RunState.INTERRUPTED, where=Q(), why=why, who=who, error=why)
            events.keep_or_lose(run, left)
    return after
