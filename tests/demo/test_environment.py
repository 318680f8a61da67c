"""What is missing on a machine is one sentence: the first lines of bin/demo and of the demo's own start."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import not_tested
from tests.journeys.conftest import ROOT, free_port, outside

pytestmark = pytest.mark.stack

TOOLS = ("awk", "bash", "cat", "cksum", "date", "df", "dirname", "git", "grep", "tail", "uname")


class Machine:
    """A checkout without an environment, on a machine that has just these programs."""

    def __init__(self, directory):
        self.checkout, self.programs = directory / "checkout", directory / "programs"
        self.programs.mkdir(parents=True)
        shutil.copytree(ROOT / "bin", self.checkout / "bin")
        for file in ("requirements.txt", "portal/demo/requirements.txt", "tests/requirements.txt"):
            (self.checkout / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, self.checkout / file)
        for name in TOOLS:
            (self.programs / name).symlink_to(shutil.which(name))

    def answers(self, name, script):
        """A program that says something else on this machine."""
        self.lacks(name)
        (self.programs / name).write_text(f"#!{shutil.which('bash')}\n{script}\n")
        (self.programs / name).chmod(0o755)

    def lacks(self, name):
        (self.programs / name).unlink(missing_ok=True)

    def demo(self, **settings):
        """Exit code, what it said on standard error, and on standard output."""
        environment = {"PATH": str(self.programs), "HOME": str(self.checkout), **settings}
        argv = [str(self.programs / "bash"), "bin/demo"]
        done = subprocess.run(argv, cwd=self.checkout, env=environment, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stderr, done.stdout


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_another_platform_is_named_with_what_works_there(machine):
    machine.answers("uname", "echo Darwin arm64")
    assert machine.demo() == (
        1,
        "Mergeyard's embedded servers are built for Linux on x86-64; this is Darwin arm64. See docs/operations.md for "
        "an installation with servers of your own.\n",
        "",
    )
    assert (ROOT / "docs" / "operations.md").exists()


def test_a_missing_git_is_named(machine):
    machine.lacks("git")
    sentence = "git is missing: install it with your system's package manager, then start again.\n"
    assert machine.demo() == (1, sentence, "")


def test_a_missing_python_is_named(machine):
    sentence = "Python 3.11, 3.12 or 3.13 is missing: install it, or name one with MERGEYARD_PYTHON=/path/to/python3.\n"
    assert machine.demo() == (1, sentence, "")


def test_a_python_that_is_too_old_or_too_new_is_as_good_as_none(machine):
    machine.answers("python3", "exit 1")
    code, said, _ = machine.demo(MERGEYARD_PYTHON=str(machine.programs / "python3"))
    assert (code, said.count("\n")) == (1, 1)
    assert said.startswith("Python 3.11, 3.12 or 3.13 is missing")


def test_a_python_that_cannot_make_environments_is_told_with_the_package(machine):
    machine.answers(
        "python3", f'[ "$1" = -m ] && {{ echo No module named ensurepip; exit 1; }}; exec {sys.executable} "$@"'
    )
    code, said, _ = machine.demo()
    assert (code, said.count("\n")) == (1, 1)
    assert "the package python3-venv is needed. Python said: No module named ensurepip" in said


def test_a_full_disk_is_told_before_anything_is_installed(machine):
    machine.answers("python3", f'exec {sys.executable} "$@"')
    machine.answers("df", "echo header; echo /dev/sda1 100 99 1024 99% /")
    sentence = f"The disk that holds {machine.checkout} has less than 1.5 GB free: make room, then start again.\n"
    assert machine.demo() == (1, sentence, "")
    assert not (machine.checkout / ".venv").exists()


def start(*options, before=()):
    """The demo itself: exit code and all that it said."""
    argv = [*before, sys.executable, "-m", "portal.demo", "--port", str(free_port()), *options]
    done = subprocess.run(argv, cwd=ROOT, env=outside(), capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def test_a_small_disk_for_its_data_is_told(tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("d")
    small = ["unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o size=50m none "$0" && exec "$@"', str(tmp_path)]
    if subprocess.run([*small, "true"], capture_output=True).returncode:
        not_tested.append("not tested: a full disk: file systems cannot be mounted here")
        pytest.skip(not_tested[-1])
    home = tmp_path / "h"
    sentence = f"The disk that holds {home} has less than 0.5 GB free: make room, then start again.\n"
    assert start("--home", str(home), before=small) == (1, sentence)


@pytest.mark.parametrize("name", ["long-" * 20, "my data", "données"])
def test_a_path_that_servers_cannot_have_is_told_with_the_way_out(tmp_path, name):
    home = tmp_path / name
    code, said = start("--home", str(home))
    assert (code, said.count("\n")) == (1, 1)
    assert said.startswith(f"The demo's servers cannot have their files at {home}: ")
    assert "bin/demo --home /var/tmp/mergeyard" in said
    assert not home.exists()


def test_a_directory_that_cannot_be_made_is_named(tmp_path_factory):
    file = tmp_path_factory.mktemp("d") / "file"
    file.touch()
    code, said = start("--home", str(file / "h"))
    assert (code, said.count("\n")) == (1, 1)
    assert said.startswith("The demo cannot go on: ")
    assert str(file) in said


def test_a_port_that_does_not_exist_is_refused_by_its_number():
    code, said = start("--port", "99999")
    assert code == 2
    assert said.endswith("there is no port 99999: choose one between 1 and 65535\n")


def test_a_port_that_only_root_may_have_is_not_said_to_be_in_use(tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("d")
    unused = next(port for port in range(1, 1024) if port not in listening())
    plain = [] if os.geteuid() else ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all"]
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) <= unused:
        not_tested.append("not tested: a port of root's: every port is everybody's here")
        pytest.skip(not_tested[-1])
    code, said = start("--home", str(tmp_path / "home"), "--port", str(unused), before=plain)
    assert (code, said) == (
        1,
        f"Port {unused} cannot be had (Permission denied): start with another one, as in bin/demo --port 8000.\n",
    )


def listening():
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return {int(line.split()[1].rsplit(":")[1], 16) for line in lines}
