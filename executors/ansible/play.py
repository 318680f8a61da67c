"""Owns one play from start to end: the runner's process, what it prints, what its resource modules report.

Text goes to `on_line`, which may not raise, reports to `on_report`, from threads of its own. It must not know work
items or the database.
"""

import contextlib
import json
import logging
import os
import select
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from executors.ansible import runner_process, runners
from executors.ansible.attempt import MARK, Attempt, kill_marked
from executors.ansible.sandbox import (
    SHARED,
    View,
    contained_environment,
    containment,
    environment,
    limits,
    of_attempt,
    wrapper,
)
from executors.ansible.usage import Limits, beyond
from executors.ansible.warm import Sandbox, gone, sandboxes
from executors.inventory import INVENTORY, Handover

log = logging.getLogger(__name__)

MAX_REPORT = 8_000_000  # bytes of one line of a resource module: a document is at most 1 MB, before and after
MAX_DEPTH = 100  # of a report: whoever masks, stores or shows it walks it by recursion
MAX_TROUBLE = 20_000
RUNNER_MEMORY = 500_000_000  # bytes that its process may have beyond those of a play, so that `beyond` sees it first
PLAYBOOK = "apply.yml"

Line = Callable[[str, str, str], None]  # sort, task, text
Report = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Order:
    """What to play for a system: its type's folder and digest, the attempt's files, directories it may write to."""

    system: str
    folder: Path
    digest: str
    handover: Handover
    writable: tuple[Path, ...] = ()


@dataclass(slots=True)
class Ending:
    """How the play ended. `began`: Ansible itself was reached. `trouble`: what the runner's process said.

    `overdue`: the runner's process ended it because it heard of no renewal of the lease.
    """

    code: int | None = None
    began: bool = False
    overdue: bool = False
    trouble: str = ""
    tail: list[str] = field(default_factory=list)


