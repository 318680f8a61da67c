"""Owns the controller's side of every resource module: arguments, secrets, the event pipe, the result.

A kind's action plugin is a subclass that knows its system; this module must not know any.
"""

from __future__ import annotations

import contextlib
import json
import os
import traceback
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.module_utils.mergeyard.pairing import (  # type: ignore[import-not-found]
    Found,
    Identity,
    Outcome,
    Resource,
    Spec,
    SystemDown,
    Unsure,
    pair,
    refusal,
    shown,
)
from ansible.module_utils.mergeyard.reaching import (  # type: ignore[import-not-found]
    NO_SUDO,
    remember,
    remembered,
    sentence,
)
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

STATES = ("replaced", "deleted", "gathered")


def plain(value: object) -> Any:
    """The same value without Ansible's tags and lazy containers, for client libraries written in C."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool) or value is None:
        return value
    return float(value) if isinstance(value, float) else int(value)  # type: ignore[call-overload]


class EventPipe:
    """One JSON object per line and write(), to the worker's FIFO; to nothing where there is none."""

    def __init__(self, path: str) -> None:
        self.fd = -1
        if not os.path.exists(path):
            return
        # Without a reader a blocking open would wait for ever; with one, writes must wait and not fail.
        self.fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC)
        os.set_blocking(self.fd, True)

    def send(self, event: Mapping[str, object]) -> None:
        line = (json.dumps(event, ensure_ascii=False, separators=(",", ":")) + "\n").encode(errors="backslashreplace")
        while self.fd >= 0 and line:
            line = line[os.write(self.fd, line) :]

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)


def read_secrets(directory: str) -> dict[str, dict[str, Any]]:
    try:
        with open(os.path.join(directory, "secrets.json"), encoding="utf-8") as file:
            content = json.load(file)
    except FileNotFoundError:
        content = {}
    return {"system": content.get("system", {}), "resources": content.get("resources", {})}


