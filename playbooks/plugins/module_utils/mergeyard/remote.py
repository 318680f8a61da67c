"""Owns the side of a resource module that runs where its system is: arguments, pairing, results.

A module is one call of `run`; the action plugin of the same name is a `ModuleAction`. It must not know any system.
"""

from __future__ import annotations

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
            "config": {"type": "list", "elements": "dict", "default": []},
            "state": {"choices": [*STATES], "required": True},
            "system": {"type": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    try:
        opened = host(module.params["system"])  # type: ignore[call-arg]
        if module.params["state"] == "gathered":
            found = [{"spec": item.spec, "marker": item.marker} for item in opened.gather()]
            module.exit_json(changed=False, resources=found)
        outcomes = [Outcome(Resource.of(item)) for item in module.params["config"]]
        for outcome in outcomes:
            settle(opened, outcome, kind=kind, state=module.params["state"], marked=marked)
        opened.write(outcomes, check=module.check_mode)
    except SystemDown as down:
        module.fail_json(msg=str(down))
    events: list[dict[str, Any]] = [outcome.event(kind) for outcome in outcomes]
    module.exit_json(changed=any(outcome.changed for outcome in outcomes), resources=events)


def settle(host: Host, outcome: Outcome, *, kind: str, state: str, marked: bool) -> None:
    resource = outcome.resource
    try:
        found = host.find(resource)
        pair(outcome, found, state, after=lambda: host.after(resource, found), marked=marked)
    except Refused as refused:
        outcome.fail(str(refused))
    except (KeyError, TypeError, ValueError) as error:
        outcome.fail(f"Its spec is not one of a {kind} ({type(error).__name__}: {shown(str(error))}).")
