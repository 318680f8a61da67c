"""Owns one nginx on the host where it runs: its check, its reload by a signal to its master, and what it made of it.

A reload is done when new workers serve and the old ones take no more connections; nginx says nothing of it, so its
processes are looked at, and its error log where it is a file. How a site is written is nginx_sites'.
"""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible.module_utils.mergeyard.checked_files import Complaint, Files  # type: ignore[import-not-found]
from ansible.module_utils.mergeyard.pairing import SystemDown  # type: ignore[import-not-found]

SECONDS = 15
PAUSE = 0.02
PROGRAMS = (
    "/usr/sbin/nginx",
    "/usr/local/sbin/nginx",
    "/usr/bin/nginx",
    "/usr/local/bin/nginx",
    "/usr/local/nginx/sbin/nginx",
)
LOADED = re.compile(r"^# configuration file (\S+):$", re.MULTILINE)
REFUSED = re.compile(r"\[(?:emerg|alert|crit|error)\] (?:\d+#\d+: )?(.+?)(?: in (\S+):\d+)?$", re.MULTILINE)
NAMES = re.compile(r"^\s*server_name ([^;]+);", re.MULTILINE)
CONFLICT = re.compile(r'\[warn\] (?:\d+#\d+: )?conflicting server name "([^"]+)" on (\S+), ignored')
TRIES_AGAIN, GIVES_UP = "bind() to ", "still could not bind"


