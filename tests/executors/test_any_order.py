"""Merges, runs, failures, cancels, retries and deaths in any order: real rows, and shelves that are dictionaries.

Of four boxes on two shelves each may depend on those before it. Whatever happens, commits are applied in order per box,
nothing is taken away while earlier work still is to drop its reference, and in the end the shelves are as main says.
"""

import contextlib
import json
import shutil
import tempfile
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from changes import catalog as catalogs
from changes.repository import state
from executors import order, queues, results
from executors.actions import Refused, cancel, retry
from executors.claim import claim, outdated
from executors.discovery import discover, initialise, reapply
from executors.events import Stale
from executors.models import Commit, Cursor, ItemResource, Resource, Rollout, WorkItem
from executors.reconcile import take_over
from executors.results import End, Result
from executors.states import ITEM_OPEN, ITEM_RETRYABLE, ItemState, ResultState, RunState
from tests.executors.conftest import CATALOG, SHELVES, Yard, box, document

BOXES = (("a1", "shelf-a"), ("b1", "shelf-b"), ("a2", "shelf-a"), ("b2", "shelf-b"))
NUMBERS = st.integers(0, len(BOXES) - 1)
PUT = st.tuples(st.just("put"), NUMBERS, st.sets(NUMBERS), st.integers(0, 1))
DROP = st.tuples(st.just("drop"), NUMBERS)
SHELF = st.sampled_from(SHELVES)
MERGE = st.one_of(
    st.tuples(st.just("merge"), st.lists(st.one_of(DROP, PUT), min_size=1, max_size=2)),
    st.tuples(st.just("merge"), st.lists(DROP, min_size=1, max_size=1)),
)
STEPS = st.lists(
    st.one_of(
        *(MERGE, MERGE, MERGE),
        st.tuples(st.just("begin"), SHELF),
        st.tuples(st.just("end"), SHELF, st.sets(NUMBERS)),
        st.tuples(st.just("lose"), SHELF, st.booleans()),
        st.tuples(st.just("cancel"), st.integers(0, 20)),
        st.tuples(st.just("retry"), st.integers(0, 20)),
        st.tuples(st.just("reapply"), SHELF),
    ),
    max_size=10,
)
FIRST = st.tuples(
    st.just(set()), *(st.one_of(st.just({one}), st.sets(st.integers(0, one))) for one in range(len(BOXES) - 1))
)


class Undo(Exception):
    """The end of an example: nothing of it is kept."""


