"""What the plan tells people of a change that may hurt, in the words of each kind."""

import pytest

from tests.changes.trees import tree
from tests.systems.catalogue import Kind
from tests.systems.test_documents import ALL, CATALOG, by_id, document, path, planned, system

RULE = {"sources": ["10.1.0.0/16"], "protocol": "tcp", "ports": ["443"], "action": "accept"}
FILE = {"path": "/etc/orders/x", "content": "a", "mode": "0600"}
JOB = {"user": "orders", "schedule": {"minute": "1", "hour": "2"}, "command": "x"}
SITE = {"hosts": ["a.example.com"], "paths": [{"servers": [{"address": "10.0.0.1", "port": 80}]}]}
TLS = {"tls": {"certificate": "/c/a.pem", "key": "/c/a.key"}}
POOL = {"servers": [{"address": "10.0.0.1", "port": 80}], "timeout": 60}
ROUTE = {**POOL, "host": "a.example.com", "health_check": {"enabled": True, "path": "/health"}}

EXPOSED = "also from outside if"
WORLD, SHUT = "The rule lets the whole internet in", "The rule shuts the whole internet out"
OPEN = {**RULE, "sources": ["0.0.0.0/0"]}
CLOSED = {**OPEN, "action": "reject"}
BLOCKED = {**RULE, "action": "drop", "destinations": ["10.2.0.0/24"], "ports": ["443", "80"]}
PORTS, EVERY_PORT = "The rule holds for ports for which it did not", "The rule holds for every port of its protocol."
READ_ON_THE_WAY = "Without https, what clients send can be read on the way."
EVERY_MINUTE = "The command is started every minute of these hours."
NO_TRUST = "Clients connect by https only if they trust the new certificate"


def told(kind, before, after):
    files = {path(kind, "one"): document(kind, before)} if before else {}
    base = tree({**system(kind, {}), **files}, CATALOG)
    plan, _ = planned(base, {path(kind, "one"): document(kind, after)})
    return plan.items[0].risks


def without(spec, *fields):
    return {name: value for name, value in spec.items() if name not in fields}


