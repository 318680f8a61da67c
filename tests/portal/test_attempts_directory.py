"""Where attempts lie by default: in memory where a place can be had, else in the home."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from portal.settings import attempts_directory

HOME = Path("/srv/mergeyard")


@pytest.fixture
def memory(tmp_path):
    """Two places, the second for when the first cannot be had."""
    places = [tmp_path / "run", tmp_path / "shm"]
    for place in places:
        place.mkdir()
    return places


def chosen(memory, home=HOME):
    return attempts_directory(home, memory=[str(place) for place in memory])


def test_the_first_place_is_taken_and_nothing_is_made_there_yet(memory):
    found = chosen(memory)
    assert found.parent == memory[0]
    assert found.name.startswith("mergeyard-")
    assert not found.exists()


def test_each_home_has_a_name_of_its_own(memory):
    assert chosen(memory) != chosen(memory, Path("/srv/other"))
    assert chosen(memory) == chosen(memory)


def test_what_is_there_already_is_taken_if_it_is_ours(memory):
    chosen(memory).mkdir()
    assert chosen(memory).parent == memory[0]


def test_without_such_a_place_attempts_lie_in_the_home(memory):
    for places in ([], ["", "relative"], [memory[0] / "missing"]):
        assert chosen(places) == HOME / "attempts"


@pytest.mark.skipif(os.geteuid() != 0, reason="files cannot be given away here")
def test_a_place_or_a_name_of_somebody_elses_is_passed_over(memory):
    chosen(memory).mkdir()
    os.chown(chosen(memory), 65534, 65534)
    assert chosen(memory).parent == memory[1]
    os.chown(memory[1], 65534, 65534)
    assert chosen(memory) == HOME / "attempts"


def test_a_place_from_which_no_program_may_run_is_passed_over(tmp_path):
    code = f"from portal.settings import *; print(attempts_directory(Path({str(HOME)!r}), memory=[{str(tmp_path)!r}]))"
    mount = ["unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o noexec none "$0" && exec "$@"', str(tmp_path)]
    if subprocess.run([*mount, "true"], capture_output=True).returncode:
        pytest.skip("not tested: a memory without programs: file systems cannot be mounted here")
    done = subprocess.run([*mount, sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == str(HOME / "attempts"), done.stderr
