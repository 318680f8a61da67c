"""Backup and restore with real processes: made while everything runs, put back where nothing is, gone on with."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import environ
import psycopg
import pytest
from django.core.management import call_command
from django.db import connections
from django.db.utils import load_backend
from django.utils import timezone

from changes import catalog as catalogs
from changes import setup, workflow
from changes.forges.builtin import NOTES
from changes.models import ChangeRequest, MergeIntent, User
from changes.repository import Repository, RepositoryError, copies
from changes.review import evaluate
from executors import discovery
from executors.models import Commit, Cursor, Event, Process, Rollout, Run, WorkItem
from executors.reconcile import reconcile
from executors.states import ITEM_FINAL
from portal.backup import making, restoring
from portal.backup.archive import NoBackup
from portal.backup.database import CannotCopy
from tests.executors.conftest import CATALOG, FILES, SHELVES, SOMEBODY, box, document
from tests.executors.test_processes import until
from tests.servers import start_postgresql, start_valkey

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def connected_to(database):
    former = connections["default"]
    options = former.settings_dict["OPTIONS"] if database["ENGINE"] == former.settings_dict["ENGINE"] else {}
    given = {**former.settings_dict, "OPTIONS": options, **database}
    connections["default"] = load_backend(given["ENGINE"]).DatabaseWrapper(given, "default")
    try:
        yield connections["default"]
    finally:
        connections["default"].close()
        connections["default"] = former


class Installation:
    """A home and a database, its processes, and this test as one more process of it."""

    def __init__(self, home, *, url, queue, shelves, settings):
        self.home, self.settings, self.running = home, settings, []
        self.queue, self.shelves = queue, shelves
        self.database = environ.Env.db_url_config(url)
        self.environment = {
            "PATH": os.environ["PATH"],
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "MERGEYARD_SECRET_KEY": "of-the-test",
            "MERGEYARD_HOME": str(home),
            "MERGEYARD_DATABASE_URL": url,
            "MERGEYARD_REDIS_URL": queue.url,
            "MERGEYARD_CATALOG": str(CATALOG),
            "MERGEYARD_LOCAL_PATHS": str(shelves),
            "MERGEYARD_ATTEMPTS_DIR": str(home / "attempts"),
        }

    @property
    def log(self):
        return self.home.with_suffix(".log")

    def start(self, *command):
        with self.log.open("ab") as log:
            argv = [sys.executable, "manage.py", *command]
            self.running.append(subprocess.Popen(argv, cwd=ROOT, env=self.environment, stdout=log, stderr=log))
        return self.running[-1]

    def manage(self, *command):
        argv = [sys.executable, "manage.py", *map(str, command)]
        return subprocess.run(argv, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=60)

    def kill(self):
        for process in self.running:
            process.send_signal(signal.SIGKILL)
            process.wait()
        self.running = []

    @contextmanager
    def ours(self):
        """Within it this test reads and writes its rows and its repository."""
        before = self.settings.MERGEYARD_REPOSITORY, self.settings.MERGEYARD_SECRETS_DIR
        self.settings.MERGEYARD_REPOSITORY = self.home / "state.git"
        self.settings.MERGEYARD_SECRETS_DIR = self.home / "secrets"
        try:
            with connected_to(self.database):
                yield Repository(self.home / "state.git")
        finally:
            self.settings.MERGEYARD_REPOSITORY, self.settings.MERGEYARD_SECRETS_DIR = before

    def begin(self, tables=None):
        """`tables`: a file of SQLite that is migrated already."""
        if tables:
            shutil.copyfile(tables, self.home / "mergeyard.sqlite3")
        else:
            call_command("migrate", verbosity=0)
        for name in ("rita", "olga", "pia"):
            User.objects.create(username=name)
        declared = {
            f"systems/{shelf}.yml": json.dumps(
                {"type": "shelf", "owners": ["shelves"], "connection": {"directory": str(self.shelves / shelf)}}
            )
            for shelf in SHELVES
        }
        files = {path: text.encode() for path, text in {**FILES, **declared}.items()}
        discovery.initialise(setup.initialise(self.home / "state.git", files), applied=True)

    def propose(self, path, **spec):
        rita = User.objects.get(username="rita")
        request = workflow.start_draft(rita, title=f"A box at {path}")
        workflow.put_edit(request, rita, path, document("Box", **spec))
        workflow.propose(request, rita)
        return request

    def merge(self, request):
        digests = [item.digest for item in evaluate(request).plan.items]
        workflow.approve(request, User.objects.get(username="olga"), "yes", digests, "")
        return workflow.merge(request, request.requester)

    def stored(self):
        return {file.stem: json.loads(file.read_text()) for file in self.shelves.glob("*/Box-*.json")}


def at_rest():
    return not WorkItem.objects.exclude(state__in=ITEM_FINAL).exists()


@pytest.fixture(scope="module")
def postgresql(tmp_path_factory):
    server, url = start_postgresql(tmp_path_factory.mktemp("p") / "postgresql")
    yield url
    server.stop()


@pytest.fixture
def install(request, tmp_path, settings, django_db_blocker):
    """Makes installations whose databases are of one vendor, and which manage the same shelves."""
    settings.MERGEYARD_CATALOG, settings.MERGEYARD_LOCAL_PATHS = [CATALOG], [tmp_path]
    catalogs.catalog.cache_clear()
    for shelf in SHELVES:
        (tmp_path / shelf).mkdir()
    queue, made = start_valkey(tmp_path / "queue"), []
    settings.MERGEYARD_REDIS_URL = queue.url

    def url(name):
        if getattr(request, "param", "sqlite") == "sqlite":
            return f"sqlite:///{tmp_path / name / 'mergeyard.sqlite3'}"
        server = request.getfixturevalue("postgresql")
        with psycopg.connect(server, autocommit=True) as server_connection:
            server_connection.execute(f"CREATE DATABASE {name}")
        return urlunsplit(urlsplit(server)._replace(path=f"/{name}"))

    def install(name):
        (tmp_path / name).mkdir()
        made.append(Installation(tmp_path / name, url=url(name), queue=queue, shelves=tmp_path, settings=settings))
        return made[-1]

    with django_db_blocker.unblock():
        yield install
    for one in made:
        one.kill()
    queue.stop()
    catalogs.catalog.cache_clear()


def sleeps(shelves):
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            found += [entry] if f"{shelves}/shelf-b/sleep".encode() in (entry / "cmdline").read_bytes() else []
    return found


@pytest.mark.stack
@pytest.mark.threat("faults.restore")
@pytest.mark.parametrize("install", ["sqlite", "postgresql"], indirect=True)
def test_a_backup_made_under_load_is_restored_and_gone_on_with(install, tmp_path):
    old, file = install("before"), tmp_path / "backup.tar"
    with old.ours():
        old.begin()
        old.start("controller", "--interval", "0.2"), old.start("worker")
        old.merge(old.propose(box("slow", "shelf-b"), size=2, trouble="slow 6"))
        until(lambda: sleeps(tmp_path))
        waiting = old.propose(box("waiting"), size=1).number
        earlier = [old.merge(old.propose(box(f"early-{n}"), size=n + 1)) for n in range(2)]
        backup = old.start("backup", str(file))
        number = 0
        while backup.poll() is None or number < 8:
            number += 1
            proposed = old.propose(box(f"load-{number}"), size=number)
            if number % 4 == 0:
                old.merge(proposed)
        assert backup.returncode == 0, old.log.read_text()
        assert old.environment["MERGEYARD_SECRET_KEY"].encode() not in file.read_bytes()
        assert file.stat().st_mode & 0o777 == 0o600
    old.kill()
    until(lambda: not sleeps(tmp_path))
    now = old.stored()

    new = install("after")
    said = new.manage("restore", file)
    assert said.returncode == 0, said.stderr
    assert "1 run that was going on" in said.stdout
    with new.queue.client() as client:
        assert client.keys("mergeyard:*") == []  # numbers of runs are given out again: their lines must not be there
    with new.ours() as repository:
        kept = set(repository.first_parents(None, repository.main()))
        assert kept >= set(earlier)
        for request in ChangeRequest.objects.filter(state="open"):
            assert repository.contains(repository.head(f"refs/heads/{request.branch}"), request.head)
        assert {*ChangeRequest.objects.filter(state="merged").values_list("merge_commit", flat=True)} <= kept
        new.start("controller", "--interval", "0.2")
        worker = new.start("worker")
        until(lambda: Cursor.objects.get().sha == repository.main() and at_rest())
        assert not Commit.objects.filter(quarantined=True).exists()
        assert {*Commit.objects.values_list("sha", flat=True)} == kept
        assert not MergeIntent.objects.filter(state="open").exists()
        rollouts = Counter(Rollout.objects.filter(cause="merge").values_list("commit__sha", flat=True))
        assert len(rollouts) == len(kept) - 1  # the first commit is no work
        assert {*rollouts.values()} == {1}
        assert {*WorkItem.objects.values_list("state", flat=True)} == {"succeeded"}
        slow = WorkItem.objects.get(system="shelf-b")
        assert [run.state for run in slow.runs.order_by("number")] == ["interrupted", "succeeded"]
        assert slow.attempts == 1
        assert Run.objects.filter(state="succeeded").count() == WorkItem.objects.count()
        boxes = {f"Box-{Path(path).stem}" for path in repository.files(repository.main()) if "/Box/" in path}
        stored = new.stored()
        assert boxes <= stored.keys()
        assert {name: stored[name] for name in now} == now  # what came after the backup is not touched either
        new.merge(ChangeRequest.objects.get(pk=waiting))
        until(lambda: "Box-waiting" in new.stored() and at_rest())
        for run in Run.objects.filter(state="succeeded"):  # none of them mixed with those of a lost future
            events = Event.objects.filter(run=run).order_by("number").values_list("number", flat=True)
            assert [*events] == [*range(1, run.events + 1)]
        assert worker.poll() is None


# The same within this process, one case at a time.


@pytest.fixture(scope="module")
def tables(django_db_blocker, tmp_path_factory):
    """Made once: migrating takes longer than most of these tests."""
    file = tmp_path_factory.mktemp("t") / "mergeyard.sqlite3"
    with django_db_blocker.unblock(), connected_to(environ.Env.db_url_config(f"sqlite:///{file}")) as connection:
        call_command("migrate", verbosity=0)
        connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return file


@pytest.fixture
def old(install, tables):
    """Two boxes are merged, nothing runs."""
    installation = install("before")
    with installation.ours():
        installation.begin(tables)
        for number in (1, 2):
            installation.merge(installation.propose(box(f"box-{number}"), size=number))
        yield installation


def back_up(old, **secret):
    given = {"with_secrets": False, "with_keys": False, **secret}
    return making.back_up(old.shelves / f"{len(list(old.shelves.iterdir()))}.tar", **given)


def by_hand(moment, what, monkeypatch):
    """Somebody does something at that moment of the backup."""
    step = getattr(copies, moment)

    def with_it(*arguments):
        if moment == "refs":
            found = step(*arguments)
            what()
            return found
        what()
        return step(*arguments)

    monkeypatch.setattr(copies, moment, with_it)


@pytest.mark.threat("faults.restore")
@pytest.mark.parametrize("moment", ["refs", "write_pack"])
def test_a_merge_in_the_middle_of_a_backup_is_in_it_whole_or_not_at_all(old, install, monkeypatch, moment):
    merged = []
    by_hand(moment, lambda: merged.append(old.merge(old.propose(box("meanwhile"), size=9))), monkeypatch)
    file = back_up(old)
    new = install("after")
    with new.ours() as repository:
        restoring.restore(file, keep_repository=False)
        while reconcile():
            pass
        assert (repository.main() == merged[0]) == (moment == "refs")
        assert not Commit.objects.filter(quarantined=True).exists()
        assert ChangeRequest.objects.filter(merge_commit=merged[0], state="merged").exists() == (moment == "refs")
        assert Rollout.objects.count() == (3 if moment == "refs" else 2)


@pytest.mark.threat("faults.restore", "approval.second-identity")
def test_who_pushed_is_known_after_a_restore_although_it_was_not_recorded_yet(old, install):
    repository = Repository(old.home / "state.git")
    sha = repository.commit(
        parents=[repository.main()], base_tree_of=repository.main(), changes={box("pushed"): document("Box").encode()},
        message="Not mine\n", author=SOMEBODY, committer=SOMEBODY, when=timezone.now(),
    )  # fmt: skip
    ref = "refs/heads/topic"
    (notes := repository.path / NOTES).mkdir()
    (notes / "1-a.json").write_text(json.dumps({"pusher": "olga", "refs": [[ref, "0" * 40, sha]]}))
    repository.swap_ref(ref, sha, None)
    file = back_up(old)
    new = install("after")
    with new.ours():
        restoring.restore(file, keep_repository=False)
        reconcile()
        assert ChangeRequest.objects.get(branch="topic").requester.username == "olga"


@pytest.mark.parametrize("moment", ["refs", "write_pack"])
def test_a_branch_that_moves_in_the_middle_is_where_its_row_says(old, install, monkeypatch, moment):
    request = old.propose(box("open"), size=1)

    def main_is_taken_in():
        old.merge(old.propose(box("other"), size=1))
        workflow.update_branch(ChangeRequest.objects.get(pk=request.pk), request.requester)

    by_hand(moment, main_is_taken_in, monkeypatch)
    file = back_up(old)
    new = install("after")
    with new.ours() as repository:
        restoring.restore(file, keep_repository=False)
        row = ChangeRequest.objects.get(pk=request.pk)
        assert repository.head(f"refs/heads/{row.branch}") == row.head
        assert (row.head == request.head) == (moment == "write_pack")
        assert new.merge(row)


def test_secrets_and_keys_are_in_it_only_if_asked_for(old, install, monkeypatch):
    monkeypatch.setenv("MERGEYARD_SECRET_KEY", "key 'of' the test")
    (folder := old.home / "secrets" / "payments").mkdir(parents=True)
    (folder / "lock").write_text("the-password")
    plain, whole = back_up(old).read_bytes(), back_up(old, with_secrets=True, with_keys=True)
    assert b"the-password" not in plain
    assert b"of' the test" not in plain
    new = install("after")
    with new.ours():
        keys = restoring.restore(whole, keep_repository=False).keys
    restored = new.home / "secrets" / "payments" / "lock"
    assert restored.read_text() == "the-password"
    assert [path.stat().st_mode & 0o777 for path in (restored, restored.parent.parent, keys)] == [0o600, 0o700, 0o600]
    said = subprocess.run(["sh", "-c", f'. {keys}; printf %s "$MERGEYARD_SECRET_KEY"'], capture_output=True, text=True)
    assert said.stdout == "key 'of' the test"


def test_merges_that_only_the_repository_remembers_are_vouched_for_by_a_person(old, install):
    file = back_up(old)
    later = old.merge(old.propose(box("later"), size=3))
    new = install("after")
    (old.home / "state.git").rename(new.home / "state.git")
    with new.ours():
        with pytest.raises(restoring.CannotRestore, match="--keep-repository"):
            restoring.restore(file, keep_repository=False)
        done = restoring.restore(file, keep_repository=True)
        assert done.unknown == 1
        setup.adopt(new.home / "state.git", since=done.discovered)
        while reconcile():
            pass
        assert Rollout.objects.get(commit__sha=later)
        assert not Commit.objects.filter(quarantined=True).exists()


def test_a_kept_repository_that_is_older_is_refused(old, install):
    new = install("after")
    subprocess.run(["cp", "-r", old.home / "state.git", new.home], check=True)
    old.merge(old.propose(box("later"), size=3))
    file = back_up(old)
    with new.ours(), pytest.raises(restoring.CannotRestore, match="older than the backup"):
        restoring.restore(file, keep_repository=True)


def test_a_backup_of_an_older_version_is_brought_up_to_date(old, install):
    call_command("migrate", "executors", "0004", verbosity=0)
    file = back_up(old)
    new = install("after")
    with new.ours():
        restoring.restore(file, keep_repository=False)
        assert Process.objects.count() == 0
        assert ChangeRequest.objects.filter(state="merged").count() == 2


def test_a_backup_of_a_newer_version_is_refused(old, install):
    with connections["default"].cursor() as cursor:
        cursor.execute(
            "INSERT INTO django_migrations (app, name, applied) VALUES ('executors', '9999_later', '2030-01-01')"
        )
    file = back_up(old)
    new = install("after")
    with new.ours(), pytest.raises(CannotCopy, match="newer version"):
        restoring.restore(file, keep_repository=False)
    assert not (new.home / "state.git").exists()


def test_nothing_is_put_where_something_is(old, install):
    file = back_up(old, with_secrets=False)
    with pytest.raises(CannotCopy, match="is not empty, and nothing was done to it"):
        restoring.restore(file, keep_repository=False)
    assert ChangeRequest.objects.count() == 2


def test_a_backup_never_takes_the_place_of_another_one(old):
    file = back_up(old)
    before = file.read_bytes()
    with pytest.raises(making.CannotBackUp, match="is there already"):
        making.back_up(file, with_secrets=False, with_keys=False)
    assert file.read_bytes() == before
    assert not list(file.parent.glob(".mergeyard-*"))


@pytest.mark.threat("faults.restore")
def test_no_byte_of_a_backup_can_change_unnoticed(old, install, tmp_path):
    whole = back_up(old).read_bytes()
    new, damaged = install("after"), tmp_path / "damaged.tar"
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        entries = tar.getmembers()
    cut = [whole[: len(whole) * n // 8] for n in range(8)]
    content = [entry.offset_data + entry.size // 2 for entry in entries if entry.size]
    flipped = [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in content[:-1]]
    listed = bytes(whole).replace(b'"format": 1', b'"format": 7')
    renamed = bytes(whole).replace(entries[0].name.encode(), b"../" + entries[0].name.encode()[3:])
    with new.ours():
        for data in [*cut, *flipped, listed, renamed]:
            damaged.write_bytes(data)
            with pytest.raises(NoBackup):
                restoring.restore(damaged, keep_repository=False)
    assert list(new.home.iterdir()) == []


@pytest.mark.threat("faults.restore")
def test_a_damaged_repository_gives_no_backup_at_all(old):
    repository = Repository(old.home / "state.git")
    blob = repository.blob_at(repository.main(), box("box-1"))
    (damaged := repository.path / "objects" / blob[:2] / blob[2:]).chmod(0o600)
    damaged.write_bytes(damaged.read_bytes()[:-8])
    before = set(old.shelves.iterdir())
    with pytest.raises(RepositoryError, match="pack-objects"):
        back_up(old)
    assert set(old.shelves.iterdir()) == before
