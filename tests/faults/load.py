"""The load: people who ask for entries, approve and merge them; run as a process of its own for each writer.

`verbs-N` calls the product's workflow, `pages-N` fills in its forms and pushes with git over HTTP. What a writer asks
for comes from its seed. It waits while much work is open, and ends its last merge on SIGTERM.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

from tests.faults.history import History

TEAMS = {"payments": ("rita", "paul"), "orders": ("otto", "olive"), "claims": ("clara", "carl")}
OWNER = "olga"
SYSTEMS = tuple(f"ledger-{number}" for number in range(1, 5))
NAMES = 8  # of each team on each system
PASSWORD = "only-for-tests"


def path_of(team, system, name):
    return f"resources/{team}/{system}/Entry/{name}.yml"


def text_of(value, lock=False):
    secret = "secrets:\n  lock: {ref: file:payments/lock}\n" if lock else ""
    return f"kind: Entry\nspec:\n  value: {value}\n{secret}"


def value_in(text):
    """The value of a document that this load wrote."""
    for line in (text or "").splitlines():
        if line.startswith("  value: "):
            return int(line.removeprefix("  value: "))
    return None


class Writer:
    def __init__(self, name, home):
        self.name, self.home = name, home
        self.random = random.Random(f"{os.environ['FAULTS_SEED']} {name}")
        self.history = History(home / "history.jsonl", f"{name}:{os.getpid()}")
        self.number = 0
        self.over = False
        self.limit = int(os.environ["FAULTS_OPEN"])

    def go_on(self):
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "over", True))
        while not self.over:
            if self.busy():
                time.sleep(0.2)
                continue
            self.number += 1
            self.one()

    def value(self):
        """Never used before, by no writer: the clock of the boot and the process number are in it."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000 * 100 + os.getpid() % 100

    def choose(self, texts):
        """(team, {path: value or None for a deletion}) of one merge."""
        team = self.random.choice(sorted(TEAMS))
        edits = {}
        for system in self.random.sample(SYSTEMS, self.random.choices((1, 2), (9, 1))[0]):
            path = path_of(team, system, f"{team}-{self.random.randrange(NAMES)}")
            exists = texts(path) is not None
            edits[path] = None if exists and self.random.random() < 0.15 else self.value()
        return team, edits

    def one(self):
        from changes.repository import RepositoryError

        try:
            team, edits = self.choose(self.text)
        except (RepositoryError, OSError) as error:
            self.history.note("look", "failed", why=str(error)[:200])
            return time.sleep(0.5)
        self.history.note("merge", "invoked", number=self.number, documents=edits)
        phase, more = "unknown", {}
        try:
            phase, more = self.merge(team, edits)
        except Exception as error:
            more = {"why": f"{type(error).__name__}: {error}"[:300]}
            time.sleep(0.3)
        self.history.note("merge", phase, number=self.number, **more)
        return None

    def text(self, path):
        from changes.repository import state

        repository = state()
        data = repository.read(repository.main(), path)
        return None if data is None else data.decode()

    def documents(self, team, edits):
        """Those of one team hold a secret now and then."""
        lock = {path: team == "payments" and self.random.random() < 0.3 for path in edits}
        return {path: None if value is None else text_of(value, lock[path]) for path, value in edits.items()}

    def busy(self):
        from django.db import DatabaseError, connection

        from executors.models import WorkItem
        from executors.states import ITEM_OPEN

        try:
            return WorkItem.objects.filter(state__in=ITEM_OPEN).count() >= self.limit
        except DatabaseError:
            connection.close()
            return True


