"""What the demo does to its own installation: database, people, first state, work that a broker forgot."""

import time

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.core.management import call_command

from changes import setup
from changes.models import User
from executors import discovery
from executors.ansible import sandbox
from executors.models import Commit, ItemResource, Rollout, WorkItem
from executors.states import ITEM_FINAL, ItemState, ResultState
from playbooks.servers import CannotStart, Testbed
from portal.demo import content
from portal.demo.screen import Screen
from portal.demo.servers import testbed

ROLLOUT_SECONDS = 180


def migrate() -> None:
    call_command("migrate", verbosity=0, interactive=False)


def is_new() -> bool:
    return not Commit.objects.exists()


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
    """Until no work item is open; raises CannotStart when it does not come to an end."""
    rollout = Rollout.objects.order_by("-id").first()
    if rollout is None:
        return "nothing to do"
    results = ItemResource.objects.filter(item__rollout=rollout)
    limit = time.monotonic() + ROLLOUT_SECONDS
    while WorkItem.objects.exclude(state__in=ITEM_FINAL).exists():
        done = results.exclude(result=ResultState.PENDING).count()
        screen.progress(f"  {done} of {results.count()} resources applied")
        if time.monotonic() > limit:
            logs = settings.MERGEYARD_HOME / "logs"
            raise CannotStart(f"The rollout did not end within {ROLLOUT_SECONDS} seconds; see {logs}.")
        time.sleep(0.2)
    items = WorkItem.objects.filter(rollout=rollout)
    if item := items.exclude(state__in=[ItemState.SUCCEEDED, ItemState.SUPERSEDED]).first():
        return f"{item.system} {item.state}: {item.reason}"
    return f"{results.count()} resources on {items.values('system').distinct().count()} systems"
