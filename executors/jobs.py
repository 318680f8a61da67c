"""Owns what a worker does with a job. A job names a system; all else is in the database."""

import os
import socket

from executors import queues
from executors import reconcile as reconciling
from executors.claim import claim
from executors.runs import work_on


def run_system(system: str) -> None:
    """Claim and run the first ready item of a system, then have somebody look for what became ready."""
    queues.arrived(system)
    claimed = claim(system, worker=f"{socket.gethostname()}:{os.getpid()}", zone=queues.own_zone())
    if claimed is not None:
        work_on(claimed)
        reconciling.pass_on(claimed.item)


def reconcile() -> None:
    reconciling.reconcile()
