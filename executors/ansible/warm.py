"""Owns the warm sandboxes of this worker: one per system, Ansible imported, a fork with namespaces of its own per play.

A sandbox ends with the thread that started it, so the worker's main thread owns them all. It is dropped when it was
idle for long, when others need its place, and when what it was made of changed. Without one, a play is started cold. It
must not know work items or documents.
"""

import json
import logging
import os
import select
import shlex
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from executors.ansible import warm_client, warm_process
from executors.ansible.attempt import Attempt, Place
from executors.ansible.sandbox import TEMPORARY, View, bound, command_of, containment, interpreter, limits, of_attempt

log = logging.getLogger(__name__)

READY_SECONDS = 20
GONE_SECONDS = 5.0
AGAIN_SECONDS = 60
HOST_PROC = ("--bind", "/proc", "/proc")  # a play's own can be mounted only where a whole one is seen


class CannotWarm(Exception):
    """No sandbox could be started; one sentence."""


@dataclass(frozen=True, slots=True)
class Made:
    """What a sandbox was made of. It serves plays of exactly that."""

    view: View
    digest: str  # of the system type's folder: its files are read by the inode they had
    places: tuple[tuple[Path, int, int], ...]  # with device and inode: what is put in a place later is not seen inside
    limits: tuple[tuple[str, int], ...]

    @classmethod
    def of(cls, view: View, *, digest: str) -> "Made":
        """As it would be made now."""
        places = (*bound(view), settings.MERGEYARD_ATTEMPTS_DIR)
        return cls(view, digest, tuple((path, *_inode(path)) for path in places), tuple(limits().items()))


class Sandbox:
    def __init__(self, made: Made) -> None:
        self.made = made
        self.used = time.monotonic()
        self._place = Place(settings.MERGEYARD_ATTEMPTS_DIR, "warm")
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Raises CannotWarm, and nothing is left."""
        self._place.__enter__()
        try:
            self._process = self._started()
            self._wait_until_ready(self._process)
        except BaseException:
            self.end()
            raise

    def _started(self) -> subprocess.Popen[str]:
        code = Path(warm_process.__file__)
        attempts = self._place.root.parent
        inside = View(
            (*self.made.view.read_only, code), (*self.made.view.writable, attempts), self.made.view.environment
        )
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(f"/proc/self/fd/{self._place.descriptor}/socket")  # an address may only be so long
            listener.listen()
            order = {
                "listen": listener.fileno(),
                "attempts": str(attempts),
                "keep": [str(path) for path in (*interpreter(), *self.made.view.read_only, *self.made.view.writable)],
                "limits": dict(self.made.limits),
            }
            program = str(Path(sys.prefix) / "bin" / "python")
            command = command_of(inside, chdir=TEMPORARY, proc=HOST_PROC)
            return subprocess.Popen(
                [*command, program, "-I", "-u", str(code), json.dumps(order)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=[listener.fileno()],
                env={},  # bubblewrap clears it for what is inside, and is there itself as long as the sandbox
                start_new_session=True,
                text=True,
            )

    def _wait_until_ready(self, process: subprocess.Popen[str]) -> None:
        if process.stdout is None:
            raise CannotWarm("The sandbox's process has no pipe.")
        ready, _, _ = select.select([process.stdout], [], [], READY_SECONDS)
        line = process.stdout.readline() if ready else ""
        try:
            trouble = json.loads(line)["trouble"]
        except (ValueError, KeyError, TypeError):
            process.kill()
            said = (process.communicate()[1].strip().splitlines() or ["it said nothing"])[-1][:200]
            raise CannotWarm(f"The sandbox did not start: {said}.") from None
        if trouble:
            raise CannotWarm(f"The sandbox cannot be used: {trouble}.")

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    @property
    def lives(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def script(self, attempt: Attempt) -> str:
        """What ansible-runner starts as `ansible-playbook`."""
        order = {"play": str(attempt.play), "environment": of_attempt(attempt.play)}
        words = [sys.executable, "-IS", warm_client.__file__, str(self._place.root), str(attempt.alive)]
        return f'#!/bin/sh\nexec {shlex.join([*words, json.dumps(order)])} "$@"\n'

    def end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
        self._place.__exit__(None, None, None)


class Sandboxes:
    """At most so many; the longest unused goes first."""

    def __init__(self) -> None:
        self._known: dict[str, Sandbox] = {}
        self._again = 0.0  # when one may be started, after a failure

    def get(self, system: str, view: View, *, digest: str) -> Sandbox | None:
        """That of a system, started if there is none that fits; None if plays have to be started cold."""
        self.drop_idle()
        if settings.MERGEYARD_WARM_SANDBOXES < 1 or time.monotonic() < self._again or not containment().works:
            return None
        made = Made.of(view, digest=digest)
        known = self._known.get(system)
        if known is not None and (known.made != made or not known.lives):
            self._drop(system)
            known = None
        if known is None:
            known = self._new(system, made)
        if known is not None:
            known.used = time.monotonic()
        return known

    def _new(self, system: str, made: Made) -> Sandbox | None:
        while len(self._known) >= settings.MERGEYARD_WARM_SANDBOXES:
            self._drop(min(self._known, key=lambda name: self._known[name].used))
        sandbox = Sandbox(made)
        try:
            sandbox.start()
        except (CannotWarm, OSError) as error:
            log.warning("Runs of this worker start cold for %s seconds. %s", AGAIN_SECONDS, error)
            self._again = time.monotonic() + AGAIN_SECONDS
            return None
        self._known[system] = sandbox
        return sandbox

    def drop_idle(self) -> None:
        limit = time.monotonic() - settings.MERGEYARD_WARM_SECONDS
        for system in [name for name, sandbox in self._known.items() if sandbox.used < limit or not sandbox.lives]:
            self._drop(system)

    def drop(self, sandbox: Sandbox) -> None:
        """It cannot be trusted any more; everything in it ends."""
        for system in [name for name, known in self._known.items() if known is sandbox]:
            self._drop(system)

    def end(self) -> None:
        for system in list(self._known):
            self._drop(system)

    def _drop(self, system: str) -> None:
        self._known.pop(system).end()


def _inode(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_dev, found.st_ino


sandboxes = Sandboxes()


def gone(alive: int) -> bool:
    """Wait until nothing of a play lives; False if something does after GONE_SECONDS. `alive`: the read end."""
    limit = time.monotonic() + GONE_SECONDS
    while time.monotonic() < limit:
        try:
            os.read(alive, 1)
            return True  # nobody holds the other end
        except BlockingIOError:
            time.sleep(0.005)
    return False
