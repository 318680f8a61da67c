# ruff: noqa: E501 - a case of a table is one line
"""The plan tells what changes, field by field, and names each changed path by a digest."""

import hashlib
import json

import pytest
from hypothesis import given, settings

from changes.comparing import FieldChange, compare, same
from changes.plan import Operation, make_plan
from tests.changes.test_snapshot import CHANGES
from tests.changes.trees import KINDS, QUEUE, SYSTEM, TREE, blob, changed, plan_of, queue, tree

ORDERS, REFUNDS = queue("orders"), queue("refunds")


def one(files, base=None):
    (item,) = plan_of(files, base).items
    return item


def spec(**fields) -> str:
    return json.dumps({"kind": "Queue", "spec": {"size": 5, **fields}})


def changes(item):
    return [(change.field, change.before, change.after) for change in item.fields]


def test_a_new_document_is_a_create_with_all_its_fields():
    item = one({REFUNDS: QUEUE})
    assert (item.operation, item.path, item.identity, item.old_path) == (
        Operation.CREATE,
        REFUNDS,
        '{"name":"refunds"}',
        None,
    )
    assert item.base is None
    assert item.base_blob is None
    assert changes(item)[:3] == [
        ("spec.name", None, "refunds"),
        ("spec.size", None, 5),
        ("spec.retention", None, 24),
    ]
    assert all(change.added and not change.removed for change in item.fields)
    assert item.risks == ("Costs money.",)


def test_an_update_tells_only_the_fields_that_differ():
    item = one({ORDERS: spec(size=6, retention=12, durable=False)})
    assert item.operation is Operation.UPDATE
    assert changes(item) == [
        ("spec.size", 5, 6),
        ("spec.retention", 24, 12),
        ("spec.durable", True, False),
    ]
    assert [change.risk for change in item.fields] == [
        "It takes more memory.",
        "Old messages are lost.",
        "A restart loses all messages.",
    ]
    assert sorted(item.risks) == ["A restart loses all messages.", "It takes more memory.", "Old messages are lost."]


def test_a_change_in_the_safe_direction_is_no_risk():
    assert one({ORDERS: spec(size=4, retention=48)}).risks == ()


def test_a_risk_of_a_value_holds_for_a_new_document_too():
    assert "A restart loses all messages." in one({REFUNDS: spec(durable=False)}).risks


def test_a_risk_may_lie_within_a_list():
    base = tree({ORDERS: spec(routes=[{"name": "a"}, {"name": "b"}])})
    item = one({ORDERS: spec(routes=[{"name": "a"}, {"name": "b", "weight": 3}])}, base)
    assert changes(item) == [("spec.routes.b.weight", 1, 3)]
    assert item.risks == ("Messages go elsewhere.",)


def test_what_another_team_has_too_is_a_risk_at_its_field():
    base = tree({queue("theirs", team="shop"): spec(title="*.b.example"), ORDERS: spec(title="own.example")})
    item = one({queue("x"): spec(title="a.b.example")}, base)
    said = "*.b.example is also in shop/queue-test/Queue/theirs. Agree with them."
    assert item.risks == ("Costs money.", said)
    assert [change.field for change in item.fields if change.risk == said] == ["spec.title"]
    assert one({queue("x"): spec(title="b.example")}, base).risks == ("Costs money.",)
    assert one({queue("x"): spec(title="own.example")}, base).risks == ("Costs money.",)  # of the same team
    assert one({queue("x", system="queue-prod"): spec(title="*.b.example")}, base).risks == ("Costs money.",)
    after = base.with_changes(changed({queue("x"): spec(title="a.b.example")}))
    assert one({queue("x"): spec(title="a.b.example", size=4)}, after).risks == ()
    [x, y] = plan_of({queue("x"): spec(title="new"), queue("y", team="shop"): spec(title="new")}, base).items
    assert [risk for risk in (*x.risks, *y.risks) if "new is also in" in risk] == [x.risks[1], y.risks[1]]


def test_a_delete_tells_what_goes_and_is_always_a_risk():
    item = one({ORDERS: None})
    assert item.operation is Operation.DELETE
    assert ("spec.size", 5, None) in changes(item)
    assert all(change.removed for change in item.fields)
    assert item.risks == ("All messages are lost.",)
    billing = "resources/payments/queue-test/Subscription/billing.yml"
    assert one({billing: None}).risks == ("It is removed from the system, with all it holds.",)


def test_a_default_written_out_is_no_change_of_a_field():
    item = one({ORDERS: "# the same\n" + spec(retention=24, mode="keep")})
    assert item.operation is Operation.UPDATE
    assert item.fields == ()
    assert item.base_blob != item.head_blob


def test_the_same_bytes_are_no_item():
    assert plan_of({ORDERS: QUEUE}).items == ()


