"""Owns whether Mergeyard itself is well: database, queue, repository, controllers, workers, room on disk. Only reads.

A check is a sentence for the person who has to mend it. What a machine needs is in `readiness` and `figures`.
"""

import contextlib
import shutil
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Count, Min
from django.db.models.functions import Now

from changes.models import ChangeRequest
from changes.repository import RepositoryError, state
from changes.rights import main_snapshot
from executors import queues
from executors.models import Cursor, Resource, WorkItem
from executors.processes import CONTROLLER, WORKER, there
from executors.states import ITEM_READY, ItemState

GIGABYTE = 1_000_000_000
FULL, TIGHT = GIGABYTE // 2, 2 * GIGABYTE  # bytes free
LONG_WAIT = timedelta(minutes=5)
Figures = dict[tuple[str, ...], float]  # values of the labels -> figure


class State(StrEnum):
    OK = "ok"
    WARNING = "warning"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Check:
    """One part of Mergeyard: how it is, in a sentence, and what to do if it is not well."""

    name: str
    state: State
    sentence: str
    todo: str = ""


def checks() -> list[Check]:
    """Every part; one that cannot be asked is bad and hides no other."""
    found = [database()]
    if found[0].state is State.BAD:
        return found
    return [*found, queue(), repository(), *controllers(), *workers(), *work(), *room()]


def people() -> list[Check]:
    """What somebody has to start; quick, for a page that is often looked at."""
    return [*controllers(), *workers()]


def readiness() -> list[Check]:
    """What a web process needs to answer pages."""
    found = [database()]
    return found if found[0].state is State.BAD else [*found, repository()]


def database() -> Check:
    name = "Database"
    try:
        plan = MigrationExecutor(connection).loader
        missing = [key for key in plan.graph.leaf_nodes() if key not in plan.applied_migrations]
    except DatabaseError as error:
        return Check(name, State.BAD, f"It does not answer: {str(error).strip()}.", "Look whether it runs.")
    if missing:
        names = ", ".join(f"{app} {migration}" for app, migration in missing)
        return Check(name, State.BAD, f"Its tables are older than this program ({names}).", "Run manage.py migrate.")
    return Check(name, State.OK, f"{connection.display_name} answers, and its tables are those of this program.")


def queue() -> Check:
    name = "Queue"
    try:
        waiting = sum(queues.lengths().values())
        kept, warnings = queues.keeping()
    except queues.QueueAway as error:
        todo = "Look whether Redis or Valkey runs. Nothing is lost: the controller queues all work again."
        return Check(name, State.BAD, f"It cannot be reached: {str(error).rstrip('.')}.", todo)
    if warnings:
        return Check(name, State.WARNING, " ".join(warnings))
    return Check(name, State.OK, f"It answers; {_counted(waiting, 'system')} in line. {kept}")


def repository() -> Check:
    name = "State repository"
    try:
        main = state().main()
    except RepositoryError as error:
        return Check(name, State.BAD, f"It cannot be read: {error}.", "Look at MERGEYARD_HOME and the forge.")
    cursor = Cursor.objects.first()
    if cursor is None:
        return Check(name, State.WARNING, "Nothing of it is known yet.", "Run manage.py init.")
    if cursor.alarm:
        return Check(name, State.BAD, cursor.alarm, "See what stops discovery on the operations page of the docs.")
    if cursor.sha != main:
        return Check(name, State.OK, f"Main is at {main[:10]}; the controller is on its way there.")
    return Check(name, State.OK, f"Main is at {main[:10]}, and all of it is known.")


def controllers() -> list[Check]:
    if running := list(there(CONTROLLER)):
        return [Check("Controller", State.OK, f"{', '.join(one.name for one in running)} looks after the work.")]
    why = "None was heard of lately, so no merge becomes work."
    return [Check("Controller", State.BAD, why, "Start manage.py controller.")]


