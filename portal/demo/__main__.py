"""`bin/demo`: starts a whole Mergeyard with six real systems, says where it is, and stops it again at Ctrl-C.

The order matters: the directory and the queue first, then the environment, then Django, which reads it once.
"""

import argparse
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from playbooks import servers as playbook_servers
from portal.demo import content
from portal.demo.home import CannotStart, Home
from portal.demo.screen import Screen
from portal.demo.servers import (
    ROOT,
    start_processes,
    start_queue,
    start_systems,
    stop_all,
    wait_for_web,
)

BEGAN = float(os.environ.get("MERGEYARD_DEMO_STARTED") or time.time())  # bin/demo's own start
INSTALLED = bool(os.environ.get("MERGEYARD_DEMO_INSTALLED"))  # by bin/demo, just now
STARTS = {
    "cold": "cold start, with the installation",
    "first": "first start, installed before",
    "warm": "warm start",
}
Layers = dict[str, list[playbook_servers.Server]]  # each layer uses the ones before it


class Stop:
    """Ctrl-C raises KeyboardInterrupt, but not between a server's start and its being noted as something to stop."""

    def __init__(self) -> None:
        self._held = self._came = False

    def asked(self, *_: object) -> None:
        self._came = True
        if not self._held:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        self._held = True
        try:
            yield
        finally:
            self._held = False
            if self._came:  # what failed meanwhile failed because of it: it reaches programs of the start too
                raise KeyboardInterrupt


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bin/demo", description="Mergeyard with six real systems on this machine.")
    parser.add_argument("--once", action="store_true", help="do the main job by itself over HTTP, then stop; resets")
    parser.add_argument("--reset", action="store_true", help="forget everything of earlier starts")
    parser.add_argument("--port", type=int, help="of the web server on 127.0.0.1 (default 8000)")
    parser.add_argument("--home", type=Path, help="where the demo keeps its data (default var/demo)")
    options = parser.parse_args()
    if options.port is not None and not 0 < options.port < 65536:
        parser.error(f"there is no port {options.port}: choose one between 1 and 65535")
    if options.once:  # beside a demo that runs, and with nothing of an earlier time
        options.home, options.reset = options.home or ROOT / "var" / "once", True
        options.port = options.port or playbook_servers.free_port()
    options.home, options.port = options.home or ROOT / "var" / "demo", options.port or 8000
    return options


def main() -> int:
    options, screen = arguments(), Screen()
    stop = Stop()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop.asked)
    started: Layers = {"queue": [], "systems": [], "processes": []}
    try:
        home = Home.open(options.home.resolve(), port=options.port, reset=options.reset)
        return run(home, options=options, screen=screen, started=started, stop=stop)
    except (CannotStart, playbook_servers.CannotStart) as error:
        screen.say(str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        screen.say(f"The demo cannot go on: {error.strerror or error} ({error.filename or options.home}).")
        return 1
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        if any(started.values()):
            screen.say("Stopping what was started ...")
            for layer in reversed(started.values()):
                stop_all(layer)
        if started["processes"]:
            from portal.demo import installation

            installation.leave_no_attempts()


def run(home: Home, *, options: argparse.Namespace, screen: Screen, started: Layers, stop: Stop) -> int:
    screen.say("Starting Mergeyard and six real systems.")
    queue_port = 0
    if "MERGEYARD_REDIS_URL" not in os.environ:
        with stop.held(), screen.step("Queue") as more:
            queue_port = start_queue(home, started=started["queue"])
            more.append("Valkey, embedded")
    with stop.held():
        beds = start_systems(content.system_types(), home=home, screen=screen, started=started["systems"])

    environment = home.environment(queue_port=queue_port)
    with screen.step("Database"):
        environment |= _begin_django(environment)
        from portal.demo import installation

        with installation.troubles_told():
            installation.migrate()
    with installation.troubles_told():
        first = installation.is_new()
        if first:
            with screen.step("State repository") as more:
                more.append(installation.first_state(beds, password=home.kept["password"]))
        else:
            for said in installation.apply_forgotten(beds):
                screen.say(f"           {said}")
        screen.say(f"           {installation.containment()}")
        with screen.step("Web, workers, controller"):
            with stop.held():
                processes = start_processes(home, environment, started=started["processes"])
            wait_for_web(processes["web"], home)
        with screen.step("First rollout" if first else "Work left from before") as more:
            more.append(installation.wait_for_work(screen))
    _say_ready(home, screen=screen, first=first)
    if options.once:
        from portal.demo.once import main_job

        return main_job(home, beds=beds, screen=screen)
    return _until_stopped(processes, screen=screen)


def _begin_django(environment: dict[str, str]) -> dict[str, str]:
    """With the settings of the processes and no others: Django reads them once. Returns what it settled for them."""
    for name in [name for name in os.environ if name.startswith("MERGEYARD_")]:
        del os.environ[name]
    os.environ.update(environment)
    import django
    from django.conf import settings

    django.setup()
    return {"MERGEYARD_ATTEMPTS_DIR": str(settings.MERGEYARD_ATTEMPTS_DIR)}  # found by our own XDG_RUNTIME_DIR


def _say_ready(home: Home, *, screen: Screen, first: bool) -> None:
    took, how = round(time.time() - BEGAN, 1), "cold" if INSTALLED else "first" if first else "warm"
    figures = home.kept.get("seconds", {}) | {how: took}
    home.keep(seconds=figures)
    before = [f"{figures[name]} s {name}" for name in STARTS if name in figures and name != how]
    on_this_machine = f"; before on this machine: {', '.join(before)}" if before else ""
    screen.say(f"\nReady in {took} s ({STARTS[how]}{on_this_machine}).\n\n  {home.address}\n")
    screen.say(f"  Everyone's password is {home.kept['password']}\n")
    for person in content.people():
        screen.say(f"  {person['name']:<5} {person['role']}")
    screen.say("\nCtrl-C stops everything; the next start keeps the data; bin/demo --reset starts anew.\n")


def _until_stopped(processes: dict[str, playbook_servers.Server], *, screen: Screen) -> int:
    waiting = threading.Event()
    while not waiting.wait(1):
        for name, server in processes.items():
            if not server.running:
                screen.say(f"{name} ended by itself: {server.last_words()} The whole log is {server.log}.")
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
