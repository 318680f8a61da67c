"""A worker on a host that is not the forge's: it has a mirror, and fetches what it lacks."""

import re
import socket
import threading
from contextlib import suppress
from importlib import import_module
from itertools import pairwise

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command

from changes.repository import MirroredRepository, RepositoryError, git_environment, must_be_the_forge, state
from changes.repository import mirror as mirrors
from changes.repository.mirror import Mirror
from executors import jobs, queues
from executors.discovery import discover
from executors.models import Run
from executors.reconcile import reconcile
from tests.executors.conftest import box, document, running


@pytest.fixture
def elsewhere(yard, settings):
    """Works off the queue as a worker on another host does, which reaches the forge at a URL."""
    forge = settings.MERGEYARD_REPOSITORY

    def work(url=f"file://{forge}"):
        while reconcile():
            pass
        settings.MERGEYARD_REPOSITORY, settings.MERGEYARD_FORGE_URL = yard.directory / "there" / "mirror.git", url
        try:
            queues.worker("default").work(burst=True, logging_level="ERROR")
        finally:
            settings.MERGEYARD_REPOSITORY, settings.MERGEYARD_FORGE_URL = forge, ""

    return work


def test_a_worker_that_has_only_a_mirror_runs_the_work(yard, elsewhere):
    yard.merge({box("orders"): document("Box", size=4)})
    elsewhere()
    assert yard.stored("orders")["size"] == 4
    yard.merge({box("orders"): document("Box", size=5)})
    elsewhere()
    assert yard.stored("orders")["size"] == 5
    assert [item.state for item in yard.items()] == ["succeeded", "succeeded"]
    mirror = yard.directory / "there" / "mirror.git"
    assert mirror.stat().st_mode & 0o077 == 0


@pytest.mark.threat("faults.git-gone")
def test_work_waits_while_the_forge_is_away_and_no_attempt_is_lost(yard, elsewhere):
    yard.merge({box("orders"): document("Box", size=4)})
    elsewhere(url=f"file://{yard.directory}/gone.git")
    assert [item.state for item in yard.items()] == ["queued"]
    assert not Run.objects.exists()
    elsewhere()
    assert yard.stored("orders")["size"] == 4


@pytest.mark.threat("faults.git-gone")
@pytest.mark.parametrize("moment", ["executors.jobs.claim", "executors.runs.must_be_allowed"])
def test_main_that_moves_on_after_the_forge_went_away_costs_no_attempt(yard, elsewhere, settings, monkeypatch, moment):
    """Before the item is prepared, and before it begins."""
    go_on = getattr(import_module(moment.rpartition(".")[0]), moment.rpartition(".")[2])

    def moved(*args, **more):
        there, settings.MERGEYARD_REPOSITORY = settings.MERGEYARD_REPOSITORY, yard.repository.path
        settings.MERGEYARD_FORGE_URL = ""
        yard.merge({"teams/more.yml": "title: More\nmembers: []\n"})
        assert discover()
        settings.MERGEYARD_REPOSITORY, settings.MERGEYARD_FORGE_URL = there, f"file://{yard.directory}/gone.git"
        return go_on(*args, **more)

    yard.merge({box("orders"): document("Box", size=4)})
    with monkeypatch.context() as patched:
        patched.setattr(moment, moved)
        elsewhere()
    [item] = yard.items()
    assert (item.state, item.attempts, [run.state for run in item.runs.all()]) == ("waiting", 0, ["interrupted"])
    elsewhere()
    assert yard.stored("orders")["size"] == 4


def test_a_worker_that_cannot_reach_the_forge_says_so_before_work_comes(yard, settings):
    yard.merge({box("orders"): document("Box")})
    while reconcile():
        pass
    settings.MERGEYARD_FORGE_URL = f"file://{yard.directory}/gone.git"
    settings.MERGEYARD_REPOSITORY = yard.directory / "nowhere" / "mirror.git"
    assert jobs.trouble() == ""
    jobs.wait()
    assert "The forge does not answer this host" in jobs.trouble()


