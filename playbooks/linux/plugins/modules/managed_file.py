#!/usr/bin/python
"""Owns the managed files of one Linux host, and its register of which document each belongs to. It runs there.

How a file is read and put in place is module_utils/host_files; events are the action plugin's of the same name.
"""

from __future__ import annotations

import grp
import json
import os
import pwd
import re
from collections.abc import Iterator
from typing import Any

from ansible.module_utils import host_files
from ansible.module_utils.host_files import NOT_SHOWN, Held, bounded
from ansible.module_utils.mergeyard.pairing import Found, Outcome, Refused, Resource, Spec, SystemDown, shown
from ansible.module_utils.mergeyard.remote import run

DOCUMENTATION = r"""
module: managed_file
short_description: Text files of a Linux host
description:
  - Puts files in place as they are written, with owner, group and permissions, below the directories that are allowed.
  - A register on the host, files.json in its state directory, says which document each file belongs to.
extends_documentation_fragment: [mergeyard]
"""

EXAMPLES = r"""
- name: Bring all of them to what is wanted
  managed_file:
    state: replaced
    config: "{{ mergeyard.kinds.ManagedFile.replaced }}"
    system: "{{ mergeyard.system.connection }}"

- name: List what is there
  managed_file:
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

PATH = re.compile(r"(/(?!\.{1,2}(/|\Z))[A-Za-z0-9._@+-]{1,100}){2,20}")
NAME = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
MODE = re.compile(r"0[0-7]{3}")
MOST_LISTED = 300
REGISTER = "files.json"


def name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_of(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def text(spec: Spec, field: str, pattern: re.Pattern[str], default: str = "") -> str:
    value = spec.get(field, default)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise Refused(f"{field}: {shown(value)} is none that a host could have.")
    return value


def content_of(spec: Spec) -> str:
    value = spec.get("content")
    if not isinstance(value, str) or "\0" in value or len(value) > 100_000:
        raise Refused("content: must be a text of at most 100,000 characters without NUL.")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise Refused("content: holds characters that are not in Unicode.") from error
    return value


class Files:
    """The files of one host below the directories that its connection allows."""

    def __init__(self, connection: dict[str, Any]) -> None:
        self.host = f"{connection['host']} port {connection['port']}"
        self.roots = sorted(map(str, connection["directories"]), key=len, reverse=True)
        self.state = str(connection.get("state_directory", "/var/lib/mergeyard"))
        self.register = self.read_register()

    def read_register(self) -> dict[str, str]:
        try:
            held = host_files.read(os.path.join(self.state, REGISTER), self.state)
            found = json.loads(held.content) if held else {}
        except (Refused, ValueError) as error:
            raise SystemDown(f"The register {self.state}/{REGISTER} on {self.host} cannot be read.") from error
        return {str(path): str(document) for path, document in found.items()}

    def write_register(self) -> None:
        os.makedirs(self.state, mode=0o755, exist_ok=True)
        listed = json.dumps(self.register, indent=1, sort_keys=True) + "\n"
        held = Held(listed, os.geteuid(), os.getegid(), 0o644)
        host_files.write(os.path.join(self.state, REGISTER), self.state, held)

    def root_of(self, path: str) -> str:
        for root in self.roots:
            if path.startswith(root + "/"):
                return root
        raise Refused(f"path: {shown(path)} is not in a directory that is allowed here: {', '.join(self.roots)}.")

    def found(self, path: str) -> Found | None:
        """A file of ours, or of others; what others keep from some users of the host is shown to nobody."""
        held = host_files.read(path, self.root_of(path))
        if held is None:
            return None
        content = bounded(held.content) if path in self.register or held.for_all else NOT_SHOWN
        spec: Spec = {
            "path": path,
            "content": content.encode(errors="backslashreplace").decode(errors="backslashreplace"),
            "owner": name_of(held.uid),
            "group": group_of(held.gid),
            "mode": f"{held.mode:04o}",
        }
        return Found(spec, self.register.get(path))

    def paths(self) -> Iterator[str]:
        yield from self.register
        others = 0
        for root in self.roots:
            for directory, below, names in os.walk(root):
                below.sort()
                for path in (os.path.join(directory, name) for name in sorted(names)):
                    if path not in self.register and PATH.fullmatch(path) and others < MOST_LISTED:
                        others += 1
                        yield path

    def gather(self) -> list[Found]:
        found = []
        for path in dict.fromkeys(self.paths()):
            try:
                found.append(self.found(path))
            except Refused:  # a link, a device, or outside of what is allowed by now
                continue
        return [item for item in found if item is not None]

    def find(self, resource: Resource) -> Found | None:
        return self.found(text(resource.spec, "path", PATH))

    def after(self, resource: Resource, found: Found | None) -> Spec:
        path = text(resource.spec, "path", PATH)
        if unknown := [key for key in resource.spec if key not in ("path", "content", "owner", "group", "mode")]:
            raise Refused(f"There is no field {shown(unknown[0])}.")
        wanted = self.wanted(resource.spec)
        directory = os.path.dirname(path)
        if not os.path.isdir(directory):
            raise Refused(f"The directory {shown(directory)} does not exist on the host; make it there first.")
        return {
            "path": path,
            "content": bounded(wanted.content),
            "owner": name_of(wanted.uid),
            "group": group_of(wanted.gid),
            "mode": f"{wanted.mode:04o}",
        }

    def wanted(self, spec: Spec) -> Held:
        owner, group = text(spec, "owner", NAME, "root"), text(spec, "group", NAME, "root")
        try:
            uid = pwd.getpwnam(owner).pw_uid
        except KeyError as error:
            raise Refused(f"owner: there is no user {owner} on the host.") from error
        try:
            gid = grp.getgrnam(group).gr_gid
        except KeyError as error:
            raise Refused(f"group: there is no group {group} on the host.") from error
        return Held(content_of(spec), uid, gid, int(text(spec, "mode", MODE, "0644"), 8))

    def write(self, outcomes: list[Outcome], *, check: bool) -> None:
        for outcome in outcomes:
            if outcome.changed and (cause := self.hindrance(outcome)):
                outcome.fail(cause)
        changed = [outcome for outcome in outcomes if outcome.changed]
        gone = [outcome for outcome in outcomes if self.is_gone(outcome)]
        if check or not changed + gone:
            return
        before = dict(self.register)
        for outcome in gone:
            del self.register[str(outcome.resource.spec["path"])]
        for outcome in changed:  # first, so that a file that exists after a crash is known as ours
            if outcome.after is not None:
                self.register[str(outcome.after["path"])] = outcome.resource.path
        try:
            self.write_register()
        except OSError as error:
            for outcome in changed + gone:
                outcome.fail(f"The register in {self.state} cannot be written: {(error.strerror or '').lower()}.")
            return
        for outcome in changed:
            self.put(outcome, before)
        if changed:
            self.write_register()

    def is_gone(self, outcome: Outcome) -> bool:
        """Whether a document is removed whose file is not there: what others put there later must not be ours.

        All other files keep their entries, also where they cannot be seen: their file system may be away for an hour.
        """
        removed = outcome.after is None and not outcome.changed and not outcome.failure
        return removed and self.register.get(str(outcome.resource.spec["path"])) == outcome.resource.path

    def hindrance(self, outcome: Outcome) -> str:
        """Why this user of the host cannot do it; empty if nothing is known. Root can."""
        directory = os.path.dirname(str(outcome.resource.spec["path"]))
        if not host_files.may_be_written(self.state):
            return f"The register in {self.state} may not be written by this user of the host."
        if not host_files.may_be_written(directory):
            return f"The directory {shown(directory)} may not be written by this user of the host."
        if outcome.after is None or os.geteuid() == 0:
            return ""
        wanted = self.wanted(outcome.resource.spec)
        if wanted.uid != os.geteuid():
            return "owner: only root gives files away, and Mergeyard is another user on this host."
        if wanted.gid not in (os.getegid(), *os.getgroups()):
            return "group: only root gives files to groups that Mergeyard's user on this host is not in."
        return ""

    def put(self, outcome: Outcome, before: dict[str, str]) -> None:
        path = str(outcome.resource.spec["path"])
        try:
            if outcome.after is None:
                host_files.delete(path, self.root_of(path))
                self.register.pop(path, None)
            else:
                host_files.write(path, self.root_of(path), self.wanted(outcome.resource.spec))
        except (OSError, Refused) as error:
            cause = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
            outcome.fail(f"The host refused it at {shown(path)}: {cause.rstrip('.').lower()}.")
            self.register.pop(path, None)
            if path in before:
                self.register[path] = before[path]


if __name__ == "__main__":
    run("ManagedFile", Files)
