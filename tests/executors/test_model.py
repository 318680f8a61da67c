"""Work items against a model of them: plain data that says what each move must come to, and Hypothesis that moves.

People merge, cancel and try again; two workers claim, renew, end, break, are stopped, come back and write late; two
controllers look again and again; jobs come twice. After every move the rows are as the model says.
"""

import copy
import shutil
import tempfile
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from changes import catalog as catalogs
from executors import queues, results
from executors.actions import Refused, cancel, retry
from executors.claim import Claim, claim, outdated, renew
from executors.discovery import discover
from executors.events import Stale
from executors.models import Commit, Event, ItemResource, Resource, Run, WorkItem
from executors.reconcile import discover_commits, release, take_over
from executors.results import End, Result
from executors.states import ItemState, ResultState, RunState
from tests.executors.conftest import CATALOG, Yard, box, document

SHELF = "shelf-a"
BOXES = ("a", "b", "c")
MOST = 3  # attempts
OPEN, READY = {"waiting", "queued", "running"}, {"waiting", "queued"}
AGAIN = {"failed", "cancelled", "parked"}
LEFT = {"pending", "failed"}  # what is still to be applied of an item


@dataclass
class Item:
    """A work item as it must be. `boxes`: results by name; `after`: what it waits for while that is open."""

    position: int
    boxes: dict
    values: dict  # what each box becomes; None: it is taken away
    after: list
    state: str = "waiting"
    fence: int = 0
    attempts: int = 0
    cancel: bool = False

    @property
    def seen(self):
        return self.state, self.fence, self.attempts, self.cancel, self.boxes

    @property
    def held_back(self):
        return any(other.state in OPEN for other in self.after)


@dataclass
class Model:
    """All items of one shelf, main, the shelf itself, and which commit each box was applied from."""

    items: list = field(default_factory=list)
    main: dict = field(default_factory=dict)
    shelf: dict = field(default_factory=dict)
    applied: dict = field(default_factory=dict)

    def merged(self, values):
        holds = [item for item in self.items if item.state in OPEN and item.boxes.keys() & values.keys()]
        self.items.append(Item(len(self.items) + 2, dict.fromkeys(values, "pending"), values, holds))
        self.main = {name: value for name, value in {**self.main, **values}.items() if value is not None}

    def claimed(self):
        """The item that a worker gets now, if any; what has nothing left to do ends on the way."""
        if any(item.state == "running" for item in self.items):
            return None
        for item in [item for item in self.items if item.state in READY and not item.held_back and not item.cancel]:
            late = [name for name, result in item.boxes.items() if result in LEFT and self.is_late(item, name)]
            item.boxes |= dict.fromkeys(late, "superseded")
            if LEFT.isdisjoint(item.boxes.values()):
                item.state = "superseded"
                continue
            item.state, item.fence, item.attempts = "running", item.fence + 1, item.attempts + 1
            return item
        return None

    def is_late(self, item, name):
        return self.applied.get(name, 0) >= item.position

    def played(self, item, failing):
        """What the play does, and what its worker records of it."""
        for name in [name for name, result in item.boxes.items() if result in LEFT]:
            item.boxes[name] = "failed" if name in failing else "changed"
            if name not in failing:
                assert item.position > self.applied.get(name, 0), "an older commit would be applied over a later one"
                self.applied[name] = item.position
                self.put(item, name)

    def put(self, item, name):
        if item.values[name] is None:
            self.shelf.pop(name, None)
        else:
            self.shelf[name] = item.values[name]

    def lost(self, item, *, counted=True):
        """Its run ended without a result."""
        item.attempts -= not counted
        item.state = "cancelled" if item.cancel else "waiting" if item.attempts < MOST else "parked"

    def retried(self, item):
        item.state, item.attempts, item.cancel = "waiting", 0, False
        for other in self.items:
            if other.position > item.position and other.state in READY and other.boxes.keys() & item.boxes.keys():
                other.after.append(item)