class World:
    """Main as it should be, the shelves as they are, and the steps that change them."""

    def __init__(self, yard):
        self.yard, self.user = yard, yard.user("olga")
        self.main = {}  # number -> (native name, size, numbers it depends on)
        self.shelves = {}  # (shelf, native name) -> (size, what it depends on likewise)
        self.applied = Counter()  # (shelf, native name) -> position
        self.claims = {}
        self.size = 0

    def start_with(self, needs_of):
        """All four boxes, on main and on their shelves."""
        self.merge(*(("put", number, needs, 0) for number, needs in enumerate(needs_of)))
        for model in (WorkItem, Rollout, Resource, Cursor, Commit):
            model.objects.all().delete()
        initialise(self.yard.repository.head(), applied=True)
        keys = {number: (BOXES[number][1], name) for number, (name, _, _) in self.main.items()}
        for number, (_, size, needs) in self.main.items():
            self.shelves[keys[number]] = size, frozenset(keys[need] for need in needs)

    # People

    def merge(self, *wishes):
        wanted = dict(self.main)
        for verb, number, *rest in wishes:
            self.size += 1
            if verb == "drop":
                wanted.pop(number, None)
            else:
                needs, name = rest
                wanted[number] = (f"{BOXES[number][0]}-{name}", self.size, {one for one in needs if one < number})
        if any(need not in wanted for _, _, needs in wanted.values() for need in needs):
            return  # a check refuses it
        changes = {n: wanted.get(n) for n in range(len(BOXES)) if wanted.get(n) != self.main.get(n)}
        if changes:
            self.main = wanted
            self.yard.merge({box(*BOXES[number]): self.text(thing) for number, thing in changes.items()})
            discover()

    def text(self, thing):
        if thing is None:
            return None
        name, size, needs = thing
        depends = [f"payments/{shelf}/Box/{name}" for name, shelf in (BOXES[need] for need in sorted(needs))]
        return document("Box", name=name, size=size, depends_on=depends)

    def cancel(self, which):
        self.act(cancel, which, Q(state__in=ITEM_OPEN))

    def retry(self, which):
        self.act(retry, which, Q(state__in=ITEM_RETRYABLE))

    def act(self, verb, which, items):
        found = list(WorkItem.objects.filter(items).order_by("pk"))
        if found:
            with contextlib.suppress(Refused):
                verb(found[which % len(found)], self.user)

    def reapply(self, shelf):
        reapply(shelf, "Once more.")

    # Workers

    def begin(self, shelf):
        claimed = claim(shelf, worker="w") if shelf not in self.claims else None
        if claimed is None:
            return False
        rows, late = outdated(claimed.item)
        results.supersede(claimed, [row.path for row in late])
        for row in rows:
            self.check_begin(claimed.item, row)
        results.start(claimed)
        self.claims[shelf] = claimed, rows
        return True

    def end(self, shelf, failing=()):
        if shelf not in self.claims:
            return
        claimed, rows = self.claims.pop(shelf)
        names = {BOXES[number][0] for number in failing}
        found = {row.path: ResultState.FAILED if Path(row.path).stem in names else self.apply(row) for row in rows}
        if WorkItem.objects.get(pk=claimed.item.pk).cancel_requested:
            how = ItemState.CANCELLED, RunState.CANCELLED
        elif ResultState.FAILED in found.values():
            how = ItemState.FAILED, RunState.FAILED
        else:
            how = ItemState.SUCCEEDED, RunState.SUCCEEDED
        results.finish(claimed, End(*how, "It ended.", {path: Result(one) for path, one in found.items()}))

    def lose(self, shelf, after_the_work):
        """A worker dies before or after its play did everything; nothing of it is recorded."""
        if shelf not in self.claims:
            return
        claimed, rows = self.claims.pop(shelf)
        if after_the_work:
            [self.apply(row) for row in rows]
        WorkItem.objects.filter(pk=claimed.item.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
        take_over()
        with pytest.raises(Stale):
            results.start(claimed)

    def apply(self, row):
        key = self.key(row)
        assert row.item.position >= self.applied[key], f"an older commit is applied over a later one: {row.path}"
        self.applied[key] = row.item.position
        if row.operation == "delete":
            self.shelves.pop(key, None)
        else:
            self.shelves[key] = self.read(row)
        return ResultState.CHANGED

    def read(self, row):
        data = json.loads(state().read_blob(row.blob))
        needs = data.get("depends_on", [])
        at = dict(zip(needs, map(self.native, needs), strict=True))
        return data["spec"]["size"], frozenset(at.values())

    def native(self, short):
        """Under which name main has, or last had, a box that a document depends on."""
        _, shelf, _, name = short.split("/")
        row = Resource.objects.filter(path=box(name, shelf)).latest("commit__position", "pk")
        return self.key(row)

    def key(self, row):
        return row.path.split("/")[2], json.loads(row.identity)["name"]

    def check_begin(self, item, row):
        key = self.key(row)
        if row.operation == "delete":
            concerned = [one for one, (_, needs) in self.shelves.items() if key in needs]
            what = "is taken away while earlier work on what refers to it is open"
        else:
            concerned = self.read(row)[1]
            what = "is put while earlier work on what it depends on is open"
        for shelf, name in concerned:
            open_ones = ItemResource.objects.filter(item__state__in=ITEM_OPEN, item__system=shelf)
            earlier = open_ones.filter(identity=json.dumps({"name": name}, separators=(",", ":")))
            earlier = earlier.filter(
                Q(item__position__lt=item.position)
                | Q(item__rollout=item.rollout, item__wave__lt=item.wave)
                | Q(item__position=item.position, item__rollout__lt=item.rollout_id)
            )
            assert not earlier.exists(), f"{row.path} {what}: {name}"

    # The end

    def settle(self, shelves):
        """Everything that can be done is done, what ended badly is tried again, until nothing is left."""
        for shelf in SHELVES:
            self.end(shelf)
        open_ones = WorkItem.objects.filter(state__in=ITEM_OPEN)
        for _ in range(200):
            before = open_ones.count()
            worked = [self.work(shelf) for shelf in shelves]  # or it ended without a run
            if not any(worked) and open_ones.count() == before and not self.try_again():
                break
        assert not open_ones.exists(), "something waits for ever"
        wanted = {(BOXES[number][1], name): size for number, (name, size, _) in self.main.items()}
        assert {key: size for key, (size, _) in self.shelves.items()} == wanted

    def work(self, shelf):
        if not self.begin(shelf):
            return False
        self.end(shelf)
        return True

    def try_again(self):
        for item in WorkItem.objects.filter(state__in=ITEM_RETRYABLE).order_by("position", "wave", "pk"):
            with contextlib.suppress(Refused):
                retry(item, self.user)
                return True
        return False


@pytest.fixture
def play(db, settings, monkeypatch):
    """Play one example in a repository of its own; the database forgets it."""
    root = Path(tempfile.mkdtemp(prefix="order-")).resolve()
    settings.MERGEYARD_CATALOG = [CATALOG]
    monkeypatch.setattr(queues, "wake", lambda: False)
    catalogs.catalog.cache_clear()

    def play(first, steps, shelves):
        directory = Path(tempfile.mkdtemp(dir=root))
        settings.MERGEYARD_REPOSITORY = directory / "state.git"
        with contextlib.suppress(Undo), transaction.atomic():
            world = World(Yard(directory))
            world.start_with(first)
            for verb, *rest in steps:
                getattr(world, verb)(*(rest[0] if verb == "merge" else rest))
            world.settle(shelves)
            raise Undo
        shutil.rmtree(directory)

    yield play
    catalogs.catalog.cache_clear()
    shutil.rmtree(root)


EXAMPLES = {
    "deadline": None,
    "derandomize": True,
    "database": None,
    "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
}


@pytest.mark.threat("faults.order")
@settings(max_examples=100, **EXAMPLES)
@given(first=FIRST, steps=STEPS, shelves=st.permutations(SHELVES))
def test_whatever_happens_in_whatever_order_the_end_is_what_main_says(play, first, steps, shelves):
    play(first, steps, shelves)


def test_a_lost_order_of_deletions_would_be_found(play, monkeypatch):
    """The test above is worth something: without the references that items leave behind it fails."""
    monkeypatch.setattr(order, "_references", lambda keys, others: set())

    @settings(max_examples=100, phases=[Phase.generate], report_multiple_bugs=False, **EXAMPLES)
    @given(steps=st.lists(MERGE, min_size=2, max_size=6), shelves=st.permutations(SHELVES))
    def look(steps, shelves):
        play((set(), {0}, {1}, {2}), steps, shelves)

    with pytest.raises(AssertionError, match="is taken away while earlier work on what refers to it is open"):
        look()
