"""At every named place a process is killed; then its people and processes go on, and nothing is lost or left behind.

A change goes its whole way, from a person who asks for it to the shelf. Whoever comes to the place dies there by
SIGKILL: a forked process with git, database and queue of its own connections, or the web process itself. Whoever comes
after looks at what is there and goes on.
"""

import ast
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import override_settings
from django.utils import timezone

from changes import catalog as catalogs
from changes import crash_points, setup, tokens, workflow
from changes.forges.builtin import notes
from changes.models import ChangeRequest, MergeIntent
from changes.repository import Repository
from changes.review import evaluate
from changes.states import ChangeRequestState, IntentState
from executors import actions, queues, runs
from executors.ansible import sandbox
from executors.ansible.warm import sandboxes
from executors.models import Event, ItemResource, Rollout, Run, WorkItem
from executors.reconcile import reconcile
from executors.states import ITEM_OPEN, RUN_OPEN
from playbooks.servers import free_port
from tests.executors.conftest import CATALOG, Yard, box, document
from tests.servers import start_valkey

pytestmark = pytest.mark.faults

ROOT = Path(__file__).resolve().parents[2]
DIED = -signal.SIGKILL
ROUNDS = 8  # of everybody's turns, which is more than a change needs that nothing happens to


def places():
    """Where the source calls crash_point, by the names that it says."""
    for package in ("changes", "executors", "portal"):
        for file in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("crash_point"):
                    yield ast.literal_eval(node.args[0])


class Story:
    """One change and the people and processes that bring it to its shelf. Each turn may be the last one."""

    def __init__(self, yard, place, number):
        self.yard, self.place, self.number = yard, place, number
        self.title = f"The box {number}"
        self.path = box(f"box-{number}")
        self.mark = yard.directory / f"died-{number}"
        self.turns = [self.person, self.controller, self.worker]

    # Turns

    def person(self):
        """Goes on from what the pages show."""
        rita, olga = self.yard.user("rita"), self.yard.user("olga")
        request = ChangeRequest.objects.filter(title=self.title).order_by("-pk").first()
        if request is None:
            request = workflow.start_draft(rita, self.title)
            workflow.put_edit(request, rita, self.path, self.document())
        if request.state == ChangeRequestState.DRAFT:
            workflow.propose(request, rita)
        self.more(request, rita)
        if request.state == ChangeRequestState.OPEN:
            review = evaluate(request)
            if not review.can_merge:
                workflow.approve(request, olga, "yes", [item.digest for item in review.plan.items])
            workflow.merge(request, rita)

    def document(self, **more):
        return document("Box", **{"size": self.number, **more})

    def more(self, request, rita):
        """What this story's person does before the merge."""

    def controller(self):
        while reconcile():
            pass

    def worker(self):
        queues.worker("default").work(burst=True, logging_level="CRITICAL")

    def tell(self):
        """Until it is on its shelf. Time goes by after a death: leases and the keys of queued jobs end."""
        for _ in range(ROUNDS):
            for turn in self.turns:
                self.take(turn)
            if self.is_over():
                return self.controller()  # which wipes what dead workers left
        return None

    def take(self, turn):
        """By a process that may die, until one has died; the next ones need no process of their own."""
        if self.mark.exists():
            turn()
        elif forked(turn, self.place, self.mark) == DIED:
            self.time_goes_by()

    def time_goes_by(self):
        WorkItem.objects.filter(state="running").update(lease_until=timezone.now() - timedelta(seconds=1))
        queues.redis().delete(*queues.redis().keys("mergeyard:queued:*"), "nothing")

    def is_over(self):
        rows = ItemResource.objects.filter(path=self.path, result__in=("changed", "unchanged"))
        return rows.exists() and not WorkItem.objects.filter(state__in=ITEM_OPEN).exists()

    # What is so in the end

    def judge(self):
        assert self.mark.exists(), "nobody came to that place"
        requests = ChangeRequest.objects.filter(title=self.title)
        merged = [request for request in requests if request.state == ChangeRequestState.MERGED]
        assert len(merged) == 1
        assert merged[0].plan_rows.exists()
        commit = merged[0].merge_commit
        assert self.yard.repository.contains(self.yard.repository.main(), commit)
        assert not MergeIntent.objects.filter(state=IntentState.OPEN).exists()
        assert self.yard.stored(f"box-{self.number}")["size"] == self.number
        assert self.yard.resource(self.path).sync == "synced"
        assert self.yard.resource(self.path).applied_commit.sha == commit
        assert Rollout.objects.filter(commit__sha=commit, cause="merge").count() == 1
        results = ItemResource.objects.filter(path=self.path).values_list("result", flat=True)
        assert Counter(results) in (Counter(["changed"]), Counter(["unchanged"]))
        assert Run.objects.filter(item__resources__path=self.path, state="succeeded").count() == 1
        self.nothing_is_left()

    def nothing_is_left(self):
        assert not WorkItem.objects.filter(state__in=ITEM_OPEN).exists()
        assert not WorkItem.objects.exclude(lease_until=None).exists()
        assert not Run.objects.filter(state__in=RUN_OPEN).exists()
        for run in Run.objects.filter(item__resources__path=self.path):
            numbers = list(Event.objects.filter(run=run).order_by("number").values_list("number", flat=True))
            assert numbers == list(range(1, run.events + 1))
        assert self.yard.attempts() == []
        assert self.yard.playing() == []
        assert list((self.yard.directory / "spool").iterdir()) == []
        assert notes(self.yard.repository) == []
        assert queues.redis().llen("rq:queue:zone-default") == 0


