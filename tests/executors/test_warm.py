"""Ansible is ready in memory, and yet each play has a world of its own that ends with it."""

import json
import os
import subprocess
import threading
import time
from itertools import product
from pathlib import Path

import pytest

from executors import queues, runs
from executors.ansible import play, runner_process, sandbox, warm
from executors.ansible.warm import sandboxes
from executors.models import Run
from tests.executors.conftest import box, document


@pytest.fixture(autouse=True)
def fresh(settings):
    settings.MERGEYARD_WARM_SANDBOXES = 4
    sandboxes.end()
    sandboxes._again = 0.0
    yield
    sandboxes.end()
    sandboxes._again = 0.0


def known():
    return sandboxes._known


def states():
    return list(Run.objects.order_by("pk").values_list("state", flat=True))


def said(yard, item):
    return "".join(event.text for event in yard.events(item.runs.get()))


@pytest.fixture
def secrets(yard):
    (yard.directory / "secrets" / "payments").mkdir(parents=True)
    for name in ("first", "second"):
        path = yard.directory / "secrets" / "payments" / name
        path.write_text(f"the {name} secret")
        path.chmod(0o600)


def test_the_second_play_of_a_system_finds_ansible_ready(yard):
    yard.roll_out({box("orders"): document("Box", size=1)})
    pid = known()["shelf-a"].pid
    yard.roll_out({box("orders"): document("Box", size=2)})
    assert (known()["shelf-a"].pid, states()) == (pid, ["succeeded"] * 2)
    tasks = [{event.task for event in yard.events(run, sort="task")} for run in Run.objects.all()]
    assert tasks[0] == tasks[1]


@pytest.mark.threat("worker.leftovers", "worker.sees-host")
def test_a_daemon_that_a_run_left_is_dead_before_the_next_one_and_saw_no_other_secret(yard, secrets):
    yard.roll_out({box("first"): document("Box", trouble="lurk", secrets={"lock": "file:payments/first"})})
    seen = yard.directory / "shelf-a" / "seen"
    said = seen.read_text()
    assert "here" in said
    assert "the first secret" in said
    assert yard.processes("shelf-a/seen") == []
    pid = known()["shelf-a"].pid
    yard.roll_out({box("second"): document("Box", secrets={"lock": "file:payments/second"})})
    assert (known()["shelf-a"].pid, states()) == (pid, ["succeeded"] * 2)
    assert seen.read_text() == said


@pytest.mark.threat("worker.sees-host")
@pytest.mark.parametrize("sandboxes", [4, 0], ids=["warm", "cold"])
def test_a_play_sees_itself_and_nothing_else(yard, settings, monkeypatch, sandboxes):
    settings.MERGEYARD_WARM_SANDBOXES = sandboxes
    monkeypatch.setenv("MERGEYARD_SECRET_CANARY", "canary-of-the-worker")
    yard.roll_out({box("first"): document("Box", note="before")})
    yard.roll_out({box("spy"): document("Box", trouble=f"spy {Path.home()}")})
    seen = json.loads(yard.stored("spy")["note"])
    assert "canary-of-the-worker" not in json.dumps(seen)
    assert str(os.getpid()) not in seen["processes"]
    assert len(seen["processes"]) < 10
    assert [Path(path).name for path in seen["parent"]] == ["play"]
    assert (seen["writable"], seen["capabilities"], seen["privileges"]) == ([], "0000000000000000", "1")
    assert len(seen["attempts"]) == 1
    assert seen["own"] == ["ansible.cfg", "events", "inventory", "item.json", "job_events", "secrets.json"]


@pytest.mark.threat("worker.sees-host")
@pytest.mark.parametrize("sandboxes", [4, 0], ids=["warm", "cold"])
def test_links_that_a_play_leaves_are_followed_by_nobody_outside(yard, settings, sandboxes):
    settings.MERGEYARD_WARM_SANDBOXES = sandboxes
    outside = yard.directory / "outside"
    outside.mkdir()
    secret = json.dumps({"event": "playbook_on_task_start", "event_data": {"task": "a secret"}})
    for name in ("status", "stdout", "read-partial.json", "deleted-partial.json"):
        (outside / name).write_text(secret)
    yard.roll_out({box("orders"): document("Box", trouble=f"link {outside}")})
    assert states() == ["succeeded"]
    assert {path.name: path.read_text() for path in outside.iterdir()} == dict.fromkeys(
        ("status", "stdout", "read-partial.json", "deleted-partial.json"), secret
    )
    assert "a secret" not in {event.task for event in yard.events()}


@pytest.mark.threat("worker.sees-host")
def test_a_play_cannot_take_away_what_covers_the_rest_of_the_sandbox(yard):
    yard.roll_out({box("escape"): document("Box", trouble="escape")})
    seen = json.loads(yard.stored("escape")["note"])
    assert seen["outside"] == {"/proc": 0, "/tmp": 0, str(yard.directory / "attempts"): 0}
    assert seen["tried"]
    assert 0 < seen["processes"] < 15
    assert seen["attempts"] <= 1


