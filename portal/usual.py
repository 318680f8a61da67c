"""How long a kind usually took from the request to the system, from the newest work that is on record.

Two queries for all kinds; looks back a bounded way.
"""

from collections import defaultdict
from dataclasses import dataclass
from statistics import median

from changes.models import ChangeRequest
from executors.models import ItemResource
from executors.states import Cause, ResultState

WINDOW = 5_000  # results looked back
PAST = 50  # of one kind


@dataclass(frozen=True, slots=True)
class Usual:
    """Medians in seconds: from the draft to the merge, and from the merge to the recorded result."""

    agreed: float
    applied: float


def usual_by_kind() -> dict[str, Usual]:
    """For every kind that was applied after a merge lately."""
    newest = ItemResource.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
    rows = ItemResource.objects.filter(
        pk__gt=newest - WINDOW,
        item__rollout__cause=Cause.MERGE,
        item__rollout__commit__change_request_id__isnull=False,
        result=ResultState.CHANGED,
        finished_at__isnull=False,
    ).order_by("-pk")
    fields = ("kind", "finished_at", "item__rollout__commit__change_request_id")
    found = list(rows.values_list(*fields))
    numbers = {number for _, _, number in found}
    requests = {
        number: (created, closed)
        for number, created, closed in ChangeRequest.objects.filter(
            pk__in=numbers, closed_at__isnull=False
        ).values_list("pk", "created_at", "closed_at")
    }
    agreed: dict[str, list[float]] = defaultdict(list)
    applied: dict[str, list[float]] = defaultdict(list)
    for kind, finished, number in found:
        if number in requests and finished is not None and len(applied[kind]) < PAST:
            created, closed = requests[number]
            if closed is not None:
                agreed[kind].append((closed - created).total_seconds())
                applied[kind].append(max((finished - closed).total_seconds(), 0.0))
    return {kind: Usual(median(agreed[kind]), median(applied[kind])) for kind in applied if applied[kind]}
