"""Owns what work waits for: the sentences that say for what, behind whom, and what would unblock it; and which work a
resource waits for. Only reads.
"""

from dataclasses import dataclass

from django.conf import settings
from django.db.models import Exists, OuterRef, Q, QuerySet, Subquery

from executors import queues
from executors.claim import DONE_WELL
from executors.models import ItemNeed, ItemResource, Resource, WorkItem
from executors.processes import CONTROLLER, WORKER, there
from executors.states import ITEM_OPEN, ITEM_READY, ITEM_RETRYABLE, ItemState, SyncState

SHOWN = 10
LOOKED_AT = 60  # resources that wait for nothing, for one page


@dataclass(frozen=True, slots=True)
class Wait:
    """Why an item does not run, and what would unblock it."""

    why: str
    unblock: str = ""
    item: WorkItem | None = None  # whom it is behind, or what has to be tried again


NO_CONTROLLER = Wait(
    "No controller was heard of lately, so nobody puts it in line.",
    "It starts when the platform team has started one: manage.py controller.",
)


def waits_of(item: WorkItem) -> tuple[Wait, ...]:
    """Of an item that has not begun, or that stands still until somebody tries something again."""
    if item.state in ITEM_READY:
        return _before_start(item)
    if item.state == ItemState.SKIPPED:
        return (_skipped(item),)
    if item.state in ITEM_RETRYABLE:
        reason = "" if item.state == ItemState.FAILED else f" {item.reason}"  # of a failure it may be an output
        return (Wait(f"Its work {_has_ended(item)}.{reason}", "It goes on when somebody retries that.", item),)
    return ()


def why_waiting(item: WorkItem) -> str:
    """The first of these as a text; of what does not wait, the reason of its state."""
    waits = waits_of(item)
    return f"{waits[0].why} {waits[0].unblock}".strip() if waits else item.reason


def work_for(resource: Resource) -> WorkItem | None:
    """The item that has to apply a resource: the first open one, else the last that should have."""
    rows = _rows_of(resource.system, resource.kind, resource.identity).select_related("item__rollout__commit")
    first = rows.filter(item__state__in=ITEM_OPEN).order_by("item__position", "item__wave").first()
    found = first or rows.order_by("-pk").first()
    return found.item if found else None


def stopped_work(resources: "QuerySet[Resource]") -> list[WorkItem]:
    """Work that ended without success while resources still wait for it, and nothing open will apply them."""
    rows = _rows_of(OuterRef("system"), OuterRef("kind"), OuterRef("identity"))
    waiting = resources.filter(~Exists(rows.filter(item__state__in=ITEM_OPEN)), sync=SyncState.PENDING)
    last = Subquery(rows.order_by("-pk").values("item_id")[:1])
    works = set(waiting.order_by("-changed_at").annotate(work=last).values_list("work", flat=True)[:LOOKED_AT])
    return list(WorkItem.objects.filter(pk__in=works).exclude(state__in=DONE_WELL).order_by("-pk"))


def _rows_of(system: str | OuterRef, kind: str | OuterRef, identity: str | OuterRef) -> "QuerySet[ItemResource]":
    return ItemResource.objects.filter(item__system=system, kind=kind, identity=identity)


def _before_start(item: WorkItem) -> tuple[Wait, ...]:
    unmet = Q(needs__state__in=ITEM_OPEN) | Q(must_succeed=True) & ~Q(needs__state__in=DONE_WELL)
    needs = ItemNeed.objects.filter(unmet, item=item).select_related("needs").order_by("needs__position", "needs__wave")
    found = list(needs[: SHOWN + 1])
    waits = [_need(item, need) for need in found[:SHOWN]]
    if len(found) > SHOWN:
        waits.append(Wait("It waits for more work than is named here.", "The rest is named when some of it has ended."))
    known = [need.needs_id for need in found]
    busy = WorkItem.objects.filter(system=item.system, state=ItemState.RUNNING).exclude(pk__in=known).first()
    if busy is not None:
        waits.append(Wait(f"{item.system} is busy with {_of(busy, item)}.", "It goes on when that has ended.", busy))
    return tuple(waits) or (_worker(item),)


def _need(item: WorkItem, need: ItemNeed) -> Wait:
    other = need.needs
    if other.state in ITEM_OPEN:
        return Wait(
            f"It waits for {_of(other, item)}, which is {ItemState(other.state).label.lower()}.",
            "It goes on when that has succeeded." if need.must_succeed else "It goes on when that has ended.",
            other,
        )
    or_revert = ", or revert the change" if item.rollout.change_request_id else ""
    why = f"It waits for {_of(other, item)}, which {_has_ended(other)}."
    return Wait(why, f"Retry {other.system} to go on{or_revert}.", other)


def _skipped(item: WorkItem) -> Wait:
    cause = item
    while cause.state == ItemState.SKIPPED:
        needs = ItemNeed.objects.filter(item=cause, must_succeed=True).select_related("needs")
        unmet = needs.exclude(needs__state__in=(*DONE_WELL, *ITEM_OPEN)).order_by("needs__wave", "needs__system")
        if (need := unmet.first()) is None:
            return Wait(item.reason)
        cause = need.needs
    return Wait(item.reason, f"Retry {cause.system} (wave {cause.wave + 1}) to go on; this runs after it.", cause)


def _worker(item: WorkItem) -> Wait:
    zone = item.zone
    start = f"manage.py worker --zone {zone}"
    if zone not in settings.MERGEYARD_ZONES:
        why = f"No workers are configured for zone {zone}."
        return Wait(why, f"The platform team adds {zone} to MERGEYARD_ZONES and starts one there: {start}.")
    if item.state == ItemState.WAITING and not there(CONTROLLER).exists():
        return NO_CONTROLLER
    try:
        # One that has been running something for long is not always in the registry.
        busy = WorkItem.objects.filter(zone=zone, state=ItemState.RUNNING).exists()
        served = busy or queues.has_worker(zone)
    except queues.QueueAway:
        return Wait("The queue cannot be reached, so no worker hears of it.", "It starts when the queue is back.")
    there_now = list(there(WORKER).filter(zone=zone))
    if served and there_now and all(one.trouble for one in there_now):
        return Wait(there_now[0].trouble, "It starts when the platform team has mended that.")
    if served:
        return Wait(f"It is next for a worker of zone {zone}.", "It starts as soon as one is free.")
    return Wait(
        f"No worker of zone {zone} is connected.", f"It starts when the platform team has started one: {start}."
    )


def _has_ended(item: WorkItem) -> str:
    has = "has" if item.state == ItemState.FAILED else "has been"
    return f"{has} {ItemState(item.state).label.lower()}"


def _of(other: WorkItem, item: WorkItem) -> str:
    if other.rollout_id == item.rollout_id:
        return f"{other.system} in wave {other.wave + 1}"
    return f"{other.system} of rollout {other.rollout_id}"
