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
from pathlib import Path
from types import TracebackType

from changes.documents import Json


class Attempt:
    """Use as a context manager; on leaving it everything is gone."""

    def __init__(self, parent: Path, *, run_id: int) -> None:
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.root = parent.resolve() / f"{run_id}-{secrets.token_hex(6)}"
        self.play, self.bin = self.root / "play", self.root / "bin"
        self._lock = -1

    def __enter__(self) -> "Attempt":
        self.root.mkdir(mode=0o700)
        self._lock = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        for folder in (self.play, self.bin, self.play / "inventory"):
            folder.mkdir(mode=0o700)
        os.mkfifo(self.events, 0o600)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self.root, ignore_errors=True)
        os.close(self._lock)

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
    """Wipe what attempts of dead workers left; True if there was something."""
    swept = False
    if not parent.is_dir():
        return False
    for root in parent.iterdir():
        with contextlib.suppress(OSError):
            descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(root, ignore_errors=True)
                swept = True
            finally:
                os.close(descriptor)
    return swept
