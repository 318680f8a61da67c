"""Owns what a worker does with a job. A job names a system; all else is in the database."""

import logging

from django.conf import settings
from django.db import Error as DatabaseError

from changes import repository
from changes.crash_points import crash_point
from executors import queues, spool
from executors.ansible import runners
from executors.ansible.attempt import sweep
from executors.ansible.warm import sandboxes
from executors.claim import claim
from executors.events import replay
from executors.preparation import missing_main
from executors.processes import own_name
from executors.reconcile import pass_on
from executors.runs import work_on

log = logging.getLogger(__name__)


def run_system(system: str) -> None:
    """Claim and run the first ready item of a system, then have somebody look for what became ready."""
    crash_point("job: popped")
    queues.arrived(system)
    crash_point("job: arrived")
    tidy()
    if full := spool.trouble():
        log.warning("%s", full)
        return
    if not has_main():
        return
    claimed = claim(system, worker=own_name(), zone=queues.own_zone())
    if claimed is not None:
        crash_point("run: claimed")
        work_on(claimed)
        crash_point("run: over")
        pass_on(claimed.item)


def trouble() -> str:
    """Why this worker takes no work, as a sentence; empty if it does."""
    return spool.trouble() or repository.trouble()


def tidy() -> None:
    """What a worker does between two runs, also for those of its host that died: another user's cannot do it."""
    sandboxes.drop_idle()
    try:
        sweep(settings.MERGEYARD_ATTEMPTS_DIR)
    except OSError as error:
        log.warning("What dead workers left is not wiped: %s", error)
    try:
        replay()
    except DatabaseError as error:
        log.warning("What runs printed still waits for the database: %s", error)


def wait() -> None:
    """What a worker does while no work comes: one that cannot reach the forge finds out before some does."""
    tidy()
    runners.keep_ready()
    try:
        has_main()
    except DatabaseError as error:
        log.warning("What was discovered is not known: %s", error)


def has_main() -> bool:
    """Has this host what was discovered, or does it get it? Else nothing is claimed: the controller queues it again."""
    if missing := missing_main():
        log.warning("The work waits: %s", missing)
    return not missing
