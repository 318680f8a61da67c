"""A snapshot is the parsed tree; the next one costs the change and equals one built from nothing."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from changes.documents import Address
from changes.snapshot import Snapshot, parse_file
from tests.changes.trees import KINDS, QUEUE, SITE, SYSTEM, TREE, blob, changed, queue, tree

ORDERS = queue("orders")
BILLING = "resources/payments/queue-test/Subscription/billing.yml"


def test_a_tree_is_read_into_documents_and_declarations():
    snapshot = tree()
    assert snapshot.problems == {}
    assert set(snapshot.documents) == {ORDERS, BILLING}
    assert set(snapshot.systems) == {"queue-test", "queue-prod", "people"}
    assert set(snapshot.teams) == {"platform", "messaging", "payments", "shop"}
    assert snapshot.site.title == "Test"
    assert snapshot.by_identity["queue-test", "Queue", '{"name":"orders"}'] == (ORDERS,)
    assert snapshot.sizes == {"queue-test": 2}


def test_people_have_the_rights_of_their_teams():
    snapshot = tree()
    assert snapshot.teams_of("rita") == {"payments"}
    assert snapshot.teams_of("nobody") == frozenset()
    assert snapshot.is_platform("paula")
    assert not snapshot.is_platform("rita")
    assert snapshot.owners_of("queue-test") == {"olaf", "ove"}
    assert snapshot.owners_of("nowhere") == frozenset()
    assert snapshot.members_of(["shop", "ghosts"]) == {"sam", "sue"}


def test_without_a_site_nobody_is_the_platform_team():
    assert not tree({"mergeyard.yml": None}).is_platform("paula")


def test_references_resolve_to_paths_both_ways():
    snapshot = tree()
    billing = snapshot.documents[BILLING]
    (reference,) = snapshot.references(billing)
    assert snapshot.resolve(billing, reference) == ORDERS
    assert snapshot.needs(billing) == (ORDERS,)
    assert snapshot.referrers_of(ORDERS) == {BILLING}
    assert snapshot.referrers_of(BILLING) == frozenset()
    assert snapshot.referrers_of("resources/a/b/C/d.yml") == frozenset()
    gone = tree({ORDERS: None})
    assert gone.resolve(gone.documents[BILLING], reference) is None
    assert gone.needs(gone.documents[BILLING]) == ()


def test_depends_on_is_a_need_even_of_another_system():
    snapshot = tree(
        {queue("late", system="queue-prod"): QUEUE + f"depends_on: [{Address.parse(ORDERS).short}, a/b/C/d]\n"}
    )
    late = snapshot.documents[queue("late", system="queue-prod")]
    assert snapshot.needs(late) == (ORDERS,)
    assert snapshot.referrers_of(ORDERS) == {BILLING, late.address.path}


def test_a_reference_finds_what_comes_later():
    first = Snapshot.empty(KINDS).with_changes(changed({BILLING: TREE[BILLING]}))
    second = first.with_changes(changed({ORDERS: QUEUE}))
    assert second.needs(second.documents[BILLING]) == (ORDERS,)
    assert second.referrers_of(ORDERS) == {BILLING}


def test_one_identity_held_twice_is_seen_over_teams():
    snapshot = tree({queue("orders", team="shop"): QUEUE})
    assert snapshot.holders(snapshot.documents[ORDERS]) == (ORDERS, queue("orders", team="shop"))


def test_a_file_that_cannot_be_read_is_kept_as_its_problems():
    snapshot = tree({ORDERS: "kind: &x Queue\n"})
    assert ORDERS in snapshot.files
    assert ORDERS not in snapshot.documents
    assert [problem.id for problem in snapshot.problems[ORDERS]] == ["yaml.alias"]
    mended = snapshot.with_changes(changed({ORDERS: QUEUE}))
    assert mended.problems == {}


def test_a_document_that_breaks_its_schema_is_there_with_its_problems():
    snapshot = tree({ORDERS: "kind: Queue\nspec:\n  size: 0\n"})
    assert snapshot.documents[ORDERS].spec == {"size": 0}
    (problem,) = snapshot.problems[ORDERS]
    assert (problem.file, problem.line, problem.field) == (ORDERS, 3, "spec.size")


def test_a_document_of_an_unknown_kind_has_no_identity():
    path = "resources/payments/queue-test/Stranger/x.yml"
    snapshot = tree({path: "kind: Stranger\nspec: {a: 1}\n"})
    document = snapshot.documents[path]
    assert snapshot.identity_key(document) is None
    assert snapshot.holders(document) == ()
    assert snapshot.referrers_of(path) == frozenset()
    assert snapshot.with_changes({path: None}) == tree()


@pytest.mark.threat("values.options")
def test_a_systems_connection_is_checked_by_its_type():
    snapshot = tree({"systems/queue-test.yml": SYSTEM.replace("queue.example.org", '"-oProxyCommand=x"')})
    assert [problem.field for problem in snapshot.problems["systems/queue-test.yml"]] == ["connection.host"]


def test_a_system_of_an_unknown_type_is_left_to_the_checks():
    assert tree({"systems/x.yml": "type: nowhere\nowners: [platform]\n"}).problems == {}


@pytest.mark.parametrize(
    ("path", "id"),
    [
        ("readme.txt", "path.unknown"),
        ("resource/a/b/C/d.yml", "path.unknown"),
        ("teams/deep/er.yml", "path.unknown"),
        ("teams/a.yaml", "path.unknown"),
        (".gitattributes", "path.unknown"),
        ("releases/shop.yml", "path.releases"),
        ("resources/a.yml", "path.shape"),
    ],
)
def test_a_path_that_means_nothing_is_told(path, id):
    assert [problem.id for problem in tree({path: "a: 1\n"}).problems[path]] == [id]


def test_a_readme_may_lie_in_the_repository():
    assert tree({"README.md": "# Hello *world* & all"}).problems == {}


def test_policies_of_all_files_hold():
    policy = "- id: {}\n  approvals: {{count: 2}}\n"
    snapshot = tree({"policies/b.yml": policy.format("b"), "policies/a.yml": policy.format("a")})
    assert [found.id for found in snapshot.policies] == ["a", "b"]
    assert [found.id for found in snapshot.with_changes({"policies/a.yml": None}).policies] == ["b"]


def test_removing_everything_leaves_nothing():
    assert tree().with_changes(dict.fromkeys(TREE)) == Snapshot.empty(KINDS)


def test_what_was_parsed_before_is_not_parsed_again():
    id, _ = blob(QUEUE)
    known = {(ORDERS, id): parse_file(ORDERS, QUEUE.encode(), KINDS)}
    snapshot = Snapshot.empty(KINDS).with_changes({ORDERS: (id, b"never looked at")}, KINDS, parsed=known)
    assert snapshot.documents[ORDERS].spec == {"size": 5}


def test_another_catalogue_can_be_given():
    other = dataclasses.replace(KINDS, kinds={})
    assert tree().with_changes({}, other).catalog is other


PATHS = [
    ORDERS,
    BILLING,
    queue("refunds"),
    queue("orders", team="shop"),
    "systems/queue-test.yml",
    "teams/payments.yml",
    "policies/p.yml",
    "mergeyard.yml",
    "odd.txt",
]
TEXTS = [
    QUEUE,
    QUEUE + "depends_on: [payments/queue-test/Queue/orders]\n",
    "kind: Queue\nspec: {size: 1, name: orders}\n",
    "kind: Subscription\nspec: {queue: refunds}\n",
    TREE[BILLING],
    TREE["teams/payments.yml"],
    "- id: a\n  approvals: {count: 2}\n",
    SYSTEM,
    SITE,
    "broken: [",
]
CHANGES = st.dictionaries(st.sampled_from(PATHS), st.none() | st.sampled_from(TEXTS), max_size=5)


@settings(max_examples=150, deadline=None)
@given(st.lists(CHANGES, max_size=4))
def test_step_by_step_equals_all_at_once(steps):
    snapshot, files = tree(), dict(TREE)
    for step in steps:
        snapshot = snapshot.with_changes(changed(step))
        files.update(step)
    whole = Snapshot.empty(KINDS).with_changes(
        changed({path: text for path, text in files.items() if text is not None})
    )
    assert snapshot == whole
