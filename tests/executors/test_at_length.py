"""What takes its time whatever one does: a lease that has to run out by itself, and a run that prints very much."""

import json
import signal
import time
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from executors.models import Event, Process, Run, WorkItem
from tests.bench.lines import flaws
from tests.executors.conftest import box, document
from tests.executors.test_processes import machine, own_queue, until

__all__ = ["machine", "own_queue"]

LINES = 150_000
WITHIN = timedelta(seconds=60)  # after which the work of a dead worker runs again at the latest


def on(system):
    return WorkItem.objects.filter(system=system).latest("pk")


@pytest.mark.stack
@pytest.mark.threat("faults.kill-worker", "worker.leftovers", "web.long-run")
def test_a_dead_workers_work_runs_again_in_a_minute_and_a_run_of_many_lines_loses_none_and_slows_nobody(yard, machine):
    """At once, as the one has to wait for the other: the lease is the real one, of 30 seconds."""
    other = yard.directory / "shelf-c"
    other.mkdir(exist_ok=True)
    declared = {"type": "shelf", "owners": ["shelves"], "connection": {"directory": str(other)}}
    workers = [machine.start("worker") for _ in range(3)]
    until(lambda: Process.objects.filter(sort="worker").count() == len(workers))
    yard.merge({"systems/shelf-c.yml": json.dumps(declared)})
    yard.merge({box("slow"): document("Box", trouble="slow 4")})
    until(yard.sleepers)
    [dead] = [worker for worker in workers if Run.objects.get().worker.endswith(f":{worker.pid}")]
    died = timezone.now()
    dead.send_signal(signal.SIGKILL)
    until(lambda: not yard.sleepers(), within=5)
    assert yard.stored("slow") is None

    yard.merge({box("chatty", "shelf-b"): document("Box", trouble=f"pour {LINES}")})
    until(lambda: Event.objects.filter(run__item__system="shelf-b").exists())
    yard.merge({box("short", "shelf-c"): document("Box")})
    until(lambda: WorkItem.objects.filter(system="shelf-c", state="succeeded").exists())
    assert on("shelf-b").state == "running"  # it still pours
    until(lambda: on("shelf-b").state == "succeeded")
    run = Run.objects.get(item=on("shelf-b"))
    printed = yard.events(run)
    assert flaws([event.text for event in printed], LINES) == {"lost": 0, "doubled": 0, "out of order": 0}
    client = Client()
    client.force_login(yard.user("rita"))
    address = f"/rollouts/{run.item.rollout_id}/"
    client.get(address)
    begun = time.monotonic()
    page = client.get(address, {"item": run.item_id}).content
    assert time.monotonic() - begun < 2
    assert f"line {LINES - 1}" in page.decode()
    assert len(page) < 2_000_000

    until(lambda: on("shelf-a").state == "succeeded")
    first, second = on("shelf-a").runs.order_by("number")
    assert (first.state, second.state) == ("interrupted", "succeeded")
    assert timedelta(seconds=20) < second.started_at - died < WITHIN
    assert yard.stored("slow") is not None
    until(lambda: not yard.attempts())


@pytest.mark.parametrize(
    ("printed", "found"),
    [
        (["line 0", "TASK", "line 1", "line 2"], (0, 0, 0)),
        (["line 0", "line 2"], (1, 0, 0)),
        (["line 0", "line 1", "line 1", "line 2"], (0, 1, 0)),
        (["line 0", "line 2", "line 1"], (0, 0, 1)),
    ],
)
def test_a_line_that_is_lost_doubled_or_out_of_order_is_seen(printed, found):
    assert tuple(flaws(printed, 3).values()) == found