class Play:
    """Start it in the thread that lives as long as the worker: the play ends with that thread."""

    def __init__(self, attempt: Attempt, order: Order, *, on_line: Line, on_report: Report) -> None:
        self.attempt, self.order = attempt, order
        self.on_line, self.on_report = on_line, on_report
        self.ended = threading.Event()
        self.ending = Ending()
        self._process: subprocess.Popen[str] | None = None
        self._threads: list[threading.Thread] = []
        self._wake, self._woken = os.pipe()
        self._warm: Sandbox | None = None
        self._alive = -1

    def start(self, *, on_end: Callable[[], None], renewed: Callable[[], float], within: float) -> None:
        """`renewed`: when the lease was, in seconds of boot time; the play lives `within` seconds from then on.

        It is asked last: a sandbox that does not get ready is waited for, and the lease renewed meanwhile.
        """
        self.on_end = on_end
        attempt, order = self.attempt, self.order
        attempt.write_json("play/item.json", order.handover.item)
        attempt.write_json("play/secrets.json", order.handover.secrets)
        attempt.write("play/ansible.cfg", "")
        inventory = attempt.write("play/inventory/hosts", INVENTORY)
        attempt.write("bin/ansible-playbook", self._program(), mode=0o700)
        (attempt.play / runner_process.EVENTS).mkdir(mode=0o700)
        own, path = str(attempt.bin), f"{attempt.bin}:/usr/bin:/bin"
        self._process = runners.take()
        reports = os.open(attempt.events, os.O_RDWR | os.O_NONBLOCK)  # for writing too: no end of file between writers
        for loop in (self._read_output, self._read_trouble, lambda: self._read_reports(reports)):
            self._threads.append(threading.Thread(target=loop, daemon=True))
        self._send(
            {
                "directory": str(attempt.play),
                "own": own,
                "playbook": str(order.folder / PLAYBOOK),
                "inventory": str(inventory),
                "variables": {"mergeyard_dir": str(attempt.play)},
                "environment": {"PATH": path, "HOME": own, "TMPDIR": own},
                "memory": limits()["data"] + RUNNER_MEMORY,
                "renewed": renewed(),
                "within": within,
            }
        )
        for thread in self._threads:
            thread.start()

    def _program(self) -> str:
        """What the runner starts as `ansible-playbook`."""
        attempt, order = self.attempt, self.order
        own = of_attempt(attempt.play)
        if not containment().works:
            home = attempt.play / "home"
            home.mkdir(mode=0o700)
            variables = {**environment(order.folder, home=home, temporary=home), **own, MARK: str(attempt.play)}
            return wrapper(View((), (), variables), chdir=attempt.play)
        view = View((order.folder, SHARED), order.writable, contained_environment(order.folder))
        self._warm = sandboxes.get(order.system, view, digest=order.digest)
        if self._warm is None:
            cold = View(view.read_only, (attempt.play, *order.writable), {**view.environment, **own})
            return wrapper(cold, chdir=attempt.play)
        self._alive = os.open(attempt.alive, os.O_RDONLY | os.O_NONBLOCK)
        return self._warm.script(attempt)

    def beyond(self, limits: Limits) -> str:
        """Why it has to end for what it takes of this host, as a sentence; empty if it may go on."""
        roots = [self._started().pid, *([self._warm.pid] if self._warm else [])]
        return beyond(limits, roots=roots, directory=self.attempt.play)

    def renewed(self, at: float) -> None:
        """The lease was renewed then, in seconds of boot time. After `start`, from any one thread."""
        self._send(at)

    def _send(self, message: dict[str, Any] | float) -> None:
        stdin = _pipe(self._started().stdin)
        with contextlib.suppress(OSError, ValueError):  # it is dead already: the output's end says so
            stdin.write(json.dumps(message) + "\n")
            stdin.flush()

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            raise RuntimeError("The play was not started.")
        return self._process

    def kill(self) -> None:
        """Nothing of the play lives afterwards: the kernel ends the sandbox with the process that started it."""
        if self._process is not None and self._process.poll() is None:
            if not self.ended.is_set():  # else it would die a moment after the runner, while its files are wiped
                runner_process.end_play(self._process.pid)
            self._process.kill()
        self._clear()

    def _clear(self) -> None:
        """End what a play has left where the kernel does not do it with the runner's process."""
        if not containment().works:
            kill_marked(self.attempt.play)
        if self._warm is None or self._process is None:
            return
        self._process.wait()  # then its client is dead too and starts nothing any more
        if not gone(self._alive):
            log.warning("Something of a play did not end, so its sandbox is ended.")
            sandboxes.drop(self._warm)

    def wait(self) -> Ending:
        """After `ended` or `kill`: everything that was printed and reported has been handed on."""
        if self._process is None:
            return self.ending
        output, trouble, reports = self._threads
        output.join()
        trouble.join()
        self.ending.overdue = self._process.wait() == runner_process.OVERDUE
        with contextlib.suppress(OSError):
            _pipe(self._process.stdin).close()
        self._clear()
        if self._alive >= 0:
            os.close(self._alive)
        os.write(self._woken, b".")
        reports.join()
        os.close(self._wake)
        os.close(self._woken)
        return self.ending

    def _read_output(self) -> None:
        try:
            for line in _pipe(self._started().stdout):
                self._heard(json.loads(line))
        except (OSError, ValueError) as error:
            self.ending.trouble += f"reading the runner's output: {error}\n"
        finally:
            self.ended.set()
            self.on_end()

    def _heard(self, message: dict[str, Any]) -> None:
        if "status" in message:
            self.ending.code = message["code"]
            return
        event, text = message["event"], message["text"]
        self.ending.began |= event == "playbook_on_play_start"
        task = message["task"]
        if event in ("playbook_on_task_start", "playbook_on_handler_task_start"):
            self.on_line("task", task, task)
            return
        lines = [line for line in text.splitlines() if line.strip()]
        self.ending.tail = [*self.ending.tail, *lines][-20:]
        if lines:  # in one piece, so that a secret that is broken over them is seen whole
            self.on_line("line", task, "\n".join(lines))

    def _read_trouble(self) -> None:
        for line in _pipe(self._started().stderr):
            said = self.ending.trouble + line
            while len(said) > MAX_TROUBLE:  # whole lines go: half a secret would not be recognised
                said = said.partition("\n")[2]
            self.ending.trouble = said

    def _read_reports(self, pipe: int) -> None:
        buffer = _Lines(self._reported, self.on_line)
        poll = select.poll()
        poll.register(pipe, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        last = False
        try:
            while not last:
                last = any(ready == self._wake for ready, _ in poll.poll())
                while data := _read(pipe):
                    buffer.feed(data)
            buffer.end()
        finally:
            os.close(pipe)

    def _reported(self, line: bytes) -> None:
        try:
            report = json.loads(line)
        except (ValueError, RecursionError):
            report = None
        if not isinstance(report, dict):
            self.on_line("note", "", "A module of the playbook reported something that is not JSON; it is left out.")
        elif _deeper(report, MAX_DEPTH):
            self.on_line("note", "", f"A module of the playbook reported more than {MAX_DEPTH} levels; it is left out.")
        else:
            try:
                self.on_report(report)
            except Exception as error:  # one report is lost, not those after it; what it says may be a secret
                log.error("A report could not be taken: %s", type(error).__name__)
                self.on_line("note", "", "A module of the playbook reported what could not be taken; it is left out.")


class _Lines:
    """Bytes in, whole lines out; a line without an end is dropped beyond MAX_REPORT."""

    def __init__(self, line: Callable[[bytes], None], note: Line) -> None:
        self.line, self.note = line, note
        self.parts: list[bytes] = []
        self.size = 0
        self.dropping = False

    def feed(self, data: bytes) -> None:
        *whole, rest = data.split(b"\n")
        for piece in whole:
            self._add(piece)
            self.end()
        self._add(rest)

    def _add(self, piece: bytes) -> None:
        self.size += len(piece)
        if self.size > MAX_REPORT:
            self.dropping, self.parts = True, []
        elif not self.dropping:
            self.parts.append(piece)

    def end(self) -> None:
        line, dropped = b"".join(self.parts), self.dropping
        self.parts, self.size, self.dropping = [], 0, False
        if dropped:
            self.note("note", "", f"A module of the playbook reported more than {MAX_REPORT} bytes; it is left out.")
        elif line.strip():
            self.line(line)


def _deeper(report: object, levels: int) -> bool:
    """Is it nested more than so many levels?"""
    level = [report]
    for _ in range(levels + 1):
        level = [
            inner
            for each in level
            if isinstance(each, (dict, list))
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
    return bool(level)


def _pipe(pipe: IO[str] | None) -> IO[str]:
    if pipe is None:
        raise RuntimeError("The runner's process has no pipe.")
    return pipe


def _read(pipe: int) -> bytes:
    try:
        return os.read(pipe, 65536)
    except BlockingIOError:
        return b""
