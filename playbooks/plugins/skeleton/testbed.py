"""Owns a Skeleton for tests: a directory. Start your real server here, on free ports, through `playbooks.servers`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from playbooks.servers import Example, Testbed

MEMORY_ONLY = False

EXAMPLES = {
    "SkeletonThing": Example(
        spec={"size": 20, "colour": "green", "labels": {"service": "checkout", "tier": "one"}},
        updates={"size": 30, "labels": {"service": "basket"}},
        frozen={"colour": "red"},
    ),
}


def start(directory: Path) -> Testbed:
    things = directory / "things"
    things.mkdir(parents=True)
    testbed = Testbed(title="Skeleton 1", connection={"directory": str(things)}, secrets={}, servers=[])
    testbed.stop = lambda: things.rename(directory / "gone")  # type: ignore[method-assign]
    return testbed


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