def test_what_leaves_one_path_and_appears_at_another_is_one_transfer():
    moved = queue("orders", team="shop")
    item = one({ORDERS: None, moved: QUEUE.replace("5", "6")})
    assert (item.operation, item.path, item.old_path) == (Operation.TRANSFER, moved, ORDERS)
    assert item.old_address.team == "payments"
    assert (item.base.address.team, item.head.address.team) == ("payments", "shop")
    assert changes(item) == [("spec.size", 5, 6)]


def test_a_transfer_follows_the_remote_identity_and_not_the_name():
    renamed = queue("incoming")
    item = one({ORDERS: None, renamed: spec(name="orders")})
    assert (item.operation, item.old_path) == (Operation.TRANSFER, ORDERS)
    deleted, created = plan_of({ORDERS: None, renamed: QUEUE}).items[::-1]
    assert {deleted.operation, created.operation} == {Operation.DELETE, Operation.CREATE}


def test_the_same_name_on_another_system_is_no_transfer():
    plan = plan_of({ORDERS: None, queue("orders", system="queue-prod"): QUEUE})
    assert {item.operation for item in plan.items} == {Operation.DELETE, Operation.CREATE}


def test_two_that_swap_owners_are_two_transfers():
    base = tree({REFUNDS: QUEUE})
    plan = plan_of(
        {ORDERS: None, REFUNDS: None, queue("orders", team="shop"): QUEUE, queue("refunds", team="shop"): QUEUE}, base
    )
    assert [(item.operation, item.old_path) for item in plan.items] == [
        (Operation.TRANSFER, ORDERS),
        (Operation.TRANSFER, REFUNDS),
    ]


def test_a_thing_that_another_document_holds_is_never_deleted():
    twin = queue("orders", team="shop")
    item = one({ORDERS: None}, tree({twin: QUEUE}))
    assert (item.operation, item.path, item.old_path) == (Operation.TRANSFER, twin, ORDERS)


def test_paths_outside_resources_are_items_without_address():
    plan = plan_of({"systems/queue-test.yml": SYSTEM + "zone: far\n", "teams/new.yml": "title: New\n", REFUNDS: QUEUE})
    assert [(item.path, item.address) for item in plan.others] == [
        ("systems/queue-test.yml", None),
        ("teams/new.yml", None),
    ]
    assert [item.path for item in plan.resources] == [REFUNDS]
    assert list(plan.by_system()) == ["queue-test"]
    assert plan.counts() == {Operation.CREATE: 2, Operation.UPDATE: 1, Operation.TRANSFER: 0, Operation.DELETE: 0}
    assert plan_of({"teams/shop.yml": None}).items[0].risks == ()


def test_a_broken_document_is_an_item_by_its_blob():
    item = one({ORDERS: "kind: ["})
    assert (item.operation, item.head, item.identity) == (Operation.UPDATE, None, None)
    assert item.address.name == "orders"
    odd = one({"resources/odd.yml": "a: 1\n"})
    assert odd.address is None


def test_the_digest_is_over_identity_path_operation_and_the_whole_document():
    item = one({REFUNDS: QUEUE})
    document = {
        "kind": "Queue",
        "spec": {
            "name": "refunds",
            "size": 5,
            "retention": 24,
            "mode": "keep",
            "limits": {"rate": 10},
            "durable": True,
        },
    }
    body = {
        "identity": ["queue-test", "Queue", '{"name":"refunds"}'],
        "path": REFUNDS,
        "old_path": None,
        "operation": "create",
        "document": document,
    }
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    assert item.digest == hashlib.sha256(text.encode()).hexdigest()


def test_the_digest_of_another_file_is_over_its_blob():
    text = SYSTEM + "zone: far\n"
    item = one({"systems/queue-test.yml": text})
    body = {"blob": blob(text)[0], "operation": "update", "path": "systems/queue-test.yml"}
    assert item.digest == hashlib.sha256(json.dumps(body, separators=(",", ":")).encode()).hexdigest()


@pytest.mark.parametrize(
    ("first", "second", "equal"),
    [
        (spec(retention=12, mode="keep"), spec(mode="keep", retention=12), True),
        (spec(retention=24), spec(), True),
        ("# text only\n" + spec(), spec(), True),
        (spec(retention=12), spec(retention=13), False),
        (QUEUE + "depends_on: [a/b/C/d, a/b/C/e]\n", QUEUE + "depends_on: [a/b/C/e, a/b/C/d]\n", True),
        (QUEUE + "expires: 2027-01-31\n", QUEUE, False),
        (QUEUE + "secrets: {a: 'file:x'}\n", QUEUE + "secrets: {a: {ref: 'file:x', generate: true}}\n", False),
    ],
)
def test_a_digest_is_bound_to_what_it_means_and_not_to_its_text(first, second, equal):
    assert (one({REFUNDS: first}).digest == one({REFUNDS: second}).digest) is equal


