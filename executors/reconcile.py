"""Owns the passes that bring git, database and queue together. Each does one thing and says whether it did any.

Running them twice changes nothing, and several controllers may run them at once. Without a queue everything but the
queueing goes on. It must not know Ansible or documents.
"""

import logging
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.db import InterfaceError, OperationalError, models, transaction
from django.db.models import Q

from changes.crash_points import crash_point
from changes.workflow import finish_intents
from executors import queues
from executors.ansible.attempt import sweep
from executors.claim import expired, free, interrupt, move_if, ready
from executors.discovery import HistoryRewritten, discover
from executors.events import left_in_stream
from executors.models import Cursor, WorkItem
from executors.results import skip_dependents
from executors.states import RUN_OPEN, ItemState

log = logging.getLogger(__name__)

LOST = "Its worker was not heard of for {seconds} seconds."
STUCK = "New commits of main cannot be read, so no merge becomes work: {why}. The controller's log says where."
BROKEN = 3  # passes in a row that are no accident
_broken = 0
_said: set[str] = set()


def reconcile() -> bool:
    """Every pass once; True if any did work. A pass that breaks does not keep the others from running."""
    passes: tuple[Callable[[], bool], ...] = (
        finish,
        discover_commits,
        take_over,
        release,
        enqueue_ready,
        sweep_attempts,
    )
    done = [_run(step) for step in passes]  # all of them, whatever the first ones did
    return any(done)


def _run(step: Callable[[], bool]) -> bool:
    try:
        did = step()
    except Exception:
        log.exception("The pass %s broke; it is tried again", step.__name__)
        return False
    return did


def finish() -> bool:
    """Complete or drop the merges that a crash left half done."""
    return finish_intents()


def discover_commits() -> bool:
    """Record new commits of main. What stops discovery is kept as an alarm for the pages: a rewritten history at once,
    anything else if it happens again and again.
    """
    global _broken
    try:
        found = discover()
    except HistoryRewritten as error:
        _alarm(str(error))
        return False
    except (OperationalError, InterfaceError):
        raise  # the pages tell of a database that is away
    except Exception as error:
        _broken += 1
        if _broken >= BROKEN:
            _alarm(STUCK.format(why=str(error) or type(error).__name__))
        raise
    _broken = 0
    Cursor.objects.exclude(alarm="").update(alarm="")
    return found


def _alarm(sentence: str) -> None:
    if Cursor.objects.exclude(alarm=sentence).update(alarm=sentence):
        log.error("%s", sentence)


def take_over() -> bool:
    """End runs whose lease has run out, by the database's clock, and let their items be tried again.

    What their workers printed and did not store is kept, as far as the stream has it.
    """
    return _each(_take_over, expired())


def _take_over(item: WorkItem) -> bool:
    why = LOST.format(seconds=settings.MERGEYARD_LEASE_SECONDS)
    runs = item.runs.filter(fence=item.fence, state__in=RUN_OPEN)
    left = [event for run in runs for event in left_in_stream(run)]
    crash_point("take-over: stream read")
    still = Q(pk__in=expired().filter(pk=item.pk).values("pk"), lease_until=item.lease_until)
    taken = _end(item, why=why, where=still, left=left)
    crash_point("take-over: committed")
    return taken


def give_back(why: str) -> int:
    """End every run without a result, uncounted, where no worker can be alive: after a restore. How many there were."""
    items = list(WorkItem.objects.filter(state=ItemState.RUNNING).select_related("rollout__commit"))
    for item in items:
        _end(item, why=why, where=Q(), counted=False)
    return len(items)


def _end(item: WorkItem, **how: Any) -> bool:
    with transaction.atomic():
        after = interrupt(item, **how)
        if after in (ItemState.PARKED, ItemState.CANCELLED):
            skip_dependents(item)
    return after is not None


def release() -> bool:
    """Items whose needs are met go from waiting to queued."""
    did = _each(_release, ready().filter(state=ItemState.WAITING))
    crash_point("release: committed")
    return did


def _release(item: WorkItem) -> bool:
    return move_if(item, ItemState.QUEUED, where=Q(), why="Nothing holds it back.")


def _each(step: Callable[[WorkItem], bool], items: models.QuerySet[WorkItem]) -> bool:
    """True if it did any work. One item's trouble does not keep the others waiting."""
    did = False
    for item in items.select_related("rollout__commit"):
        try:
            did = step(item) or did
        except Exception:
            log.exception("Work item %s: %s broke; it is tried again", item.pk, step.__name__)
    return did


def enqueue_ready() -> bool:
    """A job for every system with something to start and nothing running."""
    return _enqueue(ready().filter(free()))


def pass_on(item: WorkItem) -> None:
    """After a run: its own system again, and the systems of what waited for it, without waiting for the controller."""
    waited = Q(needs_rows__needs=item) | Q(system=item.system)
    touched = WorkItem.objects.filter(waited, state__in=(ItemState.WAITING, ItemState.QUEUED)).values("pk")
    _enqueue(ready().filter(free(), pk__in=touched))
    queues.wake()


def _enqueue(items: models.QuerySet[WorkItem]) -> bool:
    systems = items.order_by("position").values_list("system", "zone")
    queued = False
    try:
        for system, zone in dict.fromkeys(systems):
            queued = queues.enqueue(system, zone) or queued
        for warning in queues.warnings():
            _say_once(warning)
        _said.discard("away")
    except queues.QueueAway as error:
        if "away" not in _said:
            log.warning("Nothing can be queued: %s; it is tried again", error)
            _said.add("away")
    return queued


def _say_once(sentence: str) -> None:
    if sentence not in _said:
        _said.add(sentence)
        log.warning("%s", sentence)


def sweep_attempts() -> bool:
    """Wipe what dead workers left on this host."""
    return sweep(settings.MERGEYARD_ATTEMPTS_DIR)
