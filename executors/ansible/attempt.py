"""Owns the private directory of one attempt: made fresh, 0700, wiped at the end and by the sweeper.

Below its root: `play/`, the one part that the play sees and may write to, and `bin/`, the worker's own. The worker
holds a lock on the root while it lives, so the sweeper knows what a dead one left. It must not know Ansible.
"""

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from changes.crash_points import crash_point
from changes.documents import Json

MARK = "MERGEYARD_ATTEMPT"  # in the environment of every process of a play that is not contained


class Place:
    """A directory of our own below `parent`, locked while we live: a context manager that leaves nothing behind."""

    def __init__(self, parent: Path, name: str) -> None:
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _is_ours(parent):
            raise PermissionError(
                f"making an attempt in {parent}: it is no directory of this worker's user that nobody else may write to"
            )
        self.root = parent.resolve() / f"{name}-{secrets.token_hex(6)}"
        self._lock = -1

    def __enter__(self) -> Self:
        with _locked(self.root.parent, fcntl.LOCK_SH):  # a sweeper must not come between the two
            self.root.mkdir(mode=0o700)
            self._lock = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            _wipe(self.root)
        finally:
            os.close(self._lock)

    @property
    def descriptor(self) -> int:
        """Of the directory, while we live."""
        return self._lock


class Attempt(Place):
    """The place of one run."""

    def __init__(self, parent: Path, *, run_id: int) -> None:
        super().__init__(parent, str(run_id))
        self.play, self.bin = self.root / "play", self.root / "bin"

    def __enter__(self) -> Self:
        super().__enter__()
        for folder in (self.play, self.bin, self.play / "inventory"):
            folder.mkdir(mode=0o700)
        os.mkfifo(self.events, 0o600)
        os.mkfifo(self.alive, 0o600)
        return self

    @property
    def alive(self) -> Path:
        """Held open for writing by the keeper of a warm play for as long as anything of the play lives."""
        return self.bin / "alive"

    @property
    def events(self) -> Path:
        return self.play / "events"

    def write(self, name: str, content: str, *, mode: int = 0o600) -> Path:
        path = self.root / name
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(content)
        return path

    def write_json(self, name: str, value: Json) -> None:
        self.write(name, json.dumps(value, ensure_ascii=True))


def sweep(parent: Path) -> bool:
    """Wipe what attempts of dead workers left, and end what still runs of them; True if there was something."""
    swept = False
    if not _is_ours(parent):  # none yet, or that of another user's workers
        return False
    with _locked(parent, fcntl.LOCK_EX):
        for root in parent.iterdir():
            with contextlib.suppress(OSError), _locked(root, fcntl.LOCK_EX | fcntl.LOCK_NB):
                crash_point("sweep: attempt found")
                kill_marked(root / "play")
                _wipe(root)
                swept = True
    return swept


def _wipe(root: Path) -> None:
    """Also what a play left that withstands it: directories nested too deep for Python, or without their rights."""
    with contextlib.suppress(RecursionError):
        shutil.rmtree(root, ignore_errors=True)
    if root.exists():
        for command in (("chmod", "-R", "u+rwX"), ("rm", "-rf")):
            subprocess.run([*command, "--", root], stderr=subprocess.DEVNULL, check=False)


def _is_ours(parent: Path) -> bool:
    """It may lie where everybody can make one of that name, or a link; what is trusted and wiped must be ours."""
    try:
        found = parent.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & stat.S_IWOTH


@contextlib.contextmanager
def _locked(directory: Path, how: int) -> Iterator[None]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)


def kill_marked(play: Path) -> None:
    """End every process that carries an attempt's mark: without a sandbox the kernel does not do it for us."""
    mark = f"{MARK}={play}".encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    os.kill(int(entry.name), signal.SIGKILL)
