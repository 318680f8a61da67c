"""The controller and the worker as processes, killed and starved of their queue."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.db import connection

from executors.models import Commit, Cursor, Process, Rollout, Run, WorkItem
from tests.executors.conftest import box, document
from tests.servers import start_valkey

pytestmark = pytest.mark.stack


def until(condition, within=60):
    limit = time.monotonic() + within
    while not condition():
        assert time.monotonic() < limit, f"it did not happen in time: {stands()}"
        time.sleep(0.05)


def stands():
    """How all work stands, for whoever reads why something did not happen."""
    quarantined = list(Commit.objects.filter(quarantined=True).values_list("sha", flat=True))
    items = [(item.pk, item.system, item.state, item.reason) for item in WorkItem.objects.order_by("pk")]
    runs = [(run.item_id, run.number, run.state, run.error) for run in Run.objects.order_by("pk")]
    return f"items {items}, runs {runs}, quarantined {quarantined}"


class Machine:
    def __init__(self, yard, settings, url):
        name = connection.settings_dict["NAME"]
        sqlite = connection.vendor == "sqlite"
        self.log = (yard.directory / "log").open("ab")
        self.running = []
        self.environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "MERGEYARD_DATABASE_URL": f"sqlite:///{name}" if sqlite else f"postgres:///{name}",
            "MERGEYARD_REDIS_URL": url,
            "MERGEYARD_REPOSITORY": str(settings.MERGEYARD_REPOSITORY),
            "MERGEYARD_CATALOG": ",".join(map(str, settings.MERGEYARD_CATALOG)),
            "MERGEYARD_LOCAL_PATHS": ",".join(map(str, settings.MERGEYARD_LOCAL_PATHS)),
            "MERGEYARD_ATTEMPTS_DIR": str(settings.MERGEYARD_ATTEMPTS_DIR),
            "MERGEYARD_SECRETS_DIR": str(settings.MERGEYARD_SECRETS_DIR),
            "MERGEYARD_SPOOL_DIR": str(settings.MERGEYARD_SPOOL_DIR),
        }

    def start(self, *command, tree=None):
        return self._start("manage.py", *command, cwd=tree or Path(django_settings.BASE_DIR))

    def serve(self, tree=None):
        """The pages as a process: their address, which takes requests at once."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            number = listener.fileno()
            command = ["-m", "uvicorn", "portal.asgi:application", "--fd", str(number), "--lifespan", "off"]
            self._start(*command, cwd=tree or Path(django_settings.BASE_DIR), pass_fds=[number])
            return f"http://127.0.0.1:{listener.getsockname()[1]}"

    def _start(self, *command, **more):
        environment = {"env": self.environment, "stdout": self.log, "stderr": self.log}
        self.running.append(subprocess.Popen([sys.executable, *command], **environment, **more))
        return self.running[-1]

    def stop(self):
        for process in self.running:
            process.kill()
            process.wait()
        self.log.close()


@pytest.fixture
def own_queue(yard, settings):
    server = start_valkey(yard.directory / "queue")
    yield server
    server.stop()


@pytest.fixture
def machine(yard, settings, own_queue):
    machine = Machine(yard, settings, own_queue.url)
    machine.start("controller", "--interval", "1")
    yield machine
    machine.stop()


def states():
    return [item.state for item in WorkItem.objects.order_by("pk")]


def stop(worker):
    """Not in the middle of a transaction: SQLite would let nobody else write."""
    worker.send_signal(signal.SIGSTOP)
    if connection.vendor == "sqlite":
        with closing(sqlite3.connect(connection.settings_dict["NAME"], timeout=0.2)) as other:
            try:
                other.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                worker.send_signal(signal.SIGCONT)
                time.sleep(0.05)
                stop(worker)


