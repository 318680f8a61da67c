"""What the plan and its checks say of every kind's documents, before anything is asked of a system."""

import json

import pytest

from changes.catalog import load
from changes.checks import run_checks
from changes.plan import Operation, make_plan
from changes.schema import matches
from changes.snapshot import Snapshot
from tests.changes.trees import changed, tree
from tests.systems.catalogue import KINDS, ROOTS, SYSTEM, Kind, nested
from tests.systems.test_conformance import WITH_FROZEN, proves

pytestmark = [pytest.mark.systems]
CATALOG = load(ROOTS)
ALL = [Kind(*names) for names in KINDS]


WITH_REFERENCES = [kind for kind in ALL if kind.example.needs or "x-reference" in json.dumps(kind.schema)]


def system(kind, connection):
    declared = {"type": kind.type, "owners": ["messaging"], "connection": connection}
    return {f"systems/{SYSTEM}.yml": json.dumps(declared)}


def path(kind, name, team="payments"):
    return f"resources/{team}/{SYSTEM}/{kind.name}/{name}.yml"


def document(kind, spec):
    secrets = {name: f"file:payments/{name}" for name in kind.file.get("secrets", {})}
    return json.dumps({"kind": kind.name, "spec": spec} | ({"secrets": secrets} if secrets else {}))


def planned(base: Snapshot, files, requester="paula"):
    head = base.with_changes(changed(files))
    plan = make_plan(base, head, files, CATALOG)
    return plan, run_checks(plan, base=base, head=head, catalog=CATALOG, requester=requester)


def by_id(violations):
    return {violation.id: violation for violation in violations}


@pytest.fixture
def base():
    def made(kind, files=None):
        return tree({**system(kind, {}), **(files or {})}, CATALOG)

    return made


@proves("two documents of one thing are refused", ALL)
def test_two_documents_of_one_thing_on_the_system_are_refused(base, kind):
    text = document(kind, kind.resource()["spec"])
    _, found = planned(base(kind), {path(kind, "one"): text, path(kind, "two", "shop"): text})
    assert "is described by" in by_id(found)["identity.taken"].message
    assert by_id(found)["identity.taken"].fix


@proves("the plan refuses immutable fields with their reason", [kind for kind in WITH_FROZEN if not kind.server])
def test_a_field_that_cannot_be_changed_is_refused_with_its_reason(base, kind):
    resource = kind.resource()
    before = base(kind, {path(kind, "one"): document(kind, resource["spec"])})
    for field in kind.frozen:
        changed_spec = kind.frozen_changed(resource, field)["spec"]
        _, found = planned(before, {path(kind, "one"): document(kind, changed_spec)})
        assert by_id(found)[f"immutable.{field}"].fix == kind.file["immutable"][field]


@proves("the plan shows a move as a transfer", ALL)
def test_a_document_that_moves_to_another_team_is_one_transfer_and_no_deletion(base, kind):
    text = document(kind, kind.resource()["spec"])
    before = base(kind, {path(kind, "one"): text})
    plan, _ = planned(before, {path(kind, "one"): None, path(kind, "one", "shop"): text})
    assert [(item.operation, item.old_path) for item in plan.items] == [(Operation.TRANSFER, path(kind, "one"))]


@pytest.mark.threat("values.many", "values.long", "values.magic")
@proves("hostile values", ALL)
def test_a_list_or_text_that_is_too_long_and_a_field_that_ansible_would_obey_are_refused(kind):
    spec = kind.resource()["spec"]
    worse = {"ansible_connection": {"ansible_connection": "ssh"}}
    for field, value in kind.example.spec.items():
        if isinstance(value, list):
            worse[field] = {field: [*value] * 10_000}
        elif isinstance(value, str):
            worse[field] = {field: "x" * 1_000_000}
    for field, change in worse.items():
        problems = CATALOG.kinds[kind.name].problems({**spec, **change}, file="one.yml", name="one")
        assert any(field in str(problem) for problem in problems), field


@proves("the plan says what a deletion costs", ALL)
def test_a_deletion_is_told_as_a_risk_of_its_own_kind(base, kind):
    before = base(kind, {path(kind, "one"): document(kind, kind.resource()["spec"])})
    plan, _ = planned(before, {path(kind, "one"): None})
    told = {risk["message"] for risk in kind.file["risky"] if risk["on"] == "delete"}
    assert told
    assert told <= {*plan.items[0].risks}


@proves("what it refers to must be there", WITH_REFERENCES)
def test_what_a_document_refers_to_has_to_be_there(base, kind):
    loaded, named = CATALOG.kinds[kind.name], []
    for spec in (kind.resource(shape=shape)["spec"] for shape in kind.shapes):
        _, found = planned(base(kind), {path(kind, "one"): document(kind, spec)})
        missing = {violation.field: violation for violation in found if violation.id == "reference.missing"}
        assert {*missing} == {reference.field for reference in loaded.references(spec)}
        assert all(violation.fix for violation in missing.values())
        named += missing
    for place, _ in loaded.reference_places:
        assert any(matches(("spec", *place), tuple(field.split("."))) for field in named), place


@proves("what it refers to must be there", WITH_REFERENCES)
def test_what_an_example_names_of_what_it_needs_is_a_reference(kind):
    """The test bed says what the system must have first, and knows no `x-reference`."""
    specs = [*kind.shapes, *(nested(place, value) for place, value in kind.updates.items())]
    referred = {(to.kind, to.value) for spec in specs for to in CATALOG.kinds[kind.name].references(spec)}
    needed = [(name, spec) for name, specs in kind.example.needs.items() for spec in specs]
    things = {(name, spec[CATALOG.kinds[name].identity[0]]) for name, spec in needed}
    assert {(name, thing) for name, thing in things if json.dumps(thing) in json.dumps(specs)} <= referred
    assert {name for name, _ in things} <= {name for name, _ in referred}
