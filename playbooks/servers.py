"""Owns real servers started for tests and the demo: free ports, start, wait, stop. Never used by the product.

It must not know any system type. A server runs under a small watcher process (this file run as a script) that
ends it when the process that wanted it is gone, however that ended: the watcher reads a pipe of which only the
starter holds the other end, and the server itself dies with the watcher.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DROPPED_UID = 65534
FIRST_PORT = 12_000
CLONE_NEWUSER = 0x10000000
PR_SET_PDEATHSIG = 1
PR_SET_KEEPCAPS = 8
PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE = 47, 2
CAP_DAC_OVERRIDE = 1  # which a container's root has, unlike the one that only reads
CAPABILITY_VERSION = 0x20080522

_given: set[int] = set()
_given_lock = threading.Lock()


class CannotStart(Exception):
    """The server cannot be had; its text is one sentence for a person."""


class MissingTool(CannotStart):
    """The program itself is not installed, as opposed to: it is there and does not start."""


@dataclass(frozen=True)
class Example:
    """What the conformance suite does with a kind: a valid spec, changes of it, and what the server cannot show.

    Beside EXAMPLES (kind -> Example) a test bed has `start(directory)`, and per kind, with the system's own client and
    apart from the kind's module: `read` (the spec as it is, or None), `make` (as somebody else would, without our
    marker), `tamper` (change one field by hand), `remove`; for kinds with secrets `accepts(testbed, kind, spec,
    secrets)`: whether the system lets one in with them, and `kept(testbed, kind, spec)`: what the system holds of them,
    another thing after every setting, be it of the same value; `prepare(testbed, kind)` where `needs` does not suffice;
    MEMORY_ONLY: whether the server forgets everything when it stops, which the demo then applies again.
    """

    spec: dict[str, Any]
    updates: dict[str, Any]  # for every field that may change another valid value; of an object's, `object.field`
    frozen: dict[str, Any] = field(default_factory=dict)  # for every immutable field another valid value
    secrets: dict[str, str] = field(default_factory=dict)
    needs: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  # kind -> specs that must exist first
    vary: Callable[[int], dict[str, Any]] | None = None  # number -> fields that must be unique; else the last identity
    not_here: dict[str, str] = field(default_factory=dict)  # field -> why not here; counted as not tested
    refused: dict[str, Any] = field(default_factory=dict)  # valid under the schema, refused by the system
    # Field that `spec` may not have -> a spec that may; by another name: a spec whose texts hostile values try too.
    instead: dict[str, dict[str, Any]] = field(default_factory=dict)
    literal: frozenset[str] = frozenset()  # fields that may hold any line of text, which must arrive as it is


class Server:
    """One process under its watcher."""

    def __init__(
        self,
        title: str,
        argv: list[str],
        *,
        log: Path,
        drop_root: bool = False,
        stop: int = signal.SIGTERM,
        env: Mapping[str, str] | None = None,
    ):
        """`env` is added to a bare environment; the server runs in its log's directory."""
        self.title, self.log = title, log
        ours, self._ask = os.pipe()
        said, says = os.pipe()
        log.parent.mkdir(parents=True, exist_ok=True)
        order = json.dumps({"argv": argv, "drop_root": drop_root and os.geteuid() == 0, "stop": int(stop)})
        try:
            with log.open("ab") as output:
                self._watcher = subprocess.Popen(
                    [sys.executable, "-I", "-S", __file__, str(ours), str(says), order],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=(ours, says),
                    start_new_session=True,
                    cwd=log.parent,
                    env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LANG": "C.UTF-8", "HOME": str(log.parent)}
                    | dict(env or {}),
                )
        finally:
            os.close(ours)
            os.close(says)
        with open(said, encoding="ascii") as answer:
            self.pid = int(answer.readline() or 0)

    @property
    def processes(self) -> list[int]:
        return [self._watcher.pid, self.pid]

    @property
    def running(self) -> bool:
        return self._watcher.poll() is None

    def wait_until(self, ready: Callable[[], bool], *, within: float = 20) -> None:
        limit = time.monotonic() + within
        while not ready():
            if not self.running:
                raise CannotStart(f"{self.title} ended while it started: {self.last_words()}")
            if time.monotonic() > limit:
                self.stop()
                raise CannotStart(f"{self.title} did not answer within {within:.0f} seconds: {self.last_words()}")
            time.sleep(0.02)

    def last_words(self) -> str:
        text = self.log.read_text(errors="replace").strip() if self.log.exists() else ""
        return text.splitlines()[-1] if text else "it said nothing"

    def stop(self) -> None:
        if self._ask >= 0:
            os.close(self._ask)
            self._ask = -1
        self._watcher.wait(timeout=20)