def forked(turn, place, mark):
    """How a process ended that came to its turn and was to die at a place."""
    connection.close()
    pid = os.fork()
    if pid == 0:
        try:
            crash_points.wanted, crash_points.mark = place, str(mark)
            sandboxes._known.clear()  # they are the parent's
            turn()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, DIED), f"{turn.__name__} ended with {code}"
    return code


class ProposedTwice(Story):
    def more(self, request, rita):
        if request.state == ChangeRequestState.OPEN and not request.comments.exists():
            workflow.revise(request, rita)
            workflow.put_edit(request, rita, self.path, document("Box", size=self.number, note="once more"))
            workflow.comment(request, rita, "Once more.")
            workflow.propose(request, rita)


class Outdated(Story):
    """Main moved on, and the person takes that into the branch."""

    def more(self, request, rita):
        if request.state != ChangeRequestState.OPEN:
            return
        other = box(f"other-{self.number}")
        if self.yard.repository.read(self.yard.repository.main(), other) is None:
            self.yard.merge({other: document("Box")})
        if evaluate(request).outdated:
            workflow.update_branch(request, rita)


class Pushed(Story):
    """The person has a git client, and the web process dies."""

    def __init__(self, *known):
        super().__init__(*known)
        self.turns = [self.push, *self.turns]
        self.token = tokens.create(self.yard.user("rita"), title="git")[1]

    def take(self, turn):
        turn()  # nobody but the web process dies

    def push(self):
        clone = self.yard.directory / f"clone-{self.number}"
        if clone.exists():
            return
        with Web(self) as address:
            url = f"{address.replace('//', f'//rita:{self.token}@')}/git/state.git"
            self.git("clone", "-q", url, str(clone))
            (clone / self.path).parent.mkdir(parents=True, exist_ok=True)
            (clone / self.path).write_text(document("Box", size=self.number))
            self.git("-C", str(clone), "add", ".")
            self.git("-C", str(clone), "commit", "-q", "-m", self.title)
            self.git("-C", str(clone), "push", "-q", "origin", f"HEAD:refs/heads/change/box-{self.number}", fails=True)
        while reconcile():
            pass

    def git(self, *argv, fails=False):
        argv = ["git", "-c", "user.name=Rita", "-c", "user.email=rita@office.example", *argv]
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.yard.directory), "GIT_TERMINAL_PROMPT": "0"}
        done = subprocess.run(argv, env=environment, capture_output=True, text=True)
        assert fails or done.returncode == 0, done.stderr


class Web:
    """The web process of one story. On leaving it has died by itself."""

    def __init__(self, story):
        self.port, names = free_port(), ("REPOSITORY", "REDIS_URL", "SPOOL_DIR")
        self.environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "MERGEYARD_DATABASE_URL": f"sqlite:///{connection.settings_dict['NAME']}",
            "MERGEYARD_CRASH_AT": story.place,
            "MERGEYARD_CRASH_MARK": str(story.mark),
            "MERGEYARD_CATALOG": str(CATALOG),
            **{f"MERGEYARD_{name}": str(getattr(sandbox.settings, f"MERGEYARD_{name}")) for name in names},
        }

    def __enter__(self):
        argv = [sys.executable, "-m", "uvicorn", "portal.asgi:application", "--port", str(self.port), "--lifespan"]
        self.process = subprocess.Popen([*argv, "off", "--log-level", "warning"], cwd=ROOT, env=self.environment)
        limit = time.monotonic() + 60
        while time.monotonic() < limit:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return f"http://127.0.0.1:{self.port}"
            except OSError:
                time.sleep(0.02)
        raise AssertionError("the web process did not answer")

    def __exit__(self, *_):
        try:
            assert self.process.wait(timeout=20) == DIED
        finally:
            self.process.kill()
            self.process.wait()


