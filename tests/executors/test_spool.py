"""What a run printed is on disk until the database has it, and then there once."""

import contextlib
import json
import math
import time

import pytest
from django.db import DataError, InternalError, OperationalError, transaction
from django.utils import timezone

from executors import event_writer, events, jobs, queues, spool
from executors.claim import claim
from executors.event_writer import EventWriter
from executors.events import as_entry, replay, stream_of
from executors.health import workers
from executors.models import Event, Process, Run
from executors.processes import WORKER, Presence
from executors.reconcile import reconcile, take_over
from executors.secrets import Masker
from tests.executors.conftest import box, document
from tests.executors.test_claim import lose


@pytest.fixture
def claimed(yard):
    yard.merge({box("orders"): document("Box")})
    while reconcile():
        pass
    return claim("shelf-a", worker="w")


@pytest.fixture
def writer(claimed):
    return EventWriter(claimed.run, mask=Masker(["s3cret value"]))


@pytest.fixture
def away(monkeypatch):
    """The database cannot be reached by those who write events, until this is set."""
    back = []

    @contextlib.contextmanager
    def atomic():
        if not back:
            raise OperationalError("the database is away")
        with transaction.atomic():
            yield

    monkeypatch.setattr(event_writer, "transaction", type("Away", (), {"atomic": staticmethod(atomic)}))
    return back


def files(yard):
    return sorted(path.name for path in (yard.directory / "spool").glob("*"))


def texts():
    return list(Event.objects.order_by("number").values_list("number", "text"))


def lines(count):
    return [(number + 1, f"line {number}") for number in range(count)]


def die(writer):
    """As a killed worker leaves it: nothing more is stored, and nobody holds the file."""
    writer.abandon()
    writer._arrived.set()
    writer._due.set()
    for thread in writer._threads:
        thread.join()
    writer._hand_on(writer._unsent)
    writer._spool.close()


@pytest.mark.threat("faults.database-gone")
def test_a_database_that_is_away_stops_no_play_and_gets_everything_when_it_is_back(yard, writer, away):
    count = event_writer.MAX_HELD + 5000
    for number in range(count):
        writer.write("line", text=f"line {number}")
    assert Event.objects.count() == 0
    with pytest.raises(OperationalError):
        writer.finish()
    assert files(yard) == [f"{writer.run.pk}.jsonl"]
    away.append(True)
    writer.finish()
    writer.close()
    assert texts() == lines(count)
    assert files(yard) == []


@pytest.mark.threat("faults.database-commit")
def test_a_bulk_whose_commit_held_although_the_connection_broke_is_stored_once(yard, writer, monkeypatch):
    broken = []

    @contextlib.contextmanager
    def atomic():
        with transaction.atomic():
            yield
        if not broken:
            broken.append(Event.objects.count())
            raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(event_writer, "transaction", type("Cut", (), {"atomic": staticmethod(atomic)}))
    writer.write("line", text="line 0")
    while not broken:
        time.sleep(0.01)
    for number in range(1, 5):
        writer.write("line", text=f"line {number}")
    writer.finish()
    writer.close()
    assert broken == [1]
    assert (texts(), Run.objects.get().events, files(yard)) == (lines(5), 5, [])


def test_nothing_unmasked_lies_on_the_disk_and_nobody_else_may_read_it(yard, writer, away):
    writer.write("line", text="it is s3cret value", data={"deep": ["s3cret value"]})
    die(writer)
    [path] = (yard.directory / "spool").iterdir()
    assert b"s3cret value" not in path.read_bytes()
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


@pytest.mark.threat("faults.kill-worker")
@pytest.mark.parametrize("streamed", [0, 7, 20])
def test_what_a_dead_worker_had_heard_is_stored_once_when_its_run_is_ended(yard, claimed, writer, away, streamed):
    for number in range(20):
        writer.write("line", text=f"line {number}")
    die(writer)
    for number in range(streamed, 20):
        queues.redis().xdel(stream_of(claimed.run.pk), f"{number + 1}-0")
    away.append(True)
    assert not replay()  # it may still be running, on a worker that is slow
    assert texts() == []
    lose(claimed.item)
    assert take_over()
    assert texts() == lines(streamed)
    assert replay()
    assert not replay()
    assert texts() == lines(20)
    run = Run.objects.get(pk=claimed.run.pk)
    assert (run.state, run.events, files(yard)) == ("interrupted", 20, [])


