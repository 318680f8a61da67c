"""The demo's directory: what a start and a reset take, and what they never touch."""

import json
import socket

import pytest

from playbooks.servers import free_port
from portal.demo import home as demo_home
from portal.demo.home import CannotStart, Home

KEPT = {"secret_key": "s", "password": "of-before", "queue_password": "q"}


@pytest.fixture
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("h") / "home"


@pytest.fixture
def own(directory):
    """The directory of an earlier start."""
    (directory / "systems" / "pg").mkdir(parents=True)
    (directory / "systems" / "pg" / "rows").touch()
    (directory / "demo.json").write_text(json.dumps(KEPT))
    return directory


def refused(directory, *, reset, port=None):
    """The sentence, after a look that nothing was changed."""
    before = {path: path.is_file() and path.read_bytes() for path in directory.rglob("*")}
    with pytest.raises(CannotStart) as caught:
        Home.open(directory, port=port or free_port(), reset=reset)
    assert {path: path.is_file() and path.read_bytes() for path in directory.rglob("*")} == before
    return str(caught.value)


@pytest.mark.parametrize("reset", [True, False])
@pytest.mark.parametrize("name", ["thesis.tex", "demo.json"])
def test_a_directory_of_somebody_elses_is_refused_and_stays_as_it_is(directory, name, reset):
    directory.mkdir()
    (directory / name).write_text('{"scene": 1}')
    assert refused(directory, reset=reset) == (
        f"{directory} holds files that are not a demo's, and nothing was done to them: name a directory that is new or "
        "empty, as in bin/demo --home /var/tmp/mergeyard."
    )


def test_a_reset_forgets_what_an_earlier_start_left(own):
    home = Home.open(own, port=free_port(), reset=True)
    assert [path.name for path in own.iterdir()] == ["demo.json"]
    assert home.kept["password"] != KEPT["password"]


def test_a_start_without_reset_keeps_it(own):
    assert Home.open(own, port=free_port(), reset=False).kept == KEPT
    assert (own / "systems" / "pg" / "rows").exists()


def test_a_reset_is_refused_before_anything_is_deleted_where_the_port_is_taken(own):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert refused(own, reset=True, port=port).startswith(f"Port {port} is used by another program")


def test_a_reset_is_refused_before_anything_is_deleted_where_the_disk_is_full(own, monkeypatch):
    monkeypatch.setattr(demo_home, "NEEDED_BYTES", 1 << 60)
    assert "less than 0.5 GB free" in refused(own, reset=True)


def test_a_reset_that_cannot_reach_the_database_is_refused(own, monkeypatch):
    monkeypatch.setenv("MERGEYARD_DATABASE_URL", "postgres://a@127.0.0.1/b")
    assert refused(own, reset=True) == (
        f"--reset and --once forget what {own} holds, but never what is in the database that MERGEYARD_DATABASE_URL "
        "names: empty both yourself, then start again."
    )


def test_a_reset_that_stopped_in_the_middle_can_be_done_again(own, monkeypatch):
    def stop(path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(demo_home.shutil, "rmtree", stop)
        with pytest.raises(KeyboardInterrupt):
            demo_home._empty(own)
    assert demo_home._kept(own) == KEPT
    demo_home._empty(own)
    assert list(own.iterdir()) == []


def test_a_start_that_stopped_before_it_wrote_anything_down_is_no_obstacle(directory):
    directory.mkdir()
    (directory / "demo.json.new").touch()
    assert Home.open(directory, port=free_port(), reset=False).kept.keys() == KEPT.keys()


def test_two_homes_whose_names_differ_after_a_dot_do_not_lock_each_other_out(directory):
    for name in ("home.one", "home.two"):
        Home.open(directory.with_name(name), port=free_port(), reset=False)


def test_what_the_caller_sets_goes_before_the_demos_own(tmp_path, monkeypatch):
    monkeypatch.setenv("MERGEYARD_CATALOG", "/srv/kinds")
    monkeypatch.setenv("MERGEYARD_HOME", "/srv/another")
    environment = Home(tmp_path, 8000, KEPT).environment(queue_port=6379)
    assert environment["MERGEYARD_CATALOG"] == "/srv/kinds"
    assert environment["MERGEYARD_HOME"] == str(tmp_path)
