"""What the demo does to its own installation: database, people, first state, work that a broker forgot."""

import contextlib
import time
from collections.abc import Iterator

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.core.management import call_command
from django.db import OperationalError
from django.db.models import Count, Max

from changes import setup
from changes.models import User
from changes.repository import RepositoryError
from executors import discovery
from executors.ansible import attempt, sandbox
from executors.models import Commit, Event, ItemResource, Rollout, WorkItem
from executors.states import ITEM_FINAL, ItemState, ResultState
from executors.waiting import why_waiting
from playbooks.servers import Testbed
from portal.demo import content
from portal.demo.home import CannotStart
from portal.demo.screen import Screen
from portal.demo.servers import testbed

STILL_SECONDS = 30.0  # work of which nothing moved for so long is not waited for
LONGEST_SECONDS = 90.0  # nor is what goes on and on: the pages are there, and show it
SHOWN = 2


@contextlib.contextmanager
def troubles_told() -> Iterator[None]:
    """A full disk, a database or a repository that cannot be had: one sentence, as CannotStart."""
    try:
        yield
    except OperationalError as error:
        cause = str(error).strip().partition("\n")[0].rstrip(".")
        raise CannotStart(f"The database cannot be used: {cause}.") from error
    except (RepositoryError, setup.SetupRefused) as error:
        raise CannotStart(f"The state repository cannot be used: {error}") from error


def migrate() -> None:
    call_command("migrate", verbosity=0, interactive=False)


def is_new() -> bool:
    """Was nothing begun yet? Raises CannotStart where the database or the repository is of another installation."""
    home, begun = settings.MERGEYARD_HOME, not setup.is_empty(settings.MERGEYARD_REPOSITORY)
    if Commit.objects.exists() and not begun:
        raise CannotStart(
            f"The database knows an installation that is not in {home}: name an empty database with "
            "MERGEYARD_DATABASE_URL, or with --home the directory that belongs to this one."
        )
    if begun and not Commit.objects.exists():
        raise CannotStart(
            f"The database knows nothing of the installation in {home}: name the one that belongs to it with "
            "MERGEYARD_DATABASE_URL, or start anew with bin/demo --reset."
        )
    return not begun


def first_state(beds: dict[str, Testbed], *, password: str) -> str:
    _people(password)
    content.write_secrets(beds, settings.MERGEYARD_SECRETS_DIR)
    files = content.files(beds)
    commit = setup.initialise(settings.MERGEYARD_REPOSITORY, files, message="Take over what Harbour Shop runs")
    discovery.initialise(commit, applied=False)
    return f"{len(files)} files, {sum(path.startswith('resources/') for path in files)} documents"


def _people(password: str) -> None:
    known = {person["name"]: person for person in content.people()}
    slow_hash = make_password(password)
    for username in sorted({name for names in content.members().values() for name in names}):
        person = known.get(username, {"first": username.title(), "last": ""})
        names = {"first_name": person["first"], "last_name": person["last"]}
        User.objects.update_or_create(username=username, defaults={**names, "password": slow_hash})


def apply_forgotten(beds: dict[str, Testbed]) -> list[str]:
    """A broker that keeps everything in memory forgot it at the stop: apply what is merged again, and say so."""
    said = []
    for system, type_name in content.system_types().items():
        if testbed(type_name).MEMORY_ONLY:
            discovery.reapply(system, "its server keeps everything in memory and was started anew")
            said.append(f"{system} forgot everything at the last stop; what is merged is applied to it again.")
    return said


def containment() -> str:
    return sandbox.containment().sentence


def wait_for_work(screen: Screen) -> str:
    """Until no work item is open, or nothing moves any more, or it takes long; what came of it, in a sentence."""
    rollout = Rollout.objects.order_by("-id").first()
    if rollout is None:
        return "nothing to do"
    results = ItemResource.objects.filter(item__rollout=rollout)
    begun = moved = time.monotonic()
    before: object = None
    while WorkItem.objects.exclude(state__in=ITEM_FINAL).exists():
        done, now = results.exclude(result=ResultState.PENDING).count(), time.monotonic()
        screen.progress(f"  {done} of {results.count()} resources applied")
        if (seen := _traces()) != before:
            before, moved = seen, now
        if now - moved > STILL_SECONDS or now - begun > LONGEST_SECONDS:
            return f"{done} of {results.count()} resources so far. {_what_waits()}"
        time.sleep(0.2)
    items = WorkItem.objects.filter(rollout=rollout)
    if item := items.exclude(state__in=[ItemState.SUCCEEDED, ItemState.SUPERSEDED]).first():
        return f"{item.system} {item.state}: {item.reason}"
    return f"{results.count()} resources on {items.values('system').distinct().count()} systems"


def _traces() -> object:
    """What differs as soon as any work goes on."""
    states = WorkItem.objects.order_by("state").values_list("state").annotate(Count("pk"))
    return list(states), Event.objects.aggregate(last=Max("pk"))


def _what_waits() -> str:
    items = list(WorkItem.objects.exclude(state__in=ITEM_FINAL).order_by("position", "pk"))
    named = [
        f"{item.system} still runs" if item.state == ItemState.RUNNING else f"{item.system}: {why_waiting(item)}"
        for item in items[:SHOWN]
    ]
    more = [f"{len(items) - SHOWN} more"] if len(items) > SHOWN else []
    return f"The rest goes on when it can: {', '.join([*named, *more])}"


def leave_no_attempts() -> None:
    """What killed workers left; where attempts lie in memory, outside of the home, nobody else would look for it."""
    attempt.sweep(settings.MERGEYARD_ATTEMPTS_DIR)
    with contextlib.suppress(OSError):
        settings.MERGEYARD_ATTEMPTS_DIR.rmdir()
