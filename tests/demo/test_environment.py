"""What is missing on a machine is one sentence: bin/demo's first lines, the demo's own start, bin/test's last line."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from playbooks.servers import DROPPED_UID
from tests.conftest import not_tested
from tests.demo.test_start import left_of
from tests.journeys.conftest import ROOT, free_port, outside

pytestmark = pytest.mark.stack

TOOLS = ("awk", "bash", "cat", "chmod", "cksum", "date", "df", "dirname", "git", "grep", "id", "mkdir", "mktemp", "rm")
TOOLS += ("sort", "tail", "uname", "wc")
VENV = r"""
[ "$1" = -c ] && exit
[ "$1" = --version ] && { echo Python 3.12; exit; }
mkdir -p .venv/bin
echo "#!$PWD/.venv/bin/python" >.venv/bin/pip
for name in python uv pytest; do
  echo '[ -z "$MERGEYARD_NOT_TESTED" ] || echo a robot >>"$MERGEYARD_NOT_TESTED"' >.venv/bin/$name
done
chmod +x .venv/bin/*
"""
MADE = """\
Making a virtual environment in .venv with Python 3.12 ...
Installing what portal/demo/requirements.txt lists ...
"""


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

    def demo(self, command=("bin/demo",), **settings):
        """Exit code, what it said on standard error, and on standard output."""
        environment = {"PATH": str(self.programs), "HOME": str(self.checkout), **settings}
        argv = [str(self.programs / "bash"), *command]
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


@pytest.fixture
def fast_machine(machine):
    """It can make environments, at once and with nothing in them."""
    machine.answers("python3", VENV)
    machine.answers("df", "echo header; echo /dev/sda1 9999999 0 9999999 0% /")
    return machine


def test_an_environment_is_made_once(fast_machine):
    assert fast_machine.demo() == (0, "", MADE)
    assert fast_machine.demo() == (0, "", "")


def test_a_checkout_that_was_moved_gets_a_new_environment(fast_machine, tmp_path):
    fast_machine.demo()
    fast_machine.checkout = fast_machine.checkout.rename(tmp_path / "elsewhere")
    assert fast_machine.demo() == (0, "", MADE)
    assert fast_machine.demo() == (0, "", "")


def test_the_last_line_of_the_tests_counts_what_could_not_be_tested(fast_machine):
    for name in ("chromium", "redis-server"):
        fast_machine.answers(name, "exit 0")
    code, _, said = fast_machine.demo(("bin/test", "unit", "systems"))
    assert (code, said.splitlines()[-3:-1]) == (0, ["Could not be tested here:", "a robot"])
    assert re.fullmatch(
        r"All that could be tested held: unit systems \(\d+ s\)\. Not tested: 1, named above\.", said.splitlines()[-1]
    )


def test_what_was_skipped_is_named_to_the_last_line(tmp_path):
    """With the real plugin, on a machine without a browser."""
    (tmp_path / "test_it.py").write_text("def test_a_page(chromium):\n    assert chromium\n")
    listed = tmp_path / "list"
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-c",
        str(ROOT / "pyproject.toml"),
        "-p",
        "tests.conftest",
        "test_it.py",
    ]
    environment = outside() | {"PATH": str(tmp_path), "MERGEYARD_NOT_TESTED": str(listed)}
    done = subprocess.run(
        argv, cwd=tmp_path, env=environment | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert (done.returncode, "1 skipped" in done.stdout) == (0, True), done.stdout + done.stderr
    assert listed.read_text() == "the pages in a browser: chromium is not installed\n"


def start(*options, before=(), **settings):
    """The demo itself: exit code and all that it said."""
    argv = [*before, sys.executable, "-m", "portal.demo", "--port", str(free_port()), *options]
    done = subprocess.run(argv, cwd=ROOT, env=outside() | settings, capture_output=True, text=True, timeout=60)
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


def test_a_database_that_does_not_answer_is_told_and_the_rest_is_stopped(tmp_path_factory):
    home = tmp_path_factory.mktemp("d") / "home"
    code, said = start("--home", str(home), MERGEYARD_DATABASE_URL=f"postgres://a:b@127.0.0.1:{free_port()}/c")
    assert code == 1
    assert "\nThe database cannot be used: connection failed: " in said
    assert "Traceback" not in said
    assert left_of({}, home) == set()


def test_a_server_that_refuses_root_starts_without_user_namespaces_and_below_a_private_directory(tmp_path_factory):
    """And again with them, on the same files."""
    home = tmp_path_factory.mktemp("d")
    home.chmod(0o700)
    code = (
        "import sys, pathlib; from playbooks.postgresql.testbed import start; "
        "bed = start(pathlib.Path(sys.argv[1])); "
        "print(pathlib.Path(f'/proc/{bed.servers[0].pid}/status').read_text()); bed.stop()"
    )
    argv = [sys.executable, "-c", code, str(home / "pg")]
    for before in ([sys.executable, "-m", "tests.demo.no_namespaces"], []):
        done = subprocess.run([*before, *argv], cwd=ROOT, env=outside(), capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert re.search(r"^Uid:\s+(\d+)", done.stdout, re.MULTILINE)[1] == str(
            DROPPED_UID if before and not os.geteuid() else os.geteuid()
        )


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
