"""Owns who is there: controllers and workers say so every few seconds, by the database's clock. Only the pages read it.

No work depends on it: leases and the queue say who may do what.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from datetime import timedelta

from django.db import DatabaseError, close_old_connections, models
from django.db.models.functions import Now

from executors.models import Process

log = logging.getLogger(__name__)

CONTROLLER, WORKER = "controller", "worker"
EVERY_SECONDS = 5.0
GONE_SECONDS = 30  # one that was not heard of for so long is not there; as long as a lease
KEPT = timedelta(days=1)


def own_name() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


class Presence:
    """This process, for as long as it calls `here` or runs as a thread beside what it does."""

    def __init__(self, sort: str, *, trouble: Callable[[], str] = str, **fields: object) -> None:
        """`trouble` is asked each time: why it takes no work, as a sentence; empty if it does."""
        self.sort, self.trouble, self.fields = sort, trouble, fields
        self.said = -EVERY_SECONDS
        self.over = threading.Event()

    def here(self) -> None:
        """Say it, unless that was just done. A database that is away is no reason to stop."""
        if time.monotonic() - self.said < EVERY_SECONDS:
            return
        self.said = time.monotonic()
        try:
            said = {**self.fields, "trouble": self.trouble(), "seen_at": Now()}
            Process.objects.update_or_create(sort=self.sort, name=own_name(), defaults=said)
            Process.objects.filter(seen_at__lt=Now() - KEPT).delete()
        except DatabaseError as error:
            log.warning("Nobody can be told that this %s is there: %s", self.sort, error)

    def begin(self) -> None:
        """Say it beside the main thread, which may be busy with a run for hours."""
        threading.Thread(target=self._keep_saying, name="presence", daemon=True).start()

    def end(self) -> None:
        self.over.set()
        try:
            Process.objects.filter(sort=self.sort, name=own_name()).delete()
        except DatabaseError as error:
            log.warning("Nobody can be told that this %s ends: %s", self.sort, error)

    def _keep_saying(self) -> None:
        while not self.over.is_set():
            close_old_connections()
            self.here()
            self.over.wait(EVERY_SECONDS)
        close_old_connections()


def there(sort: str) -> "models.QuerySet[Process]":
    """Those that were heard of lately."""
    return Process.objects.filter(sort=sort, seen_at__gte=Now() - timedelta(seconds=GONE_SECONDS)).order_by("name")
