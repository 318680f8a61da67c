"""Fills a new installation with a little of everything; run as a process with the installation's settings."""

import json
import sys

import django

django.setup()

from django.conf import settings  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.utils import timezone  # noqa: E402

from changes import setup, workflow  # noqa: E402
from changes.models import User  # noqa: E402
from executors.models import Event, Run, WorkItem  # noqa: E402
from tests.changes.conftest import FILES, ORDERS, REFUNDS, Office, box  # noqa: E402
from tests.portal.pages.records import record_work  # noqa: E402

PASSWORD = "correct horse"
OUTCOME = {"path": ORDERS, "kind": "Box", "status": "failed", "before": None, "after": {"size": 2}, "reasons": ["new"]}
LINES = [
    ("line", "", "PLAY [Bring the shelves to the merged state]", None),
    ("task", "Read the shelves", "Read the shelves", None),
    ("line", "Read the shelves", "\x1b[32mok: [system]\x1b[0m", None),
    ("task", "Put up boxes", "Put up boxes", None),
    ("resource", "Put up boxes", "No space.", OUTCOME),
    ("line", "Put up boxes", "\x1b[31mfatal: [system]: FAILED! => " + "no space " * 40 + "\x1b[0m", None),
    ("line", "", "PLAY RECAP", None),
]


def print_lines(rollout, state):
    """What the rollout's one run has printed so far."""
    run = Run.objects.get(item__rollout=rollout)
    Run.objects.filter(pk=run.pk).update(state=state)
    events = enumerate(LINES if state == "failed" else LINES[:3], 1)
    Event.objects.bulk_create(
        Event(run=run, number=number, sort=sort, task=task, text=text, data=data, at=timezone.now())
        for number, (sort, task, text, data) in events
    )
    return run


def fill():
    call_command("migrate", verbosity=0, skip_checks=True)
    setup.initialise(settings.MERGEYARD_REPOSITORY, {path: text.encode() for path, text in FILES.items()})
    office = Office(settings.MERGEYARD_REPOSITORY)
    for name in ("rita", "olga", "sam", "pia"):
        user = getattr(office, name)
        user.set_password(PASSWORD)
        user.save()
    done = office.merged({ORDERS: box(9)}, title="Done")
    record_work(office, office.again(done))
    failed = office.merged({REFUNDS: box(2)}, title="Failed")
    rollout = record_work(
        office, office.again(failed), states={"shelf-test": "failed"}, sync="failed", message="No space."
    )
    run = print_lines(rollout, "failed")
    running = office.merged({ORDERS: box(7)}, title="Running")
    live = record_work(office, office.again(running), states={"shelf-test": "running"}, sync="failed")
    print_lines(live, "running")
    waiting = office.proposed({ORDERS: box(4), REFUNDS: None}, title="Waits for the shelves")
    workflow.comment(waiting, office.rita, "Please look at it.")
    wrong = office.proposed(
        {"resources/payments/shelf-prod/Box/odd.yml": "kind: Box\nspec:\n  sise: 1\n"}, title="Wrong"
    )
    draft = workflow.start_draft(office.rita, title="A draft")
    workflow.put_edit(draft, office.rita, REFUNDS, "kind: Box\nspec:\n  size: large\n")
    kept = {"done": done, "failed": failed, "running": running, "waiting": waiting, "wrong": wrong, "draft": draft}
    kept |= {"rollout": rollout, "live": live, "run": run, "edit": draft.edits.get()}
    kept |= {"item": WorkItem.objects.get(rollout=rollout)}
    print(json.dumps({name: row.pk for name, row in kept.items()}))


def fill_empty():
    call_command("migrate", verbosity=0, skip_checks=True)
    files = setup.first_files(title="Empty", platform_team="platform", members=["pia"])
    setup.initialise(settings.MERGEYARD_REPOSITORY, files)
    User.objects.create_user("pia", password=PASSWORD)
    print("{}")


if __name__ == "__main__":
    fill_empty() if "empty" in sys.argv else fill()
