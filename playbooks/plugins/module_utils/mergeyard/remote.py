"""Owns the side of a resource module that runs where its system is: one at a time, arguments, pairing, results.

A module is one call of `run`; the action plugin of the same name is a `ModuleAction`. It must not know any system.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator
from typing import Any, Protocol

from ansible.module_utils.basic import AnsibleModule  # type: ignore[import-not-found]
from ansible.module_utils.mergeyard.pairing import (  # type: ignore[import-not-found]
    Found,
    Outcome,
    Refused,
    Resource,
    Spec,
    SystemDown,
    pair,
    shown,
)

STATES = ("replaced", "deleted", "gathered")
PATIENCE = 20.0  # seconds


class Host(Protocol):
    """What a module knows of its system. Each may raise SystemDown."""

    def gather(self) -> list[Found]: ...

    def find(self, resource: Resource) -> Found | None:
        """What exists under this resource's identity; raises Refused where it cannot be told."""

    def after(self, resource: Resource, found: Found | None) -> Spec:
        """What the host will hold; raises Refused where it cannot. Pure."""

    def write(self, outcomes: list[Outcome], *, check: bool) -> None:
        """Bring each outcome that is `changed` to its `after` (none: delete), and `fail` what does not go.

        In check mode nothing is touched, but what the system would refuse is failed.
        """


def run(kind: str, host: type[Host], *, marked: bool = True) -> None:
    """The module's main: `host` is called with the system's connection, within reach or SystemDown."""
    module = AnsibleModule(
        argument_spec={
            "config": {"type": "json", "default": "[]"},  # a text, as Ansible walks and tags each value of a list
            "state": {"choices": [*STATES], "required": True},
            "system": {"type": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    system, state = module.params["system"], module.params["state"]
    try:
        with contextlib.nullcontext() if module.check_mode or state == "gathered" else alone(system):
            opened = host(system)  # type: ignore[call-arg]
            if state == "gathered":
                found = [{"spec": item.spec, "marker": item.marker} for item in opened.gather()]
                module.exit_json(changed=False, resources=json.dumps(found))
            outcomes = [Outcome(Resource.of(item)) for item in json.loads(module.params["config"])]
            for outcome in outcomes:
                settle(opened, outcome, kind=kind, state=state, marked=marked)
            opened.write(outcomes, check=module.check_mode)
    except SystemDown as down:
        module.fail_json(msg=str(down))
    events: list[dict[str, Any]] = [outcome.event(kind) for outcome in outcomes]
    module.exit_json(changed=any(outcome.changed for outcome in outcomes), resources=json.dumps(events))


@contextlib.contextmanager
def alone(system: dict[str, Any]) -> Iterator[None]:
    """No other module changes this system meanwhile: one goes on when the run is killed that started it by SSH.

    The kernel frees the lock when its module ends, however it does. Who has no place for a lock works without it.
    """
    path, until = lock_of(system), time.monotonic() + PATIENCE
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError:
        yield
        return
    try:
        while not locked(lock):
            if time.monotonic() > until:
                raise SystemDown(
                    f"A module of an earlier run still works on this system, so nothing was changed; try again when it "
                    f"has ended. It holds the file {path} on the system's host."
                )
            time.sleep(0.1)
        yield
    finally:
        os.close(lock)


def locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def lock_of(system: dict[str, Any]) -> str:
    """One file for each host and what the connection says is changed there: its files and directories.

    Nobody but root can hold one below /run. Others have a home, which hosts may share.
    """
    paths = sorted(value for value in system.values() if isinstance(value, str) and value.startswith("/"))
    name = hashlib.sha256("\n".join([os.uname().nodename, *paths]).encode(errors="replace")).hexdigest()[:16]
    return os.path.join("/run" if os.geteuid() == 0 else os.path.expanduser("~"), f".mergeyard-{name}.lock")


def settle(host: Host, outcome: Outcome, *, kind: str, state: str, marked: bool) -> None:
    resource = outcome.resource
    try:
        found = host.find(resource)
        pair(outcome, found, state, after=lambda: host.after(resource, found), marked=marked)
    except Refused as refused:
        outcome.fail(str(refused))
    except (KeyError, TypeError, ValueError) as error:
        outcome.fail(f"Its spec is not one of a {kind} ({type(error).__name__}: {shown(str(error))}).")