class DiedBefore(Story):
    """A worker died before, and whoever cleans up after it dies too."""

    before = "run: play ended"

    def worker(self):
        first = self.yard.directory / f"died-before-{self.number}"
        if not first.exists() and not self.mark.exists():
            crash_points.wanted, crash_points.mark = self.before, str(first)
        super().worker()

    def take(self, turn):
        if turn == self.worker and not self.mark.exists():
            if forked(turn, "", self.mark) == DIED:
                self.time_goes_by()
        else:
            super().take(turn)


class DiedAndTakenOver(DiedBefore):
    """What its worker had heard is stored by the next one, which dies."""

    def take(self, turn):
        if turn == self.worker and (self.yard.directory / f"died-before-{self.number}").exists():
            return Story.take(self, turn)
        return super().take(turn)


class Broken(Story):
    """We fail in the middle of the run, and die before that is written down."""

    def worker(self):
        if self.mark.exists():
            return super().worker()

        def prepare(*_):
            raise RuntimeError("we are broken")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(runs, "prepare", prepare)
            return super().worker()


class Cancelled(Story):
    """Somebody cancels the work before it runs, and then tries it again."""

    def __init__(self, *known):
        super().__init__(*known)
        self.turns = [
            self.person,
            self.once(self.find),
            self.once(self.cancel),
            self.retry,
            self.controller,
            self.worker,
        ]

    def once(self, turn):
        def taken():
            if not WorkItem.objects.filter(resources__path=self.path).exclude(state="waiting").exists():
                turn()

        return taken

    def find(self):
        from executors.discovery import discover

        discover()

    def item(self):
        return WorkItem.objects.get(resources__path=self.path)

    def cancel(self):
        actions.cancel(self.item(), self.yard.user("olga"))

    def retry(self):
        if self.item().state == "cancelled":
            actions.retry(self.item(), self.yard.user("olga"))


class Secret(Story):
    """The worker makes a secret, and the next one is on another host. In the end one value is anywhere."""

    elsewhere = False  # is the next worker

    def __init__(self, *known):
        super().__init__(*known)
        self.homes = [self.yard.directory / "secrets", self.yard.directory / "elsewhere"]
        self.turns = [self.person, self.controller, self.worker, self.retry]

    def document(self, **more):
        lock = {"ref": f"file:payments/{Path(self.path).name}", "generate": True}
        return super().document(trouble="leak", secrets={"lock": lock}, **more)

    def worker(self):
        with override_settings(MERGEYARD_SECRETS_DIR=self.homes[self.elsewhere]):
            super().worker()

    def time_goes_by(self):
        self.elsewhere = True
        super().time_goes_by()

    def retry(self):
        """Where the sentence says that the value was made."""
        item = WorkItem.objects.filter(resources__path=self.path, state="failed").first()
        if item:
            assert self.not_twice(item.reason)
            self.elsewhere = False
            actions.retry(item, self.yard.user("olga"))

    def not_twice(self, said):
        return re.match(
            r"The secret \S+ was made or used before by worker \S+, and this worker does not find it;", said
        )

    def judge(self):
        super().judge()
        name = Path(self.path).name
        [made] = [home for home in self.homes if (home / "payments" / name).exists()]
        value = (made / "payments" / name).read_text()
        assert self.yard.stored(f"box-{self.number}")["note"] == value
        assert [file.name for file in (made / "payments").iterdir() if name in file.name] == [name]
        self.yard.merge({self.path: self.document(size=1)})
        self.controller()
        self.elsewhere = made == self.homes[0]
        self.worker()
        assert self.not_twice(self.yard.result(self.path).message)


