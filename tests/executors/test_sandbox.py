"""What a play sees of the worker's host, and that nothing of it lives on."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from executors import jobs, queues
from executors.actions import cancel
from executors.ansible import sandbox
from executors.ansible.attempt import Attempt, sweep
from executors.ansible.play import Play
from executors.ansible.runner_process import below
from executors.ansible.usage import Limits, beyond
from executors.models import Run, WorkItem
from tests.executors.conftest import box, document


@pytest.mark.threat("worker.sees-host")
def test_a_play_sees_nothing_of_the_worker(yard, monkeypatch):
    monkeypatch.setenv("MERGEYARD_SECRET_CANARY", "canary-of-the-worker")
    yard.roll_out({box("spy"): document("Box", trouble=f"spy {Path.home()}")})
    assert yard.items()[0].state == "succeeded", yard.items()[0].reason
    seen = json.loads(yard.stored("spy")["note"])
    assert "canary-of-the-worker" not in json.dumps(seen)
    assert not {name for name in seen["environment"] if name.startswith(("MERGEYARD", "DJANGO"))}
    assert seen["environment"]["ANSIBLE_NO_TARGET_SYSLOG"] == "True"  # or a host's own log gets every document
    assert set(seen["home"] or []) <= {str(Path.home() / ".pyenv"), str(Path.home() / ".local")}
    assert str(os.getpid()) not in seen["processes"]
    assert [Path(path).name for path in seen["parent"]] == ["play"]
    assert seen["writable"] == []


def test_without_namespaces_it_runs_uncontained_and_says_so(yard, settings):
    settings.MERGEYARD_CONTAINMENT, settings.MERGEYARD_UNCONTAINED = "off", ["*"]
    sandbox.containment.cache_clear()
    yard.roll_out({box("orders"): document("Box")})
    run = Run.objects.get()
    assert (run.state, run.contained) == ("succeeded", False)
    assert run.containment == "Not contained: MERGEYARD_CONTAINMENT is off."
    assert yard.events(run)[0].text == f"Attempt 1 on worker {run.worker}. {run.containment}"


@pytest.mark.threat("worker.uncontained")
@pytest.mark.parametrize(
    ("environment", "state"), [("production", "failed"), ("", "failed"), ("anything", "failed"), ("test", "succeeded")]
)
def test_without_namespaces_only_systems_of_harmless_environments_are_served(yard, settings, environment, state):
    settings.MERGEYARD_CONTAINMENT = "off"
    sandbox.containment.cache_clear()
    declared = {"type": "shelf", "owners": ["shelves"], "connection": {"directory": str(yard.directory / "shelf-a")}}
    yard.merge({"systems/shelf-a.yml": json.dumps(declared | ({"environment": environment} if environment else {}))})
    yard.roll_out({box("orders"): document("Box")})
    [item] = yard.items()
    assert (item.state, yard.stored("orders") is None) == (state, state == "failed")
    if state == "failed":
        assert item.reason.startswith("This worker does not run shelf-a: its environment is" if environment else "This")
        assert "name the environment in MERGEYARD_UNCONTAINED of this worker, then retry." in item.reason


@pytest.mark.threat("worker.leftovers")
@pytest.mark.parametrize("containment", ["auto", "off"])
def test_a_running_item_is_cancelled_and_nothing_of_it_lives_on(yard, settings, containment):
    settings.MERGEYARD_CONTAINMENT, settings.MERGEYARD_UNCONTAINED = containment, ["*"]
    sandbox.containment.cache_clear()
    yard.merge({box("slow"): document("Box", trouble="slow 60")})

    def cancel_soon():
        from django.db import connection

        while not yard.sleepers():
            time.sleep(0.05)
        cancel(WorkItem.objects.get(), yard.user("olga"))
        connection.close()

    thread = threading.Thread(target=cancel_soon)
    thread.start()
    begun = time.monotonic()
    yard.work()
    thread.join()
    assert time.monotonic() - begun < 50
    item = WorkItem.objects.get()
    assert (item.state, Run.objects.get().state) == ("cancelled", "cancelled")
    assert yard.sleepers() == []


@pytest.mark.threat("worker.leftovers")
def test_nothing_of_a_play_that_is_ended_lives_while_its_files_are_wiped(tmp_path):
    play = Play(Attempt(tmp_path, run_id=8), None, on_line=print, on_report=print)
    play._process = subprocess.Popen(["sh", "-c", "sleep 61.5 & wait"])
    while not (running := below(play._process.pid)):
        time.sleep(0.01)
    play.kill()
    for pid in running:
        stat = Path(f"/proc/{pid}/stat")
        assert not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] in "ZX"
    play._process.wait()


@pytest.mark.threat("worker.leftovers")
def test_the_sweeper_wipes_what_dead_workers_left_and_nothing_else(tmp_path):
    dead = tmp_path / "7-dead"
    dead.mkdir()
    (dead / "secrets.json").write_text("{}")
    with Attempt(tmp_path, run_id=8) as living:
        assert sweep(tmp_path)
        assert not sweep(tmp_path)
        assert list(tmp_path.iterdir()) == [living.root]
        assert living.root.stat().st_mode & 0o777 == 0o700
    assert list(tmp_path.iterdir()) == []


def nest(folder, depth):
    """Directories in each other, so many, and at the end a file of 200 kB."""
    descriptor = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=descriptor)
        outer, descriptor = descriptor, os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(outer)
    file = os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=descriptor)
    os.write(file, b"x" * 200_000)
    os.close(file)
    os.close(descriptor)


@pytest.mark.threat("worker.leftovers", "worker.limits")
@pytest.mark.parametrize(("depth", "said"), [(1500, "It took more than 0 MB"), (2500, "It nested directories deeper")])
def test_directories_nested_too_deep_for_python_are_counted_and_wiped(tmp_path, depth, said):
    with Attempt(tmp_path, run_id=8) as living:
        (living.play / "shut").mkdir(mode=0)
        nest(living.play, depth)
        assert beyond(Limits(100_000, 10), roots=[], directory=living.play).startswith(said)
        assert beyond(Limits(10**9, 10), roots=[], directory=living.play).startswith(said) == (depth == 2500)
    assert list(tmp_path.iterdir()) == []
    dead = tmp_path / "7-dead"
    dead.mkdir()
    nest(dead, depth)
    assert sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.threat("worker.limits")
def test_the_process_that_hears_a_play_counts_with_it(tmp_path):
    code = "much = b'x' * 60_000_000; print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-Sc", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        said = [beyond(Limits(limit, 10), roots=[process.pid], directory=tmp_path) for limit in (50_000_000, 10**9)]
        process.kill()
    assert said == ["It took more than 50 MB of memory and was ended.", ""]


@pytest.mark.threat("worker.limits")
def test_what_lies_behind_a_link_on_the_way_is_not_looked_at(tmp_path):
    (tmp_path / "elsewhere" / "large").mkdir(parents=True)
    (tmp_path / "elsewhere" / "large" / "file").write_bytes(b"x" * 200_000)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for folder, counted in (("elsewhere", True), ("link", False), ("link/large", False)):
        assert bool(beyond(Limits(100_000, 10), roots=[], directory=tmp_path / folder)) == counted


@pytest.mark.threat("worker.leftovers")
@pytest.mark.parametrize("busy", [True, False])
def test_a_worker_wipes_what_another_one_that_died_left_while_it_runs_on(yard, settings, busy):
    left = settings.MERGEYARD_ATTEMPTS_DIR / "7-dead" / "play"
    with Attempt(settings.MERGEYARD_ATTEMPTS_DIR, run_id=8) as living:
        left.mkdir(parents=True)
        (left / "secrets.json").write_text("{}")
        if busy:
            queues.enqueue("shelf-a", "default")
        queues.serve("default", burst=True, between=(lambda: None) if busy else jobs.wait)
        assert not left.parent.exists()
        assert living.events.exists()
