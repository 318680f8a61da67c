"""What a rollout's page shows, computed once for each drawing: systems over waves, troubles, waits, the chosen item.

Owns the queries and sentences of that page. Knows no request; who may see an output is asked of `portal.access`.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from math import ceil
from statistics import median

from django.utils import timezone

from changes.models import ChangeRequest, User
from executors.events import stored
from executors.models import ItemResource, Rollout, Run, WorkItem
from executors.rights import act_rights, read_rights
from executors.states import (
    ITEM_FINAL,
    ITEM_OPEN,
    ITEM_RETRYABLE,
    ItemState,
    ResultState,
    RunState,
    rollout_state,
)
from executors.waiting import Wait, waits_of
from portal import log
from portal.access import log_readers
from portal.streams import signs

MAX_RESOURCES = 200
PAST_RUNS = 5
PAST_WINDOW = 5000  # runs looked back for estimates
# Which item a page opens with when nobody has chosen one: what needs a person, then what moves.
_FIRST = (ItemState.FAILED, ItemState.PARKED, ItemState.RUNNING, ItemState.ASKING, ItemState.QUEUED, ItemState.WAITING)
_TROUBLED = frozenset({ItemState.FAILED, ItemState.PARKED})


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a resource, before and after; a side that is not there is not `has`."""

    name: str
    before: object
    after: object
    has_before: bool
    has_after: bool


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one resource."""

    row: ItemResource
    fields: tuple[Field, ...]
    same: int  # fields that did not change


@dataclass(slots=True)
class Cell:
    """A work item in its wave."""

    item: WorkItem
    run: Run | None
    may_see: bool
    may_act: bool
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def seconds(self) -> float | None:
        if self.run is None:
            return None
        return ((self.run.finished_at or timezone.now()) - self.run.started_at).total_seconds()

    @property
    def began(self) -> datetime | None:
        """Since when it runs, for a clock that the page keeps."""
        return self.run.started_at if self.run and self.item.state == ItemState.RUNNING else None

    @property
    def resources(self) -> int:
        return sum(self.counts.values())

    @property
    def troubled(self) -> bool:
        return self.item.state in _TROUBLED

    @property
    def can_retry(self) -> bool:
        return self.may_act and self.item.state in ITEM_RETRYABLE

    @property
    def can_cancel(self) -> bool:
        return self.may_act and self.item.state in ITEM_OPEN and not self.item.cancel_requested


@dataclass(frozen=True, slots=True)
class Trouble:
    """A failed item: the error in words, the resources it is about, the line of the log that says it."""

    cell: Cell
    words: str
    resources: tuple[tuple[ItemResource, str], ...]  # each with what the words do not say of it
    line: log.Shown | None


@dataclass(frozen=True, slots=True)
class Detail:
    """The chosen item: its resources, attempts and log."""

    cell: Cell
    run: Run | None
    runs: tuple[Run, ...]
    results: tuple[Result, ...]
    more: int
    waits: tuple[Wait, ...]
    log: log.Page | None
    readers: str  # who may see the log, when the reader may not


@dataclass(frozen=True, slots=True)
class RolloutPage:
    rollout: Rollout
    change: ChangeRequest | None
    state: str
    waves: tuple[int, ...]
    rows: tuple[tuple[str, tuple[tuple[int, Cell | None], ...]], ...]
    troubles: tuple[Trouble, ...]
    counts: tuple[tuple[str, int], ...]
    done: int
    total: int
    left: int | None  # seconds, roughly; 0: longer than usual already
    detail: Detail | None
    after: str  # what the page has of each run, as its stream takes it
    sign: str  # of what it says of the items


def rollout_page(rollout: Rollout, user: User, *, item: int = 0, run: int = 0, keep: int = 0) -> RolloutPage:
    """The page's content. `item` and `run`: what is chosen; `keep`: the run whose log the page has already."""
    sign = signs([rollout.pk])[rollout.pk]
    cells = cells_of(rollout, user)
    waves = tuple(sorted({cell.item.wave for cell in cells}))
    chosen = _chosen(cells, item)
    detail = detail_of(chosen, run=run, keep=keep) if chosen else None
    done = sum(1 for cell in cells if cell.item.state in ITEM_FINAL)
    counts: dict[str, int] = defaultdict(int)
    for cell in cells:
        counts[cell.item.state] += 1
    number = rollout.change_request_id
    return RolloutPage(
        rollout=rollout,
        change=ChangeRequest.objects.filter(pk=number).first() if number else None,
        state=rollout_state(cell.item.state for cell in cells),
        waves=waves,
        rows=_rows(cells, waves),
        troubles=tuple(_trouble(cell) for cell in cells if cell.troubled),
        counts=tuple(sorted(counts.items(), key=lambda one: list(ItemState).index(ItemState(one[0])))),
        done=done,
        total=len(cells),
        left=_seconds_left(cells) if done < len(cells) else None,
        detail=detail,
        after=_positions(cells, detail),
        sign=sign,
    )


def cells_of(rollout: Rollout, user: User) -> list[Cell]:
    items = list(rollout.items.all())
    latest: dict[int, Run] = {}
    for run in Run.objects.filter(item__rollout=rollout).order_by("number"):
        latest[run.item_id] = run
    counts: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for item, result in ItemResource.objects.filter(item__rollout=rollout).values_list("item_id", "result"):
        counts[item][result] += 1
    may_see, may_act = read_rights(user, rollout), act_rights(user, rollout)
    return [Cell(item, latest.get(item.pk), may_see(item), may_act(item), dict(counts[item.pk])) for item in items]


