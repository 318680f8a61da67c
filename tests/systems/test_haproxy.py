"""What only HAProxy has: requests that reach servers, reloads without loss, files that people edit."""

import threading
from pathlib import Path

import pytest

from changes.catalog import load
from tests.systems.catalogue import PLAYBOOKS, Kind

pytestmark = [pytest.mark.systems]
ROUTE = Kind("haproxy", "BalancerRoute")


@pytest.fixture
def stage(stages):
    return stages("haproxy")


def route(stage, colour, **fields):
    servers = [{"address": "127.0.0.1", "port": stage.testbed.extra[f"{colour}_port"]}]
    resource = ROUTE.resource(servers=servers, health_check={"enabled": True, "path": "/health"}, **fields)
    return ROUTE.changed(resource, balance="roundrobin")


def answer(stage, resource, path=None):
    return stage.module.request(stage.testbed, resource["spec"]["host"], path or resource["spec"]["path"])


def file_of(stage, resource):
    name = resource["spec"]["host"] + resource["spec"]["path"].rstrip("/").replace("/", ":")
    return Path(stage.testbed.connection["routes_directory"]) / f"{name}.cfg"


def test_the_longest_path_wins_and_a_path_is_not_a_prefix_of_a_longer_word(stage):
    whole = route(stage, "blue", host="longest.example.com", path="/")
    api = route(stage, "green", host="longest.example.com", path="/api")
    assert stage.play(replaced=[whole, api]).code == 0
    reached = {
        path: answer(stage, whole, path)[1].split('"')[3] for path in ("/", "/api", "/api/v1", "/apix", "/x/api")
    }
    assert reached == {"/": "blue", "/api": "green", "/api/v1": "green", "/apix": "blue", "/x/api": "blue"}
    assert stage.play(deleted=[api]).code == 0
    assert '"blue"' in answer(stage, api)[1]
    stage.play(deleted=[whole])
    assert answer(stage, whole)[0] == 404


def test_no_request_is_lost_while_routes_come_and_go(stage):
    steady = route(stage, "blue")
    stage.play(replaced=[steady])
    answers, done = [], threading.Event()

    def ask():
        while not done.wait(0.005):
            answers.append(answer(stage, steady)[0])

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        others = [route(stage, "green") for _ in range(3)]
        assert stage.play(replaced=others).code == 0
        assert stage.play(deleted=others).code == 0
    finally:
        done.set()
        asking.join()
    assert len(answers) > 50
    assert set(answers) == {200}


def test_a_server_that_is_unwell_gets_no_requests(stage):
    servers = [
        {"address": "127.0.0.1", "port": 1},
        {"address": "127.0.0.1", "port": stage.testbed.extra["green_port"]},
    ]
    check = {"enabled": True, "path": "/health", "interval": 1, "rise": 1, "fall": 1}
    resource = ROUTE.resource(servers=servers, health_check=check, balance="roundrobin")
    stage.play(replaced=[resource])
    pause = threading.Event()
    for _ in range(100):
        if {answer(stage, resource)[0] for _ in range(4)} == {200}:
            return
        pause.wait(0.1)
    pytest.fail("the balancer still sends requests to a server that is down")


def test_a_line_that_was_added_by_hand_is_found_named_and_removed(stage):
    resource = route(stage, "blue")
    stage.play(replaced=[resource])
    file = file_of(stage, resource)
    good = file.read_text()
    file.write_text(good + "    http-request deny\n")
    event = stage.play(replaced=[resource], check=True).of(resource)
    assert event["reasons"] == ["this was added by hand: http-request deny"]
    assert stage.play(replaced=[resource]).of(resource) == event
    assert file.read_text() == good


def test_an_entry_that_was_taken_from_the_map_is_found_and_put_back(stage):
    resource = route(stage, "blue")
    stage.play(replaced=[resource])
    mapped = file_of(stage, resource).with_name("routes.map")
    mapped.write_text(
        "".join(line for line in mapped.read_text().splitlines(True) if file_of(stage, resource).stem not in line)
    )
    event = stage.play(replaced=[resource]).of(resource)
    assert event["reasons"] == ["routes.map does not send requests to it"]
    assert answer(stage, resource)[0] == 200