@pytest.mark.parametrize(
    ("kind", "before", "after", "said"),
    [
        ("nftables-FirewallRule", None, RULE, []),
        ("nftables-FirewallRule", None, {**RULE, "sources": ["0.0.0.0/1", "128.0.0.0/1"]}, [f"{WORLD} (IPv4)"]),
        ("nftables-FirewallRule", None, {**RULE, "sources": ["::0/0"]}, [f"{WORLD} (IPv6)"]),
        ("nftables-FirewallRule", None, CLOSED, [f"{SHUT} (IPv4)"]),
        ("nftables-FirewallRule", CLOSED, OPEN, [f"{WORLD} (IPv4)", "Connections that passed may be refused"]),
        ("nftables-FirewallRule", None, without(RULE, "ports"), [EVERY_PORT]),
        ("nftables-FirewallRule", RULE, without(RULE, "ports"), [PORTS, EVERY_PORT]),
        ("nftables-FirewallRule", RULE, {**RULE, "ports": ["1-65535"]}, [PORTS]),
        ("nftables-FirewallRule", {**RULE, "ports": ["1-65535"]}, RULE, []),
        ("nftables-FirewallRule", {**RULE, "destinations": ["10.2.0.1/32"]}, RULE, ["The rule holds for destinations"]),
        ("nftables-FirewallRule", {**RULE, "until": "2099-01-31"}, RULE, ["The rule ends on another day than before"]),
        ("nftables-FirewallRule", RULE, {**RULE, "direction": "forwarded"}, ["The rule holds for connections in ano"]),
        ("nftables-FirewallRule", RULE, {**RULE, "protocol": "udp"}, ["The rule holds for another protocol"]),
        *(
            ("nftables-FirewallRule", {**BLOCKED, "action": action}, {**BLOCKED, "action": action, **change}, said)
            for action in ("drop", "reject")
            for change, said in [
                ({"sources": ["10.1.0.0/24"]}, ["from addresses that the rule no longer names may pass."]),
                ({"destinations": ["10.2.0.1/32"]}, ["to destinations that the rule no longer names may pass."]),
                ({"ports": ["443"]}, ["to ports that the rule no longer names may pass."]),
                ({"protocol": "udp"}, ["The rule holds for another", "refused by its former protocol may pass"]),
                ({"sources": ["10.1.0.0/16", "10.2.0.0/16"]}, ["The rule holds for addresses for which it did not"]),
            ]
        ),
        ("nftables-FirewallRule", {**BLOCKED, "action": "accept"}, {**RULE, "destinations": ["10.2.0.0/25"]}, []),
        ("linux-ManagedFile", FILE, {**FILE, "mode": "0644"}, ["Others on the host may read, change or run it"]),
        ("linux-ManagedFile", FILE, {**FILE, "group": "users"}, ["Members of another group may"]),
        ("linux-CronJob", None, JOB, []),
        ("linux-CronJob", JOB, {**JOB, "user": "payments"}, ["The command runs with the rights of another user."]),
        ("linux-CronJob", JOB, {**JOB, "schedule": {"special": "daily"}}, ["The command is started at other times."]),
        *(
            ("linux-CronJob", None, {**JOB, "schedule": {"minute": minute, "hour": "*"}}, said)
            for minute, said in {
                "*": [EVERY_MINUTE],
                "*/1": [EVERY_MINUTE],
                "5,0-59": [EVERY_MINUTE],
                "*/15": [],
                "0-59/10": [],
            }.items()
        ),
        ("nginx-ReverseProxySite", None, SITE, [EXPOSED, READ_ON_THE_WAY]),
        ("nginx-ReverseProxySite", None, {**SITE, **TLS}, [EXPOSED]),
        (
            "nginx-ReverseProxySite",
            {**SITE, **TLS},
            {**SITE, **TLS, "hosts": ["*.example.com"]},
            ["It answers for names that are added, and no longer", "It answers for every name below"],
        ),
        ("nginx-ReverseProxySite", {**SITE, **TLS}, SITE, [READ_ON_THE_WAY, NO_TRUST]),
        (
            "nginx-ReverseProxySite",
            {**SITE, **TLS},
            {**SITE, "tls": {**TLS["tls"], "certificate": "/c/b.pem"}},
            [NO_TRUST],
        ),
        ("nginx-ReverseProxySite", {**SITE, "max_body_size": 9}, {**SITE, "max_body_size": 5}, ["Uploads that were"]),
        (
            "nginx-ReverseProxySite",
            {**SITE, "response_headers": {"X-Frame-Options": "DENY"}},
            SITE,
            ["Browsers may treat answers otherwise"],
        ),
        ("haproxy-BalancerRoute", None, ROUTE, [EXPOSED]),
        ("haproxy-BalancerRoute", ROUTE, {**ROUTE, "timeout": 5}, ["Answers that take longer than this are given up."]),
        ("haproxy-BalancerRoute", ROUTE, {**ROUTE, "timeout": 90}, []),
        ("haproxy-BalancerRoute", ROUTE, without(ROUTE, "health_check"), ["A server that is down", "Servers may get"]),
        ("kafka-KafkaQuota", None, {"user": "orders", "read_kib_per_second": 9}, ["Clients that are above it already"]),
        ("haproxy-BalancerBackend", POOL, {**POOL, "balance": "uri"}, ["Clients may be sent to another server"]),
    ],
)
def test_the_plan_tells_what_may_hurt(kind, before, after, said):
    found = told(Kind(*kind.split("-")), before, after)
    assert len(found) == len(said), found
    assert all(expected in sentence for expected, sentence in zip(said, found, strict=True)), found


def test_a_host_name_is_answered_by_one_site():
    kind = next(kind for kind in ALL if kind.name == "ReverseProxySite")
    files = {path(kind, "one"): document(kind, SITE), path(kind, "two", "shop"): document(kind, SITE)}
    _, found = planned(tree(system(kind, {}), CATALOG), files)
    assert by_id(found)["exclusive.taken"].message.startswith("a.example.com on conformance is in")


SHARED = "Of several routes for a host the longest path takes a request"


@pytest.mark.parametrize(
    ("name", "theirs", "mine", "said"),
    [
        ("BalancerRoute", ROUTE, {**ROUTE, "path": "/mine"}, f"{ROUTE['host']} is also in shop/"),
        ("BalancerRoute", ROUTE, {**ROUTE, "host": "other.example.com"}, ""),
        ("ReverseProxySite", {**SITE, "hosts": ["*.example.com"]}, SITE, "*.example.com is also in shop/"),
        ("ReverseProxySite", {**SITE, "hosts": ["*.example.com"]}, {**SITE, "hosts": ["example.com"]}, ""),
    ],
)
def test_a_host_name_that_another_team_answers_for_is_a_risk_in_the_plan(name, theirs, mine, said):
    kind = next(kind for kind in ALL if kind.name == name)
    base = tree({**system(kind, {}), path(kind, "theirs", "shop"): document(kind, theirs)}, CATALOG)
    plan, _ = planned(base, {path(kind, "mine"): document(kind, mine)})
    told = [risk for risk in plan.items[0].risks if "is also in" in risk]
    assert [risk.startswith(said) for risk in told] == ([True] if said else [])
