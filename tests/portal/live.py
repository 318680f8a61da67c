"""A portal as a process with a queue and a database of its own, a rollout in it, and a reader of its streams."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
from django.conf import settings
from django.core.management import call_command
from django.db import connections
from django.test import Client
from django.utils import timezone

from changes.models import ChangeRequest, MergeIntent, PlanRow, User
from changes.repository import Person, Repository
from executors.models import Commit, Event, ItemResource, Rollout, Run, WorkItem
from tests.servers import start_valkey

ROOT = Path(__file__).resolve().parents[2]
CATALOG = ROOT / "tests" / "executors" / "catalog"
SHELF = {"type": "shelf", "owners": ["shelves"], "connection": {"directory": "/srv/shelf"}}
FILES = {
    "mergeyard.yml": "format: 1\ntitle: Office\nplatform_team: platform\n",
    "teams/payments.yml": "title: Payments\nmembers: [rita]\n",
    "teams/shelves.yml": "title: Shelves\nmembers: [olga]\n",
    "teams/others.yml": "title: Others\nmembers: [sam]\n",
    "teams/platform.yml": "title: Platform\nmembers: [pia]\n",
    **{f"systems/shelf-{one}.yml": json.dumps(SHELF) for one in "abc"},
}


class Portal:
    """The process, and the rows that a test puts before it."""

    def __init__(self, directory):
        self.directory = directory
        self.valkey = start_valkey(directory / "queue")
        self.database = directory / "portal.sqlite3"
        self.former = connections["default"]
        self.own = type(self.former)({**self.former.settings_dict, "NAME": str(self.database)}, "default")
        self.use_own()
        call_command("migrate", verbosity=0)
        self.repository = Repository.create(directory / "state.git")
        self.commit(FILES)
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.positions = 0
        try:
            self.start()
        except BaseException:
            self.stop()
            raise

    def use_own(self):
        connections["default"] = self.own

    def use_former(self):
        self.own.close()
        connections["default"] = self.former

    def start(self):
        environment = {
            "PATH": os.environ["PATH"],
            "MERGEYARD_HOME": str(self.directory),
            "MERGEYARD_DATABASE_URL": f"sqlite:///{self.database}",
            "MERGEYARD_REPOSITORY": str(self.directory / "state.git"),
            "MERGEYARD_REDIS_URL": self.valkey.url,
            "MERGEYARD_SECRET_KEY": settings.SECRET_KEY,
            "MERGEYARD_CATALOG": str(CATALOG),
            "MERGEYARD_LOG_LEVEL": "WARNING",
        }
        command = [sys.executable, "-m", "uvicorn", "portal.asgi:application", "--fd", str(self.socket.fileno())]
        self.log = (self.directory / "web.log").open("ab")
        self.process = subprocess.Popen(
            [*command, "--timeout-graceful-shutdown", "1"],
            cwd=ROOT,
            env=environment,
            pass_fds=[self.socket.fileno()],
            stdout=self.log,
            stderr=self.log,
        )
        wait_for(self.answers, 60)

    def answers(self):
        told = (self.directory / "web.log").read_text()[-2000:]
        assert self.process.poll() is None, f"the portal ended: {told}"
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/login/", timeout=20).raise_for_status()

    def stop(self):
        os.kill(self.process.pid, signal.SIGTERM)
        self.process.wait(20)
        self.log.close()
        self.socket.close()
        self.valkey.stop()

    def commit(self, changes):
        """A commit on main that was merged, the first one as `init` begins."""
        before = self.repository.head()
        person = Person("Rita", "rita@office.example")
        sha = self.repository.commit(
            parents=[before] if before else [],
            base_tree_of=before,
            changes={path: text.encode() for path, text in changes.items()},
            message="Change something\n",
            author=person,
            committer=person,
            when=timezone.now(),
        )
        MergeIntent.objects.create(base=before or "", head=sha, commit=sha, state="done")
        self.repository.swap_ref("refs/heads/main", sha, before)
        return sha

    # Rows

    def user(self, name):
        return User.objects.get_or_create(username=name)[0]

    def rollout(self, title="More boxes"):
        """A rollout of a change request by rita of the payments team."""
        request = ChangeRequest.objects.create(requester=self.user("rita"), title=title, state="merged")
        PlanRow.objects.create(
            change_request=request,
            path="resources/payments/shelf-a/Box/one.yml",
            operation="create",
            team="payments",
            system="shelf-a",
            kind="Box",
            name="one",
        )
        self.positions = Commit.objects.count() + 1
        commit = Commit.objects.create(
            position=self.positions, sha=f"{self.positions:040x}", change_request_id=request.pk, subject=title
        )
        return Rollout.objects.create(commit=commit, cause="merge")

    def item(self, rollout, system="shelf-a", *, wave=1, state="running", **fields):
        position = rollout.commit.position
        return WorkItem.objects.create(
            rollout=rollout, position=position, wave=wave, system=system, zone="default", state=state, **fields
        )

    def resource(self, item, name="one", **fields):
        given = {"kind": "Box", "identity": json.dumps({"name": name}), "operation": "create", "blob": "0" * 40}
        path = f"resources/payments/{item.system}/Box/{name}.yml"
        return ItemResource.objects.create(item=item, path=path, order=item.resources.count(), **{**given, **fields})

    def run(self, item, *, number=1, state="running", **fields):
        return Run.objects.create(item=item, number=number, fence=number, state=state, worker="w", **fields)

    def running(self):
        """A rollout with one running item and its run; no other item runs."""
        WorkItem.objects.filter(state="running").update(state="succeeded")
        item = self.item(self.rollout())
        return self.run(item)

    # Events

    def events(self, run, first, last, *, text="line {}", task="Write the boxes", sort="line", data=None):
        now = timezone.now()
        return [
            Event(run=run, number=n, sort=sort, task=task, text=text.replace("{}", str(n)), data=data, at=now)
            for n in range(first, last + 1)
        ]

    def store(self, run, first, last, **fields):
        Event.objects.bulk_create(self.events(run, first, last, **fields), batch_size=500)

    def stream(self, run, first, last, *, forged=None, **fields):
        """`forged`: what an entry says that no worker of ours would write."""
        from executors.events import as_entry, stream_of

        with self.valkey.client() as client, client.pipeline(transaction=False) as pipe:
            for event in self.events(run, first, last, **fields):
                entry = {**as_entry(event), **(forged or {})}
                pipe.xadd(stream_of(run.pk), {"e": json.dumps(entry)}, id=f"{event.number}-0")
            pipe.execute()

    def hint(self, rollout, item=None, state="running"):
        entry = {"rollout": rollout.pk, "item": item and item.pk, "state": state, "change_request": None}
        with self.valkey.client() as client:
            client.xadd("mergeyard:hints", {"e": json.dumps(entry)})

    # Readers

    def cookies(self, name):
        client = Client()
        client.force_login(self.user(name))
        return {settings.SESSION_COOKIE_NAME: client.cookies[settings.SESSION_COOKIE_NAME].value}

    def http(self, name, **options):
        """A client of the portal, signed in as that person."""
        return httpx.Client(base_url=self.url, cookies=self.cookies(name) if name else None, timeout=30, **options)

    @contextlib.contextmanager
    def watch(self, rollout, after="", *, who="rita", last_id=None, http=None, seen=""):
        headers = {"Last-Event-ID": last_id} if last_id is not None else {}
        with contextlib.ExitStack() as stack:
            http = http or stack.enter_context(self.http(who))
            query = {"rollout": rollout.pk, "after": after, "seen": seen}
            yield Stream(stack.enter_context(http.stream("GET", "/events/", params=query, headers=headers)))


class Stream:
    """What a page gets, event by event."""

    def __init__(self, response):
        self.response = response
        self.status = response.status_code
        self.last_id = ""
        self.lines = []
        self.others = []
        self._texts = response.iter_lines()

    def next(self):
        """The next event's name; keeps its lines and id as a browser does."""
        name, data, last_id = "message", [], None
        limit = time.monotonic() + 20
        for text in self._texts:
            assert time.monotonic() < limit or text.startswith("data"), "nothing came"
            if text.startswith("id: "):
                last_id = text[4:]
            elif text.startswith("event: "):
                name = text[7:]
            elif text.startswith("data: "):
                data.append(text[6:])
            elif not text and data:
                break
        else:
            return None
        self.last_id = last_id or self.last_id
        content = json.loads("\n".join(data))
        if name == "log":
            self.lines += content
        else:
            self.others.append((name, content))
        return name

    def numbers(self, run):
        return [line["number"] for line in self.lines if line["run"] == run.pk]

    def until(self, run, number):
        """Read on until that line is there."""
        while number not in {line["number"] for line in self.lines if line["run"] == run.pk}:
            assert self.next() is not None, f"the stream ended before line {number}"
        return self.numbers(run)

    def until_event(self, name):
        while name not in {one for one, _ in self.others}:
            assert self.next() is not None, f"the stream ended without {name}"
        return dict(self.others)[name]


def after_of(page):
    """What the page says it has."""
    return re.search(r'data-after="([^"]*)"', page).group(1)


def seen_of(page):
    return re.search(r'data-seen="([^"]*)"', page).group(1)


def wait_for(condition, seconds=20):
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "it did not happen"
        time.sleep(0.05)
