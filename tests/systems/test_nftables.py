"""What only a firewall has: connections that pass or do not, an end of its own, a restart that brings all back."""

import datetime
import json
import os
import shutil
import socket
import subprocess
from pathlib import Path

import jsonschema_rs
import pytest

from playbooks.ssh_server import SUDOER, inside
from tests.systems.catalogue import Kind

pytestmark = [pytest.mark.systems]
RULE = Kind("nftables", "FirewallRule")
PORTS = (7001, 7002, 7003)
LISTEN = """
import selectors, socket, sys
chosen = selectors.DefaultSelector()
for address in ("0.0.0.0", "::"):
    for port in map(int, sys.argv[1:]):
        one = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if ":" in address:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.bind((address, port))
        one.listen(50)
        chosen.register(one, selectors.EVENT_READ)
print("listening", flush=True)
while True:
    for key, _ in chosen.select():
        key.fileobj.accept()[0].close()
"""
CONNECT = """
import socket, sys
source, target, *ports = sys.argv[1:]
for port in ports:
    try:
        socket.create_connection((target, int(port)), timeout=0.7, source_address=(source, 0)).close()
        print("passes")
    except ConnectionRefusedError:
        print("refused")
    except TimeoutError:
        print("dropped")
"""


@pytest.fixture
def stage(stages):
    return stages("nftables")


@pytest.fixture
def reach(stage):
    """What becomes of connections from the client to ports of the host that really are listened on."""
    started = []

    def ask(*ports, source=stage.module.CLIENT, target=stage.module.SERVER):
        argv = ["/usr/bin/python3", "-c", CONNECT, source, target, *map(str, ports)]
        return inside(stage.testbed.extra["client"], argv).stdout.split()

    def listen(*ports):
        user = inside(stage.testbed.extra["host"], ["true"]).args[3:-3]
        argv = ["nsenter", "-t", str(stage.testbed.extra["host"]), *user, "-n", "--"]
        started.append(
            subprocess.Popen([*argv, "/usr/bin/python3", "-c", LISTEN, *map(str, ports)], stdout=subprocess.PIPE)
        )
        assert started[-1].stdout.readline() == b"listening\n"
        return ask

    yield listen
    for process in started:
        process.kill()
        process.communicate()


def rule(port, action, **fields):
    resource = RULE.resource(sources=["10.77.0.2/32"], protocol="tcp", ports=[str(port)], action=action, log=False)
    kept = {name: value for name, value in resource["spec"].items() if name not in ("destinations", "until")}
    return {**resource, "spec": {**kept, **fields}}


def test_a_connection_passes_is_refused_or_dropped_as_the_first_rule_that_fits_says(stage, reach):
    ask = reach(*PORTS)
    assert ask(*PORTS) == ["passes"] * 3
    refusing = rule(7001, "reject", order=200)
    dropping = rule(7002, "drop")
    assert stage.play(replaced=[refusing, dropping], check=True).failed == []
    assert ask(*PORTS) == ["passes"] * 3
    assert stage.play(replaced=[refusing, dropping]).failed == []
    assert ask(*PORTS) == ["refused", "dropped", "passes"]
    assert ask(*PORTS, source=stage.module.OTHER_CLIENT) == ["passes"] * 3

    accepting = rule(7001, "accept", order=100)
    stage.play(replaced=[accepting])
    assert ask(7001) == ["passes"]
    stage.play(replaced=[RULE.changed(accepting, order=300)])
    assert ask(7001) == ["refused"]
    stage.play(replaced=[RULE.changed(refusing, sources=["10.77.0.0/31", "10.77.0.3/32"])])
    assert ask(7001) == ["passes"]
    assert ask(7001, source=stage.module.OTHER_CLIENT) == ["refused"]

    stage.play(deleted=[refusing, dropping, accepting])
    assert ask(*PORTS) == ["passes"] * 3