def test_a_configuration_that_haproxy_refuses_is_never_put_in_place(stage):
    good, bad = route(stage, "blue"), ROUTE.resource(**ROUTE.example.refused)
    for check in (True, False):
        played = stage.play(replaced=[bad, good], check=check)
        assert played.failed == [bad["path"]]
        assert "could not resolve address 'does-not-exist.invalid'" in played.of(bad)["message"]
    assert not file_of(stage, bad).exists()
    assert answer(stage, good)[0] == 200


def test_a_connection_names_no_program(stage, tmp_path, monkeypatch):
    marker, program = tmp_path / "marker", tmp_path / "haproxy"
    program.write_text(f"#!/bin/sh\ntouch {marker}\n")
    program.chmod(0o755)
    connection = {**stage.testbed.connection, "haproxy": str(program)}
    assert load([PLAYBOOKS]).types["haproxy"].connection_problems(stage.testbed.connection) == ()
    assert load([PLAYBOOKS]).types["haproxy"].connection_problems(connection) != ()
    monkeypatch.setattr(stage.testbed, "connection", connection)
    resource = route(stage, "blue")
    assert stage.play(replaced=[resource]).code == 0
    assert answer(stage, resource)[0] == 200
    assert not marker.exists()


def test_when_the_balancers_own_configuration_is_broken_nothing_is_written_and_the_sentence_says_so(stage):
    resource = route(stage, "blue")
    config = Path(stage.testbed.connection["config_directory"], "haproxy.cfg")
    good = config.read_text()
    config.write_text(good + "\nnonsense here\n")
    try:
        message = stage.play(replaced=[resource]).of(resource)["message"]
    finally:
        config.write_text(good)
    assert message.startswith("HAProxy's configuration would not be valid: unknown keyword 'nonsense'")
    assert not file_of(stage, resource).exists()


def test_what_a_crash_left_between_files_and_reload_is_finished_by_the_next_run(stage):
    resource = route(stage, "blue")
    stage.play(replaced=[resource])
    file = file_of(stage, resource)
    other = route(stage, "green")
    path = file_of(stage, other)
    path.write_text(
        file.read_text()
        .replace(file.stem, path.stem)
        .replace(resource["path"], other["path"])
        .replace(str(stage.testbed.extra["blue_port"]), str(stage.testbed.extra["green_port"]))
    )
    mapped = file.with_name("routes.map")
    mapped.write_text(mapped.read_text() + path.stem.replace(":", "/") + f"/ {path.stem}\n")
    pending = file.with_name("reload-pending")
    pending.touch()
    assert answer(stage, other)[0] == 404

    assert stage.play(replaced=[other], check=True).changed == []
    assert pending.exists()
    assert stage.play(replaced=[other]).code == 0
    assert not pending.exists()
    assert '"green"' in answer(stage, other)[1]


BREAKING_OUT = [
    ("path", "/a\n    server x 1.2.3.4:1", "characters that no name on a system may have"),
    ("host", "a.example.com hdr X", "host: a.example.com hdr X cannot be written"),
    ("balance", "url_param x", "balance: url_param x cannot be written"),
    ("timeout", True, "timeout: must be a number from 1 to 3600 (is True)."),
    ("servers", [{"address": "10.0.0.1:80 check", "port": 1}], "servers.0.address: 10.0.0.1:80 check cannot be"),
    ("servers", [{"address": "10.0.0.1", "port": 1}] * 2, "servers: 10.0.0.1:1 is in the pool twice."),
    ("contact", "x\ny", "contact: x\\x0ay cannot be written"),
    ("health_check", {"enabled": True, "path": "/ HTTP/1.0"}, "health_check.path: / HTTP/1.0 cannot be written"),
    ("surprise", 1, "spec: there is no field surprise."),
]


def test_values_that_could_break_out_are_refused_by_the_module_too(stage):
    resources = [ROUTE.resource(**{field: value}) for field, value, _ in BREAKING_OUT]
    before = sorted(Path(stage.testbed.connection["routes_directory"]).iterdir())
    played = stage.play(replaced=resources)
    for resource, (_, _, said) in zip(resources, BREAKING_OUT, strict=True):
        assert said in played.of(resource)["message"]
    assert sorted(Path(stage.testbed.connection["routes_directory"]).iterdir()) == before