class Work(RuleBasedStateMachine):
    directory = None  # of one example after the other

    def __init__(self):
        super().__init__()
        self.undo = transaction.atomic()
        self.undo.__enter__()
        self.home = Path(tempfile.mkdtemp(dir=self.directory))
        self.settings.MERGEYARD_REPOSITORY = self.home / "state.git"
        self.yard = Yard(self.home)
        self.olga = self.yard.user("olga")
        self.model = Model()
        self.running = None  # (the model's item, its claim), while a worker has one
        self.stale = []  # claims that were taken over, or are over
        self.value = 0

    def teardown(self):
        try:
            self.end_everything()
        finally:
            transaction.set_rollback(True)
            self.undo.__exit__(None, None, None)
            shutil.rmtree(self.home)

    def row(self, item):
        return WorkItem.objects.get(position=item.position)

    # People

    @rule(names=st.sets(st.sampled_from(BOXES), min_size=1, max_size=2), deletes=st.booleans())
    def merge(self, names, deletes):
        self.value += 1
        values = {name: None if deletes and name in self.model.main else self.value for name in sorted(names)}
        texts = {name: value and document("Box", size=value) for name, value in values.items()}
        self.yard.merge({box(name): text for name, text in texts.items()})
        assert discover()
        self.model.merged(values)

    @rule(data=st.data())
    def cancel(self, data):
        self.act(cancel, [item for item in self.model.items if item.state in OPEN], data)

    @rule(data=st.data())
    def retry(self, data):
        self.act(retry, [item for item in self.model.items if item.state in AGAIN], data)

    def act(self, verb, items, data):
        if not items:
            return
        item = data.draw(st.sampled_from(items))
        verb(self.row(item), self.olga)
        if verb is retry:
            self.model.retried(item)
        elif item.state == "running":
            item.cancel = True
        else:
            item.state = "cancelled"

    @precondition(lambda self: any(item.state not in AGAIN for item in self.model.items))
    @rule(data=st.data())
    def retry_what_cannot_be(self, data):
        item = data.draw(st.sampled_from([item for item in self.model.items if item.state not in AGAIN]))
        with pytest.raises(Refused):
            retry(self.row(item), self.olga)

    # Controllers

    @rule(twice=st.booleans())
    def controllers_look(self, twice):
        """Two of them, or one again: the second finds nothing to do."""
        waiting = [item for item in self.model.items if item.state == "waiting" and not item.held_back]
        assert not discover_commits()
        assert release() == bool(waiting)
        for item in waiting:
            item.state = "queued"
        if twice:
            assert not discover_commits()
            assert not release()
            assert not take_over()

    # Workers

    @rule()
    def job_comes(self):
        """For the first time or once more: only who finds something to claim works."""
        claimed = claim(SHELF, worker="w")
        item = self.model.claimed()
        assert (claimed and claimed.item.position) == (item and item.position)
        if item is None:
            return
        rows, late = outdated(claimed.item)
        results.supersede(claimed, [row.path for row in late])
        assert {Path(row.path).stem for row in rows} == {n for n, result in item.boxes.items() if result in LEFT}
        results.start(claimed)
        self.running = item, claimed

    @precondition(lambda self: self.running)
    @rule()
    def heartbeat(self):
        item, claimed = self.running
        lease = renew(claimed)
        assert (lease.held, lease.cancel_requested) == (True, item.cancel)

    @precondition(lambda self: self.running)
    @rule(failing=st.sets(st.sampled_from(BOXES)))
    def run_ends(self, failing):
        item, claimed = self.running
        rows = [row for row in claimed.item.resources.all() if row.result in LEFT]
        self.model.played(item, failing)
        found = {row.path: Result(ResultState(item.boxes[Path(row.path).stem])) for row in rows}
        failed = ResultState.FAILED in [result.state for result in found.values()]
        ends = (ItemState.FAILED, RunState.FAILED) if failed else (ItemState.SUCCEEDED, RunState.SUCCEEDED)
        results.finish(claimed, End(*ends, "It ended.", found))
        item.state, item.cancel = str(ends[0]), False
        self.over()

    @precondition(lambda self: self.running)
    @rule(ours=st.booleans())
    def run_breaks(self, ours):
        """By our fault, or because its worker is told to stop, which is not counted."""
        item, claimed = self.running
        state = RunState.ERRORED if ours else RunState.INTERRUPTED
        results.give_up(claimed, state=state, why="It broke.")
        self.model.lost(item, counted=ours)
        self.over()

    @precondition(lambda self: self.running)
    @rule(after_the_work=st.booleans())
    def worker_is_lost(self, after_the_work):
        """Killed, or stopped for long; its play may have done all of it before it was killed."""
        item, _ = self.running
        if after_the_work:
            for name in [name for name, result in item.boxes.items() if result in LEFT]:
                self.model.put(item, name)
        assert not take_over()
        WorkItem.objects.filter(position=item.position).update(lease_until=timezone.now() - timedelta(seconds=1))
        assert take_over()
        assert not take_over()
        self.model.lost(item)
        self.over()

    def over(self):
        self.stale.append(self.running[1])
        self.running = None

    @precondition(lambda self: self.stale)
    @rule(data=st.data())
    def stale_worker_writes(self, data):
        """It was stopped and goes on. Nothing of what it does is recorded."""
        claimed = copy.deepcopy(data.draw(st.sampled_from(self.stale)))
        before = everything()
        path = claimed.item.resources.first().path
        claimed.item.state, claimed.run.state = ItemState.RUNNING, RunState.RUNNING
        assert not renew(claimed).held
        result = {path: Result(ResultState.CHANGED)}
        for write in (
            lambda: results.finish(claimed, End(ItemState.SUCCEEDED, RunState.SUCCEEDED, "Late.", result)),
            lambda: results.give_up(claimed, state=RunState.ERRORED, why="Late."),
            lambda: results.give_up(claimed, state=RunState.INTERRUPTED, why="Late."),
            lambda: results.supersede(claimed, [path]),
            lambda: results.start(claimed),
        ):
            with pytest.raises(Stale):
                write()
            claimed.item.state, claimed.run.state = ItemState.RUNNING, RunState.RUNNING
        assert everything() == before

    # What holds after every move

    @invariant()
    def rows_are_as_the_model_says(self):
        wanted = {item.position: item.seen for item in self.model.items}
        found = {}
        for row in WorkItem.objects.all():
            boxes = {Path(path).stem: str(result) for path, result in row.resources.values_list("path", "result")}
            found[row.position] = row.state, row.fence, row.attempts, row.cancel_requested, boxes
        assert found == wanted

    @invariant()
    def applied_is_as_the_model_says(self):
        known = Resource.objects.exclude(applied_position=0).values_list("name", "applied_position")
        assert dict(known) == self.model.applied
        assert Resource.objects.filter(sync="synced").count() == sum(
            name in self.model.main and position == self.last(name) for name, position in self.model.applied.items()
        )

    def last(self, name):
        return max(item.position for item in self.model.items if name in item.boxes)

    @invariant()
    def runs_are_counted_and_at_most_one_is_open(self):
        assert Run.objects.count() == sum(item.fence for item in self.model.items)
        opened = Run.objects.filter(state__in=("starting", "running")).values_list("item__position", flat=True)
        assert list(opened) == [item.position for item in self.model.items if item.state == "running"]
        assert WorkItem.objects.exclude(lease_until=None).count() == len(opened)

    def end_everything(self):
        """P1 and P3: tried again until all is well, the shelf is what main says, and nothing is left to do."""
        for _ in range(100):
            self.job_comes()
            if self.running:
                self.run_ends(set())
            elif not any(item.state in OPEN for item in self.model.items):
                ended = [item for item in self.model.items if item.state in AGAIN]
                if not ended:
                    break
                retry(self.row(ended[0]), self.olga)
                self.model.retried(ended[0])
        assert self.model.shelf == self.model.main
        self.rows_are_as_the_model_says()
        assert {item.state for item in self.model.items} <= {"succeeded", "superseded"}
        assert claim(SHELF, worker="w") is None