def _rows(cells: list[Cell], waves: tuple[int, ...]) -> tuple[tuple[str, tuple[tuple[int, Cell | None], ...]], ...]:
    by_system: dict[str, dict[int, Cell]] = defaultdict(dict)
    for cell in cells:  # in the order of waves, then names: nothing moves while states do
        by_system[cell.item.system][cell.item.wave] = cell
    return tuple((system, tuple((wave, found.get(wave)) for wave in waves)) for system, found in by_system.items())


def _chosen(cells: list[Cell], item: int) -> Cell | None:
    for cell in cells:
        if cell.item.pk == item:
            return cell
    for state in _FIRST:
        for cell in cells:
            if cell.item.state == state:
                return cell
    return cells[-1] if cells else None


def _trouble(cell: Cell) -> Trouble:
    failed: tuple[ItemResource, ...] = ()
    line = None
    # The reason of a failure may be a module's own words, and those are an output.
    words = cell.item.reason if cell.may_see or cell.item.state != ItemState.FAILED else ""
    if cell.may_see:
        words = (cell.run.error if cell.run else "") or words
        failed = tuple(cell.item.resources.filter(result=ResultState.FAILED)[:5])
        line = log.failure(cell.run) if cell.run else None
    words = words or ("The playbook failed; its log says where." if cell.may_see else "The work failed.")
    return Trouble(cell, words, tuple((row, "" if row.message in words else row.message) for row in failed), line)


def _positions(cells: list[Cell], detail: Detail | None) -> str:
    """What the page has of each run that its reader may see, as the stream takes it."""
    have: dict[int, int] = {}
    for cell in cells:
        if cell.run is not None and cell.may_see:
            have[cell.run.pk] = stored(cell.run.pk)
    if detail is not None and detail.run is not None and detail.log is not None:
        have[detail.run.pk] = detail.log.stored
    return ",".join(f"{run}:{number}" for run, number in have.items())


def detail_of(cell: Cell, *, run: int = 0, keep: int = 0) -> Detail:
    runs = tuple(cell.item.runs.order_by("number"))
    chosen = next((one for one in runs if one.pk == run), runs[-1] if runs else None)
    rows = list(cell.item.resources.all()[: MAX_RESOURCES + 1])
    shown = None
    if chosen is not None and cell.may_see:
        shown = log.page(chosen) if chosen.pk != keep else log.Page([], 0, 0, stored(chosen.pk))
    return Detail(
        cell=cell,
        run=chosen,
        runs=runs,
        results=tuple(_result(row, shown=cell.may_see) for row in rows[:MAX_RESOURCES]),
        more=max(cell.resources - MAX_RESOURCES, 0),
        waits=() if cell.item.state in ITEM_RETRYABLE else waits_of(cell.item),
        log=shown,
        readers="" if cell.may_see else log_readers(cell.item),
    )


def _result(row: ItemResource, *, shown: bool) -> Result:
    fields = changed_fields(row.before, row.after) if shown else ()
    same = len(_flat(row.after)) - sum(1 for one in fields if one.has_after) if shown else 0
    return Result(row, fields, max(same, 0))


def changed_fields(before: object, after: object) -> tuple[Field, ...]:
    """The fields that differ, dotted; all of them where one side is nothing."""
    old, new = _flat(before), _flat(after)
    names = [*old, *(name for name in new if name not in old)]
    return tuple(
        Field(name, old.get(name), new.get(name), name in old, name in new)
        for name in names
        if (name in old) != (name in new) or old.get(name) != new.get(name)
    )


def _flat(thing: object, prefix: str = "") -> dict[str, object]:
    if not isinstance(thing, dict):
        return {prefix: thing} if prefix else {}
    found: dict[str, object] = {}
    for name, inner in thing.items():
        path = f"{prefix}.{name}" if prefix else str(name)
        found.update(_flat(inner, path) if isinstance(inner, dict) and inner else {path: inner})
    return found


def _seconds_left(cells: list[Cell]) -> int | None:
    """From past runs of the same systems: each wave takes as long as its slowest item. None: a system never ran; 0: a
    run takes more than twice as long as usual, and nobody knows how much longer."""
    open_cells = [cell for cell in cells if cell.item.state in ITEM_OPEN]
    if all(cell.item.state == ItemState.WAITING for cell in open_cells) and any(cell.troubled for cell in cells):
        return None  # it stands until somebody retries or reverts
    usual = usual_seconds({cell.item.system for cell in open_cells})
    by_wave: dict[int, float] = defaultdict(float)
    for cell in open_cells:
        expected = usual.get(cell.item.system)
        if expected is None:
            return None
        spent = cell.seconds or 0.0 if cell.item.state == ItemState.RUNNING else 0.0
        if spent > 2 * expected + 2:
            return 0
        by_wave[cell.item.wave] = max(by_wave[cell.item.wave], expected - spent, 1.0)
    return ceil(sum(by_wave.values()))


def usual_seconds(systems: set[str]) -> dict[str, float]:
    """The median duration of each system's last successful runs."""
    newest = Run.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
    past = Run.objects.filter(
        pk__gt=newest - PAST_WINDOW, item__system__in=systems, state=RunState.SUCCEEDED, finished_at__isnull=False
    ).order_by("-pk")
    found: dict[str, list[float]] = defaultdict(list)
    for system, began, ended in past.values_list("item__system", "started_at", "finished_at"):
        if ended is not None and len(found[system]) < PAST_RUNS:
            found[system].append((ended - began).total_seconds())
    return {system: median(seconds) for system, seconds in found.items() if seconds}
