"""Owns the writing of one run's events: masked and numbered at once, to the stream for pages, to the database in bulk.

Until the database has them they are in the spool, a file of this host, so that a database that is away stops no play.
It must not know Ansible or what a resource is.
"""

import json
import logging
import re
import threading
import time
from typing import Any

from django.db import Error as DatabaseError  # also of a connection that was cut
from django.db import connection, transaction
from django.utils import timezone

from changes.crash_points import crash_point
from executors import queues
from executors.events import BULK, LOOK, Stale, as_entry, clean, clean_data, cut, from_lines, keep, stream_of
from executors.models import Event, Run
from executors.secrets import Masker
from executors.spool import Spool
from executors.states import RUN_OPEN

log = logging.getLogger(__name__)

STREAM_LENGTH = 20_000
STREAM_SECONDS = 86_400
BULK_SECONDS = 0.5
MAX_HELD = 20_000  # events held in memory where the spool cannot take them; then the play has to wait
REDIS_PAUSE = 5.0


class EventWriter:
    """The events of one run. `write` may be called from any thread, returns at once and never raises."""

    def __init__(self, run: Run, *, mask: Masker) -> None:
        self.run, self.mask = run, mask
        self.stale = False
        self.number = 0
        self.characters = 0  # of all entries, as they are kept
        self._lock = threading.Lock()
        self._unsent: list[Event] = []
        self._spool = _spool_of(run)
        self._held: list[Event] = []  # what follows the spool's, while it cannot take more
        self._stored = 0
        self._arrived, self._due, self._room = threading.Event(), threading.Event(), threading.Event()
        self._room.set()
        self._closing = False
        self._redis_again = 0.0
        self._threads = [
            threading.Thread(target=loop, name=f"events-{run.pk}", daemon=True) for loop in (self._send, self._store)
        ]
        for thread in self._threads:
            thread.start()

    def write(self, sort: str, *, task: str = "", text: str = "", data: dict[str, Any] | None = None) -> None:
        try:
            lines = [line for line in re.split(r"[\r\n]+", self.mask.text(text)) if line] or [""]
            masked = clean_data(self.mask.data(data)) if data is not None else None
            for line in lines if data is None else [" ".join(lines)]:
                self._add(sort, task, line, masked)
        except Exception:
            log.exception("An event of run %s was lost", self.run.pk)

    def _add(self, sort: str, task: str, text: str, data: Any) -> None:
        self._room.wait()
        task, text = self.mask.text(clean(task))[:200], cut(self.mask.text(clean(text)))
        with self._lock:
            self.number += 1
            event = Event(
                run_id=self.run.pk, number=self.number, sort=sort, task=task, text=text, data=data, at=timezone.now()
            )
            self._unsent.append(event)
            if len(self._unsent) + len(self._held) >= MAX_HELD and not self._closing:
                self._room.clear()
        self._arrived.set()

    def abandon(self) -> None:
        """The play is dead: let whoever waits for room go on."""
        self._closing = True
        self._room.set()

    def finish(self) -> None:
        """Everything written so far is in the database afterwards. Raises Stale, or DatabaseError."""
        self.abandon()
        self._arrived.set()
        self._due.set()
        for thread in self._threads:
            thread.join()
        batch, self._unsent = self._unsent, []
        self._hand_on(batch)
        if self.stale:
            raise Stale(f"run {self.run.pk} is no longer ours")
        while self._store_bulk():
            pass

    def close(self) -> None:
        """After the last `finish`. What did not reach the database waits in the spool."""
        if self._spool is not None:
            self._spool.close()

    # The two loops

    def _send(self) -> None:
        while not self._closing:
            self._arrived.wait()
            self._arrived.clear()
            with self._lock:
                batch, self._unsent = self._unsent, []
            self._hand_on(batch)
            with self._lock:
                if len(self._unsent) + len(self._held) < MAX_HELD:
                    self._room.set()
            if self.number - self._stored >= BULK:
                self._due.set()

    def _hand_on(self, batch: list[Event]) -> None:
        if batch:
            entries = [json.dumps(as_entry(event), ensure_ascii=False) for event in batch]
            self.characters += sum(map(len, entries))
            self._hold(batch, entries)
            crash_point("events: in the spool")
            self._to_stream(batch, entries)

    def _hold(self, batch: list[Event], entries: list[str]) -> None:
        """In the spool, or in memory behind all that is in it."""
        if self._spool is not None and not self._held:
            try:
                return self._spool.append([entry.encode() for entry in entries])
            except OSError as error:
                log.warning("Events of run %s are held in memory: %s", self.run.pk, error)
        with self._lock:
            self._held += batch
        return None

    def _store(self) -> None:
        try:
            while not self._closing:
                self._due.wait(BULK_SECONDS)
                self._due.clear()
                try:
                    while not self.stale and not self._closing and self._store_bulk_and_rest():
                        pass
                except Stale:
                    self.stale = True
                    self.abandon()
                except DatabaseError as error:
                    log.warning("Events of run %s wait for the database: %s", self.run.pk, error)
                    connection.close()
        finally:
            connection.close()

    def _to_stream(self, batch: list[Event], entries: list[str]) -> None:
        now = time.monotonic()
        if now < self._redis_again:
            return
        key = stream_of(self.run.pk)
        try:
            with queues.redis().pipeline(transaction=False) as pipe:
                for event, entry in zip(batch, entries, strict=True):
                    pipe.xadd(key, {"e": entry}, id=f"{event.number}-0", maxlen=STREAM_LENGTH, approximate=True)
                pipe.expire(key, STREAM_SECONDS)
                pipe.execute()
        except queues.Errors as error:
            self._redis_again = now + REDIS_PAUSE
            log.warning("Events of run %s go to the database only: %s", self.run.pk, error)

    def _store_bulk_and_rest(self) -> bool:
        """As long as it took: SQLite knows no turns, so who writes without a break keeps all others waiting."""
        begun = time.monotonic()
        more = self._store_bulk()
        if self.number - self._stored > LOOK:
            time.sleep(min(time.monotonic() - begun, BULK_SECONDS))
        return more

    def _store_bulk(self) -> bool:
        """The next events to the database; False if there are none. The spool's come first: they are older."""
        lines = self._spool.next(LOOK) if self._spool is not None and self._spool.pending else []
        batch = from_lines(self.run.pk, self._stored + 1, lines) if lines else self._held[:LOOK]
        if not batch:
            return False
        with transaction.atomic():
            ours = Run.objects.filter(pk=self.run.pk, fence=self.run.fence, state__in=RUN_OPEN)
            if not ours.update(events=batch[-1].number):
                raise Stale(f"run {self.run.pk} is no longer ours")
            keep(self.run, batch)  # without those of a bulk whose COMMIT held although its answer was lost
        crash_point("events: stored")
        self._stored = batch[-1].number
        if lines and self._spool is not None:
            self._spool.took(lines[: len(batch)])
            return True
        with self._lock:
            del self._held[: len(batch)]
            self._room.set()
        return True


def _spool_of(run: Run) -> Spool | None:
    try:
        return Spool(run.pk)
    except OSError as error:
        log.warning("Events of run %s have no spool: %s", run.pk, error)
        return None
