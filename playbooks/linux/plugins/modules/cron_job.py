#!/usr/bin/python
"""Owns the cron jobs of one Linux host: one file per job in its cron directory. It runs on that host.

What a file says is module_utils/cron_files; events are the action plugin's of the same name.
"""

from __future__ import annotations

import os
import pwd
from typing import Any

from ansible.module_utils import host_files
from ansible.module_utils.cron_files import NAME, parse, render, text, valid
from ansible.module_utils.host_files import NOT_SHOWN, Held
from ansible.module_utils.mergeyard.pairing import Found, Outcome, Refused, Resource, Spec, SystemDown
from ansible.module_utils.mergeyard.remote import run

DOCUMENTATION = r"""
module: cron_job
short_description: Regular jobs of a Linux host
description:
  - Writes one file per job into a directory in the format of /etc/cron.d, with its document in the first line.
extends_documentation_fragment: [mergeyard]
"""

EXAMPLES = r"""
- name: Bring all of them to what is wanted
  cron_job:
    state: replaced
    config: "{{ mergeyard.kinds.CronJob.replaced }}"
    system: "{{ mergeyard.system.connection }}"

- name: List what is there
  cron_job:
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


class Jobs:
    """The jobs in the cron directory of one host."""

    def __init__(self, connection: dict[str, Any]) -> None:
        self.directory = str(connection.get("cron_directory", "/etc/cron.d"))
        if not os.access(self.directory, os.W_OK):
            where = f"{connection['host']} port {connection['port']}"
            raise SystemDown(f"The cron directory {self.directory} on {where} does not exist or may not be written.")

    def found(self, name: str) -> Found | None:
        held = host_files.read(os.path.join(self.directory, name), self.directory)
        if held is None:
            return None
        job = parse(held.content, name)
        if job is None:
            raise Refused(f"There is a file {name} without a job in the cron directory, so it is left alone.")
        if job.marker is None and not held.for_all:  # commands may hold passwords
            return Found({**job.spec, "command": NOT_SHOWN})
        remarks = [*job.remarks]
        if job.marker is not None and (held.mode, held.uid) != (0o644, os.geteuid()):
            remarks.append(f"its file's permissions are {held.mode:04o} or its owner is another one")
        return Found(job.spec, job.marker, tuple(remarks))

    def gather(self) -> list[Found]:
        found = []
        for name in sorted(os.listdir(self.directory)):
            try:
                found.append(self.found(name) if NAME.fullmatch(name) else None)
            except Refused:  # a link or a file without a job
                continue
        return [item for item in found if item is not None]

    def find(self, resource: Resource) -> Found | None:
        return self.found(text("name", resource.spec.get("name"), NAME))

    def after(self, resource: Resource, found: Found | None) -> Spec:
        wanted = valid(resource.spec)
        try:
            pwd.getpwnam(str(wanted["user"]))
        except KeyError as error:
            raise Refused(f"user: there is no user {wanted['user']} on the host.") from error
        return wanted

    def write(self, outcomes: list[Outcome], *, check: bool) -> None:
        for outcome in outcomes:
            if outcome.changed and not check:
                self.put(outcome)

    def put(self, outcome: Outcome) -> None:
        path = os.path.join(self.directory, str(outcome.resource.spec["name"]))
        try:
            if outcome.after is None:
                host_files.delete(path, self.directory)
                return
            content = render(outcome.after, outcome.resource.path)
            host_files.write(path, self.directory, Held(content, os.geteuid(), os.getegid(), 0o644))
        except OSError as error:
            outcome.fail(f"The host refused the job's file: {(error.strerror or str(error)).lower()}.")


if __name__ == "__main__":
    run("CronJob", Jobs)
