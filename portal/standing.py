"""Where resources and systems stand, counted for pages: one query for any number of systems.

Owns the counting; knows no request and no right.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import Count, Q, QuerySet

from executors.models import Resource, WorkItem
from executors.states import ITEM_OPEN, ItemState, SyncState

# What needs a person first.
ORDER = (
    SyncState.FAILED,
    SyncState.UNAPPROVED,
    SyncState.DRIFTED,
    SyncState.PENDING,
    SyncState.SYNCED,
)
UNWELL = (SyncState.FAILED, SyncState.UNAPPROVED, SyncState.DRIFTED)


@dataclass(frozen=True, slots=True)
class Share:
    """One part of a bar: how many of a state, and where it begins and ends in percent."""

    state: str
    count: int
    start: float
    width: float


def present() -> "QuerySet[Resource]":
    """The resources that exist or are wanted: all but those whose deletion is done."""
    return Resource.objects.exclude(sync=SyncState.DELETED)


def counts_by(column: str) -> dict[str, Counter[str]]:
    """Team or system -> sync state -> how many."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for name, sync, count in present().values_list(column, "sync").annotate(count=Count("pk")).order_by():
        found[name][sync] = count
    return found


def shares(counts: Counter[str]) -> tuple[Share, ...]:
    """The parts of a bar over all states that occur, worst first."""
    total = counts.total()
    found, start = [], 0.0
    for state in ORDER:
        if counts[state]:
            width = 100 * counts[state] / total
            found.append(Share(state, counts[state], round(start, 2), round(width, 2)))
            start += width
    return tuple(found)


def work_by_system() -> dict[str, Counter[str]]:
    """System -> state of an open work item -> how many."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    items = WorkItem.objects.filter(state__in=ITEM_OPEN)
    for name, state, count in items.values_list("system", "state").annotate(count=Count("pk")).order_by():
        found[name][state] = count
    return found


def health(counts: Counter[str], work: Counter[str]) -> str:
    """One state for a system: running work first, then what needs a person, then what waits."""
    if work[ItemState.RUNNING]:
        return "running"
    for state in ORDER:
        if counts[state]:
            return state
    return "queued" if work else "nothing"


def of_mine(teams: Iterable[str], systems: Iterable[str]) -> Q:
    """Resources of these teams or on these systems."""
    return Q(team__in=list(teams)) | Q(system__in=list(systems))
