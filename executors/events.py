"""Owns the events of a run: cleaned, masked, numbered without gaps, in the stream at once and in the database in bulk.

The stream is for pages that watch; the database is the record, and each bulk holds only while the run still has its
fence (`executors.event_writer`). What a dead worker had heard is stored later, from the stream or from the spool. It
must not know Ansible or what a resource is.
"""

import json
import logging
import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from django.db import DatabaseError, DataError, IntegrityError, InterfaceError, connection, transaction

from changes.crash_points import crash_point
from executors import queues, spool
from executors.models import Event, Run
from executors.states import RUN_OPEN

log = logging.getLogger(__name__)

HINTS = "mergeyard:hints"
MAX_LINE = 20_000
SORTS = ("line", "task", "resource", "note")
BULK = 100
LOOK = 1000  # entries of a stream that are read at once
MAX_LEVELS = 150  # of an event's data: a report, which may have 100, and what is put around it

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


def clean_data(value: Any, *, levels: int = MAX_LEVELS) -> Any:
    """What every database can hold as JSON: no NUL, no lone surrogates, of numbers only finite ones.

    Raises ValueError if it is nested deeper than so many levels.
    """
    if levels < 0:
        raise ValueError("It is nested too deep.")
    if isinstance(value, str):
        return re.sub("[\x00\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", value)
    if isinstance(value, dict):
        return {clean_data(str(key)): clean_data(inner, levels=levels - 1) for key, inner in value.items()}
    if isinstance(value, list):
        return [clean_data(inner, levels=levels - 1) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return json.dumps(value)  # NaN, Infinity or -Infinity, as text
    return value


def hint(*, rollout: int, item: int | None, state: str, change_request: int | None) -> None:
    """Tell pages to look again, after the transaction that moved something. Never raises."""
    entry = json.dumps({"rollout": rollout, "item": item, "state": state, "change_request": change_request})
    try:
        queues.redis().xadd(HINTS, {"e": entry}, maxlen=1000, approximate=True)
    except queues.Errors as error:
        log.debug("A hint was not sent: %s", error)


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
    """Store those that the database lacks, in a transaction that holds only if the run is the caller's to write."""
    last = stored(run.pk)
    rows = [event for event in left if event.number > last]
    if rows:
        Event.objects.bulk_create(rows, batch_size=BULK)
        Run.objects.filter(pk=run.pk).update(events=rows[-1].number)


def keep_or_lose(run: Run, left: Sequence[Event]) -> None:
    """The same where the caller's transaction is worth more: what the database does not take is left out of it."""
    try:
        with transaction.atomic():
            keep(run, left)
    except Exception:
        if transaction.get_rollback():
            raise  # the connection is gone, and the caller's transaction with it
        log.exception("What run %s printed last could not be stored", run.pk)


def replay() -> bool:
    """Store what workers of this host heard and could not store. A run that is open is left to whoever ends it.

    No file keeps the others from it: one that the database refuses is set aside.
    """
    did = False
    for run_id, lines, path in spool.left():
        try:
            if not _replay(run_id, lines):
                continue
            path.unlink(missing_ok=True)
        except Exception as error:
            if isinstance(error, DatabaseError | InterfaceError) and not isinstance(error, DataError | IntegrityError):
                log.warning("What run %s printed still waits for the database: %s", run_id, error)
                connection.close_if_unusable_or_obsolete()
                continue
            log.exception("What run %s printed could not be stored: %s is set aside", run_id, path)
            spool.set_aside(path)
        did = True
    return did


def _replay(run_id: int, lines: Sequence[bytes]) -> bool:
    """Store the lines of one file; False if its run is open."""
    with transaction.atomic():
        run = Run.objects.select_for_update().filter(pk=run_id).first()
        if run is not None and run.state in RUN_OPEN:
            return False
        if run is not None:
            first = stored(run_id) + 1
            keep(run, from_lines(run_id, first, lines[_place_of(first, lines) :]))
    crash_point("replay: stored")
    return True


def _place_of(number: int, lines: Sequence[bytes]) -> int:
    """Where in a spool's lines the event of that number is: the first may have been stored, and removed, long ago."""
    try:
        return max(0, number - int(json.loads(lines[0])["number"]))
    except (IndexError, ValueError, KeyError, TypeError):
        return 0


def from_lines(run_id: int, number: int, lines: Sequence[bytes]) -> list[Event]:
    """The events of a spool's lines, of which the first has that number, up to one that is not whole."""
    found: list[Event] = []
    for line in lines:
        event = _from_entry(run_id, number + len(found), {b"e": line})
        if event is None:
            break
        found.append(event)
    return found


def _from_entry(run_id: int, number: int, fields: dict[bytes, bytes]) -> Event | None:
    """The event with that number. Others can write to Redis too, so nothing of an entry's form is believed."""
    try:
        entry = json.loads(fields[b"e"])
        at = datetime.fromisoformat(entry["at"])
        if (entry["run"], entry["number"]) != (run_id, number) or entry["sort"] not in SORTS or at.tzinfo is None:
            return None
        at = at.astimezone(UTC)
        task, text = clean(entry["task"])[:200], clean(entry["text"])[: 2 * MAX_LINE]
        data = clean_data(entry["data"])
        return Event(run_id=run_id, number=number, sort=entry["sort"], task=task, text=text, data=data, at=at)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
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
