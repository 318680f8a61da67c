"""Owns the runner's processes before they have an order: one is kept ready while a worker waits for work.

What such a process imports takes as long as a small play does. It knows nothing of a run, holds no secret, and ends
with the thread that started it, so the worker's main thread owns it.
"""

import contextlib
import os
import subprocess
import sys

from executors.ansible import runner_process

_ready: list["subprocess.Popen[str]"] = []  # at most one


def take() -> "subprocess.Popen[str]":
    """A process that waits for its order on stdin. The caller has to see it end."""
    while _ready:
        process = _ready.pop()
        if process.poll() is None:
            return process
        _close(process)
    return _start()


def keep_ready() -> None:
    """Have one that waits for the next run."""
    if _ready and _ready[0].poll() is not None:
        _close(_ready.pop())
    if not _ready:
        _ready.append(_start())


def end() -> None:
    while _ready:
        _close(_ready.pop())


def _start() -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-I", "-u", runner_process.__file__, str(os.getpid())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"LANG": "C.UTF-8"},  # ansible-runner hands on all that is in it
        cwd="/",
        text=True,
        errors="replace",
        start_new_session=True,  # what stops the worker's process group must not stop the one that watches it
    )


def _close(process: "subprocess.Popen[str]") -> None:
    process.kill()
    with contextlib.suppress(OSError, ValueError):
        process.communicate()
