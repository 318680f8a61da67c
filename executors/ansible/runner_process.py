"""The process between worker and play: calls ansible-runner with a clean environment and reports on its stdout.

Run as a script, `python -I runner_process.py PARENT`: it waits for one JSON object on stdin and, from then on, a line
for each renewal of the lease. Nobody else can end the play of a worker that is stopped and not dead, so this process
does it when the lease grows too old. ansible-runner copies the environment of its process into files that the play can
read, so it must never run inside the worker. It must not import Mergeyard.
"""

import ctypes
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
IDENT = "run"
OVERDUE = 75  # the exit status after the lease grew too old
LOOK_SECONDS = 0.25
KILL_SECONDS = 5.0


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
                end_play()
                os._exit(OVERDUE)


def end_play() -> None:
    """Kill everything below this process, contained or not, until nothing lives or time is up."""
    limit = time.monotonic() + KILL_SECONDS
    while (found := below(os.getpid())) and time.monotonic() < limit:
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
    os.chdir(order["directory"])

    def tell(**message: Any) -> None:
        report.write(json.dumps(message) + "\n")
        report.flush()

    def on_event(event: dict[str, Any]) -> bool:
        details = event.get("event_data") or {}
        tell(event=event.get("event", ""), text=event.get("stdout", ""), task=str(details.get("task") or ""))
        return False  # nothing of it is written to disk

    result = ansible_runner.run(
        private_data_dir=order["directory"],
        playbook=order["playbook"],
        inventory=order["inventory"],
        extravars=order["variables"],
        envvars={"PATH": order["environment"]["PATH"]},
        settings={"suppress_ansible_output": True, "pexpect_timeout": 1},
        ident=IDENT,
        quiet=True,
        suppress_env_files=True,
        event_handler=on_event,
    )
    with watch.ending:
        tell(status=result.status, code=result.rc)


if __name__ == "__main__":
    main()
