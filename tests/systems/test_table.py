"""What the suite demands of examples, and whether the table in the docs is that of the catalogue as it is."""

import re
from dataclasses import replace
from pathlib import Path

from tests.systems import test_conformance, test_documents
from tests.systems.catalogue import PROVEN, ROOT, Kind, system_of
from tests.systems.table import Table

PROOFS = ("test_conformance.py", "test_documents.py", "test_sandbox.py")


def rows():
    lines = (ROOT / "docs" / "conformance.md").read_text().splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]


def test_the_table_has_every_kind_of_the_catalogue_and_nothing_that_failed_or_was_not_tested():
    _, _, *body = rows()
    proven = [(kind.type, kind.name) for kind in PROVEN if (ROOT / "playbooks" / kind.type).is_dir()]
    assert [(type_name, kind) for type_name, kind, *_ in body] == proven
    assert all(re.search(r" [0-9]+\.[0-9]", server) for _, _, server, *_ in body)


def promised():
    """(kind, property) of what the tests are run for; secrets, where a server or a kind has any."""
    tests = [test for module in (test_conformance, test_documents) for test in vars(module).values()]
    for marks in (getattr(test, "pytestmark", []) for test in tests):
        for title in (mark.args[0] for mark in marks if mark.name == "proves"):
            for kinds in (mark.args[1] for mark in marks if mark.args[:1] == ("kind",)):
                yield from ((repr(kind), title) for kind in kinds)
    for kind in PROVEN:
        yield repr(kind), "a system that is down is told in a sentence"
        if kind.file.get("secrets") or system_of(kind.type)["secrets"] and not kind.server:
            yield repr(kind), "secrets are nowhere"


def test_the_table_has_a_dash_only_where_a_kind_has_nothing_of_that_sort():
    head, _, *body = rows()
    expected = {*promised()}
    ours = [kind for kind in PROVEN if (ROOT / "playbooks" / kind.type).is_dir()]
    for kind, (_, _, _, *signs) in zip(ours, body, strict=True):
        for title, sign in zip(head[3:], signs, strict=True):
            assert sign == ("yes" if (repr(kind), title) in expected else "–"), (kind, title)


def test_the_table_has_every_property_that_the_suite_proves():
    texts = [Path(__file__).with_name(name).read_text() for name in PROOFS]
    titles = {title for text in texts for title in re.findall(r"""proves(?:\(|", \[)"([^"]+)""", text)}
    assert {*rows()[0][3:]} == titles


def test_an_example_that_leaves_a_field_of_an_object_or_of_a_lists_entries_as_it_is_is_told():
    route = Kind("haproxy", "BalancerRoute")
    assert [*route.untried] == []
    updates = {name: value for name, value in route.example.updates.items() if name != "health_check.interval"}
    updates["servers"] = [{**server, "backup": False} for server in route.example.spec["servers"]]
    route.example = replace(route.example, updates=updates)
    assert [*route.untried] == ["servers.*.address", "health_check.interval"]


def test_an_example_that_has_nothing_but_the_default_of_a_field_is_told():
    route = Kind("haproxy", "BalancerRoute")
    assert None not in route.removals.values()
    spec = {**route.example.spec, "servers": [{"address": "127.0.0.1", "port": 8081, "weight": 100}]}
    updates = {name: value for name, value in route.example.updates.items() if name != "servers"}
    route.example = replace(route.example, spec=spec, updates=updates)
    assert [place for place, tried in route.removals.items() if not tried] == [("servers", "*", "weight")]


def test_of_a_lists_entries_the_one_is_tried_that_differs_without_the_field():
    route = Kind("haproxy", "BalancerRoute")
    for name, value in (("weight", 30), ("backup", True), ("state", "drain")):
        shape, places = route.removals["servers", "*", name]
        assert [server[name] for server in shape["servers"]] == [value]
        assert places == [("servers", "*", name)]


def test_a_field_of_an_object_that_cannot_be_changed_takes_nothing_else_out():
    site = Kind("nginx", "ReverseProxySite")
    site.file = {**site.file, "immutable": {"rate_limit.burst": "It stays."}}
    updates = {name: value for name, value in site.example.updates.items() if name != "rate_limit.burst"}
    site.example = replace(site.example, updates=updates, frozen={"rate_limit.burst": 9})
    assert [*site.untried] == []
    assert site.removals["rate_limit", "per"]
    assert {("rate_limit",), ("rate_limit", "burst")} & {*site.removals} == set()
    resource = site.resource()
    changed = site.frozen_changed(resource, *site.frozen)["spec"]
    assert changed["rate_limit"] == {**resource["spec"]["rate_limit"], "burst": 9}


def test_what_an_example_leaves_out_is_counted_and_listed(monkeypatch):
    route = Kind("haproxy", "BalancerRoute")
    route.example = replace(route.example, not_here={"timeout": "it would take a day"})
    monkeypatch.setattr("tests.systems.table.PROVEN", [route])
    table = Table()
    assert "not tested 0" in table.summary()
    table.record("every mutable field", repr(route), "passed")
    assert "properties 1, failed 0, not tested 1" in table.summary()
    assert "- BalancerRoute.timeout: it would take a day\n" in table.text()
