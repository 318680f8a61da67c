"""Owns one run from claim to end: keeps the lease, starts the play, turns its reports into results, records the end.

Two kinds of failure are told apart: the work failed (results, kept), or we did (a traceback, and the item is tried
again). It must not know the queue or ansible-runner.
"""

import contextlib
import logging
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from django.conf import settings
from django.db import Error as DatabaseError
from django.db import InterfaceError, OperationalError, connection

from changes.catalog import digest_of
from changes.crash_points import crash_point
from changes.documents import Address, InvalidFile
from changes.repository import RepositoryError
from executors import results
from executors.ansible.attempt import Attempt
from executors.ansible.play import Ending, Order, Play
from executors.ansible.sandbox import NotAllowed, containment, local_paths, must_be_allowed
from executors.ansible.usage import Limits
from executors.claim import Claim, boot_time, cancel_wanted, outdated, renew
from executors.event_writer import EventWriter
from executors.events import Stale, clean_data, plain
from executors.models import ItemResource
from executors.preparation import CannotPrepare, Prepared, missing_main, prepare
from executors.results import End, MainMoved, Result
from executors.secrets import Masker, Unavailable
from executors.states import ItemState, ResultState, RunState

log = logging.getLogger(__name__)

RENEWALS = 4  # tries within MERGEYARD_RENEW_WITHIN_SECONDS
LOOK_SECONDS = 1.0
SILENT = "The playbook ended without a word about this resource; its log says why."
MOVED = "Its system, a team or an approver's account changed before it began, so it is prepared again."
CHANGED_FILES = (
    "The files of this system type changed since this worker began: the play is the new one, the kinds are still read "
    "as they were. Restart web, controller and workers."
)
STOPPED = "The worker was stopped in the middle of the run."


class Keeper:
    """Renews the lease in a thread of its own and says when the play has to end."""

    def __init__(self, claim: Claim, *, notice: Callable[[], None]) -> None:
        self.claim, self.notice = claim, notice
        self.renewed = claim.begun
        self.on_renewed: Callable[[float], None] = lambda at: None
        self.lost = self.cancelled = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._thread.start()

    @property
    def too_late(self) -> bool:
        return self.lost or self.silence > settings.MERGEYARD_RENEW_WITHIN_SECONDS

    @property
    def silence(self) -> float:
        """Seconds since the lease was last renewed."""
        return boot_time() - self.renewed

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _loop(self) -> None:
        try:
            while not self._stop.wait(LOOK_SECONDS) and not self.lost:
                try:
                    self._look()
                except DatabaseError as error:
                    log.warning("The lease of run %s could not be renewed: %s", self.claim.run.pk, error)
                    connection.close()
        finally:
            connection.close()

    def _look(self) -> None:
        begun = boot_time()  # before the question: the database's clock runs from then on at the latest
        if begun - self.renewed < settings.MERGEYARD_RENEW_WITHIN_SECONDS / RENEWALS:
            self.cancelled = self.cancelled or cancel_wanted(self.claim)
        else:
            lease = renew(self.claim)
            self.lost = not lease.held
            self.cancelled = self.cancelled or lease.cancel_requested
            if lease.held:
                self.renewed = begun
                self.on_renewed(begun)
        if self.lost or self.cancelled:
            self.notice()


def work_on(claim: Claim) -> None:
    """Run a claimed item to its end. Never raises for a failure of the work; a stop of the worker passes through."""
    attention = threading.Event()
    keeper = Keeper(claim, notice=attention.set)
    run = _Run(claim, keeper, attention)
    try:
        run.run()
    except Stale as stale:
        log.warning("Nothing of it is recorded: %s", stale)
    except MainMoved:
        _give_up(claim, RunState.INTERRUPTED, MOVED)
    except Unavailable as away:
        log.warning("Run %s: %s", claim.run.pk, away)
        _give_up(claim, RunState.ERRORED, f"{away} Nothing is wrong with the work.")
    except Exception as error:
        if missing := _missing_main() if isinstance(error, RepositoryError) else "":
            log.warning("Run %s: %s", claim.run.pk, missing)
            _give_up(claim, RunState.INTERRUPTED, f"Main moved on, and this worker does not get it: {missing}.")
        else:
            trace = run.masked(error)
            log.error("Run %s broke\n%s", claim.run.pk, trace)
            _give_up(claim, RunState.ERRORED, "Mergeyard failed, not the work; it is tried again.", trace)
    except BaseException:
        _give_up(claim, RunState.INTERRUPTED, STOPPED)
        raise
    finally:
        keeper.stop()


