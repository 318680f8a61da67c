"""The runner's process that a waiting worker keeps ready."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from executors import jobs
from executors.ansible import runners
from executors.ansible.runner_process import MAX_TEXT, Events
from tests.executors.conftest import box, document


@pytest.fixture(autouse=True)
def none_left():
    yield
    runners.end()


def ready():
    [process] = runners._ready
    return process


def test_a_waiting_worker_keeps_one_and_the_next_run_takes_it(yard):
    jobs.wait()
    process = ready()
    jobs.wait()
    assert ready() is process
    yard.roll_out({box("orders"): document("Box", size=5)})
    assert yard.stored("orders")["size"] == 5
    assert process.poll() is not None
    assert runners._ready == []


def test_it_knows_nothing_of_a_worker_and_is_nowhere(yard, monkeypatch):
    monkeypatch.setenv("WORKER_SECRET", "correct-horse-battery")
    jobs.wait()
    place = Path(f"/proc/{ready().pid}")
    while b"runner_process" not in (place / "cmdline").read_bytes():  # still the fork of this process
        time.sleep(0.01)
    assert (place / "environ").read_bytes().split(b"\0")[:-1] == [b"LANG=C.UTF-8"]
    assert os.readlink(place / "cwd") == "/"
    assert not yard.playing()


@pytest.mark.threat("worker.sees-host", "worker.limits")
def test_what_a_play_says_of_its_events_is_read_by_a_plain_name_and_within_bounds(tmp_path):
    folder, told = tmp_path / "job_events", []
    folder.mkdir()
    good = {"event": "runner_on_ok", "event_data": {"task": "Put boxes"}}
    for uuid, said in {"aa": good, "bb": [good], "cc": {**good, "event_data": 1}, "../dd": good}.items():
        (folder / f"{uuid}-partial.json").write_text(json.dumps(said))
    (folder / "ee-partial.json").write_text("[" * 100_000)
    (folder / "ff-partial.json").symlink_to("/dev/zero")
    os.mkfifo(folder / "0a-partial.json")
    events = Events(str(tmp_path), lambda **message: told.append(tuple(message.values())))
    for uuid in ("aa", "bb", "cc", "../dd", "ee", "ff", "0a", "0b", 7, None):
        events.take({"uuid": uuid, "stdout": "text"})
    events.take({"event": "verbose", "uuid": "aa", "stdout": "x" * (MAX_TEXT + 1)})
    nothing = ("", "text", "")
    assert told[:3] == [("runner_on_ok", "text", "Put boxes"), nothing, ("runner_on_ok", "text", "")]
    assert told[3:] == [
        *[nothing] * 7,
        ("verbose", "It printed 8000001 characters in one piece; they are left out.", ""),
    ]
    assert (tmp_path / "dd-partial.json").exists()


@pytest.mark.parametrize("again", [jobs.wait, lambda: None], ids=["noticed", "not noticed"])
def test_one_that_was_killed_is_not_taken(yard, again):
    jobs.wait()
    process = ready()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    again()
    yard.roll_out({box("orders"): document("Box", size=5)})
    assert [item.state for item in yard.items()] == ["succeeded"]


def test_it_ends_with_the_process_that_keeps_it():
    code = (
        "from executors.ansible import runners; runners.keep_ready(); print(runners._ready[0].pid, flush=True); input()"
    )
    keeper = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    place = Path(f"/proc/{int(keeper.stdout.readline())}")
    while b"runner_process" not in (place / "cmdline").read_bytes():
        time.sleep(0.01)
    keeper.kill()
    keeper.communicate()
    limit = time.monotonic() + 10
    while not ended(place):
        assert time.monotonic() < limit
        time.sleep(0.01)


def ended(place):
    try:
        return (place / "stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True
