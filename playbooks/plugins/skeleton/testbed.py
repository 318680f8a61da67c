"""Owns a Skeleton for tests: a directory that is there while its process runs. Start your real server in its place."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from playbooks.servers import Example, Server, Testbed

MEMORY_ONLY = False

EXAMPLES = {
    "SkeletonThing": Example(
        spec={"size": 20, "colour": "green", "labels": {"service": "checkout", "tier": "one"}},
        updates={"size": 30, "labels": {"service": "basket"}},
        frozen={"colour": "red"},
    ),
}


# A server of your own needs none of this: name its program and arguments, and free ports from `servers.kept_ports`.
SERVE = """
import os, signal, sys
things, resting = sys.argv[1:]
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
os.rename(resting, things) if os.path.exists(resting) else os.mkdir(things)
signal.sigwait({signal.SIGTERM})
os.rename(things, resting)
"""


def start(directory: Path) -> Testbed:
    things = directory.absolute() / "things"
    server = Server(
        "The Skeleton",
        [sys.executable, "-I", "-c", SERVE, str(things), str(things.with_name("resting"))],
        log=directory / "server.log",
    )
    server.wait_until(things.is_dir)
    return Testbed(title="Skeleton 1.0", connection={"directory": str(things)}, secrets={}, servers=[server])


def _file(testbed: Testbed, spec: dict[str, Any]) -> Path:
    return Path(testbed.connection["directory"]) / f"{spec['name']}.json"


def read(testbed: Testbed, kind: str, spec: dict[str, Any]) -> dict[str, Any] | None:
    file = _file(testbed, spec)
    return dict(json.loads(file.read_text())["spec"]) if file.exists() else None


def make(testbed: Testbed, kind: str, spec: dict[str, Any]) -> None:
    _file(testbed, spec).write_text(json.dumps({"spec": {**spec, "size": 1}}))


def tamper(testbed: Testbed, kind: str, spec: dict[str, Any]) -> None:
    file = _file(testbed, spec)
    content = json.loads(file.read_text())
    content["spec"]["size"] = 1
    file.write_text(json.dumps(content))


def remove(testbed: Testbed, kind: str, spec: dict[str, Any]) -> None:
    _file(testbed, spec).unlink(missing_ok=True)
