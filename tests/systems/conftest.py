"""Real servers, once per session, and real plays in the environment that the contract of the catalogue states."""

import json
import os
import re
import subprocess
import sys
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

from executors.results import Result, brought
from executors.states import ResultState
from playbooks.servers import MissingTool
from tests.conftest import not_tested
from tests.systems.catalogue import (
    FOLDERS,
    PLAYBOOKS,
    ROOTS,
    SYSTEM,
    TYPES,
    Kind,
    server_of,
    start_of,
    system_of,
    with_defaults,
)
from tests.systems.table import can_have_everything, table


@dataclass
class Played:
    """What a play left behind."""

    code: int
    output: str
    events: list
    command: list = field(default_factory=list)

    def of(self, resource):
        said = [event for event in self.resources if event["path"] == resource["path"]]
        assert len(said) == 1, (
            f"The play said {len(said)} things of {resource['path']}: does apply.yml call its kind once?\n{self.output}"
        )
        return said[0]

    @property
    def said(self):
        """All that a play lets out, as bytes."""
        return f"{self.output}{self.events}".encode()

    @property
    def resources(self):
        return [event for event in self.events if event["event"] == "resource"]

    @property
    def changed(self):
        return [event["path"] for event in self.resources if event["changed"]]

    @property
    def failed(self):
        return [event["path"] for event in self.resources if event["status"] != "ok"]

    def gathered(self, kind):
        said = [event for event in self.events if event["event"] == "gathered" and event["kind"] == kind]
        assert said, f"Nothing was gathered of {kind}: does discover.yml call it, and is KIND right?\n{self.output}"
        return said[0]["resources"]


class EventReader:
    """The worker's end of the pipe."""

    def __init__(self, path):
        os.mkfifo(path)
        self.fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self.held = os.open(path, os.O_WRONLY)  # so that the end of one task is not the end of all
        os.set_blocking(self.fd, True)
        self.text = b""
        self.thread = threading.Thread(target=self.read)
        self.thread.start()

    def read(self):
        while part := os.read(self.fd, 65536):
            self.text += part

    def finish(self):
        os.close(self.held)
        self.thread.join(10)
        os.close(self.fd)
        return [json.loads(line) for line in self.text.splitlines()]  # bytes know fewer ends of a line than texts