@dataclass
class Testbed:
    """A started system: what its system file would hold, and its processes."""

    __test__ = False  # a name that pytest would collect

    title: str
    connection: dict[str, Any]
    secrets: dict[str, str]
    servers: list[Server]
    clients: Mapping[str, str] = field(default_factory=dict)  # kind -> a command or address for people
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def processes(self) -> list[int]:
        return [pid for server in self.servers for pid in server.processes]

    def client(self, kind: str) -> str:
        return self.clients[kind]

    def stop(self) -> None:
        for server in reversed(self.servers):
            server.stop()


def free_port() -> int:
    """A loopback port that nobody has and that this process has not given away before.

    It is below the range that the kernel takes for outgoing connections, so none of them can have it at a next start.
    """
    first_of_outgoing = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    count = max(first_of_outgoing - FIRST_PORT, 1000)
    while True:
        port = FIRST_PORT + int.from_bytes(os.urandom(4), "big") % count
        with _given_lock:
            if port not in _given and _is_free(port):
                _given.add(port)
                return port


def kept_ports(directory: Path, names: list[str], *, title: str) -> dict[str, int]:
    """The ports of an earlier start, so that connections stay true; new ones at the first."""
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / "ports.json"
    kept = json.loads(file.read_text()) if file.exists() else {}
    for name in names:
        if name in kept and not _is_free(int(kept[name])):
            raise CannotStart(
                f"Port {kept[name]}, which {title} had at its last start ({name}), is used by another program; "
                f"stop that program or delete {file}."
            )
    ports = {name: int(kept[name]) if name in kept else free_port() for name in names}
    file.write_text(json.dumps(ports))
    return ports


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return True
    return False


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def secret_file(directory: Path, name: str, value: str) -> Path:
    """A file that only its owner may read."""
    file = directory / name
    file.touch(mode=0o600)
    file.write_text(value)
    return file


def as_another_user(argv: list[str]) -> list[str]:
    """The same command for programs that refuse uid 0; run it in the directory that it works on."""
    return argv if os.geteuid() else [sys.executable, "-I", "-S", __file__, "drop", *argv]


# The watcher: everything below runs in its process.


def _die_with_parent(number: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)


def _leave_root() -> None:
    """Another uid for servers that refuse uid 0. A user namespace keeps every file readable and owned as it is.

    Where there are none, the files are given away, and a capability keeps the way to them open: a directory above them
    may be root's alone.
    """
    group = os.getegid()  # inside the namespace it would be the overflow id
    _give_files(os.geteuid(), group)  # of a start without namespaces they are another's
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWUSER) == 0:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/gid_map").write_text(f"{DROPPED_UID} {group} 1")
        Path("/proc/self/uid_map").write_text(f"{DROPPED_UID} 0 1")
        return
    _give_files(DROPPED_UID, DROPPED_UID)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setgid(DROPPED_UID)
    os.setuid(DROPPED_UID)
    one = 1 << CAP_DAC_OVERRIDE
    libc.capset(struct.pack("=Ii", CAPABILITY_VERSION, 0), struct.pack("=6I", one, one, one, 0, 0, 0))
    libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE, 0, 0)


def _give_files(uid: int, gid: int) -> None:
    for root, names, files in os.walk("."):
        for name in [".", *names, *files]:
            os.chown(os.path.join(root, name), uid, gid, follow_symlinks=False)


def _become(argv: list[str], *, drop_root: bool, stop: int) -> None:
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    if drop_root:
        _leave_root()
    _die_with_parent(stop)  # after the change of uid, which would clear it
    os.execv(argv[0], argv)


def _watch(asked: int, says: int, order: dict[str, Any]) -> int:
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    pid = os.fork()
    if pid == 0:
        try:
            os.close(asked)
            os.close(says)
            _become(order["argv"], drop_root=order["drop_root"], stop=order["stop"])
        except OSError as error:
            print(f"cannot run {order['argv'][0]}: {error.strerror}", flush=True)  # noqa: T201
        os._exit(127)
    os.write(says, b"%d\n" % pid)
    os.close(says)
    limit: float | None = None
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status) & 0xFF
        ready, _, _ = select.select([asked, woken] if limit is None else [woken], [], [], 5 if limit else None)
        number = os.read(woken, 1)[0] if woken in ready else 0
        if limit is None and (asked in ready or number in (signal.SIGTERM, signal.SIGINT)):
            limit = time.monotonic() + 5
            os.kill(pid, order["stop"])
        elif limit is not None and time.monotonic() >= limit:
            os.kill(pid, signal.SIGKILL)


if __name__ == "__main__" and sys.argv[1] == "drop":
    _become(sys.argv[2:], drop_root=True, stop=signal.SIGTERM)
if __name__ == "__main__":
    sys.exit(_watch(int(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])))