def test_what_a_play_changes_in_its_process_is_not_there_for_the_next(yard):
    yard.roll_out({box("orders"): document("Box", trouble="stain")})
    yard.roll_out({box("orders"): document("Box", trouble="stain", size=4)})
    said = [event.text for run in Run.objects.all() for event in yard.events(run) if event.text.startswith("[")]
    assert said == ["[]", "[]"]


def test_a_sandbox_that_died_is_started_again(yard):
    yard.roll_out({box("orders"): document("Box", size=1)})
    first = known()["shelf-a"]
    os.kill(first.pid, 9)
    yard.roll_out({box("orders"): document("Box", size=2)})
    assert known()["shelf-a"].pid != first.pid
    assert (states(), first._place.root.exists()) == (["succeeded"] * 2, False)


def test_a_sandbox_that_dies_under_its_play_costs_an_attempt(yard, monkeypatch):
    killed = []

    def kill(play, limits):
        if not killed:
            killed.append(os.kill(play._warm.pid, 9))
        return ""

    monkeypatch.setattr("executors.ansible.play.Play.beyond", kill)
    yard.roll_out({box("orders"): document("Box", trouble="slow 4")})
    assert killed
    assert yard.items()[0].state == "failed"
    assert yard.sleepers() == []


def test_of_many_systems_the_longest_unused_gives_its_place(yard, settings):
    settings.MERGEYARD_WARM_SANDBOXES = 1
    for shelf in ("shelf-a", "shelf-b"):
        yard.roll_out({box("orders", shelf): document("Box")})
        assert list(known()) == [shelf]


def test_an_idle_one_is_dropped(yard, settings):
    yard.roll_out({box("orders"): document("Box")})
    sandboxes.drop_idle()
    assert list(known()) == ["shelf-a"]
    settings.MERGEYARD_WARM_SECONDS = 0
    time.sleep(0.01)
    sandboxes.drop_idle()
    assert list(known()) == []
    assert list((yard.directory / "attempts").iterdir()) == []


def test_changed_files_of_the_system_type_make_a_new_one(yard, own_catalog):
    yard.roll_out({box("orders"): document("Box", size=1)})
    book = own_catalog / "shelf" / "apply.yml"
    book.write_text(book.read_text().replace("Put boxes", "Put new boxes"))
    yard.roll_out({box("orders"): document("Box", size=2)})
    assert {event.task for event in yard.events(sort="task")} >= {"Put new boxes"}


def test_a_directory_of_a_system_that_was_made_anew_is_the_one_that_its_next_play_writes_to(yard):
    yard.roll_out({box("orders"): document("Box", size=1)})
    shelf = yard.directory / "shelf-a"
    shelf.rename(yard.directory / "old")
    shelf.mkdir()
    yard.roll_out({box("orders"): document("Box", size=2)})
    assert (states(), yard.stored("orders")["size"]) == (["succeeded"] * 2, 2)


@pytest.mark.parametrize("replaced", ["etc/hosts", "kept", "written", "attempts"])
def test_one_is_made_anew_when_the_host_put_something_else_in_a_place_that_it_binds(
    tmp_path, settings, monkeypatch, replaced
):
    settings.MERGEYARD_ATTEMPTS_DIR = tmp_path / "attempts"
    monkeypatch.setattr(sandbox, "ETC", (f"..{tmp_path}/etc/hosts", "nothing-like-it"))
    for name in ("etc/hosts", "kept", "written", "attempts"):
        (tmp_path / name).mkdir(parents=True)
    view = sandbox.View((tmp_path / "kept",), (tmp_path / "written",), {})
    before = [warm.Made.of(view, digest="") for _ in range(2)]
    (tmp_path / replaced).rename(tmp_path / "old")
    (tmp_path / replaced).mkdir()
    assert before[0] == before[1] != warm.Made.of(view, digest="")


def test_where_namespaces_cannot_be_nested_plays_start_cold(yard, monkeypatch, caplog):
    monkeypatch.setattr(warm, "HOST_PROC", ("--tmpfs", "/proc"))
    yard.roll_out({box("orders"): document("Box")})
    assert (states(), list(known())) == (["succeeded"], [])
    assert "start cold for 60 seconds" in caplog.text
    assert Run.objects.get().contained


BY_THE_KERNEL = "Resource temporarily unavailable"  # which refuses processes to a worker that is not root
LIMITS = {
    "eat 4": "It took more than 400 MB of memory and was ended.",
    "share 4": "It took more than 400 MB of memory and was ended.",
    "breed 60": "It ran more than 50 processes at once and was ended.",
    "scatter 180": "It took more than 400 MB of memory and was ended.",
    "flood 3000": "It printed more than 2,000 lines and was ended.",
    "flood 1500": "It printed and reported more than 0.1 MB and was ended.",
}


