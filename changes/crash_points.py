"""Named places where the death of a process leaves two systems, or two transactions, apart.

Only tests set the variable: a process whose MERGEYARD_CRASH_AT names a place kills itself there, once, and leaves the
file MERGEYARD_CRASH_MARK behind so that the next one lives. Otherwise a place costs the look at an empty text.
tests/faults/test_crash_points.py finds every place and shows that nothing is lost there.
"""

import contextlib
import os
import signal

wanted = os.environ.get("MERGEYARD_CRASH_AT", "")
mark = os.environ.get("MERGEYARD_CRASH_MARK", "")


def crash_point(name: str) -> None:
    if wanted:
        _die_at(name)


def _die_at(name: str) -> None:
    if name != wanted:
        return
    with contextlib.suppress(FileExistsError):
        os.close(os.open(mark, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        os.kill(os.getpid(), signal.SIGKILL)