def _missing_main() -> str:
    with contextlib.suppress(DatabaseError):
        return missing_main()
    return ""


def _give_up(claim: Claim, run: RunState, why: str, error: str = "") -> None:
    crash_point("run: to be given back")
    with contextlib.suppress(Stale, DatabaseError):  # then the lease ends by itself and somebody takes over
        claim.run.refresh_from_db(fields=["state"])  # its start may have been committed although the answer was lost
        results.give_up(claim, state=run, why=why, error=error[-20_000:])


class _Run:
    """The steps of one run."""

    def __init__(self, claim: Claim, keeper: Keeper, attention: threading.Event) -> None:
        self.claim, self.keeper, self.attention = claim, keeper, attention
        self.reported: dict[str, Result] = {}
        self.creating: list[ItemResource] = []  # heard of, not yet on record
        self.digests: dict[str, str] = {}
        self.task = ""  # the running one, under which the page shows what its module reports
        self.play: Play | None = None
        self.masker: Masker | None = None  # once it is known which secrets there are
        self.killed = ""
        self.limits = Limits(
            memory=settings.MERGEYARD_RUN_MEMORY_MB * 1_000_000, processes=settings.MERGEYARD_RUN_PROCESSES
        )

    def run(self) -> None:
        rows, late = outdated(self.claim.item)
        results.supersede(self.claim, [row.path for row in late])
        try:
            prepared = prepare(self.claim.item, rows)
            self.masker = prepared.masker
            must_be_allowed(self.claim.item.system, prepared.environment)
            writable = local_paths(prepared.local_paths)
        except (CannotPrepare, NotAllowed) as error:
            failed = {row.path: Result(ResultState.FAILED, message=str(error)) for row in rows}
            self._refuse(str(error), failed)
            return
        if prepared.refused.keys() >= {row.path for row in rows}:
            failed = {path: Result(ResultState.FAILED, message=why) for path, why in prepared.refused.items()}
            self._refuse(_sentence(list(prepared.refused.items()), len(failed)), failed)
            return
        folder = prepared.system_type.folder
        digest = digest_of(folder)  # as it lies there now, which is what the play will use
        order = Order(self.claim.item.system, folder, digest, prepared.handover, writable)
        with Attempt(settings.MERGEYARD_ATTEMPTS_DIR, run_id=self.claim.run.pk) as attempt:
            self._play(attempt, order, prepared)

    def masked(self, error: Exception) -> str:
        """Its traceback. As long as nobody knows which secrets there are, only what it is and where."""
        if self.masker is not None:
            return self.masker.text("".join(traceback.format_exception(error)))
        where = "".join(traceback.format_tb(error.__traceback__))
        return f"{where}{type(error).__name__}: what it says is left out, as it may be a secret."

    def _refuse(self, why: str, failed: dict[str, Result]) -> None:
        """It ends without a play."""
        results.start(self.claim)
        results.finish(self.claim, End(ItemState.FAILED, RunState.FAILED, why, failed))

    def _play(self, attempt: Attempt, order: Order, prepared: Prepared) -> None:
        how = containment()
        fields = {"contained": how.works, "containment": how.sentence[:200]}
        type_ = prepared.system_type
        self._start(prepared, catalog_digest=order.digest, catalog_origin=type_.origin[:500], **fields)
        crash_point("run: begun")
        self.digests = prepared.handover.digests
        writer = EventWriter(self.claim.run, mask=prepared.masker)
        try:
            run = self.claim.run
            writer.write("note", text=f"Attempt {self.claim.item.attempts} on worker {run.worker}. {how.sentence}")
            if order.digest != type_.digest:
                writer.write("note", text=CHANGED_FILES)
            for path, sentence in prepared.refused.items():
                writer.write("note", text=f"{path}: {sentence}")
            end = self._end(self._supervise(attempt, order, writer, prepared), prepared)
            crash_point("run: play ended")
            self._keep_trying(self._set_out)
            self._keep_trying(writer.finish)
            crash_point("run: events stored")
        except BaseException:
            writer.abandon()
            with contextlib.suppress(Stale, DatabaseError):
                writer.finish()
            raise
        finally:
            writer.close()
        self._keep_trying(lambda: results.finish(self.claim, end))
        crash_point("run: result stored")

    def _start(self, prepared: Prepared, **fields: Any) -> None:
        """What main says is looked at again until the row is written for a commit that says it. Raises MainMoved."""
        while True:
            before = prepared.main.commit
            try:
                return results.start(self.claim, main=before, still=prepared.gates.still, **fields)
            except MainMoved:
                if not prepared.main.follow() or prepared.main.commit == before:
                    raise

    def _keep_trying(self, write: Callable[[], None]) -> None:
        """What a play did is not forgotten because the database was away or chose us to break a deadlock."""
        while True:
            try:
                return write()
            except (OperationalError, InterfaceError) as error:
                if self.keeper.too_late:
                    raise
                log.warning("The end of run %s waits for the database: %s", self.claim.run.pk, error)
                connection.close()
                time.sleep(LOOK_SECONDS)

    def _supervise(self, attempt: Attempt, order: Order, writer: EventWriter, prepared: Prepared) -> Ending:
        wanted = {row.path: row for row in prepared.rows}
        self.play = Play(
            attempt,
            order,
            on_line=lambda sort, task, text: self._line(sort, task, text, writer),
            on_report=lambda report: self._report(report, wanted, writer),
        )
        play = self.play
        begun = boot_time()
        try:
            within = settings.MERGEYARD_RENEW_WITHIN_SECONDS
            play.start(on_end=self.attention.set, renewed=lambda: self.keeper.renewed, within=within)
            crash_point("run: play started")
            self.keeper.on_renewed = play.renewed
            while not self.killed:
                self.attention.wait(LOOK_SECONDS)
                self.attention.clear()
                self._note_creating()
                if play.ended.is_set():
                    break
                self.killed = self._must_end(writer, play, boot_time() - begun)
        finally:
            play.kill()
            if self.keeper.too_late or writer.stale:
                writer.abandon()
            ending = play.wait()
            self._note_creating()
        if self.keeper.too_late or writer.stale or ending.overdue:
            how = "was taken over" if self.keeper.lost or writer.stale else "was not renewed in time"
            raise Stale(f"the lease of run {self.claim.run.pk} {how}, so its play was ended")
        return ending

    def _note_creating(self) -> None:
        """As far as the database is there: what is left is noted before the end of the run."""
        try:
            self._set_out()
        except (OperationalError, InterfaceError) as error:
            log.warning("What run %s creates waits for the database: %s", self.claim.run.pk, error)
            connection.close()

    def _set_out(self) -> None:
        while self.creating:
            rows = self.creating[:]
            results.set_out(self.claim.item, rows)
            del self.creating[: len(rows)]

    def _must_end(self, writer: EventWriter, play: Play, seconds: float) -> str:
        """Why the play has to be killed now; empty if it may go on."""
        if self.keeper.too_late or writer.stale:
            return "The lease was lost."
        if self.keeper.cancelled:
            return "It was cancelled."
        if seconds > settings.MERGEYARD_RUN_TIMEOUT_SECONDS:
            return f"It took longer than {settings.MERGEYARD_RUN_TIMEOUT_SECONDS} seconds and was ended."
        if writer.number > settings.MERGEYARD_RUN_LINES:
            return f"It printed more than {settings.MERGEYARD_RUN_LINES:,} lines and was ended."
        if writer.characters > settings.MERGEYARD_RUN_OUTPUT_MB * 1_000_000:
            return f"It printed and reported more than {settings.MERGEYARD_RUN_OUTPUT_MB:,} MB and was ended."
        return play.beyond(self.limits)

    def _line(self, sort: str, task: str, text: str, writer: EventWriter) -> None:
        self.task = task
        writer.write(sort, task=task, text=text)

    def _report(self, report: dict[str, Any], wanted: dict[str, ItemResource], writer: EventWriter) -> None:
        """One line of a resource module: a result and an event. Handed to us by a play, so nothing is believed."""
        if report.get("event") in ("creating", "absent"):
            paths = report.get("paths")
            named = [wanted.get(_long(path)) for path in paths] if isinstance(paths, list) else []
            rows = [row for row in named if row is not None]
            if report["event"] == "creating":
                self.creating += rows
                self.attention.set()
            else:
                known = {row.path: self.reported[row.path] for row in rows if row.path in self.reported}
                self.reported |= {path: replace(result, absent=True) for path, result in known.items()}
            return
        row = wanted.get(_long(report.get("path")))
        if report.get("event") != "resource" or row is None or row.kind != report.get("kind"):
            writer.write("note", text="A module of the playbook reported something this run did not ask for.")
            return
        masked: dict[str, Any] = clean_data(writer.mask.data({**report, "path": row.path}))
        failed = report.get("status") != "ok"
        changed = ResultState.CHANGED if report.get("changed") is True else ResultState.UNCHANGED
        reasons = masked.get("reasons")
        message = str(masked.get("message") or "")
        if failed and not message:
            message = "It failed without a reason."
        self.reported[row.path] = Result(
            ResultState.FAILED if failed else changed,
            before=masked.get("before"),
            after=masked.get("after"),
            reasons=tuple(map(str, reasons)) if isinstance(reasons, list) else (),
            message=message,
            digest=self.digests.get(row.path, ""),
        )
        fields = ("path", "kind", "status", "changed", "before", "after", "reasons", "message")
        writer.write("resource", task=self.task, text=message, data={name: masked.get(name) for name in fields})

    def _end(self, ending: Ending, prepared: Prepared) -> End:
        found = dict(self.reported)
        found |= {path: Result(ResultState.FAILED, message=why) for path, why in prepared.refused.items()}
        if self.keeper.cancelled and self.killed:
            return End(ItemState.CANCELLED, RunState.CANCELLED, "The run was cancelled.", found)
        if not ending.began and not self.killed:
            raise RuntimeError(_trouble(ending, prepared))
        for row in prepared.rows:
            found.setdefault(row.path, Result(ResultState.FAILED, message=self.killed or SILENT))
        failures = [(path, result.message) for path, result in found.items() if result.state == ResultState.FAILED]
        if failures:
            return End(ItemState.FAILED, RunState.FAILED, self.killed or _sentence(failures, len(found)), found)
        if ending.code != 0:
            why = self.killed or "The playbook failed; its log says why."
            return End(ItemState.FAILED, RunState.FAILED, why, found)
        changed = sum(result.state == ResultState.CHANGED for result in found.values())
        return End(ItemState.SUCCEEDED, RunState.SUCCEEDED, f"Changed {changed} of {len(found)} resources.", found)


def _long(path: object) -> str:
    try:
        return Address.from_short(path).path if isinstance(path, str) else ""
    except InvalidFile:
        return ""


def _sentence(failures: list[tuple[str, str]], total: int) -> str:
    path, message = failures[0]
    name = path.removeprefix("resources/").removesuffix(".yml")
    if total == 1:
        return message
    return f"{len(failures)} of {total} resources failed, first {name}: {message}"


def _trouble(ending: Ending, prepared: Prepared) -> str:
    said = "\n".join([*ending.tail, ending.trouble]).strip() or "it said nothing"
    return prepared.masker.text(f"starting ansible-playbook: {plain(said)}")
