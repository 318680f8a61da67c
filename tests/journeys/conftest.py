"""A whole installation as processes, and people with a real browser."""

import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from playwright.sync_api import Browser, BrowserContext, Page, expect

from playbooks.servers import free_port

ROOT = Path(__file__).resolve().parents[2]
READY_SECONDS = 180
expect.set_options(timeout=20_000)


@dataclass
class Stack:
    """The demo as a process of its own."""

    home: Path
    port: int
    process: subprocess.Popen
    log: Path

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def password(self) -> str:
        return json.loads((self.home / "demo.json").read_text())["password"]

    def connection(self, system: str) -> dict[str, Any]:
        shown = self.git("show", f"main:systems/{system}.yml")
        return yaml.safe_load(shown)["connection"]

    def extra(self, system: str) -> dict[str, int]:
        return json.loads((self.home / "systems" / system / "ports.json").read_text())

    def git(self, *argv: str) -> str:
        argv = ("git", "--git-dir", str(self.home / "state.git"), *argv)
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout

    def environment(self) -> dict[str, str]:
        """What its web process has: for commands of the same installation."""
        pid = next(int(p) for p in children(self.process.pid) if b"uvicorn" in Path(f"/proc/{p}/cmdline").read_bytes())
        entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        return dict(entry.decode().split("=", 1) for entry in entries if entry)

    def ask(self, code: str) -> Any:
        """What a piece of Python says in this installation; it prints JSON."""
        argv = [sys.executable, str(ROOT / "manage.py"), "shell", "--no-imports", "-c", code]
        done = subprocess.run(argv, capture_output=True, text=True, env=self.environment(), cwd=ROOT)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout or "null")

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(timeout=60)


def children(pid: int) -> list[int]:
    """All processes below one, by /proc."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found += [child, *children(child)]
    return found


def outside() -> dict[str, str]:
    """The environment without the settings of an installation, which the tests' own settings leave there."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("MERGEYARD_", "DJANGO_"))}


def start_stack(home: Path, *options: str, **settings: str) -> Stack:
    """The options are those of bin/demo. Raises AssertionError with what it said when it does not become ready."""
    port = free_port()
    log = home.with_suffix(".log")
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "portal.demo", "--home", str(home), "--port", str(port), *options],
            cwd=ROOT, env=outside() | settings, stdout=out, stderr=out, stdin=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
    stack = Stack(home, port, process, log)
    limit = time.monotonic() + READY_SECONDS
    while "Ready in" not in log.read_text():
        if process.poll() is not None or time.monotonic() > limit:
            stack.stop()
            raise AssertionError(f"The demo did not become ready:\n{log.read_text()}")
        time.sleep(0.2)
    return stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    started = start_stack(tmp_path_factory.mktemp("j") / "home")
    yield started
    started.stop()


class Desk:
    """One signed-in person's page, and what the browser complained about."""

    def __init__(self, stack: Stack, context: BrowserContext, username: str):
        self.stack, self.page, self.complaints = stack, context.new_page(), []
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda m: self.complaints.append(m.text) if m.type == "error" else None)
        self.go("/login/")
        self.page.get_by_label("Name").fill(username)
        self.page.get_by_label("Password").fill(stack.password)
        self.page.get_by_role("button", name="Sign in").click()
        expect(self.page.get_by_role("heading", name="Home")).to_be_visible()

    def go(self, path: str) -> Page:
        self.page.goto(self.stack.address + path)
        return self.page


@pytest.fixture
def sign_in_at(chromium: Browser) -> Iterator[Any]:
    """A person of any installation."""
    contexts, desks = [], []

    def signed_in(where: Stack, username: str, **context: Any) -> Desk:
        contexts.append(chromium.new_context(**context))
        desks.append(Desk(where, contexts[-1], username))
        return desks[-1]

    yield signed_in
    for context in contexts:
        context.close()
    assert [complaint for desk in desks for complaint in desk.complaints] == []


@pytest.fixture
def sign_in(stack: Stack, sign_in_at: Any) -> Any:
    return functools.partial(sign_in_at, stack)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.journeys)
