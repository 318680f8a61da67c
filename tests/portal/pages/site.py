"""Fills a new installation with a little of everything; run as a process with the installation's settings."""

import json
import sys

import django

django.setup()

from django.conf import settings  # noqa: E402
from django.core.management import call_command  # noqa: E402

from changes import setup, workflow  # noqa: E402
from changes.models import User  # noqa: E402
from tests.changes.conftest import FILES, ORDERS, REFUNDS, Office, box  # noqa: E402
from tests.portal.pages.records import record_work  # noqa: E402

PASSWORD = "correct horse"


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
    record_work(office, office.again(failed), states={"shelf-test": "failed"}, sync="failed", message="No space.")
    waiting = office.proposed({ORDERS: box(4), REFUNDS: None}, title="Waits for the shelves")
    workflow.comment(waiting, office.rita, "Please look at it.")
    wrong = office.proposed(
        {"resources/payments/shelf-prod/Box/odd.yml": "kind: Box\nspec:\n  sise: 1\n"}, title="Wrong"
    )
    workflow.start_draft(office.rita, title="A draft")
    print(json.dumps({"done": done.pk, "failed": failed.pk, "waiting": waiting.pk, "wrong": wrong.pk}))


def fill_empty():
    call_command("migrate", verbosity=0, skip_checks=True)
    files = setup.first_files(title="Empty", platform_team="platform", members=["pia"])
    setup.initialise(settings.MERGEYARD_REPOSITORY, files)
    User.objects.create_user("pia", password=PASSWORD)
    print("{}")


if __name__ == "__main__":
    fill_empty() if "empty" in sys.argv else fill()
