#!/usr/bin/python
"""Owns the files of one Skeleton. Put your system's client library in its place: read, write and delete stay."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ansible.module_utils.mergeyard.pairing import Found, Outcome, Refused, Resource, Spec, SystemDown, shown
from ansible.module_utils.mergeyard.remote import run

DOCUMENTATION = r"""
module: skeleton_thing
short_description: Things of a Skeleton
description:
  - Keeps one file per thing in a directory.
extends_documentation_fragment: [mergeyard]
"""

EXAMPLES = r"""
- name: Bring all of them to what is wanted
  skeleton_thing:
    state: replaced
    config: "{{ mergeyard.kinds.SkeletonThing.replaced }}"
    system: "{{ mergeyard.system.connection }}"

- name: List what is there
  skeleton_thing:
    state: gathered
    system: "{{ mergeyard.system.connection }}"
"""

RETURN = r"""
resources:
  description:
    - Of each resource path, kind, status (ok or failed) and changed, the spec before and after (null where it is not
      there), the reasons of a change, and the message that says what failed.
    - With O(state=gathered) the identity, spec and owner (marker) of each that is there.
  returned: when nobody reads events, as in a play started by hand
  type: list
  elements: dict
"""


class Skeleton:
    """One directory that is there."""

    def __init__(self, connection: dict[str, Any]) -> None:
        self.directory = Path(connection["directory"])
        if not os.access(self.directory, os.W_OK):
            raise SystemDown(f"The directory {self.directory} does not exist or may not be written.")

    def file(self, spec: Spec) -> Path:
        name = str(spec["name"])
        if not name.replace("_", "").replace("-", "").isalnum() or not name.isascii() or len(name) > 63:
            raise Refused(f"name: {shown(name)} cannot be the name of a file.")
        return self.directory / f"{name}.json"

    def read(self, file: Path) -> Found | None:
        try:
            content = json.loads(file.read_text())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise Refused(f"{file} cannot be read: {error}.") from error
        return Found(content["spec"], content.get("managed_as"))

    def gather(self) -> list[Found]:
        found = [self.read(file) for file in sorted(self.directory.glob("*.json"))]
        return [item for item in found if item is not None]

    def find(self, resource: Resource) -> Found | None:
        return self.read(self.file(resource.spec))

    def after(self, resource: Resource, found: Found | None) -> Spec:
        self.file(resource.spec)
        if found is not None and found.spec.get("colour") != resource.spec["colour"]:
            raise Refused(f"colour: it stays {shown(found.spec.get('colour'))} and cannot be changed; make a new one.")
        return resource.spec

    def write(self, outcomes: list[Outcome], *, check: bool) -> None:
        for outcome in outcomes:
            if not outcome.changed or check:
                continue
            file = self.file(outcome.resource.spec)
            try:
                if outcome.after is None:
                    file.unlink(missing_ok=True)
                else:
                    content = {"managed_as": outcome.resource.path, "spec": outcome.after}
                    new = file.with_suffix(".new")
                    new.write_text(json.dumps(content))
                    new.replace(file)
            except OSError as error:
                outcome.fail(f"{file} cannot be written: {error.strerror}.")


if __name__ == "__main__":
    run("SkeletonThing", Skeleton)