def test_what_is_left_of_a_run_that_is_not_known_is_removed(yard, writer, away):
    writer.write("line", text="line 0")
    die(writer)
    spool.Spool(writer.run.pk + 1000).append([b"{}"])
    Run.objects.all().delete()
    assert replay()
    assert files(yard) == [f"{writer.run.pk + 1000}.jsonl"]  # somebody alive holds it


@pytest.mark.parametrize("last", [b'{"run": 1, "num', b"[]", b"", b'{"number": 3}'])
def test_a_line_that_is_not_whole_ends_what_is_stored(yard, claimed, writer, away, last):
    for number in range(3):
        writer.write("line", text=f"line {number}")
    die(writer)
    [path] = (yard.directory / "spool").iterdir()
    path.write_bytes(b"\n".join([*path.read_bytes().splitlines()[:2], last]))
    queues.redis().flushall()
    away.append(True)
    lose(claimed.item)
    take_over()
    assert replay()
    assert texts() == lines(2)


@pytest.mark.threat("worker.reports")
@pytest.mark.parametrize(
    ("error", "left", "stored"),
    [
        (DataError, "refused", ["1"]),
        (RuntimeError, "refused", ["1"]),
        (OperationalError, "jsonl", ["0", "1"]),
        (InternalError, "jsonl", ["0", "1"]),  # as of a database that became read-only
    ],
)
def test_a_file_that_cannot_be_stored_does_not_keep_the_next_ones(yard, monkeypatch, error, left, stored):
    yard.merge({box("orders"): document("Box"), box("refunds", "shelf-b"): document("Box")})
    while reconcile():
        pass
    runs = [claim(shelf, worker="w").run for shelf in ("shelf-a", "shelf-b")]
    for number, run in enumerate(runs):
        file = spool.Spool(run.pk)
        event = Event(run=run, number=1, sort="line", text=str(number), at=timezone.now(), data=[math.nan])
        file.append([json.dumps(as_entry(event)).encode()])
        file.close()
    Run.objects.update(state="interrupted")

    def refuse(run, lines, keep=events.keep):
        if run == runs[0]:
            raise error("no")
        keep(run, lines)

    monkeypatch.setattr(events, "keep", refuse)
    assert replay()
    assert (files(yard), list(Event.objects.values_list("data", flat=True))) == ([f"{runs[0].pk}.{left}"], [["NaN"]])
    monkeypatch.undo()
    replay()
    assert list(Event.objects.order_by("text").values_list("text", flat=True)) == stored


@pytest.mark.threat("faults.disk-spool")
@pytest.mark.parametrize("megabytes", [0, 1])
def test_without_room_on_the_disk_they_wait_in_memory_in_their_order(yard, writer, away, settings, megabytes):
    settings.MERGEYARD_SPOOL_MB = megabytes
    for number in range(300):
        writer.write("line", text=f"{number} {'x' * 5000}")
    away.append(True)
    writer.finish()
    writer.close()
    assert [text.split()[0] for _, text in texts()] == [str(number) for number in range(300)]
    assert files(yard) == []


@pytest.mark.threat("faults.disk-spool")
def test_a_worker_whose_spool_is_full_takes_no_work_and_the_pages_say_why(yard, settings):
    yard.merge({box("orders"): document("Box")})
    while reconcile():
        pass
    settings.MERGEYARD_SPOOL_MB = 1
    (yard.directory / "spool").mkdir()
    large = yard.directory / "spool" / "kept.jsonl"
    large.write_bytes(b"x" * 1_000_001)
    jobs.run_system("shelf-a")
    assert not Run.objects.exists()
    presence = Presence(WORKER, zone="default", trouble=spool.trouble)
    presence.here()
    said = Process.objects.get().trouble
    assert said.startswith(f"The directory {yard.directory / 'spool'} has no room for what runs print, so no work is")
    assert (workers()[0].state, workers()[0].sentence) == ("bad", f"{Process.objects.get().name}: {said}")
    large.unlink()
    jobs.run_system("shelf-a")
    assert yard.items()[0].state == "succeeded"


def test_the_file_of_a_run_that_prints_very_much_stays_small(yard, writer):
    for number in range(20_000):
        writer.write("line", text=f"line {number}")
    writer.finish()
    assert writer._spool.path.stat().st_size < 20_000 * 40
    writer.close()
    assert texts() == lines(20_000)
    assert json.dumps(files(yard)) == "[]"


def test_a_host_where_nothing_was_made_yet_is_not_full(settings, tmp_path):
    settings.MERGEYARD_SPOOL_DIR = tmp_path / "no" / "home" / "yet"
    assert spool.trouble() == ""