class Verbs(Writer):
    """Calls what the pages call."""

    def merge(self, team, edits):
        from django.db import close_old_connections

        from changes import workflow
        from changes.models import ChangeRequest, User
        from changes.review import evaluate
        from executors import queues

        close_old_connections()
        people = {user.username: user for user in User.objects.all()}
        asks = people[self.random.choice(TEAMS[team])]
        try:
            draft = workflow.start_draft(asks, f"Entries {self.name} {self.number}")
            for path, text in self.documents(team, edits).items():
                workflow.put_edit(draft, asks, path, text or "", delete=text is None)
            workflow.propose(draft, asks)
            digests = [item.digest for item in evaluate(draft).plan.items]
            workflow.approve(draft, people[OWNER], "yes", digests, "")
            commit = workflow.merge(draft, asks)
            queues.wake()
        except workflow.Refused as refusal:
            merged = ChangeRequest.objects.filter(pk=draft.pk, state="merged").exists()
            return "unknown" if merged else "failed", {"why": str(refusal)[:200]}
        self.act(people[OWNER])
        return "ok", {"commit": commit}

    def act(self, person):
        """Now and then somebody cancels work, or tries something again."""
        from executors.actions import Refused, cancel, retry
        from executors.models import WorkItem
        from executors.states import ITEM_OPEN, ITEM_RETRYABLE

        chance = self.random.random()
        if chance > 0.06:
            return
        verb, states = (cancel, ITEM_OPEN) if chance < 0.02 else (retry, ITEM_RETRYABLE)
        item = WorkItem.objects.filter(state__in=states).order_by("?").first()
        if item is None:
            return
        try:
            verb(item, person)
        except Refused:
            return
        self.history.note(verb.__name__, "ok", item=item.pk)


class Pages(Writer):
    """Fills in forms, and pushes every second change with git."""

    def __init__(self, name, home):
        super().__init__(name, home)
        self.address = os.environ["FAULTS_ADDRESS"]
        self.people = {}

    def person(self, username):
        from portal.demo.browser import Person

        if username not in self.people:
            home = SimpleNamespace(address=self.address, kept={"password": PASSWORD})
            self.people[username] = Person(username, home)
        return self.people[username]

    def merge(self, team, edits):
        username = self.random.choice(TEAMS[team])
        documents = self.documents(team, edits)
        title = f"Entries {self.name} {os.getpid()} {self.number}"
        try:
            asks, owner = self.person(username), self.person(OWNER)
            push = self.number % 2
            change = self.pushed(username, asks, documents, title) if push else self.composed(asks, documents, title)
            owner.approve(change)
            asks.merge(change)
        except Exception:
            self.people.clear()  # signed in anew: the process that knew them may be gone
            raise
        return "ok", {}

    def composed(self, asks, documents, title):
        draft = asks.start_request()
        for path, text in documents.items():
            asks.delete(draft, path) if text is None else asks.write(draft, path, text)
        asks.propose(draft, title=title, reason="")
        return draft

    def pushed(self, username, asks, documents, title):
        clone = self.home / "clones" / f"{self.name}-{os.getpid()}"
        token = (self.home / "tokens" / username).read_text()
        url = self.address.replace("//", f"//{username}:{token}@") + "/git/state.git"
        if not (clone / "HEAD").exists() and not (clone / ".git").exists():
            clone.mkdir(parents=True)
            self.git(clone, "init", "-q")
        self.git(clone, "fetch", "-q", url, "main")
        self.git(clone, "checkout", "-q", "-f", "--detach", "FETCH_HEAD")
        self.git(clone, "clean", "-q", "-f", "-d")
        for path, text in documents.items():
            file = clone / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.unlink() if text is None else file.write_text(text)
        self.git(clone, "add", "-A")
        self.git(clone, "commit", "-q", "-m", title)
        self.git(clone, "push", "-q", url, f"HEAD:refs/heads/change/{self.name}-{os.getpid()}-{self.number}")
        asks.open(f"/history/?q={title.replace(' ', '+')}")
        found = [link for link in asks.page.select("a[data-row]") if title in link.get_text()]
        return found[0]["href"]

    def git(self, clone, *argv):
        who = ("-c", "user.name=Somebody", "-c", "user.email=somebody@office.example")
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.home), "GIT_TERMINAL_PROMPT": "0"}
        subprocess.run(
            ["git", *who, *argv], cwd=clone, env=environment, check=True, capture_output=True, text=True, timeout=60
        )


def main(name, home):
    import django

    django.setup()
    sorts = {"verbs": Verbs, "pages": Pages}
    sorts[name.split("-")[1]](name, Path(home)).go_on()


if __name__ == "__main__":
    main(*sys.argv[1:])