class ResourceAction(ActionBase):  # type: ignore[misc]
    """A resource module. A subclass names its kind and says how its system is read and written."""

    KIND: ClassVar[str]
    IDENTITY: ClassVar[tuple[str, ...]] = ("name",)
    MARKED: ClassVar[bool] = True  # whether the system can hold our ownership marker
    LONGEST_TEXT: ClassVar[int] = 0  # bytes of a text that the system can be sent, if a longer one breaks a request
    TOLD: ClassVar[tuple[str, ...]] = ()  # fields of a resource that a later call of the play may need

    connection: dict[str, Any]
    directory: str
    system_secrets: dict[str, str]
    secrets: dict[str, dict[str, str]]
    check: bool
    pipe: EventPipe
    not_made: list[Outcome]  # creations that the system refused

    def open(self) -> None:
        """Reach the system within ten seconds or raise SystemDown."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def read(self, resources: list[Resource]) -> dict[Identity, Found]:
        """What exists of these, by identity."""
        raise NotImplementedError

    def gather(self) -> list[Found]:
        raise NotImplementedError

    def after(self, resource: Resource, found: Found | None) -> Spec:
        """What the system will hold; raises Refused where it cannot. Pure."""
        raise NotImplementedError

    def write(self, outcomes: list[Outcome]) -> Iterator[tuple[Outcome, str]]:
        """Bring each to its `after` (none: delete) and yield it with what failed, empty if nothing did.

        What may have been done all the same, or is yet to be, is a failure that is Unsure.
        """
        raise NotImplementedError

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        directory = str((task_vars or {})["mergeyard_dir"])
        arguments = plain(self._task.args)
        if arguments.get("state") not in STATES:
            return {**result, "failed": True, "msg": f"state must be one of {', '.join(STATES)}"}
        self.connection, self.check = arguments["system"], bool(self._task.check_mode)
        secrets = read_secrets(directory)
        self.system_secrets, self.secrets = secrets["system"], secrets["resources"]
        self.task_vars, self.directory = task_vars, directory
        resources = [Resource.of(item) for item in arguments.get("config") or []]
        resources += [Resource.of({**item, "leaving": True}) for item in arguments.get("leaving") or []]
        self.pipe, self.not_made = EventPipe(os.path.join(directory, "events")), []
        try:
            if arguments["state"] == "gathered":
                return {**result, **self.report_gathered()}
            outcomes = list(self.sent(self.outcomes(resources, arguments["state"])))
            self.look_again()
        finally:
            self.pipe.close()
        return {**result, **self.summary(outcomes)}

    def sent(self, outcomes: Iterator[Outcome]) -> Iterator[Outcome]:
        for outcome in outcomes:
            self.pipe.send(outcome.event(self.KIND))
            yield outcome

    def summary(self, outcomes: list[Outcome]) -> dict[str, Any]:
        """The task's result, which Ansible copies many times and prints when it failed: resources only to a person.

        `made` and `gone` are told to later calls of the play: the fields TOLD of what is there now, or no more.
        """
        failed = [outcome for outcome in outcomes if outcome.failure]
        result: dict[str, Any] = {"changed": any(outcome.changed for outcome in outcomes)}
        if self.pipe.fd < 0:
            result["resources"] = [outcome.event(self.KIND) for outcome in outcomes]
        if self.TOLD:
            done = [outcome for outcome in outcomes if not outcome.failure]
            made = [outcome.after for outcome in done if outcome.after]
            gone = [outcome.before for outcome in done if outcome.before and not outcome.after]
            result["made"] = [[spec.get(name) for name in self.TOLD] for spec in made]
            result["gone"] = [[spec.get(name) for name in self.TOLD] for spec in gone]
        if failed:
            named = ", ".join(outcome.resource.path for outcome in failed[:10])
            more = f" and {len(failed) - 10} more" if len(failed) > 10 else ""
            causes = list(dict.fromkeys(outcome.failure for outcome in failed))
            result["failed"] = True
            result["msg"] = f"{len(failed)} of {len(outcomes)} failed: {named}{more}. {' '.join(causes[:3])}"
        return result

    def report_gathered(self) -> dict[str, Any]:
        try:
            self.open()
            try:
                found = self.gather()
            finally:
                self.close()
        except SystemDown as down:
            return {"failed": True, "msg": str(down), "changed": False}
        except Exception as error:
            return {"failed": True, "msg": self.broken(error), "changed": False}
        resources = [
            {
                "identity": {name: item.spec.get(name) for name in self.IDENTITY},
                "spec": item.spec,
                "marker": item.marker,
            }
            for item in found
        ]
        self.pipe.send({"event": "gathered", "kind": self.KIND, "resources": resources})
        return {"changed": False, **({"resources": resources} if self.pipe.fd < 0 else {})}

    def told(self, argument: str) -> list[list[Any]]:
        """What an earlier call of the same play made or took away, or would; see `summary`."""
        told: list[list[Any]] = plain(self._task.args.get(argument) or [])
        return told

    def outcomes(self, resources: list[Resource], state: str) -> Iterator[Outcome]:
        """Every resource exactly once, in whatever order they are finished."""
        if not resources:
            return
        seen: set[Identity] = set()
        fit: list[Outcome] = []
        for resource in resources:
            outcome = Outcome(resource)
            outcome.failure = refusal(resource, seen, resource.identity(self.IDENTITY), self.LONGEST_TEXT)
            if outcome.failure:
                yield outcome
            else:
                fit.append(outcome)
        try:
            if fit:
                self.open()
        except SystemDown as down:
            yield from self.all_failed(fit, str(down))
            return
        try:
            yield from self.settle(fit, state)
        finally:
            if fit:
                self.close()

    def all_failed(self, outcomes: list[Outcome], sentence: str) -> Iterator[Outcome]:
        for outcome in outcomes:
            outcome.fail(sentence)
            yield outcome

    def settle(self, outcomes: list[Outcome], state: str) -> Iterator[Outcome]:
        try:
            found = self.read([outcome.resource for outcome in outcomes]) if outcomes else {}
        except SystemDown as down:
            yield from self.all_failed(outcomes, str(down))
            return
        except Exception as error:
            yield from self.all_failed(outcomes, self.broken(error))
            return
        to_write: list[Outcome] = []
        for outcome in outcomes:
            self.pair(outcome, found.get(outcome.resource.identity(self.IDENTITY)), state)
            if outcome.changed and not self.check:
                to_write.append(outcome)
            else:
                yield outcome
        if to_write:
            self.announce(to_write)
            yield from self.written(to_write)

    def broken(self, error: Exception) -> str:
        """A mistake of the module's, as a sentence; where it was stands in the output."""
        Display().display(traceback.format_exc())
        why = f"{type(error).__name__}: {shown(str(error))}"
        return f"The {self.KIND} module stopped here by a mistake of its own ({why})."

    def announce(self, outcomes: list[Outcome]) -> None:
        """What is about to come into being is ours, even if nobody hears how this ends."""
        self.tell("creating", [outcome.resource.path for outcome in outcomes if outcome.before is None])

    def look_again(self) -> None:
        """What the system refused to create and does not have is not ours. Where nobody can tell, it stays so."""
        with contextlib.suppress(Exception):  # the sentence of each is told already
            there = self.present([outcome.resource for outcome in self.not_made]) if self.not_made else set()
            self.tell("absent", [one.resource.path for one in self.not_made if one.resource.path not in there])

    def present(self, resources: list[Resource]) -> set[str]:
        """The paths of those that exist, as a call of its own finds them."""
        self.open()
        try:
            found = self.read(resources)
        finally:
            self.close()
        return {resource.path for resource in resources if resource.identity(self.IDENTITY) in found}

    def tell(self, event: str, paths: list[str]) -> None:
        for start in range(0, len(paths), 500):
            self.pipe.send({"event": event, "kind": self.KIND, "paths": paths[start : start + 500]})

    def pair(self, outcome: Outcome, found: Found | None, state: str) -> None:
        try:
            pair(outcome, found, state, after=lambda: self.after(outcome.resource, found), marked=self.MARKED)
        except (KeyError, TypeError, ValueError) as error:
            outcome.fail(f"Its spec is not one of a {self.KIND} ({type(error).__name__}: {shown(str(error))}).")

    def written(self, outcomes: list[Outcome]) -> Iterator[Outcome]:
        open_ones = {id(outcome): outcome for outcome in outcomes}
        cause, refused = "It was not reached.", []
        try:
            for outcome, failure in self.write(outcomes):
                open_ones.pop(id(outcome))
                if failure:
                    if outcome.before is None and not isinstance(failure, Unsure):
                        refused.append(outcome)
                    outcome.fail(failure)
                yield outcome
            self.not_made += refused
        except SystemDown as down:
            cause = str(down)
        except Exception as error:  # what was written before it stands, and is told
            cause = self.broken(error)
        yield from self.all_failed(list(open_ones.values()), cause)