def test_a_rule_goes_only_with_those_that_may_take_its_place_and_in_one_step_with_them(stage, reach):
    ask = reach(*PORTS)
    old, opening, elsewhere = rule(7001, "drop"), rule(7002, "accept"), rule(7003, "drop", direction="outgoing")
    stage.play(replaced=[old, opening, elsewhere])
    new = rule(7001, "reject")
    said = f"It stays in force, as {new['path']} may be there to take its place and is refused; correct that."
    wrong = RULE.changed(new, sources=["10.77.0.2/24"])
    for check in (True, False):
        played = stage.play(replaced=[wrong], deleted=[old, opening, elsewhere], check=check)
        assert (played.failed, played.of(old)["message"]) == ([new["path"], old["path"]], said)
        assert played.changed == [opening["path"], elsewhere["path"]]
    base = [*stage.module.TABLE, f"rule_{new['spec']['name']}"]  # no jump may lead to it, which nft alone says
    stage.module.nft(stage.testbed, "add", "chain", *base, "{ type filter hook output priority 9; }")
    played = stage.play(replaced=[{**new, "adopt": True}], deleted=[old])
    assert played.of(new)["message"].startswith("nft refuses it: ")
    assert (played.changed, played.of(old)["message"]) == ([], said)
    stage.module.nft(stage.testbed, "delete", "chain", *base)
    assert ask(7001) == ["dropped"]
    predicted = stage.play(replaced=[new], deleted=[old], check=True)
    played = stage.play(replaced=[new], deleted=[old])
    assert (played.code, played.resources) == (0, predicted.resources)
    assert (ask(7001), stage.read(old)) == (["refused"], None)
    stage.play(deleted=[new])


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("sudo"), reason="wants root and the Debian package sudo")
def test_a_user_who_may_use_sudo_works_as_root(stage, reach, monkeypatch):
    ask = reach(7001)
    monkeypatch.setattr(stage.testbed, "connection", {**stage.testbed.connection, "user": SUDOER, "become": False})
    refusing = rule(7001, "reject")
    for check in (True, False):
        message = stage.play(replaced=[refusing], check=check).of(refusing)["message"]
        assert message.startswith("The firewall of 127.0.0.1 port")
        assert "Operation not permitted" in message
    monkeypatch.setitem(stage.testbed.connection, "become", True)
    predicted = stage.play(replaced=[refusing], check=True)
    assert predicted.failed == []
    assert ask(7001) == ["passes"]
    assert stage.play(replaced=[refusing]).resources == predicted.resources
    assert ask(7001) == ["refused"]
    assert stage.play(replaced=[refusing]).changed == []
    assert stage.play(deleted=[refusing]).failed == []
    assert ask(7001) == ["passes"]


def test_both_versions_of_ip_are_filtered(stage, reach):
    ask = reach(*PORTS)
    both = rule(7001, "reject", sources=["0.0.0.0/0", "::/0"])
    event = stage.play(replaced=[both]).of(both)
    assert event["after"]["sources"] == ["0.0.0.0/0", "::/0"]
    assert stage.play(replaced=[both]).changed == []
    six = {"source": "fd77::2", "target": stage.module.SERVER6}
    assert (ask(7001), ask(7001, **six)) == (["refused"], ["refused"])
    four = RULE.changed(both, sources=["0.0.0.0/0"])
    stage.play(replaced=[four])
    assert (ask(7001), ask(7001, **six)) == (["refused"], ["passes"])
    stage.play(deleted=[both])


@pytest.mark.parametrize("protocol", ["tcp", "udp", "icmp", "any"])
@pytest.mark.parametrize("networks", [["0.0.0.0/0", "::/0"], ["10.0.0.1/32", "10.0.0.2/31", "fd00::/8"]])
def test_without_ports_every_protocol_reads_back_as_it_was_written(stage, protocol, networks):
    resources = [rule(1, action, protocol=protocol, sources=networks) for action in ("accept", "reject", "drop")]
    resources += [{**each, "spec": {**each["spec"], "log": True}} for each in [rule(1, "drop", protocol=protocol)]]
    for resource in resources:
        del resource["spec"]["ports"]
    assert stage.play(replaced=resources, check=True).failed == []
    assert len(stage.play(replaced=resources).changed) == len(resources)
    again = stage.play(replaced=resources)
    assert [event["reasons"] for event in again.resources] == [[]] * len(resources)
    stage.play(deleted=resources)


def test_what_no_rule_names_is_dropped_where_the_connection_says_so_and_administrators_come_in(
    stage, reach, monkeypatch
):
    monkeypatch.setattr(stage.testbed, "connection", {
        **stage.testbed.connection, "incoming": "drop", "management": ["10.77.0.3/32"],
    })  # fmt: skip
    ssh = stage.testbed.connection["port"]
    ask = reach(*PORTS, ssh)
    opened = rule(7002, "accept")
    everything = rule(1, "drop", order=1, ports=["1-7001", "7003-65535"], sources=["0.0.0.0/0"])
    assert stage.play(replaced=[opened, everything]).failed == []
    assert ask(7001, 7002, ssh) == ["dropped", "passes", "dropped"]
    assert ask(7001, ssh, source=stage.module.OTHER_CLIENT) == ["dropped", "passes"]
    assert stage.play(replaced=[opened, everything]).changed == []

    monkeypatch.undo()
    event = stage.play(replaced=[opened]).of(opened)
    assert event["reasons"] == ["what stands before all rules was changed"]
    stage.play(deleted=[opened, everything])
    assert ask(*PORTS) == ["passes"] * 3