def test_a_play_that_starts_cold_after_a_sandbox_that_hung_has_its_full_time(yard, settings, monkeypatch):
    class Long(runs.Keeper):
        """As if the sandbox was waited for as long as a play may live."""

        def __init__(self, *args, **more):
            super().__init__(*args, **more)
            self.renewed -= settings.MERGEYARD_RENEW_WITHIN_SECONDS

        def _look(self):
            if hangs.is_set():
                super()._look()

    def hang(_):
        hangs.set()
        return subprocess.Popen(["sleep", "60"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    hangs = threading.Event()
    monkeypatch.setattr(warm.Sandbox, "_started", hang)
    monkeypatch.setattr(warm, "READY_SECONDS", 1)
    monkeypatch.setattr(runs, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(runs, "Keeper", Long)
    yard.roll_out({box("orders"): document("Box", size=1)})
    assert (states(), known()) == (["succeeded"], {})


def test_a_worker_drops_idle_ones_while_it_waits(yard, settings):
    yard.roll_out({box("orders"): document("Box")})
    settings.MERGEYARD_WARM_SECONDS = 0
    queues.serve("default", burst=True, between=sandboxes.drop_idle)
    assert list(known()) == []


@pytest.mark.threat("worker.limits")
@pytest.mark.parametrize(
    ("how", "trouble"),
    [
        *product(("warm", "cold", "uncontained"), ("eat 4", "breed 60")),
        *product(("warm", "cold"), ["scatter 180"]),
        ("cold", "share 4"),
        ("warm", "flood 3000"),
        ("warm", "flood 1500"),
    ],
)
def test_a_run_that_takes_too_much_is_ended_and_others_go_on(yard, settings, how, trouble):
    settings.MERGEYARD_WARM_SANDBOXES = 4 if how == "warm" else 0
    settings.MERGEYARD_CONTAINMENT, settings.MERGEYARD_UNCONTAINED = "off" if how == "uncontained" else "auto", ["*"]
    settings.MERGEYARD_RUN_MEMORY_MB, settings.MERGEYARD_RUN_PROCESSES = 400, 50
    settings.MERGEYARD_RUN_LINES = 2000
    settings.MERGEYARD_RUN_OUTPUT_MB = 0.1 if trouble == "flood 1500" else 2000
    yard.roll_out({box("greedy"): document("Box", trouble=trouble), box("orders", "shelf-b"): document("Box")})
    greedy, other = yard.items()
    assert greedy.state == "failed"
    assert greedy.reason == LIMITS[trouble] or (os.geteuid() and BY_THE_KERNEL in said(yard, greedy))
    assert (other.state, yard.processes("shelf-a/seen")) == ("succeeded", [])


@pytest.mark.threat("worker.limits")
@pytest.mark.parametrize("how", ["warm", "cold", "uncontained"])
def test_a_run_that_takes_too_long_is_ended_with_all_that_it_began_and_the_next_one_works(
    yard, settings, monkeypatch, how
):
    def beyond(*_):  # is asked at every look
        if yard.sleepers():
            settings.MERGEYARD_RUN_TIMEOUT_SECONDS = 0.1
        return ""

    settings.MERGEYARD_WARM_SANDBOXES = 4 if how == "warm" else 0
    settings.MERGEYARD_CONTAINMENT, settings.MERGEYARD_UNCONTAINED = "off" if how == "uncontained" else "auto", ["*"]
    monkeypatch.setattr(runs, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(play.Play, "beyond", beyond)
    yard.roll_out({box("orders"): document("Box", trouble="slow 60")})
    [item] = yard.items()
    assert (item.state, item.reason) == ("failed", "It took longer than 0.1 seconds and was ended.")
    assert (yard.result(box("orders")).message, yard.stored("orders")) == (item.reason, None)
    assert (yard.sleepers(), yard.playing(), yard.attempts()) == ([], [], [])
    settings.MERGEYARD_RUN_TIMEOUT_SECONDS = 3600
    yard.roll_out({box("orders"): document("Box", size=2)})
    assert (states(), yard.stored("orders")["size"]) == (["failed", "succeeded"], 2)


@pytest.mark.threat("worker.limits")
def test_what_ends_no_line_fills_no_memory_of_who_waits_for_its_end(yard, settings, monkeypatch):
    monkeypatch.setattr(play, "RUNNER_MEMORY", 40_000_000 - settings.MERGEYARD_RUN_MEMORY_MB * 1_000_000)
    yard.roll_out({box("greedy"): document("Box", trouble="dribble 20")})
    [item] = yard.items()
    assert item.state == "failed"
    assert runner_process.TOO_MUCH in said(yard, item)


@pytest.mark.threat("worker.limits")
@pytest.mark.parametrize("sandboxes", [4, 0], ids=["warm", "cold"])
def test_a_run_cannot_fill_the_memory_with_files(yard, settings, sandboxes):
    settings.MERGEYARD_WARM_SANDBOXES = sandboxes
    settings.MERGEYARD_RUN_MEMORY_MB = 400
    yard.roll_out({box("greedy"): document("Box", trouble="fill 500")})
    [item] = yard.items()
    assert item.state == "failed"
    assert "File too large" in said(yard, item) or item.reason == LIMITS["eat 4"]  # whoever sees it first
