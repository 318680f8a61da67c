"""A yard: a state repository, a catalogue of one real system type over files, a queue, and the passes to drive them."""

import contextlib
import json
import os
import shutil
import signal
import tempfile
import time
from itertools import count
from pathlib import Path

import pytest
from django.utils import timezone

from changes import catalog as catalogs
from changes.models import ChangeRequest, MergeIntent, User
from changes.repository import Person, Repository, state
from changes.states import IntentState
from executors import queues
from executors.ansible import sandbox
from executors.ansible.warm import sandboxes
from executors.discovery import initialise
from executors.models import Event, ItemResource, Resource, Rollout, Run, WorkItem
from executors.reconcile import reconcile
from tests.servers import start_valkey

CATALOG = Path(__file__).parent / "catalog"
SOMEBODY = Person("Rita", "rita@office.example")
SHELVES = ("shelf-a", "shelf-b")
NUMBERS = count()
FILES = {
    "mergeyard.yml": "format: 1\ntitle: Office\nplatform_team: platform\n",
    "teams/payments.yml": 'title: Payments\nmembers: [rita, paul]\nsecret_prefixes: ["file:payments/"]\n',
    "teams/shelves.yml": "title: Shelves\nmembers: [olga]\n",
    "teams/others.yml": "title: Others\nmembers: [sam]\n",
    "teams/platform.yml": "title: Platform\nmembers: [pia]\n",
}


def box(name, shelf="shelf-a", team="payments"):
    return f"resources/{team}/{shelf}/Box/{name}.yml"


def label(name, shelf="shelf-a", team="payments"):
    return f"resources/{team}/{shelf}/Label/{name}.yml"


def document(kind, *, depends_on=(), secrets=None, **spec):
    return json.dumps(
        {"kind": kind, "spec": spec}
        | ({"depends_on": list(depends_on)} if depends_on else {})
        | ({"secrets": secrets} if secrets else {})
    )


class Yard:
    """Merges by hand-made commits with their intents, and looks at what became of them."""

    def __init__(self, directory, repository="state.git"):
        self.directory = directory
        for shelf in SHELVES:
            (directory / shelf).mkdir(exist_ok=True)
        declared = {
            f"systems/{shelf}.yml": json.dumps(
                {"type": "shelf", "owners": ["shelves"], "connection": {"directory": str(directory / shelf)}}
            )
            for shelf in SHELVES
        }
        self.repository = Repository.create(directory / repository)
        self.first = self.commit({**FILES, **declared})
        MergeIntent.objects.create(head=self.first, commit=self.first, state=IntentState.DONE)  # as `init` does
        initialise(self.first, applied=True)

    def user(self, name):
        return User.objects.get_or_create(username=name)[0]

    def commit(self, changes, when=None):
        """A commit on main that nobody approved."""
        before = self.repository.head()
        sha = self.written(changes, when)
        self.repository.swap_ref("refs/heads/main", sha, before)
        return sha

    def written(self, changes, when=None):
        """A commit on top of main, which main does not have yet."""
        before = self.repository.head()
        return self.repository.commit(
            parents=[before] if before else [],
            base_tree_of=before,
            changes={path: text.encode() if text is not None else None for path, text in changes.items()},
            message="Change something\n",
            author=SOMEBODY,
            committer=SOMEBODY,
            when=when or timezone.now(),
        )

    def merge(self, changes, when=None, by=("olga",)):
        """A change request by rita, approved by these for the owners of the shelves, with the product's record.

        The record is there before main moves, as the product's is: a controller beside the test may look between.
        """
        request = ChangeRequest.objects.create(requester=self.user("rita"), title="Boxes")
        for name in by:
            self.user(name)
        asked = {"sentence": "One of the owners of shelf-a (shelves)", "teams": ["shelves"], "count": 1}
        said = {"barred": ["rita"], "asked": [{**asked, "path": path, "given": [*by]} for path in changes]}
        before = self.repository.head()
        sha = self.written(changes, when)
        MergeIntent.objects.create(
            change_request=request, base=before, head=sha, commit=sha, state=IntentState.DONE, approvals=said
        )
        self.repository.swap_ref("refs/heads/main", sha, before)
        return sha

    def work(self):
        """The controller's passes and a worker's burst in turn, until nothing is left."""
        while reconcile() or queues.redis().llen("rq:queue:zone-default"):
            queues.worker("default").work(burst=True, logging_level="ERROR")

    def roll_out(self, changes):
        self.merge(changes)
        self.work()
        return Rollout.objects.latest("pk")

    def items(self, **where):
        return list(WorkItem.objects.filter(**where).order_by("position", "wave", "system"))

    def result(self, path, **where):
        return ItemResource.objects.filter(path=path, **where).latest("pk")

    def resource(self, path):
        return Resource.objects.get(path=path)

    def stored(self, name, shelf="shelf-a", kind="Box"):
        path = self.directory / shelf / f"{kind}-{name}.json"
        return json.loads(path.read_text()) if path.exists() else None

    def processes(self, part):
        """What runs on this host with such a path of the yard in its command."""
        return running(self.directory / part)

    def playing(self):
        """What runs of plays on this host, in a sandbox of their own or forked in a warm one."""
        found = []
        for pid in self.processes("attempts"):
            with contextlib.suppress(OSError):
                parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
                waits = not _in_warm(pid) or not _in_warm(parent)
                idle = b"warm_process.py" in Path(f"/proc/{pid}/cmdline").read_bytes() and waits
                found += [] if idle else [pid]
        return found

    def attempts(self):
        """What is left of plays on disk."""
        return [path for path in (self.directory / "attempts").iterdir() if not path.name.startswith("warm-")]

    def sleepers(self):
        """What a box with the trouble `slow` leaves behind in a session of its own."""
        return self.processes("shelf-a/sleep")

    def events(self, run=None, **where):
        return list(Event.objects.filter(run=run or Run.objects.latest("pk"), **where).order_by("number"))