class Stage:
    """One system type with its real server; runs plays on it."""

    def __init__(self, type_name, directory, testbed):
        self.type, self.directory, self.testbed = type_name, directory, testbed
        self.module = server_of(type_name)
        self.ready = set()
        self.attempts = 0
        self.warm = None
        self.managed = set()

    def item(self, replaced, deleted):
        kinds = {name: {"replaced": [], "deleted": []} for name in system_of(self.type)["kinds"]}
        for state, resources in (("replaced", replaced), ("deleted", deleted)):
            for resource in resources:
                managed = self.key(resource) in self.managed
                kinds[resource["path"].split("/")[2]][state].append({"managed": managed, **resource})
        connection = with_defaults(system_of(self.type)["connection"], self.testbed.connection)
        system = {"name": SYSTEM, "type": self.type, "environment": "test", "connection": connection}
        return {"system": system, "kinds": kinds}

    def key(self, resource):
        kind = resource["path"].split("/")[2]
        return kind, json.dumps([resource["spec"].get(name) for name in Kind(self.type, kind).identity])

    def remember(self, events, replaced, deleted):
        """What the worker keeps of what we brought to the system, for systems that hold no marker."""
        named = {sort: set() for sort in ("creating", "absent")}
        for event in events:
            if event["event"] in named:
                named[event["event"]] |= {*event["paths"]}
        ok = {event["path"]: event["status"] == "ok" for event in events if event["event"] == "resource"}
        for resource in [*replaced, *deleted]:
            path, key = resource["path"], self.key(resource)
            state = ResultState.CHANGED if ok.get(path) else ResultState.FAILED
            result = Result(state, absent=path in named["absent"])
            ours = brought(key in self.managed or path in named["creating"], result, deleted=resource in deleted)
            (self.managed.add if ours else self.managed.discard)(key)

    def secrets_for(self, resources, secrets):
        given = {}
        for resource in resources:
            example = self.module.EXAMPLES[resource["path"].split("/")[2]]
            given[resource["path"]] = dict(example.secrets if secrets is None else secrets)
        return {"system": self.testbed.secrets, "resources": given}

    def play(self, *, replaced=(), deleted=(), check=False, book="apply", secrets=None, wrap=(), cold=()):
        """`cold`: options for an ansible-playbook with a process of its own."""
        self.attempts += 1
        attempt = self.directory / f"attempt-{self.attempts}"
        attempt.mkdir(mode=0o700)
        (attempt / "item.json").write_text(json.dumps(self.item(replaced, deleted)))
        (attempt / "secrets.json").write_text(json.dumps(self.secrets_for([*replaced, *deleted], secrets)))
        (attempt / "ansible.cfg").write_text("[defaults]\n")
        (attempt / "inventory").write_text(
            f"system ansible_connection=local ansible_python_interpreter={sys.executable}\n"
        )
        binaries = Path(sys.executable).parent
        command = [str(binaries / "ansible-playbook"), "-i", str(attempt / "inventory")]
        command += ["-e", json.dumps({"mergeyard_dir": str(attempt)}), *(["--check"] if check else []), *cold]
        command = [*(wrap(attempt) if wrap else []), *command, str(FOLDERS[self.type] / f"{book}.yml")]
        reader = EventReader(attempt / "events")
        try:
            if wrap or cold:
                environment = self.environment(attempt, binaries)
                done = subprocess.run(
                    command, env=environment, cwd=attempt, capture_output=True, text=True, timeout=120
                )
                code, output = done.returncode, done.stdout + done.stderr
            else:
                code, output = self.play_warm(command[1:], attempt, binaries)
        finally:
            events = reader.finish()
        if not check:
            self.remember(events, replaced, deleted)
        return Played(code, output, events, command)

    def play_warm(self, argv, attempt, binaries):
        if self.warm is None:
            self.warm = subprocess.Popen(
                [sys.executable, "-P", str(Path(__file__).with_name("warm.py"))],
                env=self.environment(self.directory, binaries),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        output = attempt / "output"
        order = {"argv": argv, "directory": str(attempt), "output": str(output)}
        self.warm.stdin.write(json.dumps(order) + "\n")
        self.warm.stdin.flush()
        return int(self.warm.stdout.readline()), output.read_text()

    def stop(self):
        """The warm process; the servers are the test bed's."""
        if self.warm is not None:
            self.warm.communicate()

    def environment(self, attempt, binaries):
        folder = FOLDERS[self.type]
        return {
            "PATH": f"{binaries}:/usr/bin:/bin",
            "HOME": str(attempt),
            "LANG": "C.UTF-8",
            "ANSIBLE_PIPELINING": "True",
            "ANSIBLE_NO_TARGET_SYSLOG": "True",
            "ANSIBLE_ACTION_PLUGINS": f"{folder / 'plugins/action'}:{PLAYBOOKS / 'plugins/action'}",
            "ANSIBLE_LIBRARY": str(folder / "plugins" / "modules"),
            "ANSIBLE_MODULE_UTILS": f"{folder / 'plugins/module_utils'}:{PLAYBOOKS / 'plugins/module_utils'}",
        }

    def prepare(self, kind):
        """What a kind's example refers to."""
        if kind.name in self.ready:
            return
        needed = [
            Kind(self.type, name).at(f"needed-{spec['name']}".replace("_", "-"), spec)
            for name, specs in kind.example.needs.items()
            for spec in specs
        ]
        if needed:
            assert self.play(replaced=needed).failed == []
        if hasattr(self.module, "prepare"):
            self.module.prepare(self.testbed, kind.name)
        self.ready.add(kind.name)

    def read(self, resource):
        return self.module.read(self.testbed, resource["path"].split("/")[2], resource["spec"])


@pytest.fixture(scope="session")
def stages(tmp_path_factory):
    """The stage of a system type; its server is started at the first use and ended with the session."""
    started, missing = {}, {}

    def stage(type_name, server=""):
        key = type_name, server
        if key in missing:
            pytest.skip(missing[key])
        if key not in started:
            directory = tmp_path_factory.mktemp(type_name)
            try:
                testbed = start_of(type_name, server)(directory / "server")
            except MissingTool as error:
                missing[key] = f"not tested: {type_name}: {error}"
                not_tested.append(missing[key])
                pytest.skip(missing[key])
            started[key] = Stage(type_name, directory, testbed)
        return started[key]

    yield stage
    for running in started.values():
        running.stop()
        running.testbed.stop()


@pytest.fixture
def otherwise(tmp_path_factory):
    """A running system seen through other secrets, or through a connection that differs in some fields.

    Below a short path: ssh keeps a socket there, whose path has at most 107 characters.
    """
    made = []

    def see(stage, secrets=None, **connection):
        secrets, connection = {**stage.testbed.secrets, **(secrets or {})}, {**stage.testbed.connection, **connection}
        directory = tmp_path_factory.mktemp("other")
        made.append(Stage(stage.type, directory, replace(stage.testbed, connection=connection, secrets=secrets)))
        return made[-1]

    yield see
    for seen in made:
        seen.stop()


LONGEST = ("authoring", "real_systems")  # one test each, so that they would be the last to begin


def type_of(nodeid):
    """The system type that a test is about: its first parameter's, or its file's name."""
    file, parameters = nodeid.split("::")[0], nodeid.partition("[")[2]
    named = [name for name in TYPES if re.match(rf"{name}(?=[-\]])", parameters)]
    return named[0] if named else Path(file).stem.removeprefix("test_")


class OneTypeInOneProcess(LoadScopeScheduling):
    """So that a type's server is started once; the processes take the next type when they are done with one."""

    def _split_scope(self, nodeid):
        return type_of(nodeid)

    def _assign_work_unit(self, node):
        for longest in LONGEST:
            if longest in self.workqueue:
                self.workqueue.move_to_end(longest, last=False)
        super()._assign_work_unit(node)


def pytest_xdist_make_scheduler(config, log):
    return OneTypeInOneProcess(config, log)


def pytest_collection_modifyitems(config, items):
    """What each test proves; and one type alone, if that is wanted."""
    for item in items:
        if mark := item.get_closest_marker("proves"):
            item.user_properties.append(("proves", [mark.args[0], repr(item.callspec.params["kind"])]))

    if wanted := os.environ.get("CONFORMANCE_TYPE"):
        if wanted not in TYPES:
            raise pytest.UsageError(f"There is no system type {wanted} below {', '.join(map(str, ROOTS))}.")
        config.hook.pytest_deselected(items=[item for item in items if type_of(item.nodeid) != wanted])
        items[:] = [item for item in items if type_of(item.nodeid) == wanted]


def pytest_runtest_logreport(report):
    proven = [said for name, said in report.user_properties if name == "proves"]
    if proven and (report.when == "call" or report.outcome != "passed"):
        servers = [said for name, said in report.user_properties if name == "server"]
        for title, kind in proven:
            table.record(title, kind, report.outcome)
            table.servers |= dict.fromkeys([kind] if servers else [], *servers)


@pytest.hookimpl(tryfirst=True)  # before the list of what was not tested is written
def pytest_terminal_summary(terminalreporter):
    not_tested.extend(table.left_out)
    if table.outcomes:
        terminalreporter.write_line(table.summary())


def pytest_sessionfinish(session):
    """Where everything can be had, nothing may stay untested."""
    if hasattr(session.config, "workerinput"):  # the process that hears of all results decides
        return
    if target := os.environ.get("CONFORMANCE_TABLE"):
        Path(target).write_text(table.text())
    if (target := os.environ.get("CONFORMANCE_SUMMARY")) and table.outcomes:
        Path(target).write_text(f"{table.summary()}\n")
    if table.count("skipped") and can_have_everything() and session.exitstatus == 0:
        session.exitstatus = 1