def test_a_digest_outlives_a_rebase_and_not_another_operation():
    rebased = tree({"teams/shop.yml": "title: Other\nmembers: [sam]\n"})
    assert one({ORDERS: spec(size=9)}).digest == one({ORDERS: spec(size=9)}, rebased).digest
    assert one({REFUNDS: QUEUE}).digest != one({REFUNDS: QUEUE}, tree({REFUNDS: spec(size=9)})).digest


@pytest.mark.threat("approval.rename")
def test_an_approval_of_a_transfer_is_for_the_two_paths_it_showed():
    moved = queue("orders", team="shop")
    base = tree({ORDERS: None, queue("orders", team="messaging"): QUEUE})
    assert (
        one({ORDERS: None, moved: QUEUE}).digest
        != one({queue("orders", team="messaging"): None, moved: QUEUE}, base).digest
    )


def test_a_document_of_an_unknown_kind_is_compared_as_written():
    path = "resources/payments/queue-test/Stranger/x.yml"
    item = one({path: "kind: Stranger\nspec: {a: 1}\n"})
    assert changes(item) == [("spec.a", None, 1)]


@settings(max_examples=60, deadline=None)
@given(CHANGES)
def test_a_plan_of_a_tree_against_itself_is_empty(step):
    files = {path: text for path, text in {**TREE, **step}.items() if text is not None}
    snapshot = tree().with_changes(changed(step))
    assert make_plan(snapshot, snapshot, files, KINDS).items == ()


@settings(max_examples=100, deadline=None)
@given(CHANGES)
def test_every_changed_path_is_in_exactly_one_item(step):
    base = tree()
    head = base.with_changes(changed(step))
    plan = make_plan(base, head, step, KINDS)
    differing = {path for path in step if base.files.get(path) != head.files.get(path)}
    covered = [item.path for item in plan.items] + [item.old_path for item in plan.items if item.old_path]
    assert len(covered) == len(set(covered))
    assert differing <= set(covered)
    assert len({item.digest for item in plan.items}) == len(plan.items)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({"a": 1}, {"a": True}, [("a", 1, True)]),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, [("a.b", 1, 2)]),
        ({"a": {"b": 1}}, {"a": 2}, [("a", {"b": 1}, 2)]),
        ({"a": [1, 2]}, {"a": [2, 1]}, [("a", [1, 2], [2, 1])]),
        ({"a": {}}, {"b": {}}, [("b", None, {}), ("a", {}, None)]),
        ({"l": [{"x": 1}, {"x": 2}]}, {"l": [{"x": 1}, {"x": 3}]}, [("l.1.x", 2, 3)]),
        ({"l": [{"x": 1}]}, {"l": [{"x": 1}, {"x": 3}]}, [("l.1.x", None, 3)]),
        (
            {"l": [{"name": "a", "x": 1}, {"name": "b", "x": 2}]},
            {"l": [{"name": "b", "x": 3}, {"name": "c"}]},
            [("l.b.x", 2, 3), ("l.c.name", None, "c"), ("l.a.name", "a", None), ("l.a.x", 1, None)],
        ),
        ({"l": [{"name": "a"}, {"name": "b"}]}, {"l": [{"name": "b"}, {"name": "a"}]}, [("l", ["a", "b"], ["b", "a"])]),
        ({"l": [{"name": "a", "x": 1}, {"name": "a", "x": 2}]}, {"l": [{"name": "a", "x": 1}]}, [("l.1.name", "a", None), ("l.1.x", 2, None)]),
        ({"l": [{"host": "a.b"}]}, {"l": [{"host": "a.c"}]}, [("l.0.host", "a.b", "a.c")]),
        ({"l": [{"a": 1}]}, {"l": []}, [("l", [{"a": 1}], [])]),
        ({"l": [{"a": 1}]}, {"l": ["a"]}, [("l", [{"a": 1}], ["a"])]),
    ],
)  # fmt: skip
def test_values_are_compared_as_a_reader_would_tell(before, after, told):
    found = compare(before, after)
    assert [(change.field, change.before, change.after) for change in found] == told
    assert compare(before, before) == compare(after, after) == ()


def test_added_and_removed_are_told_apart_from_null():
    assert compare({"a": None}, {"b": None}) == (
        FieldChange("b", None, None, added=True),
        FieldChange("a", None, None, removed=True),
    )


def test_true_is_not_one():
    assert not same(True, 1)
    assert same({"a": [1]}, {"a": [1]})


def test_taking_over_what_others_made_is_a_risk_that_stands_in_the_plan():
    text = "kind: Queue\nadopt: true\nspec:\n  size: 5\n"
    item = one({ORDERS: text})
    assert "takes over what others may have made" in " ".join(item.risks)
    assert "with the default for all that is not" in " ".join(item.risks)
    assert ("adopt", None, True) in changes(item)
