"""The life of one demo: started, started twice, stopped by Ctrl-C, started again, killed, started anew, ended."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import mechanicalsoup
import pytest

from portal.demo.browser import Person
from portal.demo.home import Home
from tests.journeys.conftest import ROOT, children, free_port, outside, start_stack
from tests.journeys.test_main_job import databases, topic
from tests.servers import start_valkey

pytestmark = pytest.mark.stack

DRAFTED = "resources/payments/kafka-test/KafkaTopic/drafted.yml"
MERGED_TOPIC = "payments-captured"
MERGED_DATABASE = "ledger"
GONE_WITHIN = 10
DEAD_PROXY = {"http_proxy": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}
COLD_SECONDS, WARM_SECONDS = 120, 15  # what README.md promises; the first includes the installation


def processes(stack):
    """Everything that a demo started, each process with its start time: a number may be given to another one later."""
    found = {pid: started_at(pid) for pid in children(stack.process.pid)}
    assert len(found) > 20, "web, workers, controller and seven servers, each with its watcher"
    return found


def started_at(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except OSError:
        return None


def left_of(known, home):
    """What still runs of the known processes, and whatever else has the demo's directory in its command."""
    left = {pid for pid, began in known.items() if began and started_at(pid) == began}
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(home).encode() + b"/" in command.read_bytes():
                left.add(int(command.parent.name))
        except OSError:
            continue
    return left


def left_within(seconds, known, home):
    limit = time.monotonic() + seconds
    while (left := left_of(known, home)) and time.monotonic() < limit:
        time.sleep(0.1)
    return left