@pytest.mark.threat("faults.git-gone")
def test_a_forge_that_is_away_is_asked_less_and_less_often_and_says_since_when(yard, tmp_path, monkeypatch):
    sha, forge = yard.repository.head(), f"file://{yard.repository.path}"
    mirror = Mirror(tmp_path / "mirror.git", forge, protocols="file")
    clock = [1000.0]
    monkeypatch.setattr(mirrors.time, "monotonic", lambda: clock[0])
    mirror.ensure(sha)
    assert mirror.trouble == ""
    asked = []
    real = mirror._fetch_alone
    monkeypatch.setattr(mirror, "_fetch_alone", lambda: (asked.append(clock[0]), real()))
    mirror.url = f"file://{tmp_path}/gone.git"
    newer = yard.merge({box("orders"): document("Box")})
    for _ in range(200):
        with pytest.raises(RepositoryError, match="fetching main from"):
            mirror.ensure(newer)
        clock[0] += 1
    pauses = [later - earlier for earlier, later in pairwise(asked)]
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    assert re.fullmatch(
        r"The forge does not answer this host: fetching main from .*gone.git.*\. It last did on 20\d\d-\d\d-\d\d at "
        r"\d\d:\d\d UTC\. Work waits and no attempt is lost\.",
        mirror.trouble,
    )
    mirror.url = forge
    clock[0] += 60
    assert mirror.ensure(newer).has(newer)
    assert mirror.trouble == ""


@pytest.mark.threat("faults.git-gone")
def test_a_mirror_follows_main_that_a_restore_took_back_and_keeps_what_only_it_has(yard, tmp_path):
    mirror = Mirror(tmp_path / "mirror.git", f"file://{yard.repository.path}", protocols="file")
    before = yard.repository.head()
    lost = yard.merge({box("orders"): document("Box", size=1)})
    mirror.ensure(lost)
    yard.repository.swap_ref("refs/heads/main", before, lost)
    for size in (2, 3):
        sha = yard.merge({box("orders"): document("Box", size=size)})
        assert mirror.ensure(sha).main() == sha
        assert mirror.trouble == ""
    assert mirror.repository.head(f"refs/former/{lost}") == lost
    yard.repository.swap_ref("refs/heads/main", lost, sha)
    with pytest.raises(RepositoryError, match="fetching main from .*: it was rewritten there"):
        mirror.ensure("1" * 40)
    assert mirror.repository.main() == sha


@pytest.mark.threat("faults.git-slow")
def test_a_forge_that_goes_silent_is_away(tmp_path, monkeypatch):
    monkeypatch.setitem(git_environment._ALWAYS, "http.lowSpeedTime", "1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/git/state.git"
        with pytest.raises(RepositoryError, match="fetching main from"):
            MirroredRepository(tmp_path / "mirror.git", url).info("1" * 40)


@pytest.mark.threat("faults.git-slow")
def test_a_forge_that_answers_byte_by_byte_is_away(tmp_path, monkeypatch):
    """However busy it looks: a fetch ends in time, and leaves no process of git behind."""
    monkeypatch.setattr(mirrors, "GIT_TIMEOUT_SECONDS", 1)
    over = threading.Event()

    def drip():
        with suppress(OSError):
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-advertisement\r\n\r\n"
                )
                while not over.wait(0.02):
                    connection.sendall(b"0")

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=drip)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/git/state.git"
        try:
            with pytest.raises(RepositoryError, match=r"fetching main from http.*timed out"):
                MirroredRepository(tmp_path / "mirror.git", url).info("1" * 40)
            assert running(url) == []
        finally:
            over.set()
            thread.join()


def test_where_only_a_mirror_is_nothing_starts_that_moves_refs(settings):
    settings.MERGEYARD_FORGE_URL = "https://mergeyard.example.com/git/state.git"
    with pytest.raises(ImproperlyConfigured, match="only workers run here"):
        call_command("controller", once=True)
    settings.MERGEYARD_FORGE_URL = ""
    must_be_the_forge()
    assert not isinstance(state(), MirroredRepository)


def test_a_forge_that_is_away_is_said_without_the_token(tmp_path):
    mirror = MirroredRepository(tmp_path / "mirror.git", "http://worker:geheim@127.0.0.1:9/git/state.git")
    with pytest.raises(RepositoryError, match="fetching main from http://127.0.0.1:9/git/state.git") as away:
        mirror.info("1" * 40)
    assert "geheim" not in str(away.value)