def test_a_rule_against_all_that_goes_out_cuts_off_neither_neighbours_nor_the_host_from_itself(stage, reach):
    host, client, six = (*(stage.testbed.extra[name] for name in ("host", "client")), stage.module.SERVER6)
    ask = reach(7001)
    nothing = rule(1, "drop", direction="outgoing", protocol="any", sources=["0.0.0.0/0", "::/0"], order=9999)
    del nothing["spec"]["ports"]
    assert stage.play(replaced=[nothing]).failed == []
    for process in (host, client):
        assert inside(process, ["ip", "neigh", "flush", "all"]).returncode == 0
    assert ask(7001, source="fd77::2", target=six) == ["passes"]
    for itself in ("127.0.0.1", "::1", six):
        argv = ["/usr/bin/python3", "-c", CONNECT, itself, itself, "7001"]
        assert inside(host, argv).stdout == "passes\n"
    argv = ["/usr/bin/python3", "-c", CONNECT, stage.module.SERVER, stage.module.CLIENT, "7001"]
    assert inside(host, argv).stdout == "dropped\n"
    assert stage.play(replaced=[nothing], check=True).changed == []
    stage.play(deleted=[nothing])


def test_the_firewall_itself_ends_a_rule_after_its_last_day(stage, reach):
    ask = reach(*PORTS)
    today = datetime.datetime.now(datetime.UTC).date()
    yesterday = str(today - datetime.timedelta(days=1))
    over, holds = rule(7001, "reject", until=str(today)), rule(7002, "reject", until=str(today))
    stage.play(replaced=[over, holds])
    assert ask(7001, 7002) == ["refused", "refused"]
    make_it_end_today(stage, over, today)
    assert ask(7001, 7002) == ["passes", "refused"]
    over = RULE.changed(over, until=yesterday)
    stage.play(replaced=[RULE.changed(over, order=20)])  # as it would have been written for the next start
    assert stage.play(replaced=[RULE.changed(over, order=20), holds]).changed == []
    assert ask(7001, 7002) == ["passes", "refused"]
    stage.play(deleted=[over, holds])


def make_it_end_today(stage, resource, today):
    """As if a day had gone by: the end of a rule is moved to the beginning of today."""
    listed = stage.module.listed(stage.testbed)
    rules = [item["rule"] for item in listed if "rule" in item and "jump" in str(item["rule"]["expr"])]
    [jump] = [each for each in rules if resource["spec"]["name"] in str(each["expr"])]
    text = f'meta time < "{today} 00:00:00" jump rule_{resource["spec"]["name"]} comment "{jump["comment"]}"'
    place = ["replace", "rule", *stage.module.TABLE, "input", "handle", str(jump["handle"])]
    stage.module.nft(stage.testbed, "-f", "-", text=f"{' '.join(place)} {text}\n")


def test_a_rule_whose_last_day_is_over_is_not_begun(stage):
    begun = rule(7001, "reject", until="2099-01-01")
    stage.play(replaced=[begun])
    for resource in (rule(7002, "reject", until="2020-01-01"), RULE.changed(begun, until="2020-01-01")):
        for check in (True, False):
            message = stage.play(replaced=[resource], check=check).of(resource)["message"]
            assert message == "until: 2020-01-01 is over, so the rule would never hold; choose a day to come."
    stage.play(deleted=[begun])


def test_a_start_brings_back_what_ran_in_any_zone(stage, reach):
    ask = reach(*PORTS)
    resources = [rule(7001, "reject"), RULE.resource(), rule(7003, "drop", sources=["0.0.0.0/0", "::/0"])]
    stage.play(replaced=resources)
    ran = without_handles(stage.module.listed(stage.testbed))
    nft = stage.module.nft
    nft(stage.testbed, "flush", "ruleset")
    assert ask(7001) == ["passes"]
    file = stage.testbed.connection["rules_file"]
    nft(stage.testbed, "-f", file, zone="America/New_York")
    assert without_handles(stage.module.listed(stage.testbed)) == ran
    assert ask(7001) == ["refused"]
    assert stage.play(replaced=resources).changed == []

    Path(file).unlink()
    event = stage.play(replaced=resources, check=True).of(resources[0])
    assert event["reasons"] == [f"{file} would not bring it back as it is at the next start"]
    stage.play(replaced=resources)
    assert Path(file).exists()
    stage.play(deleted=resources)


def test_a_rule_that_the_next_start_would_bring_back_is_not_deleted_yet(stage):
    resource, file = rule(7001, "reject"), Path(stage.testbed.connection["rules_file"])
    stage.play(replaced=[resource])
    kept = file.read_text()
    stage.play(deleted=[resource])
    file.write_text(kept)  # as if the file could not be written after nft had taken the change
    for check in (True, False):
        event = stage.play(deleted=[resource], check=check).of(resource)
        assert (event["status"], event["changed"]) == ("ok", True)
        assert event["reasons"] == [f"{file} would bring it back at the next start"]
        assert (resource["spec"]["name"] in file.read_text()) == check
    assert stage.play(deleted=[resource]).changed == []


