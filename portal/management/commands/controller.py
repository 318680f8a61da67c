"""`manage.py controller`: reconciles for ever, woken by merges and finished runs, and by its own timer without them."""

import signal
import threading
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import close_old_connections

from changes.repository import must_be_the_forge
from executors import queues
from executors.processes import CONTROLLER, Presence
from executors.reconcile import reconcile


class Command(BaseCommand):
    help = "Bring git, database and queue together until told to stop. Several may run at once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--interval", type=float, default=5.0, help="Seconds between two looks (5).")
        parser.add_argument("--once", action="store_true", help="Look until there is nothing left to do, then end.")

    def handle(self, *args: Any, **options: Any) -> None:
        must_be_the_forge()
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        presence = Presence(CONTROLLER)
        while not stop.is_set():
            close_old_connections()
            if not options["once"]:
                presence.here()
            worked = reconcile()
            if options["once"] and not worked:
                return
            if not worked:
                self.wait(stop, options["interval"])
        presence.end()

    def wait(self, stop: threading.Event, seconds: float) -> None:
        """Until somebody wants a look, the time is over, or the process shall end: noticed within a second."""
        limit = time.monotonic() + seconds
        try:
            while not stop.is_set() and (left := limit - time.monotonic()) > 0:
                if queues.wait_for_wake(min(left, 1)):
                    return
        except queues.QueueAway:
            stop.wait(max(0, limit - time.monotonic()))
