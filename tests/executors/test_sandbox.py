"""What a play sees of the worker's host, and that nothing of it lives on."""

import json
import os
import threading
import time
from pathlib import Path

import pytest

from executors.actions import cancel
from executors.ansible import sandbox
from executors.ansible.attempt import Attempt, sweep
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
    assert set(seen["home"] or []) <= {str(Path.home() / ".pyenv"), str(Path.home() / ".local")}
    assert str(os.getpid()) not in seen["processes"]
    assert [Path(path).name for path in seen["parent"]] == ["play"]
    assert seen["writable"] is False


def test_without_namespaces_it_runs_uncontained_and_says_so(yard, settings):
    settings.MERGEYARD_CONTAINMENT = "off"
    sandbox.containment.cache_clear()
    yard.roll_out({box("orders"): document("Box")})
    run = Run.objects.get()
    assert (run.state, run.contained) == ("succeeded", False)
    assert run.containment == "Not contained: MERGEYARD_CONTAINMENT is off."
    assert yard.events(run)[0].text == f"Attempt 1 on worker {run.worker}. {run.containment}"


@pytest.mark.threat("worker.leftovers")
@pytest.mark.parametrize("containment", ["auto", "off"])
def test_a_running_item_is_cancelled_and_nothing_of_it_lives_on(yard, settings, containment):
    settings.MERGEYARD_CONTAINMENT = containment
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