class SetUp(Story):
    """A new installation: the first commit is made, and whoever made it dies."""

    def tell(self):
        path = self.yard.directory / "another.git"
        files = setup.first_files(title="Another", platform_team="platform", members=["pia"])

        def begin():
            setup.initialise(path, files)

        assert forked(begin, self.place, self.mark) == DIED
        self.commit = setup.adopt(path)
        with override_settings(MERGEYARD_REPOSITORY=path):
            self.controller()

    def judge(self):
        assert self.mark.exists()
        repository = Repository(self.yard.directory / "another.git")
        assert repository.main() == self.commit
        assert repository.read(self.commit, "teams/platform.yml")
        assert MergeIntent.objects.get(commit=self.commit).state == IntentState.DONE


STORIES = {
    "setup: main made": SetUp,
    "propose: commit written": Story,
    "propose: branch made": Story,
    "propose: row opened": Story,
    "propose again: branch moved": ProposedTwice,
    "update: branch moved": Outdated,
    "push: refs moved": Pushed,
    "push: request opened": Pushed,
    "push: recorded": Pushed,
    "merge: commit written": Story,
    "merge: intent written": Story,
    "merge: main moved": Story,
    "merge: row closed": Story,
    "discovery: commit read": Story,
    "discovery: rows written": Story,
    "discovery: committed": Story,
    "release: committed": Story,
    "enqueue: key set": Story,
    "enqueue: job queued": Story,
    "job: popped": Story,
    "job: arrived": Story,
    "run: claimed": Story,
    "secret: draft written": Secret,
    "secret: on record": Secret,
    "secret: in its place": Secret,
    "run: begun": Story,
    "run: play started": Story,
    "events: in the spool": Story,
    "events: stored": Story,
    "run: play ended": Story,
    "run: events stored": Story,
    "run: result stored": Story,
    "run: over": Story,
    "run: to be given back": Broken,
    "take-over: stream read": DiedBefore,
    "take-over: committed": DiedBefore,
    "sweep: attempt found": DiedBefore,
    "replay: stored": DiedAndTakenOver,
    "cancel: committed": Cancelled,
    "retry: committed": Cancelled,
}


@pytest.fixture(scope="module")
def yard(django_db_setup, django_db_blocker):
    """One for all stories, so that plays find a warm sandbox."""
    directory = Path(tempfile.mkdtemp(prefix="crash-")).resolve()
    server = start_valkey(directory / "queue")
    queue = {name: {"URL": server.url, "DEFAULT_TIMEOUT": -1} for name in ("controller", "zone-default")}
    settings = override_settings(
        MERGEYARD_REDIS_URL=server.url,
        RQ_QUEUES=queue,
        MERGEYARD_REPOSITORY=directory / "state.git",
        MERGEYARD_CATALOG=[CATALOG],
        MERGEYARD_LOCAL_PATHS=[directory],
        MERGEYARD_ATTEMPTS_DIR=directory / "attempts",
        MERGEYARD_SECRETS_DIR=directory / "secrets",
        MERGEYARD_SPOOL_DIR=directory / "spool",
    )
    with django_db_blocker.unblock(), settings:
        call_command("migrate", verbosity=0)  # pytest-django makes no tables when no chosen test has its marker
        catalogs.catalog.cache_clear()
        sandbox.containment.cache_clear()
        yield Yard(directory)
        sandboxes.end()
        call_command("flush", verbosity=0, interactive=False)
        catalogs.catalog.cache_clear()
        sandbox.containment.cache_clear()
    server.stop()
    shutil.rmtree(directory)


@pytest.mark.threat("faults.crash-points")
def test_every_crash_point_has_a_name_of_its_own_and_a_story():
    counted = Counter(places())
    assert {name: count for name, count in counted.items() if count > 1} == {}
    assert set(counted) == set(STORIES)


@pytest.mark.threat("faults.crash-points", "faults.kill-web", "worker.secrets-once")
@pytest.mark.parametrize("place", STORIES)
def test_a_process_that_dies_there_loses_nothing_and_leaves_nothing(yard, place):
    story = STORIES[place](yard, place, list(STORIES).index(place) + 1)
    story.tell()
    story.judge()


def test_a_process_does_not_die_where_nobody_wants_it_to(monkeypatch, tmp_path):
    monkeypatch.setattr(crash_points, "wanted", "merge: main moved")
    monkeypatch.setattr(crash_points, "mark", str(tmp_path / "mark"))
    killed = []
    monkeypatch.setattr(os, "kill", lambda *what: killed.append(what))
    crash_points.crash_point("merge: intent written")
    assert killed == []
    crash_points.crash_point("merge: main moved")
    crash_points.crash_point("merge: main moved")
    assert killed == [(os.getpid(), signal.SIGKILL)]
