"""Owns the events of a run: cleaned, masked, numbered without gaps, in the stream at once and in the database in bulk.

The stream is for pages that watch; the database is the record, and each bulk holds only while the run still has its
fence. It must not know Ansible or what a resource is.
"""

import json
import logging
import re
import threading
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db import Error as DatabaseError  # also of a connection that was cut
from django.db import connection, transaction
from django.utils import timezone

from executors import queues
from executors.models import Event, Run
from executors.secrets import Masker
from executors.states import RUN_OPEN

log = logging.getLogger(__name__)

HINTS = "mergeyard:hints"
MAX_LINE = 20_000
STREAM_LENGTH = 20_000
STREAM_SECONDS = 86_400
SORTS = ("line", "task", "resource", "note")
BULK = 100
LOOK = 1000  # entries of a stream that are read at once
BULK_SECONDS = 0.5
MAX_HELD = 20_000  # events held in memory while the database is slow; then the play has to wait
REDIS_PAUSE = 5.0

_ESCAPES = re.compile(
    r"(?P<colour>\x1b\[[0-9;]*m)"
    r"|\x1b\[[0-?]*[ -/]*[@-~]?"  # other CSI sequences
    r"|\x1b[\]PX^_].*?(?:\x1b\\|\x07|\x9c|$)"  # OSC, DCS and other strings, ended or not
    r"|\x1b.?"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]",
    re.DOTALL,
)


class Stale(Exception):
    """The run was taken over or ended by somebody else; nothing was written."""


def stream_of(run_id: int) -> str:
    return f"mergeyard:run:{run_id}"


def clean(text: str) -> str:
    """Without control characters and escape sequences; of those only colours stay."""
    return _ESCAPES.sub(lambda match: match["colour"] or "", text)


def plain(text: str) -> str:
    """Without colours too, lines kept."""
    return "\n".join(re.sub(r"\x1b\[[0-9;]*m", "", clean(line)) for line in text.splitlines())


def cut(text: str) -> str:
    if len(text) <= MAX_LINE:
        return text
    return f"{text[:MAX_LINE]}\x1b[0m … (cut, {len(text) - MAX_LINE} more characters)"


