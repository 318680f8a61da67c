"""The states of work items, runs, rollouts and resources, and the moves between them. Pure."""

from collections.abc import Iterable

from django.db.models import TextChoices


class ItemState(TextChoices):
    WAITING = "waiting", "Waiting"
    QUEUED = "queued", "Queued"
    RUNNING = "running", "Running"
    ASKING = "asking", "Asking"
    SUCCEEDED = "succeeded", "Succeeded"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"
    SKIPPED = "skipped", "Skipped"
    SUPERSEDED = "superseded", "Superseded"
    PARKED = "parked", "Parked"


ITEM_OPEN = frozenset({ItemState.WAITING, ItemState.QUEUED, ItemState.RUNNING, ItemState.ASKING})
ITEM_FINAL = frozenset(ItemState) - ITEM_OPEN
ITEM_READY = frozenset({ItemState.WAITING, ItemState.QUEUED})
ITEM_RETRYABLE = frozenset({ItemState.FAILED, ItemState.CANCELLED, ItemState.PARKED})

_I = ItemState
ITEM_MOVES: dict[str, frozenset[str]] = {
    _I.WAITING: frozenset({_I.QUEUED, _I.RUNNING, _I.CANCELLED, _I.SKIPPED, _I.SUPERSEDED, _I.PARKED}),
    _I.QUEUED: frozenset({_I.WAITING, _I.RUNNING, _I.CANCELLED, _I.SKIPPED, _I.SUPERSEDED, _I.PARKED}),
    _I.RUNNING: frozenset({_I.WAITING, _I.ASKING, _I.SUCCEEDED, _I.FAILED, _I.CANCELLED, _I.SUPERSEDED, _I.PARKED}),
    _I.ASKING: frozenset({_I.WAITING, _I.CANCELLED, _I.FAILED}),
    _I.FAILED: frozenset({_I.WAITING}),
    _I.CANCELLED: frozenset({_I.WAITING}),
    _I.PARKED: frozenset({_I.WAITING}),
    _I.SKIPPED: frozenset({_I.WAITING}),
    _I.SUCCEEDED: frozenset(),
    _I.SUPERSEDED: frozenset(),
}


class RunState(TextChoices):
    STARTING = "starting", "Starting"
    RUNNING = "running", "Running"
    SUCCEEDED = "succeeded", "Succeeded"
    FAILED = "failed", "Failed"
    ERRORED = "errored", "Errored"
    INTERRUPTED = "interrupted", "Interrupted"
    CANCELLED = "cancelled", "Cancelled"


RUN_OPEN = frozenset({RunState.STARTING, RunState.RUNNING})
_R = RunState
RUN_MOVES: dict[str, frozenset[str]] = {
    _R.STARTING: frozenset({_R.RUNNING, _R.ERRORED, _R.INTERRUPTED, _R.CANCELLED}),
    _R.RUNNING: frozenset({_R.SUCCEEDED, _R.FAILED, _R.ERRORED, _R.INTERRUPTED, _R.CANCELLED}),
}
RUN_MOVES.update({state: frozenset() for state in RunState if state not in RUN_OPEN})


class ResultState(TextChoices):
    """What became of one resource in one work item."""

    PENDING = "pending", "Pending"
    CHANGED = "changed", "Changed"
    UNCHANGED = "unchanged", "Unchanged"
    FAILED = "failed", "Failed"
    SUPERSEDED = "superseded", "Superseded"


class SyncState(TextChoices):
    """How a resource on its system stands against its merged document."""

    PENDING = "pending", "Waiting to be applied"
    SYNCED = "synced", "In sync"
    FAILED = "failed", "Failed"
    DRIFTED = "drifted", "Drifted"
    UNAPPROVED = "unapproved", "Unapproved"
    DELETED = "deleted", "Deleted"


class Cause(TextChoices):
    MERGE = "merge", "Merge"
    INITIAL = "initial", "First rollout"
    REAPPLY = "reapply", "Applied again"
    SELF_HEAL = "self-heal", "Self-heal"


def rollout_state(items: Iterable[str]) -> str:
    """The state of a rollout from the states of its work items: what needs a person most comes first."""
    states = set(items)
    for state in (_I.RUNNING, _I.ASKING):
        if state in states:
            return state
    if states & {_I.FAILED, _I.PARKED}:
        return _I.FAILED
    for state in (_I.QUEUED, _I.WAITING, _I.CANCELLED, _I.SKIPPED):
        if state in states:
            return state
    return _I.SUCCEEDED
