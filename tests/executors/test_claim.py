"""One worker at a time: claims, leases, fences, take-over."""

import json
import threading
from datetime import timedelta

import pytest
from django.db import DataError, OperationalError, connection
from django.db.models import Q
from django.utils import timezone

from changes.models import Transition
from executors import claim as claim_module
from executors import events, queues
from executors import reconcile as reconcile_module
from executors.claim import claim, interrupt, move_if, renew
from executors.event_writer import EventWriter
from executors.events import Stale, as_entry, left_in_stream, stream_of
from executors.models import Event, ItemResource, Run, WorkItem
from executors.reconcile import reconcile, release, take_over
from executors.results import End, Result, finish, set_out, supersede
from executors.secrets import Masker
from executors.states import ItemState, ResultState, RunState
from tests.executors.conftest import box, document

GOOD = End(ItemState.SUCCEEDED, RunState.SUCCEEDED, "Done.", {box("orders"): Result(ResultState.CHANGED)})


@pytest.fixture
def waiting(yard):
    yard.merge({box("orders"): document("Box")})
    while reconcile():
        pass
    return yard


def lose(item):
    WorkItem.objects.filter(pk=item.pk).update(lease_until=timezone.now() - timedelta(seconds=1))


@pytest.mark.threat("faults.controllers")
def test_only_one_of_many_workers_gets_the_item(waiting):
    claims = []

    def try_it(number):
        claims.append(claim("shelf-a", worker=f"worker-{number}"))
        connection.close()

    threads = [threading.Thread(target=try_it, args=(number,)) for number in range(6)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len([one for one in claims if one]) == 1
    assert Run.objects.count() == 1


def test_a_claim_counts_the_attempt_before_it_starts_and_leaves_a_row(waiting):
    claimed = claim("shelf-a", worker="w")
    item = WorkItem.objects.get()
    assert (item.state, item.attempts, item.fence) == ("running", 1, 1)
    assert timedelta(seconds=25) < item.lease_until - timezone.now() < timedelta(seconds=31)
    rows = Transition.objects.filter(noun="workitem", noun_id=item.pk).order_by("pk")
    assert [row.after for row in rows] == ["queued", "running"]
    assert renew(claimed).held


def test_a_second_item_of_the_system_waits_for_the_first(waiting):
    waiting.merge({box("refunds"): document("Box")})
    reconcile()
    assert claim("shelf-a", worker="one") is not None
    assert claim("shelf-a", worker="two") is None


def test_an_item_is_taken_over_only_after_its_lease(waiting):
    claimed = claim("shelf-a", worker="w")
    assert not take_over()
    lose(claimed.item)
    assert take_over()
    item = WorkItem.objects.get()
    assert (item.state, item.reason) == ("waiting", "Its worker was not heard of for 30 seconds.")
    assert Run.objects.get().state == "interrupted"
    assert not take_over()


@pytest.mark.threat("faults.clock")
@pytest.mark.parametrize("hours", [-1, 1])
def test_a_lease_is_measured_by_the_databases_clock_alone(waiting, monkeypatch, hours):
    real = timezone.now
    monkeypatch.setattr(timezone, "now", lambda: real() + timedelta(hours=hours))
    claimed = claim("shelf-a", worker="w")
    assert timedelta(seconds=25) < claimed.item.lease_until - real() < timedelta(seconds=31)
    assert not take_over()
    assert renew(claimed).held
    WorkItem.objects.update(lease_until=real() - timedelta(seconds=1))
    assert take_over()


def printed(of, *numbers, **fields):
    """Lines of a run that reached the stream; its worker died before it stored them."""
    for number in numbers:
        event = Event(run=of, number=number, sort="line", task="Put", text=f"line {number}", at=timezone.now())
        entry = as_entry(event) | fields
        queues.redis().xadd(stream_of(of.pk), {"e": json.dumps(entry)}, id=f"{number}-0")


def numbers(run):
    return list(Event.objects.filter(run=run).order_by("number").values_list("number", flat=True))


@pytest.mark.threat("faults.kill-worker")
def test_what_a_dead_worker_printed_and_did_not_store_is_kept_up_to_the_first_gap(waiting):
    claimed = claim("shelf-a", worker="w")
    for number in (1, 2):
        Event.objects.create(run=claimed.run, number=number, sort="line", text=f"line {number}", at=timezone.now())
    printed(claimed.run, *range(1, 2500), *range(2502, 2510))
    lose(claimed.item)
    assert take_over()
    assert numbers(claimed.run) == list(range(1, 2500))
    run = Run.objects.get()
    assert (run.state, run.events) == ("interrupted", 2499)
    assert Event.objects.get(run=run, number=2499).text == "line 2499"


def test_without_a_queue_a_dead_workers_run_is_ended_all_the_same(waiting, settings):
    claimed = claim("shelf-a", worker="w")
    printed(claimed.run, 1)
    lose(claimed.item)
    settings.MERGEYARD_REDIS_URL = "unix:///nonexistent/queue.sock"
    assert take_over()
    assert (WorkItem.objects.get().state, numbers(claimed.run)) == ("waiting", [])


@pytest.mark.threat("worker.forged-job")
@pytest.mark.parametrize(
    "forged",
    [
        {"sort": "markup is more than ten letters"}, {"number": 7}, {"run": 999}, {"at": "2026-11-30T10:00:00"},
        {"at": "soon"}, {"at": "0001-01-01T00:00:00+23:59"}, {"text": None}, {"task": 5},
        {"data": json.loads("[" * 200 + "]" * 200)},
    ],
)  # fmt: skip
def test_what_is_no_event_of_the_run_is_not_kept(waiting, forged):
    claimed = claim("shelf-a", worker="w")
    printed(claimed.run, 1, text="\x1b[2Jclear", data={"before": float("nan")})
    printed(claimed.run, 2, **forged)
    printed(claimed.run, 3)
    lose(claimed.item)
    assert take_over()
    events = [(event.number, event.text, event.data) for event in Event.objects.all()]
    assert events == [(1, "clear", {"before": "NaN"})]


@pytest.fixture
def two(waiting):
    """Two runs whose workers died, with a line each."""
    waiting.merge({box("refunds", "shelf-b"): document("Box")})
    while reconcile():
        pass
    claims = [claim(shelf, worker="w") for shelf in ("shelf-a", "shelf-b")]
    for one in claims:
        printed(one.run, 1)
        lose(one.item)
    return claims


def test_lines_that_the_database_refuses_do_not_keep_a_run_open(two, monkeypatch):
    def refuse(run, left, keep=events.keep):
        keep(run, left)
        if run == two[0].run:
            raise DataError("the text is too long")

    monkeypatch.setattr(events, "keep", refuse)
    assert take_over()
    assert {item.state for item in WorkItem.objects.all()} == {"waiting"}
    assert [numbers(one.run) for one in two] == [[], [1]]


def test_a_run_that_cannot_be_taken_over_does_not_keep_the_others_from_it(two, monkeypatch):
    def break_off(run):
        if run == two[0].run:
            raise RecursionError
        return left_in_stream(run)

    monkeypatch.setattr(reconcile_module, "left_in_stream", break_off)
    assert take_over()
    assert [item.state for item in WorkItem.objects.order_by("pk")] == ["running", "waiting"]
    monkeypatch.undo()
    assert take_over()
    assert [numbers(one.run) for one in two] == [[1], [1]]


def test_an_item_that_cannot_be_released_does_not_keep_the_others_waiting(two, monkeypatch):
    take_over()

    def break_off(item, *rest, **fields):
        if item == two[0].item:
            raise RuntimeError("no")
        return move_if(item, *rest, **fields)

    monkeypatch.setattr(reconcile_module, "move_if", break_off)
    assert release()
    assert [item.state for item in WorkItem.objects.order_by("pk")] == ["waiting", "queued"]


def test_a_worker_that_was_only_slow_keeps_its_own_events(waiting):
    """Its lease had run out when the stream was read, and was renewed before the run could be ended."""
    claimed = claim("shelf-a", worker="w")
    printed(claimed.run, 1)
    left = left_in_stream(claimed.run)
    assert interrupt(claimed.item, why="Too late.", where=Q(pk=0), left=left) is None
    assert numbers(claimed.run) == []


@pytest.mark.threat("faults.stopped-worker")
def test_a_stale_worker_can_record_nothing(waiting):
    stale = claim("shelf-a", worker="stale")
    writer = EventWriter(stale.run, mask=Masker())
    lose(stale.item)
    take_over()
    fresh = claim("shelf-a", worker="fresh")
    assert fresh.run.fence == 2
    assert not renew(stale).held
    for write in (lambda: finish(stale, GOOD), lambda: supersede(stale, [box("orders")])):
        with pytest.raises(Stale):
            write()
    writer.write("line", text="too late")
    with pytest.raises(Stale):
        writer.finish()
    assert not Event.objects.exists()
    assert WorkItem.objects.get().state == "running"
    assert waiting.result(box("orders")).result == "pending"


@pytest.mark.threat("faults.stopped-worker")
def test_who_is_taken_over_at_the_moment_of_a_write_does_not_write(waiting):
    """Whatever was looked up before it."""
    claimed = claim("shelf-a", worker="w")

    def taken_over(execute, sql, *rest):
        if sql.startswith("UPDATE") and ItemResource._meta.db_table in sql:
            WorkItem.objects.update(fence=2)
        return execute(sql, *rest)

    with connection.execute_wrapper(taken_over), pytest.raises(Stale):
        supersede(claimed, [box("orders")])
    assert waiting.result(box("orders")).result == "pending"


@pytest.mark.parametrize(("since", "ours"), [("nothing", True), ("a deletion", False)])
def test_that_a_play_set_out_to_create_is_recorded_late_too_unless_something_was_applied_since(waiting, since, ours):
    stale = claim("shelf-a", worker="stale")
    lose(stale.item)
    take_over()
    if since == "a deletion":
        waiting.merge({box("orders"): None})
        waiting.work()
        assert waiting.resource(box("orders")).sync == "deleted"
    set_out(stale.item, list(stale.item.resources.all()))
    assert waiting.resource(box("orders")).ours == ours


@pytest.mark.threat("faults.database-commit")
def test_a_start_that_was_committed_although_its_answer_was_lost_leaves_no_open_run(waiting, monkeypatch):
    from executors import runs

    def cut(claim, **fields):
        Run.objects.filter(pk=claim.run.pk).update(state=RunState.RUNNING)
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(runs.results, "start", cut)
    runs.work_on(claim("shelf-a", worker="w"))
    assert (WorkItem.objects.get().state, Run.objects.get().state) == ("waiting", "errored")


@pytest.mark.threat("faults.stopped-worker")
def test_a_worker_that_was_stopped_within_its_claim_begins_no_play(waiting, settings, monkeypatch):
    """Its lease runs from the moment of the UPDATE, however late it hears that it has one."""
    from executors import runs

    monkeypatch.setattr(runs, "LOOK_SECONDS", 30.0)  # a renewal would let it go on, rightly
    stopped = [settings.MERGEYARD_RENEW_WITHIN_SECONDS + 1.0]  # seconds that lie between then and now
    monkeypatch.setattr(claim_module, "boot_time", lambda: runs.boot_time() - stopped[0])

    def stop(execute, sql, *rest):
        done = execute(sql, *rest)
        if sql.startswith("UPDATE") and WorkItem._meta.db_table in sql:
            stopped[0] = 0.0
        return done

    with connection.execute_wrapper(stop):
        claimed = claim("shelf-a", worker="w")
    assert stopped == [0.0]
    runs.work_on(claimed)
    assert (WorkItem.objects.get().state, waiting.stored("orders")) == ("running", None)
    assert not Event.objects.filter(sort__in=("line", "task")).exists()


@pytest.mark.threat("faults.poison")
def test_an_item_that_keeps_killing_its_workers_is_parked(waiting):
    for _ in range(3):
        lose(claim("shelf-a", worker="w").item)
        take_over()
    item = WorkItem.objects.get()
    assert item.state == "parked"
    assert "It was tried 3 times" in item.reason
    assert claim("shelf-a", worker="w") is None


@pytest.mark.threat("faults.database-gone")
def test_a_play_is_killed_when_its_lease_cannot_be_renewed(waiting, settings, monkeypatch):
    from executors import runs

    settings.MERGEYARD_RENEW_WITHIN_SECONDS = 1
    monkeypatch.setattr(runs, "renew", lambda claim: (_ for _ in ()).throw(runs.DatabaseError("away")))
    waiting.merge({box("slow", "shelf-b"): document("Box", trouble="slow 60")})
    reconcile()
    claimed = claim("shelf-b", worker="w")
    runs.work_on(claimed)
    assert WorkItem.objects.get(system="shelf-b").state == "running"  # until its lease has run out
    assert waiting.stored("slow", "shelf-b") is None
    assert waiting.result(box("slow", "shelf-b")).result == "pending"
