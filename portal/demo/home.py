"""The demo's directory: one start at a time, what it keeps, and the environment of its processes."""

import contextlib
import errno
import fcntl
import json
import os
import re
import secrets
import shutil
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NEEDED_BYTES = 500_000_000
LONGEST_PATH = 65  # the systems' servers have sockets below it, whose whole path may have 107 bytes
PLAIN_PATH = re.compile(r"/[A-Za-z0-9._/+-]*")  # no more may stand in a system's connection
KEPT = "demo.json"
SECRETS = {"secret_key": 40, "password": 9, "queue_password": 24}  # name -> random bytes
FROM_OUTSIDE = (
    *("MERGEYARD_DATABASE_URL", "MERGEYARD_REDIS_URL", "MERGEYARD_LOG_LEVEL", "MERGEYARD_CONTAINMENT"),
    "MERGEYARD_CATALOG",
)


class CannotStart(Exception):
    """Its text is one sentence: what is in the way and what to do."""


@dataclass
class Home:
    path: Path
    port: int
    kept: dict[str, Any]

    @classmethod
    def open(cls, path: Path, *, port: int, reset: bool) -> "Home":
        """Take the directory for this process. `reset` empties it, after everything that could refuse was asked."""
        _check_path(path)
        kept = _kept(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        _lock(path)
        if shutil.disk_usage(path if path.exists() else path.parent).free < NEEDED_BYTES:
            raise CannotStart(f"The disk that holds {path} has less than 0.5 GB free: make room, then start again.")
        _check_port(port)
        if reset and kept:
            _check_database(path)
            _empty(path)
        path.mkdir(mode=0o700, exist_ok=True)
        home = cls(path, port, _kept(path))
        home.keep(**{name: secrets.token_urlsafe(size) for name, size in SECRETS.items() if name not in home.kept})
        return home

    def keep(self, **more: Any) -> None:
        self.kept.update(more)
        file = self.path / f"{KEPT}.new"
        file.touch(mode=0o600)
        file.write_text(json.dumps(self.kept, indent=1))
        file.replace(self.path / KEPT)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def environment(self, *, queue_port: int) -> dict[str, str]:
        """The settings of this installation, for our own process and the ones we start.

        What the caller's environment sets for the database, the queue, the log and the catalogue goes before the
        embedded defaults.
        """
        ours = {
            "MERGEYARD_HOME": str(self.path),
            "MERGEYARD_SECRET_KEY": self.kept["secret_key"],
            "MERGEYARD_REDIS_URL": f"redis://:{self.kept['queue_password']}@127.0.0.1:{queue_port}/0",
            "MERGEYARD_LOCAL_PATHS": str(self.path / "systems"),
            "MERGEYARD_UNCONTAINED": "*",  # its production is its own, and the screen says how runs are contained
            "DJANGO_SETTINGS_MODULE": "portal.settings",
        }
        return ours | {name: os.environ[name] for name in FROM_OUTSIDE if name in os.environ}


def _check_path(path: Path) -> None:
    if not PLAIN_PATH.fullmatch(sys.prefix):
        raise CannotStart(
            f"The demo's systems cannot use programs at {sys.prefix}: put the checkout at a path that has only letters "
            "from a to z, digits and . _ + -."
        )
    if not PLAIN_PATH.fullmatch(str(path)) or len(str(path)) > LONGEST_PATH:
        raise CannotStart(
            f"The demo's servers cannot have their files at {path}: name a directory whose path has at most "
            f"{LONGEST_PATH} letters from a to z, digits and . _ + -, as in bin/demo --home /var/tmp/mergeyard."
        )


def _kept(path: Path) -> dict[str, Any]:
    """What earlier starts wrote down, nothing of a new directory. Raises CannotStart where it is no demo's."""
    names = {entry.name for entry in path.iterdir()} if path.exists() else set()
    if names <= {f"{KEPT}.new"}:
        return {}
    with contextlib.suppress(OSError, ValueError):
        kept = json.loads((path / KEPT).read_text())
        if isinstance(kept, dict) and kept.keys() >= SECRETS.keys():
            return kept
    raise CannotStart(
        f"{path} holds files that are not a demo's, and nothing was done to them: name a directory that is new or "
        "empty, as in bin/demo --home /var/tmp/mergeyard."
    )


def _lock(path: Path) -> None:
    """Held until this process ends."""
    lock = os.open(path.with_name(f"{path.name}.lock"), os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.read(lock, 20).decode() or "unknown"
        raise CannotStart(f"The demo runs here already (process {holder}); stop it with Ctrl-C first.") from error
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)


def _check_database(path: Path) -> None:
    if "MERGEYARD_DATABASE_URL" in os.environ:
        raise CannotStart(
            f"--reset and --once forget what {path} holds, but never what is in the database that "
            "MERGEYARD_DATABASE_URL names: empty both yourself, then start again."
        )


def _empty(path: Path) -> None:
    """What says that it is a demo's goes last, so what was stopped in the middle can be done again."""
    for entry in sorted(path.iterdir(), key=lambda entry: entry.name == KEPT):
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            why = "is used by another program" if taken else f"cannot be had ({error.strerror})"
            other = port + 1 if 1024 <= port < 65535 else 8000
            raise CannotStart(f"Port {port} {why}: start with another one, as in bin/demo --port {other}.") from error
