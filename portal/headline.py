"""The one word that says where a change request stands, from its state, its rollout and its review.

Owns that computation for pages and lists. Knows no request and no right.
"""

from collections import defaultdict
from collections.abc import Iterable

from changes.models import ChangeRequest
from changes.states import ChangeRequestState
from executors.models import Rollout, WorkItem
from executors.states import Cause, ItemState, rollout_state

STATES = ("draft", "open", "merged", "applying", "applied", "apply-failed", "withdrawn", "rejected")
_OF_ROLLOUT = {
    ItemState.RUNNING: "applying",
    ItemState.ASKING: "asking",
    ItemState.QUEUED: "applying",
    ItemState.WAITING: "applying",
    ItemState.FAILED: "apply-failed",
    ItemState.CANCELLED: "cancelled",
    ItemState.SKIPPED: "skipped",
    ItemState.SUCCEEDED: "applied",
}


def headline(request: ChangeRequest, items: Iterable[str] | None) -> str:
    """The state to show: a merged request is as far as its rollout is. `items`: states of its work items."""
    if request.state != ChangeRequestState.MERGED or items is None:
        return request.state
    states = list(items)
    return _OF_ROLLOUT[ItemState(rollout_state(states))] if states else "applied"


def headlines(requests: Iterable[ChangeRequest]) -> dict[int, str]:
    """The headline of each request of a list, by its number; two queries however many there are."""
    requests = list(requests)
    merged = [request.pk for request in requests if request.state == ChangeRequestState.MERGED]
    items = rollout_items(merged)
    return {request.pk: headline(request, items.get(request.pk)) for request in requests}


def rollout_items(numbers: Iterable[int]) -> dict[int, list[str]]:
    """The states of the work items of the merge rollouts of these requests; a request without a rollout is absent."""
    numbers = list(numbers)
    found: dict[int, list[str]] = defaultdict(list)
    if not numbers:
        return found
    rollouts = dict(
        Rollout.objects.filter(cause=Cause.MERGE, commit__change_request_id__in=numbers).values_list(
            "pk", "commit__change_request_id"
        )
    )
    for number in rollouts.values():
        found[number or 0] = []
    for rollout, state in WorkItem.objects.filter(rollout__in=rollouts).values_list("rollout_id", "state"):
        found[rollouts[rollout] or 0].append(state)
    return found