def without_handles(listed):
    return json.loads(json.dumps(listed), object_hook=lambda found: {k: v for k, v in found.items() if k != "handle"})


@pytest.mark.skipif(os.geteuid() != 0, reason="wants root, to mount")
def test_rules_that_could_not_be_kept_for_the_next_start_are_not_put_in_force(stage, monkeypatch):
    inside(stage.testbed.extra["host"], ["mount", "-t", "tmpfs", "-o", "ro", "none", "/mnt"])
    monkeypatch.setitem(stage.testbed.connection, "rules_file", "/mnt/nftables.d/mergeyard.nft")
    resource = RULE.resource()
    for check in (True, False):
        message = stage.play(replaced=[resource], check=check).of(resource)["message"]
        assert message == "/mnt/nftables.d/mergeyard.nft for the next start may not be written, so nothing was changed."
    assert stage.read(resource) is None


def test_other_tables_and_lines_of_others_in_ours_stay(stage):
    resource = RULE.resource()
    stage.play(replaced=[resource])
    nft = stage.module.nft
    nft(stage.testbed, "add", "table", "inet", "others")
    nft(stage.testbed, "add", "chain", "inet", "others", "theirs")
    nft(stage.testbed, "add", "rule", *stage.module.TABLE, "input", "tcp", "dport", "9999", "counter", "drop")
    stage.play(replaced=[RULE.changed(resource, order=7)])
    assert "chain theirs" in nft(stage.testbed, "list", "table", "inet", "others")
    assert nft(stage.testbed, "list", "table", *stage.module.TABLE).count("tcp dport 9999 counter") == 1
    nft(stage.testbed, "flush", "ruleset")


@pytest.mark.parametrize(
    "fields",
    [
        *({"ports": [port]} for port in ("0", "65536", "70000", "1-65536", "08", "1-")),
        *({"sources": [network]} for network in ("::::", "999.9.9.9/99", "10.0.0.0/33", "fd00::/129", "fd00", "1.2.3")),
        {"destinations": ["10.0.0.256"]},
        *({"protocol": protocol, "ports": ["443"]} for protocol in ("icmp", "any")),
    ],
)
def test_the_form_refuses_what_no_firewall_could_hold(fields):
    validator = jsonschema_rs.validator_for(RULE.schema)
    spec = {"name": "x", "sources": ["10.0.0.0/8", "fd00::/8", "::1"], "action": "accept", "ports": ["1", "9-65535"]}
    assert validator.is_valid({**spec, "protocol": "udp"})
    assert not validator.is_valid({**spec, **fields})


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"sources": ["10.1.2.3/16"]}, "names one address within a network; the network is 10.1.0.0/16."),
        ({"sources": ["10.1.2.300"]}, "sources.0: 10.1.2.300 is not a network"),
        ({"sources": ["10.1.0.0/16 } accept; ip saddr { 0.0.0.0/0"]}, "is not a network"),
        ({"destinations": ["fd00::/8"]}, "must both hold IPv4 networks, or neither"),
        ({"ports": ["9-8"]}, "ports.0: 9-8 is not a port"),
        ({"protocol": "icmp"}, "ports: icmp has none; leave them out."),
        ({"until": "2027-02-30"}, "until: 2027-02-30 is not a day."),
        ({"comment": 'x" accept comment "y'}, "comment: "),
        ({"order": 0}, "order: must be a number from 1 to 9999"),
        ({"surprise": 1}, "There is no field surprise."),
    ],
)
def test_what_a_firewall_cannot_hold_is_said(stage, fields, said):
    resource = rule(7001, "accept", **fields)
    assert said in stage.play(replaced=[resource], check=True).of(resource)["message"]


def test_a_path_that_does_not_fit_into_the_comment_is_refused(stage):
    resource = rule(7001, "accept")
    long = {**resource, "path": resource["path"] + "x" * 100}
    assert "too long together" in stage.play(replaced=[long], check=True).of(long)["message"]


def test_hundreds_of_rules_are_one_transaction(stage):
    resources = [rule(7001, "accept") for _ in range(300)]
    assert len(stage.play(replaced=resources).changed) == 300
    assert stage.play(replaced=resources).changed == []
    assert len(stage.play(deleted=resources).changed) == 300


def test_the_host_is_reached_apart_from_its_firewall(stage):
    """What the other tests rest on: the test bed's way in does not pass the network that is filtered."""
    with socket.create_connection(("127.0.0.1", stage.testbed.connection["port"]), timeout=5) as open_way:
        assert open_way.recv(4) == b"SSH-"