class ModuleAction(ResourceAction):
    """A resource module that works where its system is: the Ansible module of the same name, run on that host.

    A subclass only names its kind and identity; `remote` is the module's side.
    """

    def open(self) -> None:
        """The module opens what it needs, on the system's host; one that an earlier call missed is not tried again."""
        if why := remembered(self.directory):
            raise SystemDown(why)

    def close(self) -> None:
        """Nothing is held open here."""

    def module(self, state: str, config: list[dict[str, Any]], *, check: bool) -> list[dict[str, Any]]:
        """Resources go there and come back as texts: Ansible would walk and copy each of their values many times."""
        arguments = {"state": state, "config": json.dumps(config), "system": self.connection}
        self._task.check_mode = check
        try:
            answer = self._execute_module(self._task.action, module_args=arguments, task_vars=self.task_vars)
        except AnsibleError as failure:
            if not isinstance(failure, AnsibleConnectionFailure) and not NO_SUDO.search(str(failure)):
                raise
            why = sentence(str(failure), self.connection)
            remember(self.directory, why)
            raise SystemDown(why) from failure
        if answer.get("rc") == 127:
            raise SystemDown("There is no /usr/bin/python3 on the system's host; install Python 3 there.")
        if answer.get("failed") or "resources" not in answer:
            raise SystemDown(str(answer.get("msg") or "The system's host gave no result."))
        resources: list[dict[str, Any]] = json.loads(str(answer["resources"]))
        return resources

    def settle(self, outcomes: list[Outcome], state: str) -> Iterator[Outcome]:
        """The module decides and does everything in one call; its results are taken over.

        Where the host can hold no marker, a first call in check mode tells what is about to come into being.
        """
        config = [vars(outcome.resource) for outcome in outcomes]
        try:
            creating: list[Outcome] = []
            if config and not self.MARKED and not self.check:
                self.take_over(outcomes, self.module(state, config, check=True))
                self.announce([outcome for outcome in outcomes if outcome.changed])
                creating = [outcome for outcome in outcomes if outcome.changed and outcome.before is None]
            self.take_over(outcomes, self.module(state, config, check=self.check) if config else [])
            self.not_made = [outcome for outcome in creating if outcome.failure]
        except SystemDown as down:
            yield from self.all_failed(outcomes, str(down))
            return
        except Exception as error:
            yield from self.all_failed(outcomes, self.broken(error))
            return
        yield from outcomes

    def present(self, resources: list[Resource]) -> set[str]:
        """Also those that the module refuses to bring: it does not say whether it has seen them."""
        results = self.module("replaced", [vars(resource) for resource in resources], check=True)
        return {result["path"] for result in results if result["before"] is not None or result["message"]}

    def take_over(self, outcomes: list[Outcome], results: list[dict[str, Any]]) -> None:
        by_path = {result["path"]: result for result in results}
        for outcome in outcomes:
            result = by_path[outcome.resource.path]
            outcome.before, outcome.after = result["before"], result["after"]
            outcome.reasons, outcome.changed, outcome.failure = result["reasons"], result["changed"], result["message"]

    def gather(self) -> list[Found]:
        return [Found(item["spec"], item["marker"]) for item in self.module("gathered", [], check=self.check)]
