"""`manage.py worker`: runs the work of one zone, one item at a time."""

import logging
import resource
import signal
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from executors import queues
from executors.ansible import runners
from executors.ansible.attempt import sweep
from executors.ansible.sandbox import containment
from executors.ansible.warm import sandboxes
from executors.jobs import trouble, wait
from executors.processes import WORKER, Presence


class Command(BaseCommand):
    help = "Run the work of one zone. SIGTERM once ends after the current run, twice ends that run too."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--zone", default="default", help="The zone whose systems this worker can reach (default).")
        parser.add_argument("--burst", action="store_true", help="End when the queue is empty.")

    def handle(self, *args: Any, **options: Any) -> None:
        zone = options["zone"]
        if zone not in settings.MERGEYARD_ZONES:
            raise CommandError(f"There is no zone {zone}: MERGEYARD_ZONES names {', '.join(settings.MERGEYARD_ZONES)}.")
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # what it resolved for a run is in its memory
        how = containment()
        logging.getLogger("executors").info("Worker of zone %s. %s", zone, how.sentence)
        sweep(settings.MERGEYARD_ATTEMPTS_DIR)
        presence = Presence(WORKER, zone=zone, contained=how.works, containment=how.sentence[:200], trouble=trouble)
        presence.begin()
        try:
            queues.serve(zone, burst=options["burst"], between=wait)
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_IGN)  # it ends already, and its sandboxes before it
            sandboxes.end()
            runners.end()
            presence.end()