def everything():
    tables = (WorkItem, Run, ItemResource, Resource, Event, Commit)
    return [list(table.objects.order_by("pk").values()) for table in tables]


@pytest.fixture
def work(db, settings, monkeypatch):
    """The machine, in a directory of its own; the database forgets every example."""
    settings.MERGEYARD_CATALOG = [CATALOG]
    settings.MERGEYARD_MAX_ATTEMPTS = MOST
    monkeypatch.setattr(queues, "wake", lambda: False)
    catalogs.catalog.cache_clear()
    Work.directory = Path(tempfile.mkdtemp(prefix="model-")).resolve()
    Work.settings = settings
    yield Work
    catalogs.catalog.cache_clear()
    shutil.rmtree(Work.directory)


EXAMPLES = {
    "max_examples": 15,
    "stateful_step_count": 25,
    "deadline": None,
    "derandomize": True,
    "database": None,
    "suppress_health_check": list(HealthCheck),
}


@pytest.mark.threat("faults.order", "faults.stopped-worker", "faults.controllers")
def test_work_items_do_what_the_model_says(work):
    run_state_machine_as_test(work, settings=settings(**EXAMPLES))


def test_a_fence_that_does_not_hold_would_be_found(work, monkeypatch):
    """The test above is worth something: with writes that do not ask whose claim it is, it fails."""
    monkeypatch.setattr(Claim, "ours", property(lambda self: Q()))
    only_look = settings(**EXAMPLES, phases=[Phase.generate], report_multiple_bugs=False, print_blob=False)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        run_state_machine_as_test(work, settings=only_look)