def hosts_of(file: Path) -> set[str]:
    """The names that a site's file answers for; none if it is not there."""
    try:
        content = file.read_text("utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return set()
    return {host for names in NAMES.findall(content) for host in names.split()}


class Nginx:
    """One nginx, by its main configuration, its directory of sites and the process that its pid file names."""

    title, suffix = "nginx", ".conf"

    def __init__(self, connection: dict[str, Any]) -> None:
        self.where = f"{connection['host']} port {connection['port']}"
        self.configuration = Path(connection.get("configuration", "/etc/nginx/nginx.conf"))
        self.directory = Path(connection.get("sites_directory", "/etc/nginx/mergeyard"))
        self.program = next((program for program in PROGRAMS if os.access(program, os.X_OK)), "")
        if not self.program:
            raise SystemDown(f"There is no nginx program on {self.where} at {', '.join(PROGRAMS)}.")
        self.master = self.running(Path(connection.get("pid_file", "/run/nginx.pid")))
        if not os.access(self.directory, os.W_OK | os.X_OK):
            raise SystemDown(
                f"The sites directory {self.directory} on {self.where} is not there or may not be written."
            )
        self.usual: set[tuple[str, str]] | None = None

    def running(self, file: Path) -> int:
        """The master's process. A stale file may name any other one, which must get no signal."""
        try:
            pid = int(file.read_text())
            os.kill(pid, 0)
            title = Path("/proc", str(pid), "cmdline").read_bytes()
        except PermissionError as error:
            raise SystemDown(f"The user may not send nginx a signal on {self.where}; let it become root.") from error
        except (OSError, ValueError) as error:
            raise SystemDown(f"nginx does not run on {self.where}: {file} names no process.") from error
        if not title.startswith(b"nginx: master process"):
            raise SystemDown(f"nginx does not run on {self.where}: {file} names another process.")
        return pid

    def check(self, staged: Path) -> list[Complaint]:
        if self.usual is None:
            self.usual = set()
            _, said = self.tried(self.directory)
            self.usual = set(CONFLICT.findall(said))
        dump, said = self.tried(staged)
        if dump is None:
            found = REFUSED.search(said)
            name = Path(found[2] or "").name if found else ""
            sentence = f"{found[1].strip(' .')}." if found else "its configuration test failed."
            return [Complaint(sentence, name[: -len(self.suffix)] if (staged / name).is_file() else None)]
        if conflicts := {host for host, _ in {*CONFLICT.findall(said)} - self.usual}:
            return [*self.taken(staged, conflicts)]
        loaded = {Path(path).name for path in LOADED.findall(dump) if Path(path).resolve().parent == staged.resolve()}
        if any(file.name not in loaded for file in staged.glob(f"*{self.suffix}")):
            return [Complaint(f"{self.configuration} does not include {self.directory}/*{self.suffix}.")]
        return []

    def taken(self, staged: Path, hosts: set[str]) -> Iterator[Complaint]:
        """Of each site that takes a host which another one has, that; of none if it cannot be told."""
        found = False
        for file in sorted(staged.glob(f"*{self.suffix}")):
            if more := (hosts_of(file) - hosts_of(self.directory / file.name)) & hosts:
                found = True
                yield Complaint(f"{min(more)} is served by another site already.", file.name[: -len(self.suffix)])
        if not found:
            yield Complaint(f"{min(hosts)} is served by another site already.")

    def tried(self, staged: Path) -> tuple[str | None, str]:
        """What nginx loads with these files, None if it refuses it, and what it says. Nothing live is touched."""
        with tempfile.TemporaryDirectory() as place:
            try:
                self.mirror(self.configuration.parent, Path(place), staged)
                argv = [self.program, "-T", "-c", str(Path(place, self.configuration.name))]
                done = subprocess.run(argv, capture_output=True, text=True, errors="replace", timeout=60, check=False)
            except (OSError, subprocess.TimeoutExpired) as error:
                raise SystemDown(f"nginx's configuration on {self.where} cannot be checked: {error}.") from error
        return (done.stdout if done.returncode == 0 else None), done.stderr

    def mirror(self, source: Path, target: Path, staged: Path) -> None:
        """A directory of the configuration again, by links, with `staged` in place of the sites' directory."""
        for entry in source.iterdir():
            again = target / entry.name
            if entry == self.directory:
                again.symlink_to(staged)
            elif entry in self.directory.parents:
                again.mkdir()
                self.mirror(entry, again, staged)
            elif entry == self.configuration:
                sites = rf"(?<![\w./-]){re.escape(str(self.directory))}(?=/)"
                content = entry.read_text("utf-8", errors="surrogateescape")
                again.write_text(re.sub(sites, lambda _: str(staged), content), "utf-8", errors="surrogateescape")
            else:
                again.symlink_to(entry)

    def placed(self) -> None:
        """Nothing else follows from the files of sites."""

    def take(self, before: Files, files: Files, *, whole: bool) -> str:
        """A reload takes everything."""
        log = Log(self.master)
        old = self.workers()
        try:
            os.kill(self.master, signal.SIGHUP)
        except OSError as error:
            return f"its master process could not be told ({error.strerror})."
        limit = time.monotonic() + SECONDS
        while time.monotonic() < limit:
            now = self.workers()
            if now - old and not now & old:
                return ""
            if said := log.refusal():
                return said
            time.sleep(PAUSE)
        return f"it has no new workers after {SECONDS} seconds."

    def workers(self) -> set[int]:
        """The worker processes that take connections."""
        found = set()
        for process in Path("/proc").glob("[0-9]*"):
            try:
                parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
                title = (process / "cmdline").read_bytes() if parent == self.master else b""
            except (OSError, ValueError):  # it is gone
                continue
            if title.startswith(b"nginx: worker process") and b"shutting down" not in title:
                found.add(int(process.name))
        return found


class Log:
    """What nginx says from now on in its error log, which its second descriptor is."""

    def __init__(self, master: int) -> None:
        self.file = Path("/proc", str(master), "fd", "2")
        try:
            status = self.file.stat()
            self.start = status.st_size if stat.S_ISREG(status.st_mode) else None
        except OSError:
            self.start = None

    def refusal(self) -> str:
        """Why it did not take the new configuration, if it says so; an address in use it tries again some times."""
        if self.start is None:
            return ""
        try:
            with self.file.open("rb") as log:
                log.seek(self.start)
                said = log.read(100_000).decode(errors="replace")
        except OSError:
            return ""
        words = [found[1].strip(" .") for found in REFUSED.finditer(said) if "[emerg]" in found[0]]
        final = [word for word in words if not word.startswith(TRIES_AGAIN)]
        if not final:
            return ""
        cause = words[0] if final[0].startswith(GIVES_UP) else final[0]
        return f"{cause}."