def workers() -> list[Check]:
    """Of every zone that has systems."""
    try:
        systems = main_snapshot().systems.values()
    except RepositoryError:
        return []
    zones = sorted({system.zone for system in systems})
    found = []
    for zone in zones:
        running = [one for one in there(WORKER) if one.zone == zone]
        open_ones = [one for one in running if not one.contained]
        troubled = [one for one in running if one.trouble]
        names = ", ".join(one.name for one in running)
        if not running:
            why, todo = "None was heard of lately, so its systems wait.", f"Start manage.py worker --zone {zone}."
            found.append(Check(f"Workers of zone {zone}", State.BAD, why, todo))
        elif troubled or open_ones:
            state = State.BAD if len(troubled) == len(running) else State.WARNING
            said = [f"{one.name}: {one.trouble}" for one in troubled[:1]]
            said += [f"{one.name}: {one.containment}" for one in open_ones[:1]]
            todo = "See the operations page of the docs." if open_ones else ""
            found.append(Check(f"Workers of zone {zone}", state, " ".join(said), todo))
        else:
            found.append(Check(f"Workers of zone {zone}", State.OK, f"{names}: {running[0].containment}"))
    return found


def work() -> list[Check]:
    parked = WorkItem.objects.filter(state=ItemState.PARKED).count()
    late = WorkItem.objects.filter(state=ItemState.QUEUED, created_at__lt=Now() - LONG_WAIT)
    systems = sorted(late.values_list("system", flat=True).distinct())
    if parked:
        why = f"{_counted(parked, 'work item')} failed so often that nobody tries again."
        return [Check("Work", State.WARNING, why, "Retry or cancel them on the pages of their rollouts.")]
    if systems:
        return [Check("Work", State.WARNING, f"Ready for more than five minutes: {', '.join(systems)}.")]
    return [Check("Work", State.OK, "Nothing that could run waits for long.")]


def room() -> list[Check]:
    """On the disks of this host; workers on other hosts have their own."""
    places = {"Disk of the home": settings.MERGEYARD_HOME, "Disk of the attempts": settings.MERGEYARD_ATTEMPTS_DIR}
    return [_room(name, Path(place)) for name, place in places.items() if Path(place).exists()]


def _room(name: str, place: Path) -> Check:
    free = shutil.disk_usage(place).free
    said = f"{free / GIGABYTE:.1f} GB free at {place}."
    if free < FULL:
        return Check(name, State.BAD, said, "Make room now: nothing can be merged or run without.")
    return Check(name, State.OK if free >= TIGHT else State.WARNING, said)


def figures() -> dict[str, tuple[str, Figures]]:
    """For machines: name -> (help, (label values) -> value). The labels' names stand in LABELS."""
    items = dict(WorkItem.objects.values_list("state").annotate(Count("pk")))
    ready = WorkItem.objects.filter(state__in=ITEM_READY)
    oldest = ready.aggregate(waited=Now() - Min("created_at"))["waited"] if ready.exists() else timedelta()
    people: Figures = {(sort, zone): float(count) for sort, zone, count in _processes()}
    measured: dict[str, tuple[str, Figures]] = {
        "work_items": ("Work items by state", {(state,): float(items.get(state, 0)) for state in ItemState}),
        "work_oldest_wait_seconds": ("Age of the oldest work item that has not begun", {(): oldest.total_seconds()}),
        "processes": ("Controllers and workers that were heard of lately", people),
        "change_requests": ("Change requests by state", _counts(ChangeRequest, "state")),
        "resources": ("Resources by how they stand", _counts(Resource, "sync")),
        "checks": ("Parts that are well (1) or not (0)", {(c.name,): float(c.state is State.OK) for c in checks()}),
    }
    with contextlib.suppress(queues.QueueAway):
        measured["queue_length"] = ("Systems in line", {(z,): float(n) for z, n in queues.lengths().items()})
    return measured


LABELS = {
    "work_items": ("state",),
    "processes": ("sort", "zone"),
    "change_requests": ("state",),
    "resources": ("sync",),
    "checks": ("part",),
    "queue_length": ("zone",),
}


def _processes() -> list[tuple[str, str, int]]:
    counted: Counter[tuple[str, str]] = Counter()
    for sort in (CONTROLLER, WORKER):
        counted.update((sort, zone) for zone in there(sort).values_list("zone", flat=True))
    counted.setdefault((CONTROLLER, ""), 0)
    return [(sort, zone, count) for (sort, zone), count in sorted(counted.items())]


def _counts(model: type[ChangeRequest] | type[Resource], field: str) -> Figures:
    return {(value,): float(count) for value, count in model.objects.values_list(field).annotate(Count("pk"))}


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
