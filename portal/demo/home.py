"""The demo's directory: one start at a time, what it keeps, and the environment of its processes."""

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
FROM_OUTSIDE = ("MERGEYARD_DATABASE_URL", "MERGEYARD_REDIS_URL", "MERGEYARD_LOG_LEVEL", "MERGEYARD_CONTAINMENT")


class CannotStart(Exception):
    """Its text is one sentence: what is in the way and what to do."""


@dataclass
class Home:
    path: Path
    port: int
    kept: dict[str, Any]

    @classmethod
    def open(cls, path: Path, *, port: int, reset: bool) -> "Home":
        """Take the directory for this process; `reset` empties it first."""
        _check_path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(lock, 20).decode() or "unknown"
            raise CannotStart(f"The demo runs here already (process {holder}); stop it with Ctrl-C first.") from error
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)  # held until this process ends
        if reset:
            shutil.rmtree(path, ignore_errors=True)
        path.mkdir(mode=0o700, exist_ok=True)
        if shutil.disk_usage(path).free < NEEDED_BYTES:
            raise CannotStart(f"The disk that holds {path} has less than 0.5 GB free: make room, then start again.")
        _check_port(port)
        file = path / "demo.json"
        kept = json.loads(file.read_text()) if file.exists() else {}
        kept.setdefault("secret_key", secrets.token_urlsafe(40))
        kept.setdefault("password", secrets.token_urlsafe(9))
        kept.setdefault("queue_password", secrets.token_urlsafe(24))
        home = cls(path, port, kept)
        home.keep()
        return home

    def keep(self, **more: Any) -> None:
        self.kept.update(more)
        file = self.path / "demo.json.new"
        file.touch(mode=0o600)
        file.write_text(json.dumps(self.kept, indent=1))
        file.replace(self.path / "demo.json")

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def environment(self, *, queue_port: int) -> dict[str, str]:
        """The settings of this installation, for our own process and the ones we start.

        What the caller's environment sets for the database, the queue and the log goes before the embedded defaults.
        """
        ours = {
            "MERGEYARD_HOME": str(self.path),
            "MERGEYARD_SECRET_KEY": self.kept["secret_key"],
            "MERGEYARD_REDIS_URL": f"redis://:{self.kept['queue_password']}@127.0.0.1:{queue_port}/0",
            "MERGEYARD_LOCAL_PATHS": str(self.path / "systems"),
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