def clean_data(value: Any) -> Any:
    """What every database can hold as JSON: no NUL, no lone surrogates."""
    if isinstance(value, str):
        return re.sub("[\x00\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", value)
    if isinstance(value, dict):
        return {clean_data(str(key)): clean_data(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [clean_data(inner) for inner in value]
    return value


def hint(*, rollout: int, item: int | None, state: str, change_request: int | None) -> None:
    """Tell pages to look again, after the transaction that moved something. Never raises."""
    entry = json.dumps({"rollout": rollout, "item": item, "state": state, "change_request": change_request})
    try:
        queues.redis().xadd(HINTS, {"e": entry}, maxlen=1000, approximate=True)
    except queues.Errors as error:
        log.debug("A hint was not sent: %s", error)


class EventWriter:
    """The events of one run. `write` may be called from any thread, returns at once and never raises."""

    def __init__(self, run: Run, *, mask: Masker) -> None:
        self.run, self.mask = run, mask
        self.stale = False
        self.number = 0
        self._lock = threading.Lock()
        self._unsent: list[Event] = []
        self._unstored: list[Event] = []
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
            if len(self._unsent) + len(self._unstored) >= MAX_HELD and not self._closing:
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
        if self.stale:
            raise Stale(f"run {self.run.pk} is no longer ours")
        self._to_stream(self._unsent)
        self._unstored += self._unsent
        self._unsent = []
        while self._unstored:
            self._store_bulk()

    # The two loops

    def _send(self) -> None:
        while not self._closing:
            self._arrived.wait()
            self._arrived.clear()
            with self._lock:
                batch, self._unsent = self._unsent, []
            if not batch:
                continue
            self._to_stream(batch)
            with self._lock:
                self._unstored += batch
            if len(self._unstored) >= BULK:
                self._due.set()

    def _store(self) -> None:
        try:
            while not self._closing:
                self._due.wait(BULK_SECONDS)
                self._due.clear()
                try:
                    while self._unstored and not self.stale:
                        self._store_bulk()
                except Stale:
                    self.stale = True
                    self.abandon()
                except DatabaseError as error:
                    log.warning("Events of run %s wait for the database: %s", self.run.pk, error)
                    connection.close()
        finally:
            connection.close()

    def _to_stream(self, batch: list[Event]) -> None:
        now = time.monotonic()
        if not batch or now < self._redis_again:
            return
        key = stream_of(self.run.pk)
        try:
            with queues.redis().pipeline(transaction=False) as pipe:
                for event in batch:
                    entry = {"e": json.dumps(as_entry(event), ensure_ascii=False)}
                    pipe.xadd(key, entry, id=f"{event.number}-0", maxlen=STREAM_LENGTH, approximate=True)
                pipe.expire(key, STREAM_SECONDS)
                pipe.execute()
        except queues.Errors as error:
            self._redis_again = now + REDIS_PAUSE
            log.warning("Events of run %s go to the database only: %s", self.run.pk, error)

    def _store_bulk(self) -> None:
        batch = self._unstored[:1000]
        with transaction.atomic():
            ours = Run.objects.filter(pk=self.run.pk, fence=self.run.fence, state__in=RUN_OPEN)
            if not ours.update(events=batch[-1].number):
                raise Stale(f"run {self.run.pk} is no longer ours")
            Event.objects.bulk_create(batch, batch_size=BULK)
        with self._lock:
            del self._unstored[: len(batch)]
            self._room.set()


def stored(run_id: int) -> int:
    """The number of the last event in the database."""
    return Event.objects.filter(run_id=run_id).order_by("-number").values_list("number", flat=True).first() or 0


def left_in_stream(run: Run) -> list[Event]:
    """What of a run reached the stream and not the database, up to the first gap. Without a queue it is nothing."""
    found, number = list[Event](), stored(run.pk)
    try:
        while True:
            entries = queues.redis().xrange(stream_of(run.pk), min=f"{number + 1}-0", count=LOOK)
            for _, fields in entries:
                event = _from_entry(run.pk, number + 1, fields)
                if event is None:
                    return found
                found.append(event)
                number += 1
            if len(entries) < LOOK:
                return found
    except queues.Errors as error:
        log.warning("The stream of run %s was not looked at: %s", run.pk, error)
        return found


def keep(run: Run, left: Sequence[Event]) -> None:
    """Store what was left in the stream of a run that has just been ended; in the transaction that ended it."""
    last = stored(run.pk)
    rows = [event for event in left if event.number > last]
    if rows:
        Event.objects.bulk_create(rows, batch_size=BULK)
        Run.objects.filter(pk=run.pk).update(events=rows[-1].number)


def _from_entry(run_id: int, number: int, fields: dict[bytes, bytes]) -> Event | None:
    """The event with that number. Others can write to Redis too, so nothing of an entry's form is believed."""
    try:
        entry = json.loads(fields[b"e"])
        at = datetime.fromisoformat(entry["at"])
        if (entry["run"], entry["number"]) != (run_id, number) or entry["sort"] not in SORTS or at.tzinfo is None:
            return None
        task, text = clean(entry["task"])[:200], clean(entry["text"])[: 2 * MAX_LINE]
        data = clean_data(entry["data"])
        return Event(run_id=run_id, number=number, sort=entry["sort"], task=task, text=text, data=data, at=at)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def as_entry(event: Event) -> dict[str, Any]:
    """An event as pages get it, from the stream or from the database."""
    at: datetime = event.at
    return {
        "run": event.run_id,
        "number": event.number,
        "sort": event.sort,
        "task": event.task,
        "text": event.text,
        "data": event.data,
        "at": at.isoformat(),
    }
