"""The process between worker and play: calls ansible-runner with a clean environment and reports on its stdout.

Run as a script, `python -I runner_process.py PARENT`: it waits for one JSON object on stdin and, from then on, a line
for each renewal of the lease. Nobody else can end the play of a worker that is stopped and not dead, so this process
does it when the lease grows too old. ansible-runner hands the environment of its process on, so it must never run
inside the worker. It is outside the play's sandbox: its files lie where no play sees them, and of what a play can write
to it opens nothing by a path. It must not import Mergeyard.
"""

import ctypes
import json
import os
import re
import resource
import signal
import stat
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
EVENTS = "job_events"  # where ansible-runner's callback leaves what an event is, a file for each
OVERDUE = 75  # the exit status after the lease grew too old
LOOK_SECONDS = 0.25
KILL_SECONDS = 5.0
MAX_TEXT = 8_000_000  # characters of what a play prints in one piece, and bytes of what is said of an event
TOO_MUCH = "It printed more than the runner's process can hold without the end of a line."


def end_with_parent(parent: int) -> None:
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1)  # whatever a play leaves behind stays below us, where `end_play` finds it
    if os.getppid() != parent:
        os._exit(1)


class Watch:
    """Ends the play, and this process, when the lease was not renewed for so many seconds of boot time."""

    def __init__(self, renewals: IO[str], *, renewed: float, within: float) -> None:
        self.renewals, self.renewed, self.within = renewals, renewed, within
        self.ending = threading.Lock()  # who holds it decides how this process ends
        self._look()
        for loop in (self._read, self._wait):
            threading.Thread(target=loop, daemon=True).start()

    def _read(self) -> None:
        for line in self.renewals:
            self.renewed = float(line)

    def _wait(self) -> None:
        while True:
            time.sleep(LOOK_SECONDS)
            self._look()

    def _look(self) -> None:
        if time.clock_gettime(time.CLOCK_BOOTTIME) - self.renewed > self.within:
            with self.ending:
                end_play(os.getpid())
                os._exit(OVERDUE)


def end_play(runner: int) -> None:
    """Kill everything below a runner's process, contained or not, until nothing lives or time is up."""
    limit = time.monotonic() + KILL_SECONDS
    while (found := below(runner)) and time.monotonic() < limit:
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                continue  # it has ended, or it became somebody else's
        time.sleep(0.01)


def below(root: int) -> list[int]:
    """The living processes that descend from this one."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            except OSError:
                continue
            if state not in "ZX":
                children.setdefault(int(parent), []).append(int(entry.name))
    found = [root]
    for pid in found:
        found += children.get(pid, ())
    return found[1:]


class Events:
    """What ansible-runner hears of a play: its lines, and what they belong to. Told as `tell(event, text, task)`.

    A play writes what we read here, so it is opened by its name alone, in a directory that was opened before the play.
    """

    def __init__(self, directory: str, tell: Callable[..., None]) -> None:
        self.folder = os.open(f"{directory}/{EVENTS}", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        self.tell = tell

    def take(self, event: dict[str, Any]) -> None:
        if event.get("event") == "EOF":
            return
        text, known = event.get("stdout", ""), event if "event" in event else self._read(event.get("uuid"))
        details = known.get("event_data")
        task = details.get("task") if isinstance(details, dict) else None
        if len(text) > MAX_TEXT:
            text = f"It printed {len(text)} characters in one piece; they are left out."
        self.tell(event=known.get("event", ""), text=text, task=str(task or ""))

    def _read(self, uuid: object) -> dict[str, Any]:
        if not isinstance(uuid, str) or not re.fullmatch("[0-9a-f-]{1,64}", uuid):
            return {}
        name = f"{uuid}-partial.json"
        try:
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=self.folder)
            with os.fdopen(descriptor, "rb") as file:
                data = file.read(MAX_TEXT + 1) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
            os.unlink(name, dir_fd=self.folder)
            found = json.loads(data) if len(data) <= MAX_TEXT else None
        except (OSError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}


def main() -> None:
    end_with_parent(int(sys.argv[1]))
    orders = os.fdopen(os.dup(0), encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    report = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever prints goes to stderr

    import ansible_runner
    import ptyprocess

    # The runner closes the tty of a play that has ended, and would wait a tenth of a second for its end.
    ptyprocess.PtyProcess.delayafterclose = property(lambda self: 0, lambda self, value: None)
    line = orders.readline()
    if not line:
        return  # no run wanted it
    order = json.loads(line)
    watch = Watch(orders, renewed=order["renewed"], within=order["within"])
    os.environ.update(order["environment"])
    resource.setrlimit(resource.RLIMIT_DATA, (order["memory"], order["memory"]))

    def tell(**message: Any) -> None:
        report.write(json.dumps(message) + "\n")
        report.flush()

    runner = ansible_runner.interface.init_runner(
        private_data_dir=order["directory"],
        artifact_dir=order["own"],
        playbook=order["playbook"],
        inventory=order["inventory"],
        extravars=order["variables"],
        envvars={"PATH": order["environment"]["PATH"]},
        passwords={r"[\s\S]+": None},  # nothing is answered, and what was read is forgotten
        ident="run",
        quiet=True,
        suppress_env_files=True,
    )
    runner.config.suppress_output_file = True
    runner.event_callback = Events(order["directory"], tell).take  # its own would follow links, as the worker's user
    try:
        runner.run()
    except MemoryError:
        tell(event="", text=TOO_MUCH, task="")
        raise
    with watch.ending:
        tell(status=runner.status, code=runner.rc)


if __name__ == "__main__":
    main()