def try_to_start(home, port):
    """A start that is to be refused: its exit code, and all that it said."""
    argv = [sys.executable, "-m", "portal.demo", "--home", str(home), "--port", str(port)]
    done = subprocess.run(argv, cwd=ROOT, env=outside(), capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def sign_in(stack, username):
    return Person(username, Home(stack.home, stack.port, {"password": stack.password}))


@dataclass
class Life:
    """What was seen from one start to its end."""

    screen: str = ""
    code: int = 0
    left: set = field(default_factory=set)
    seen: dict = field(default_factory=dict)


def end(life, stack, number, *, within=0.0):
    known = processes(stack)
    os.killpg(stack.process.pid, number)  # as the terminal does at Ctrl-C
    life.code = stack.process.wait(timeout=60)
    life.left = left_within(within, known, stack.home)
    life.screen = stack.log.read_text()


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("d") / "home"


@pytest.fixture(scope="module")
def neighbours(tmp_path_factory):
    """Processes of somebody else: one that has nothing to do with it, and one that runs the same program."""
    sleep = subprocess.Popen(["sleep", "600"])
    valkey = start_valkey(tmp_path_factory.mktemp("neighbour"))
    yield [sleep, valkey.process]
    sleep.kill()
    sleep.wait()
    valkey.stop()


@pytest.fixture(scope="module")
def first(home, neighbours):
    """The first start without containment, tried again beside it in two ways, and ended by Ctrl-C."""
    stack, life = start_stack(home, MERGEYARD_CONTAINMENT="off"), Life(seen={"busy": busy()})
    try:
        life.seen["same home"] = try_to_start(home, free_port())
        life.seen["same port"] = stack.port, try_to_start(home.with_name("other"), stack.port)
        ana = sign_in(stack, "ana")
        draft = ana.start_request()
        ana.write(draft, DRAFTED, "kind: KafkaTopic\nspec:\n  partitions: 5\n")
        life.seen["draft"] = draft
        life.seen["topic"] = topic(stack, MERGED_TOPIC)
        life.seen["password"] = stack.password
        pat = sign_in(stack, "pat")
        pat.open("/rollouts/1/")
        life.seen["run page"] = pat.page.get_text(" ", strip=True)
        life.seen["pid"] = stack.process.pid
        life.seen["attempts"] = Path(stack.environment()["MERGEYARD_ATTEMPTS_DIR"])
        life.seen["attempts made"] = life.seen["attempts"].exists()
    finally:
        end(life, stack, signal.SIGINT)
    life.seen["neighbours"] = [process.poll() for process in neighbours]
    life.seen["attempts left"] = life.seen["attempts"].exists()
    return life


@pytest.fixture(scope="module")
def with_a_port_taken(first, home):
    """A start that finds one of its servers' ports in use by another program."""
    file = home / "systems" / "kafka-test" / "ports.json"
    life = Life(seen={"port": json.loads(file.read_text())["kafka"], "file": file})
    with socket.create_server(("127.0.0.1", life.seen["port"])):
        life.code, life.screen = try_to_start(home, free_port())
        life.left = left_of({}, home)
    return life


@pytest.fixture(scope="module")
def second(with_a_port_taken, first, home):
    """The next start, which keeps the data, with a proxy that knows no loopback; killed in the end."""
    stack, life = start_stack(home, **DEAD_PROXY), Life(seen={"busy": busy()})
    try:
        ana = sign_in(stack, "ana")
        ana.open(f"{first.seen['draft']}compose/")
        life.seen["draft"] = ana.page.get_text(" ", strip=True)
        life.seen["topic"] = topic(stack, MERGED_TOPIC)
        life.seen["databases"] = databases(stack)
        life.seen["password"] = stack.password
        ana.open("/systems/kafka-test/")
        life.seen["system page"] = ana.page.get_text(" ", strip=True)
    finally:
        end(life, stack, signal.SIGKILL, within=GONE_WITHIN)
    return life


@pytest.fixture(scope="module")
def third(second, first, home):
    """A start with --reset, after a kill; ended by SIGTERM."""
    stack, life = start_stack(home, "--reset"), Life()
    try:
        ana = sign_in(stack, "ana")
        try:
            ana.open(f"{first.seen['draft']}compose/")
            life.seen["draft"] = ana.page.get_text()
        except mechanicalsoup.LinkNotFoundError:
            life.seen["draft"] = None
        life.seen["password"] = stack.password
    finally:
        end(life, stack, signal.SIGTERM, within=2)  # the kernel has not always taken the last ones away
    return life


def test_it_says_where_it_is_and_who_can_sign_in(first):
    assert "http://127.0.0.1:" in first.screen
    assert f"Everyone's password is {first.seen['password']}" in first.screen
    for name in ("ana", "mia", "sam", "pat"):
        assert f"\n  {name} " in first.screen


def test_a_second_start_in_the_same_directory_is_refused_in_one_sentence(first):
    sentence = f"The demo runs here already (process {first.seen['pid']}); stop it with Ctrl-C first.\n"
    assert first.seen["same home"] == (1, sentence)


def test_a_busy_port_is_one_sentence_with_the_way_out(first):
    port, answer = first.seen["same port"]
    other = f"start with another one, as in bin/demo --port {port + 1}.\n"
    assert answer == (1, f"Port {port} is used by another program: {other}")


def test_without_containment_it_says_so_at_the_start_and_on_the_run(first):
    assert "Not contained: MERGEYARD_CONTAINMENT is off." in first.screen
    assert "Not contained: MERGEYARD_CONTAINMENT is off." in first.seen["run page"]


def test_ctrl_c_stops_everything_that_was_started_and_nothing_else(first):
    assert (first.code, first.left) == (130, set())
    assert first.screen.endswith("Stopping what was started ...\n")
    assert first.seen["neighbours"] == [None, None]


def test_a_servers_port_that_was_taken_meanwhile_is_named_and_the_rest_is_stopped(with_a_port_taken):
    seen = with_a_port_taken.seen
    assert with_a_port_taken.code == 1
    assert (
        f"Port {seen['port']}, which the Kafka broker had at its last start (kafka), is used by another program; stop "
        f"that program or delete {seen['file']}.\n"
    ) in with_a_port_taken.screen
    assert "Traceback" not in with_a_port_taken.screen
    assert with_a_port_taken.left == set()


def test_the_next_start_keeps_the_data(first, second):
    assert second.seen["password"] == first.seen["password"]
    assert "drafted" in second.seen["draft"]
    assert MERGED_DATABASE in second.seen["databases"]
    assert "State repository" not in second.screen


def busy():
    """By how much everything takes longer because others want the processors as well."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def ready_in(life):
    return re.search(r"^Ready in ([0-9.]+) s \((.*)\)\.$", life.screen, re.MULTILINE).groups()


def test_it_says_in_how_many_seconds_it_was_ready_and_after_which_start(first, second):
    (cold, of_first), (warm, of_second) = ready_in(first), ready_in(second)
    assert of_first == "first start, installed before"
    assert of_second == f"warm start; before on this machine: {cold} s first"
    assert 1 < float(cold) < COLD_SECONDS * first.seen["busy"]
    assert 1 < float(warm) < WARM_SECONDS * second.seen["busy"]


def test_attempts_lie_in_memory_and_nothing_of_them_stays(first):
    assert first.seen["attempts"].is_relative_to("/dev/shm") or not os.access("/dev/shm", os.W_OK)
    assert (first.seen["attempts made"], first.seen["attempts left"]) == (True, False)


def test_what_the_brokers_forgot_is_said_and_applied_again(first, second):
    for system in ("kafka-test", "kafka-prod"):
        sentence = f"{system} forgot everything at the last stop; what is merged is applied to it again."
        assert sentence in second.screen
        assert sentence not in first.screen
    assert second.seen["topic"] == first.seen["topic"] is not None


def test_a_killed_demo_leaves_no_process_behind(second):
    assert (second.code, second.left) == (-signal.SIGKILL, set())


def test_a_reset_starts_anew(first, third):
    assert third.seen["draft"] is None
    assert third.seen["password"] != first.seen["password"]
    assert "State repository: " in third.screen
    assert "forgot everything" not in third.screen


def test_a_termination_stops_everything_as_well(third):
    assert (third.code, third.left) == (130, set())


@pytest.mark.parametrize("moment", ["Queue", "edge-test", "Database"])
def test_ctrl_c_while_it_starts_stops_what_was_started_so_far(tmp_path_factory, moment):
    directory = tmp_path_factory.mktemp("s")
    home, log = directory / "home", directory / "said"
    argv = [sys.executable, "-m", "portal.demo", "--home", str(home), "--port", str(free_port())]
    with log.open("wb") as out:
        demo = subprocess.Popen(argv, cwd=ROOT, env=outside(), stdout=out, stderr=out, start_new_session=True)
    limit = time.monotonic() + 60
    while moment not in log.read_text():
        assert demo.poll() is None, log.read_text()
        assert time.monotonic() < limit
        time.sleep(0.02)
    os.killpg(demo.pid, signal.SIGINT)
    assert demo.wait(timeout=30) == 130
    assert left_of({}, home) == set()
    assert "Traceback" not in log.read_text()