@pytest.mark.threat("faults.stopped-worker")
@pytest.mark.parametrize("containment", ["auto", "off"])
def test_the_play_of_a_stopped_worker_is_dead_before_another_one_starts(yard, machine, containment):
    """Stopped is not dead: its play would go on, its thread that watches the lease would not."""
    machine.environment |= {"MERGEYARD_CONTAINMENT": containment, "MERGEYARD_UNCONTAINED": "*"}
    machine.environment |= {"MERGEYARD_TEST_RENEW_WITHIN_SECONDS": "4", "MERGEYARD_TEST_LEASE_SECONDS": "9"}
    stopped = machine.start("worker")
    yard.merge({box("slow"): document("Box", trouble="slow 50")})
    until(yard.sleepers)
    assert yard.playing()
    stop(stopped)
    until(lambda: not yard.sleepers(), within=8)
    assert not yard.playing()
    assert [run.state for run in Run.objects.all()] == ["running"]
    machine.start("worker")
    until(yard.sleepers)
    stopped.send_signal(signal.SIGCONT)
    until(lambda: "Nothing of it is recorded" in (yard.directory / "log").read_text())
    assert [run.state for run in Run.objects.order_by("number")] == ["interrupted", "running"]
    assert states() == ["running"]
    assert yard.sleepers()


@pytest.mark.threat("faults.sigterm")
def test_a_worker_that_is_told_to_stop_ends_its_run_first(yard, machine):
    worker = machine.start("worker")
    yard.merge({box("slow"): document("Box", trouble="slow 3")})
    until(yard.sleepers)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=30) == 0
    assert states() == ["succeeded"]
    assert [run.state for run in Run.objects.all()] == ["succeeded"]


@pytest.mark.threat("faults.sigterm-twice")
def test_a_worker_that_is_told_twice_to_stop_gives_its_item_back(yard, machine):
    before = yard.processes("attempts")  # sandboxes of the tests' own
    worker = machine.start("worker")
    yard.merge({box("slow"): document("Box", trouble="slow 50")})
    until(yard.sleepers)
    worker.send_signal(signal.SIGTERM)
    time.sleep(1.2)  # the queue's worker takes a second signal within a second for an echo of the first
    worker.send_signal(signal.SIGTERM)
    worker.wait(timeout=20)
    assert not yard.sleepers()
    assert Run.objects.latest("pk").state == "interrupted"
    item = WorkItem.objects.get()
    assert item.state in ("waiting", "queued")
    assert item.attempts == 0
    assert set(yard.processes("attempts")) <= set(before)


@pytest.mark.threat("faults.sigterm")
def test_a_controller_that_is_told_to_stop_ends_its_pass_and_the_next_one_goes_on(yard, machine):
    machine.running[0].kill()
    machine.running[0].wait()
    for number in range(12):
        yard.merge({box(f"one-{number}"): document("Box")})
    stopped = machine.start("controller", "--interval", "1")
    until(lambda: Commit.objects.count() > 2)  # in the middle of its first pass
    stopped.send_signal(signal.SIGTERM)
    assert stopped.wait(timeout=30) == 0
    assert not Process.objects.filter(name__endswith=f":{stopped.pid}").exists()
    assert Commit.objects.latest("position").sha == Cursor.objects.get().sha
    assert Rollout.objects.count() == Commit.objects.count() - 1
    machine.start("controller", "--interval", "1")
    until(lambda: states() == ["queued"] * 12)


@pytest.mark.threat("faults.redis-killed", "faults.redis-gone")
def test_a_queue_that_dies_in_the_middle_of_a_run_loses_nothing(yard, machine, own_queue):
    worker = machine.start("worker")
    yard.merge({box("slow"): document("Box", trouble="slow 3")})
    until(yard.sleepers)
    own_queue.stop()
    until(lambda: states() == ["succeeded"])
    yard.merge({box("later"): document("Box")})
    until(lambda: states() == ["succeeded", "queued"])
    own_queue.start()
    until(lambda: states() == ["succeeded", "succeeded"])
    assert worker.poll() is None
    events = yard.events(Run.objects.order_by("pk").first())
    assert [event.number for event in events] == list(range(1, len(events) + 1))
