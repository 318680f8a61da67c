"""Owns the sentence that says what a work item waits for, and what would unblock it. Only reads."""

from django.conf import settings
from django.db.models import Q

from executors.claim import DONE_WELL
from executors.models import ItemNeed, WorkItem
from executors.states import ITEM_OPEN, ITEM_READY, ItemState

SHOWN = 3


def why_waiting(item: WorkItem) -> str:
    """Of an item that waits or is queued; of any other, the reason of its state."""
    if item.state not in ITEM_READY:
        return item.reason
    unmet = Q(needs__state__in=ITEM_OPEN) | Q(must_succeed=True) & ~Q(needs__state__in=DONE_WELL)
    needs = (
        ItemNeed.objects.filter(unmet, item=item).select_related("needs__rollout__commit").order_by("needs__position")
    )
    if blockers := [_named(need.needs, item) for need in needs[: SHOWN + 1]]:
        more = " and more" if len(blockers) > SHOWN else ""
        return f"Waits for {', '.join(blockers[:SHOWN])}{more}."
    if item.zone not in settings.MERGEYARD_ZONES:
        return f"No workers are configured for the zone {item.zone}: the platform team adds it to MERGEYARD_ZONES."
    if WorkItem.objects.filter(system=item.system, state=ItemState.RUNNING).exists():
        return f"Waits for the work that runs on {item.system} now."
    return f"Waits for a free worker of the zone {item.zone}."


def _named(blocker: WorkItem, item: WorkItem) -> str:
    if blocker.rollout_id == item.rollout_id:
        return f"{blocker.system} in wave {blocker.wave + 1}"
    number = blocker.rollout.commit.change_request_id
    cause = f"change request {number}" if number else f"commit {blocker.rollout.commit.sha[:10]}"
    return f"{blocker.system} in {cause}, which changes the same resources, what they rest on or what rests on them"
