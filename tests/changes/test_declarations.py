"""What the platform team declares is read strictly; each mistake names file, line and field."""

import pytest

from changes.declarations import (
    ApprovalRule,
    Limits,
    Policy,
    Site,
    Team,
    parse_policies,
    parse_site,
    parse_system,
    parse_team,
)
from changes.documents import InvalidFile

SYSTEM = "type: kafka\nowners: [messaging]\n"


def refused(parse, path, text):
    with pytest.raises(InvalidFile) as caught:
        parse(path, text.encode())
    return [(problem.id, problem.line, problem.field) for problem in caught.value.problems]


def test_a_site_names_the_platform_team():
    assert parse_site("mergeyard.yml", b"format: 1\ntitle: Acme\nplatform_team: plat\n") == Site("Acme", "plat")
    assert parse_site("mergeyard.yml", b"format: 1\nplatform_team: plat\n").title == "Mergeyard"


def test_a_site_may_name_auditors():
    assert parse_site("mergeyard.yml", b"format: 1\nplatform_team: plat\n").auditors == ""
    assert parse_site("mergeyard.yml", b"format: 1\nplatform_team: plat\nauditors: audit\n").auditors == "audit"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("format: 2\nplatform_team: p\n", ("declaration.key", 1, "format")),
        ("format: true\nplatform_team: p\n", ("declaration.key", 1, "format")),
        ("format: 1\n", ("declaration.key", 1, "platform_team")),
        ("format: 1\nplatform_team: Plat\n", ("declaration.key", 2, "platform_team")),
        ("format: 1\nplatform_team: p\nauditors: [a]\n", ("declaration.key", 3, "auditors")),
        ("format: 1\nplatform_team: p\ntitle: [1]\n", ("declaration.key", 3, "title")),
        ("format: 1\nplatform_team: p\ntitel: x\n", ("declaration.unknown-key", 3, "titel")),
    ],
)
def test_a_site_that_is_not_whole_is_refused(text, expected):
    assert refused(parse_site, "mergeyard.yml", text) == [expected]


def test_a_file_that_is_no_mapping_is_refused():
    assert refused(parse_team, "teams/a.yml", "- x\n") == [("declaration.shape", 1, "")]


def test_a_team_has_members_and_secret_prefixes():
    text = b'title: Pay\nmembers: [rita, rob@example.org]\nsecret_prefixes: ["file:pay/"]\nquotas: {Queue: 0}\n'
    team = parse_team("teams/pay.yml", text)
    assert team == Team("pay", "Pay", ("rita", "rob@example.org"), ("file:pay/",), {"Queue": 0})
    assert parse_team("teams/pay.yml", b"members: []\n").title == "pay"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("members: rita\n", ("declaration.key", 1, "members")),
        ("members: [rita, 7]\n", ("declaration.key", 1, "members.1")),
        ("members:\n- rita\n- rita\n", ("declaration.key", 3, "members.1")),
        ("members: ['ri ta']\n", ("declaration.key", 1, "members.0")),
        ("secret_prefixes: ['env:HOME']\n", ("declaration.key", 1, "secret_prefixes.0")),
        ("secret_prefixes: ['file:']\n", ("declaration.key", 1, "secret_prefixes.0")),
        ("secret_prefixes: ['file:a/..b/']\n", ("declaration.key", 1, "secret_prefixes.0")),
        ("secret_prefixes: ['file:a../']\n", ("declaration.key", 1, "secret_prefixes.0")),
        ("quotas: 5\n", ("declaration.key", 1, "quotas")),
        ("quotas: {a/b: 1}\n", ("declaration.key", 1, "quotas.a/b")),
        ("quotas: {Queue: -1}\n", ("declaration.key", 1, "quotas.Queue")),
        ("quotas:\n  Queue: true\n", ("declaration.key", 2, "quotas.Queue")),
        ("quota: {}\n", ("declaration.unknown-key", 1, "quota")),
    ],
)
def test_a_team_that_is_not_whole_is_refused(text, expected):
    assert refused(parse_team, "teams/pay.yml", text) == [expected]


def test_a_file_name_must_be_a_name():
    assert refused(parse_team, "teams/Pay.yml", "title: x\n") == [("path.name", 1, "")]


def test_a_system_has_careful_defaults():
    system = parse_system("systems/kafka-prod.yml", SYSTEM.encode())
    assert (system.name, system.title, system.zone, system.environment) == ("kafka-prod", "kafka-prod", "default", "")
    assert system.limits == Limits(5, 30)
    assert system.connection == system.secrets == system.drift == {}


