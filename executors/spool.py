"""Owns what of runs' events is on this host's disk until the database has it: a file for each run, a line per event.

A file is locked while its worker lives. What a dead one left, or one that could not reach the database in time, is
stored later by any worker of this host, without gap or double. Lines are masked before they come here. It must not know
Ansible.
"""

import contextlib
import fcntl
import logging
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings

log = logging.getLogger(__name__)

SUFFIX = ".jsonl"
FREE_BYTES = 50_000_000  # less than that on the disk counts as full too
TIDY_BYTES = 1_000_000  # of a file whose lines are all stored


class Full(OSError):
    """There is no room for more; nothing was written."""


class Spool:
    """The file of one run. One thread appends, another takes."""

    def __init__(self, run_id: int) -> None:
        directory = _directory()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = directory / f"{run_id}{SUFFIX}"
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(self._file, 0)  # a run of that number was in another database
        self._lock = threading.Lock()
        self._taken = self._end = 0

    def append(self, lines: list[bytes]) -> None:
        """All of them or, with an OSError, none."""
        data = b"".join(line + b"\n" for line in lines)
        with self._lock:
            if self._end + len(data) > _most():
                raise Full("the spool is full")
            try:
                written = os.write(self._file, data)
                if written < len(data):
                    raise Full("the disk of the spool is full")
            except OSError:
                os.ftruncate(self._file, self._end)
                raise
            self._end += len(data)

    @property
    def pending(self) -> bool:
        return self._taken < self._end

    def next(self, most: int) -> list[bytes]:
        """The first lines that were not taken."""
        with self._lock, os.fdopen(os.dup(self._file), "rb") as file:
            file.seek(self._taken)
            lines: list[bytes] = []
            while len(lines) < most and file.tell() < self._end:
                lines.append(file.readline().rstrip(b"\n"))
            return lines

    def took(self, lines: list[bytes]) -> None:
        """They are in the database."""
        with self._lock:
            self._taken += sum(len(line) + 1 for line in lines)
            if self._taken == self._end and self._end > TIDY_BYTES:
                os.ftruncate(self._file, 0)
                self._taken = self._end = 0

    def close(self) -> None:
        """Remove the file if all of it was taken; else it waits for `left`."""
        if not self.pending:
            self.path.unlink(missing_ok=True)
        os.close(self._file)


def left() -> Iterator[tuple[int, list[bytes], Path]]:
    """Run, lines and file of what nobody alive is writing. Whoever stored the lines removes the file."""
    for path in sorted(_directory().glob(f"*{SUFFIX}")):
        if path.stem.isdigit():
            with contextlib.suppress(OSError):
                file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    with os.fdopen(os.dup(file), "rb") as stream:
                        yield int(path.stem), stream.read().splitlines(), path
                finally:
                    os.close(file)


def set_aside(path: Path) -> None:
    """It stays to be looked at and is not tried again."""
    with contextlib.suppress(OSError):
        path.rename(path.with_suffix(".refused"))


def is_full() -> bool:
    """Is there no room for the events of another run?"""
    directory = _directory()
    try:
        used = sum(path.stat().st_size for path in directory.glob(f"*{SUFFIX}"))
        return used >= _most() or shutil.disk_usage(directory).free < FREE_BYTES
    except OSError:
        return False  # there is none yet; what cannot be spooled is held in memory


def trouble() -> str:
    """Why this host takes no work, as a sentence; empty if it does."""
    if not is_full():
        return ""
    return (
        f"The directory {_directory()} has no room for what runs print, so no work is taken: make room on that disk, "
        "or mend what keeps the database from being reached."
    )


def _directory() -> Path:
    return Path(settings.MERGEYARD_SPOOL_DIR)


def _most() -> int:
    return int(settings.MERGEYARD_SPOOL_MB) * 1_000_000