def running(path):
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            found += [entry.name] if str(path).encode() in (entry / "cmdline").read_bytes() else []
    return found


def _in_warm(pid):
    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return words[0].endswith(b"python") and any(word.endswith(b"warm_process.py") for word in words)


@pytest.fixture(scope="session")
def valkey():
    directory = Path(tempfile.mkdtemp(prefix="yard-queue-"))
    server = start_valkey(directory)
    yield server
    server.stop()
    shutil.rmtree(directory)


@pytest.fixture
def queue(valkey, settings):
    settings.MERGEYARD_REDIS_URL = valkey.url
    settings.RQ_QUEUES = {"zone-default": {"URL": valkey.url, "DEFAULT_TIMEOUT": -1}}
    queues.redis().flushall()
    return valkey


@pytest.fixture(scope="session")
def ground():
    """The directory of all yards of this process: what stays of it is the same to a sandbox, which stays warm."""
    directory = Path(tempfile.mkdtemp(prefix="yard-")).resolve()
    yield directory
    sandboxes.end()
    shutil.rmtree(directory)


def clear(directory):
    """Nothing of the last yard is left but directories that living sandboxes see."""
    limit = time.monotonic() + 10
    while left := running(directory / "shelf-a/sleep"):  # of workers that were killed and contained nothing
        assert time.monotonic() < limit, f"{left} of an earlier test do not end"
        for pid in left:
            with contextlib.suppress(OSError):
                os.kill(int(pid), signal.SIGKILL)
        time.sleep(0.02)
    kept = {sandbox._place.root for sandbox in sandboxes._known.values()}
    for entry in [
        entry for place in (directory, directory / "attempts") if place.exists() for entry in place.iterdir()
    ]:
        if entry.name in SHELVES:
            for inner in entry.iterdir():
                shutil.rmtree(inner) if inner.is_dir() and not inner.is_symlink() else inner.unlink()
        elif entry.is_dir() and not entry.is_symlink():
            if entry.name != "attempts" and entry not in kept:
                shutil.rmtree(entry)
        else:
            entry.unlink()


@pytest.fixture
def yard(transactional_db, settings, queue, ground):
    directory = ground
    clear(directory)
    name = f"state-{next(NUMBERS)}.git"  # what is remembered of a repository is remembered by its path
    settings.MERGEYARD_REPOSITORY = directory / name
    settings.MERGEYARD_CATALOG = [CATALOG]
    settings.MERGEYARD_LOCAL_PATHS = [directory]
    settings.MERGEYARD_ATTEMPTS_DIR = directory / "attempts"
    settings.MERGEYARD_SECRETS_DIR = directory / "secrets"
    settings.MERGEYARD_SPOOL_DIR = directory / "spool"
    catalogs.catalog.cache_clear()
    sandbox.containment.cache_clear()
    yield Yard(directory, name)
    catalogs.catalog.cache_clear()
    sandbox.containment.cache_clear()


@pytest.fixture
def own_catalog(yard, settings, tmp_path):
    """A copy of the catalogue that a test may change."""
    folder = shutil.copytree(CATALOG, tmp_path / "catalog")
    settings.MERGEYARD_CATALOG = [folder]
    catalogs.catalog.cache_clear()
    yield folder
    catalogs.catalog.cache_clear()


__all__ = ["FILES", "SHELVES", "Yard", "box", "document", "label", "state"]
