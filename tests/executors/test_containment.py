"""What a worker says of a host where plays cannot be contained, and whose directories it trusts with an attempt."""

import os
import subprocess
import sys

import pytest

from executors.ansible import sandbox
from executors.ansible.attempt import Attempt, sweep
from tests.conftest import not_tested


@pytest.fixture
def containment(settings, monkeypatch, tmp_path):
    """The answer on a host whose bwrap is the given script."""
    settings.MERGEYARD_CONTAINMENT = "auto"

    def asked(script):
        bwrap = tmp_path / "bwrap"
        bwrap.write_text(f"#!/bin/sh\n{script}\n")
        bwrap.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
        sandbox.containment.cache_clear()
        return sandbox.containment()

    yield asked
    sandbox.containment.cache_clear()


def test_a_bubblewrap_that_fails_is_not_used_and_its_last_words_are_the_reason(containment):
    answer = containment("echo first >&2; echo bwrap: no permissions >&2; exit 1")
    assert (answer.works, answer.bwrap) == (False, "")
    assert answer.sentence == "Not contained: bubblewrap does not work on this host (bwrap: no permissions)."


def test_a_bubblewrap_that_fails_without_a_word_is_not_used(containment):
    assert containment("exit 1").sentence == "Not contained: bubblewrap does not work on this host (no reason given)."


def test_a_bubblewrap_that_hangs_is_not_used(containment, monkeypatch):
    def hang(argv, **_):
        raise subprocess.TimeoutExpired(argv[0], 20)

    monkeypatch.setattr(sandbox.subprocess, "run", hang)
    answer = containment("sleep 60")
    assert not answer.works
    assert answer.sentence.startswith("Not contained: bubblewrap does not start (")


def test_a_worker_without_bubblewrap_says_so(containment, monkeypatch):
    monkeypatch.setattr(sandbox, "_find", lambda: None)
    assert containment("").sentence == "Not contained: bubblewrap is not installed on this worker."


def test_on_a_kernel_without_user_namespaces_the_real_one_is_found_not_to_work():
    code = "import django; django.setup(); from executors.ansible import sandbox; print(sandbox.containment().sentence)"
    argv = [sys.executable, "-m", "tests.demo.no_namespaces", sys.executable, "-c", code]
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings"}
    done = subprocess.run(argv, capture_output=True, text=True, env=environment)
    assert done.stdout.startswith("Not contained: bubblewrap does not work on this host ("), done.stderr


@pytest.fixture
def strangers(tmp_path):
    """A directory of the right name that somebody else made first."""
    if os.geteuid():
        not_tested.append("not tested: attempts in another user's directory: files cannot be given away here")
        pytest.skip(not_tested[-1])
    (tmp_path / "attempts" / "7-left").mkdir(parents=True)
    os.chown(tmp_path / "attempts", 65534, 65534)
    return tmp_path / "attempts"


@pytest.mark.threat("worker.foreign-directory")
def test_no_attempt_is_made_where_somebody_else_could_change_it(strangers, tmp_path):
    open_to_all, link = tmp_path / "open", tmp_path / "link"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    link.symlink_to(tmp_path)
    for parent in (strangers, open_to_all, link):
        with pytest.raises(PermissionError, match="nobody else may write to"):
            Attempt(parent, run_id=1)


@pytest.mark.threat("worker.foreign-directory")
def test_nothing_is_wiped_in_a_directory_of_somebody_else(strangers, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    assert not sweep(strangers)
    assert not sweep(tmp_path / "link")
    assert (strangers / "7-left").exists()