def test_a_whole_system_is_read():
    text = SYSTEM + (
        "title: Kafka, production\nenvironment: production\nzone: dmz\nconnection: {port: 1}\n"
        "secrets: {password: env:MERGEYARD_SECRET_KAFKA}\ndrift: {check_every: 15m, on_drift: self-heal}\n"
        "limits: {max_deletes: 0, max_change_percent: null}\n"
    )
    system = parse_system("systems/kafka-prod.yml", text.encode())
    assert system.limits == Limits(0, None)
    assert system.secrets == {"password": "env:MERGEYARD_SECRET_KAFKA"}
    assert system.drift == {"check_every": "15m", "on_drift": "self-heal"}
    assert (system.connection, system.zone, system.lines["zone"]) == ({"port": 1}, "dmz", 5)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("type: kafka\n", ("declaration.key", 1, "owners")),
        ("owners: [a]\n", ("declaration.key", 1, "type")),
        (SYSTEM + "zone: DMZ\n", ("declaration.key", 3, "zone")),
        (SYSTEM + "connection: []\n", ("declaration.key", 3, "connection")),
        (SYSTEM + "secrets: {a: hunter2}\n", ("declaration.key", 3, "secrets.a")),
        (SYSTEM + "secrets: {A: 'file:x'}\n", ("declaration.key", 3, "secrets.A")),
        (SYSTEM + "limits: {max_deletes: -1}\n", ("declaration.key", 3, "limits.max_deletes")),
        (SYSTEM + "limits: {max_deletes: true}\n", ("declaration.key", 3, "limits.max_deletes")),
        (SYSTEM + "limits: {max_change_percent: 101}\n", ("declaration.key", 3, "limits.max_change_percent")),
        (SYSTEM + "limits: {max_delete: 1}\n", ("declaration.unknown-key", 3, "limits.max_delete")),
        (SYSTEM + "drift: {check_every: often}\n", ("declaration.key", 3, "drift.check_every")),
        (SYSTEM + "drift: {on_drift: panic}\n", ("declaration.key", 3, "drift.on_drift")),
    ],
)
def test_a_system_that_is_not_whole_is_refused(text, expected):
    assert refused(parse_system, "systems/kafka-prod.yml", text) == [expected]


def test_policies_are_a_list():
    text = (
        "- id: two\n  match: {environment: production, kind: Topic}\n  approvals: {from: owners, count: 2}\n"
        "  message: Two of them.\n- id: security\n  approvals: {from: security}\n"
    )
    assert parse_policies("policies/p.yml", text.encode()) == (
        Policy("two", {"environment": "production", "kind": "Topic"}, ApprovalRule("owners", 2), "Two of them."),
        Policy("security", {}, ApprovalRule("security", 1)),
    )


POLICY = "- id: a\n  approvals: {count: 1}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("id: a\n", ("declaration.shape", 1, "")),
        (POLICY + "- x\n", None),
        ("- id: a\n", ("declaration.key", 1, "0.approvals")),
        (POLICY + "  deny_if: 'true'\n", ("declaration.unknown-key", 3, "0.deny_if")),
        (POLICY + "  freeze: {from: 2026-12-19}\n", ("declaration.unknown-key", 3, "0.freeze")),
        (POLICY + "  match: {who: x}\n", ("declaration.key", 3, "0.match.who")),
        (POLICY + "  match: {kind: topic}\n", ("declaration.key", 3, "0.match.kind")),
        (POLICY + "  match: {team: [a]}\n", ("declaration.key", 3, "0.match.team")),
        (POLICY + POLICY, ("declaration.key", 3, "1.id")),
        ("- id: a\n  approvals: {from: Some One}\n", ("declaration.key", 2, "0.approvals.from")),
        ("- id: a\n  approvals: {count: 0}\n", ("declaration.key", 2, "0.approvals.count")),
        ("- id: a\n  approvals: {count: '2'}\n", ("declaration.key", 2, "0.approvals.count")),
        ("- id: a\n  approvals: {counts: 2}\n", ("declaration.unknown-key", 2, "0.approvals.counts")),
    ],
)
def test_policies_that_are_not_whole_are_refused(text, expected):
    found = refused(parse_policies, "policies/p.yml", text)
    assert found == [expected] if expected else found[0] == ("declaration.shape", 3, "1")


def test_what_is_not_supported_yet_is_refused_and_says_what_is_known():
    with pytest.raises(InvalidFile, match="'deny_if' is not a key here"):
        parse_policies("policies/p.yml", (POLICY + "  deny_if: 'true'\n").encode())
