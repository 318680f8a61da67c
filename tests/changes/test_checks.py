# ruff: noqa: E501 - a case of a table is one line
"""Each check names what is wrong with a change and what to do; all of them always run."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from changes.approvals import People, requirements
from changes.checks import CHECKS, nobody_left, run_checks
from changes.plan import Plan, make_plan
from changes.secret_refs import is_under
from tests.changes.test_snapshot import CHANGES
from tests.changes.trees import EVERYBODY, KINDS, QUEUE, SITE, SYSTEM, changed, plan_of, queue, tree, violations

ORDERS, REFUNDS = queue("orders"), queue("refunds")
BILLING = "resources/payments/queue-test/Subscription/billing.yml"
ACCOUNT = "resources/payments/people/Account/{}.yml"
PEOPLE = "systems/people.yml"
TEST, PROD = "systems/queue-test.yml", "systems/queue-prod.yml"


def spec(**fields) -> str:
    return json.dumps({"kind": "Queue", "spec": {"size": 5, **fields}}, indent=1)


def subscription(**fields) -> str:
    return json.dumps({"kind": "Subscription", "spec": fields})


def account(**secrets) -> str:
    return json.dumps({"kind": "Account", "spec": {}, "secrets": secrets})


def ids(files, base=None, requester="rita"):
    return [violation.id for violation in violations(files, base, requester)]


def only(files, base=None, requester="rita"):
    (violation,) = violations(files, base, requester)
    assert violation.message.endswith((".", "?"))
    assert violation.fix.endswith(".")
    return violation


def test_a_good_change_has_nothing_against_it():
    assert violations({REFUNDS: QUEUE, ORDERS: spec(size=6)}) == ()
    assert violations({}) == ()


@pytest.mark.parametrize(
    ("text", "id", "line", "field"),
    [
        ("kind: &x Queue\n", "file.yaml.alias", 1, "kind"),
        ("kind: Queue\nspec:\n  size: 0\n", "file.schema.minimum", 3, "spec.size"),
        ("kind: Other\nspec: {}\n", "file.document.kind", 1, "kind"),
        ("kind: Queue # \u202e\nspec: {size: 1}\n", "suspicious.characters", 1, ""),
    ],
)
def test_a_file_with_problems_is_told_with_its_line(text, id, line, field):
    found = only({REFUNDS: text})
    assert (found.id, found.path, found.line, found.field) == (id, REFUNDS, line, field)


def test_a_file_in_a_wrong_place_is_told():
    assert only({"resource/a.yml": "a: 1\n"}).id == "file.path.unknown"
    assert only({"releases/shop.yml": "a: 1\n"}).id == "file.path.releases"
    assert "file.path.shape" in ids({"resources/payments/x.yml": "a: 1\n"})


def test_what_was_broken_before_is_not_this_changes_fault():
    broken = tree({queue("broken"): "kind: [", queue("lost", team="shop"): "kind: Subscription\nspec: {queue: gone}\n"})
    assert violations({REFUNDS: QUEUE}, broken) == ()


def test_a_stranger_may_not_touch_another_teams_document():
    found = only({REFUNDS: QUEUE}, requester="sam")
    assert (found.id, found.path) == ("ownership.team", REFUNDS)
    assert "member of payments" in found.fix
    assert only({ORDERS: spec(size=6)}, requester="nobody").id == "ownership.team"


@pytest.mark.parametrize("requester", ["rita", "olaf", "paula"])
def test_members_owners_and_the_platform_team_may(requester):
    assert violations({REFUNDS: QUEUE}, requester=requester) == ()


@pytest.mark.threat("approval.rename")
def test_either_side_may_ask_for_a_transfer_and_nobody_else():
    base = tree({BILLING: None})
    files = {ORDERS: None, queue("orders", team="shop"): QUEUE}
    assert violations(files, base, "rita") == violations(files, base, "sam") == ()
    assert only(files, tree({BILLING: None, "teams/third.yml": "members: [tim]\n"}), "tim").id == "ownership.team"


@pytest.mark.threat("approval.policy")
def test_membership_written_in_the_same_change_gives_no_right():
    files = {"teams/payments.yml": "members: [rita, sam]\n", ORDERS: spec(size=6)}
    assert "ownership.team" in ids(files, requester="sam")


def test_team_system_and_kind_must_exist():
    found = only({"resources/paymnets/queue-test/Queue/x.yml": QUEUE}, requester="paula")
    assert (found.id, found.message) == ("team.unknown", "There is no team 'paymnets'; did you mean 'payments'?")
    assert [v.id for v in violations({queue("x", system="queue-tset"): QUEUE})] == ["system.unknown"]
    stranger = only({"resources/payments/queue-test/Queuee/x.yml": "kind: Queuee\nspec: {}\n"})
    assert (stranger.id, stranger.field, stranger.line) == ("kind.unknown", "kind", 1)


def test_a_new_team_and_system_may_come_with_their_first_document():
    files = {
        "teams/new.yml": "title: New\nmembers: [nina]\n",
        "systems/queue-new.yml": SYSTEM,
        queue("first", team="new", system="queue-new"): QUEUE,
    }
    assert violations(files, requester="paula") == ()


def test_a_system_offers_the_kinds_of_its_type_only():
    found = only({"resources/payments/people/Queue/x.yml": QUEUE})
    assert found.id == "kind.not-offered"
    assert found.fix == "Choose a system of type queueing, or one of Account."
    untyped = tree({"systems/odd.yml": "type: gone\nowners: [platform]\n"})
    assert only({queue("x", system="odd"): QUEUE}, untyped).fix == "Choose a system of type queueing."


def test_a_remote_identity_is_taken_over_all_teams():
    found = only({queue("orders", team="shop"): QUEUE}, requester="sam")
    assert (found.id, found.field, found.line) == ("identity.taken", "spec.name", 2)
    assert "payments/queue-test/Queue/orders" in found.message
    assert ids({queue("x"): spec(name="refunds"), REFUNDS: QUEUE}) == ["identity.taken", "identity.taken"]


def test_what_is_exclusive_stands_in_one_document_of_a_system_over_all_teams():
    base = tree({ORDERS: spec(tags=["red", "blue"])})
    found = only({queue("x", team="shop"): spec(tags=["green", "blue"])}, base, "sam")
    assert (found.id, found.field) == ("exclusive.taken", "spec.tags")
    assert found.message.startswith("blue on queue-test is in payments/queue-test/Queue/orders already. A tag leads")
    assert ids({queue("x", system="queue-prod"): spec(tags=["blue"])}, base) == []
    assert ids({ORDERS: spec(tags=["red", "blue"], size=6)}, base) == []
    assert ids({ORDERS: spec(tags=["red"]), queue("x"): spec(tags=["blue"])}, base) == []
    assert ids({queue("x"): spec(tags=["new"]), queue("y"): spec(tags=["new"])}, base) == ["exclusive.taken"] * 2


def test_a_document_keeps_its_remote_identity():
    found = only({ORDERS: spec(name="other")}, tree({BILLING: None}))
    assert found.id == "identity.changed"
    assert "'orders' cannot become 'other'" in found.message


def test_a_reference_must_lead_somewhere():
    path = BILLING.replace("billing", "more")
    found = only({path: subscription(queue="order", reader="r", fallbacks=["orders"])})
    assert (found.id, found.field) == ("reference.missing", "spec.queue")
    assert "Queue 'order'" in found.message
    assert violations({path: subscription(queue="refunds", reader="r"), REFUNDS: QUEUE}) == ()
    late = only({REFUNDS: QUEUE + "depends_on:\n  - payments/queue-test/Queue/nope\n"})
    assert (late.id, late.field, late.line) == ("reference.missing", "depends_on.0", 5)


def test_a_reference_reaches_the_same_system_only():
    path = BILLING.replace("queue-test", "queue-prod")
    assert ids({path: subscription(queue="orders", reader="r")}) == ["reference.missing"]


def test_what_is_still_needed_may_not_be_deleted():
    found = only({ORDERS: None})
    assert (found.id, found.path) == ("reference.in-use", ORDERS)
    assert "payments/queue-test/Subscription/billing" in found.message
    assert violations({ORDERS: None, BILLING: None}) == ()


def test_a_document_that_others_depend_on_may_not_leave_its_path():
    user = queue("late", system="queue-prod")
    base = tree({BILLING: None, user: QUEUE + "depends_on: [payments/queue-test/Queue/orders]\n"})
    moved = {ORDERS: None, queue("orders", team="shop"): QUEUE}
    found = only(moved, base)
    assert found.id == "reference.in-use"
    assert "payments/queue-test/Queue/orders is still needed by payments/queue-prod/Queue/late" in found.message
    follow = QUEUE + "depends_on: [shop/queue-test/Queue/orders]\n"
    assert violations({**moved, user: follow}, base) == ()


def test_a_transfer_leaves_references_by_name_whole():
    assert violations({ORDERS: None, queue("orders", team="shop"): QUEUE}) == ()


def test_a_thing_held_twice_may_lose_one_of_its_documents():
    base = tree({queue("orders", team="shop"): QUEUE})
    assert "reference.in-use" not in ids({ORDERS: None}, base)


def test_a_circle_of_needs_is_told_once():
    files = {
        REFUNDS: QUEUE + "depends_on: [payments/queue-test/Queue/x]\n",
        queue("x"): QUEUE + "depends_on: [payments/queue-test/Subscription/billing]\n",
        BILLING: subscription(queue="orders", fallbacks=["refunds"]),
    }
    found = only(files)
    assert found.id == "reference.cycle"
    assert found.message.count("->") == 3
    assert only({REFUNDS: QUEUE + "depends_on: [payments/queue-test/Queue/refunds]\n"}).id == "reference.cycle"


def test_a_circle_that_was_there_is_not_this_changes_fault():
    base = tree(
        {
            queue("a"): QUEUE + "depends_on: [payments/queue-test/Queue/b]\n",
            queue("b"): QUEUE + "depends_on: [payments/queue-test/Queue/a]\n",
        }
    )
    assert violations({REFUNDS: QUEUE + "depends_on: [payments/queue-test/Queue/a]\n"}, base) == ()


def test_needs_that_branch_and_join_are_no_circle():
    files = {
        queue("a"): QUEUE + "depends_on: [payments/queue-test/Queue/b, payments/queue-test/Queue/c]\n",
        queue("b"): QUEUE + "depends_on: [payments/queue-test/Queue/d]\n",
        queue("c"): QUEUE + "depends_on: [payments/queue-test/Queue/d]\n",
        queue("d"): QUEUE,
    }
    assert violations(files) == ()


def test_an_immutable_field_says_what_to_do_instead():
    found = only({ORDERS: spec(mode="drop")})
    assert (found.id, found.field, found.fix) == ("immutable.mode", "spec.mode", "Make a new queue instead.")
    nested = tree({ORDERS: spec(limits={"burst": 1})})
    assert only({ORDERS: spec(limits={"burst": 2})}, nested).id == "immutable.limits.burst"
    assert violations({ORDERS: spec(limits={"rate": 2})}) == ()
    assert violations({REFUNDS: spec(mode="drop")}) == ()


def test_a_number_that_only_grows_says_why():
    before = tree({ORDERS: spec(shards=3)})
    found = only({ORDERS: spec(shards=2)}, before)
    assert (found.id, found.field, found.fix) == ("grows.smaller", "spec.shards", "A shard cannot be taken away.")
    assert found.message == "spec.shards cannot go from 3 down to 2."
    for shards in (3, 4):
        assert violations({ORDERS: spec(shards=shards)}, before) == ()


def test_what_a_system_lists_is_all_that_it_has():
    realms = {TEST: SYSTEM.replace("connection: {", "connection: {realms: [people, /srv/data], ")}
    listed = tree(realms)
    found = only({REFUNDS: spec(login="x", realm="peopel")}, listed)
    assert (found.id, found.field) == ("choice.not-there", "spec.realm")
    assert found.message == "peopel is not among the realms of queue-test."
    assert found.fix == "Choose one of: people, /srv/data."
    for realm in ("people", "/srv/data", "/srv/data/orders"):
        assert violations({REFUNDS: spec(login="x", realm=realm)}, listed) == ()
    assert only({REFUNDS: spec(login="x", realm="/srv/database")}, listed).id == "choice.not-there"
    assert violations({REFUNDS: spec(login="x", realm="any")}) == ()  # the system does not say


def many(count, **fields):
    return {queue(f"q{number}"): spec(**fields) for number in range(count)}


def limited(text):
    return {TEST: SYSTEM + f"limits: {text}\n"}


def test_more_deletes_than_the_limit_are_refused():
    base = tree({**many(100), **limited("{max_deletes: 2}")})
    found = only({queue(f"q{number}"): None for number in range(3)}, base)
    assert (found.id, found.path) == ("limits.deletes", queue("q0"))
    assert found.message == "3 resources of queue-test would be deleted, and its limit is 2."
    assert violations({queue(f"q{number}"): None for number in range(2)}, base) == ()


def test_a_share_over_the_limit_is_refused_but_not_of_a_small_system():
    base = tree({**many(18), **limited("{max_change_percent: 10, max_deletes: null}")})
    assert violations(many(2, size=6), base) == ()
    found = only(many(3, size=6), base)
    assert (found.id, found.message) == (
        "limits.percent",
        "3 of 20 resources of queue-test (15 %) would change; its limit is 10 %.",
    )
    small = tree({**many(7), **limited("{max_change_percent: 10}")})
    assert violations(many(7, size=6), small) == ()


def test_creating_is_never_held_back_and_null_is_no_limit():
    base = tree({**many(10), **limited("{max_change_percent: 0}")})
    assert violations({queue(f"n{number}"): QUEUE for number in range(50)}, base) == ()
    free = tree({**many(30), **limited("{max_change_percent: null, max_deletes: null}")})
    assert violations({queue(f"q{number}"): None for number in range(30)}, free) == ()


def test_the_limits_that_hold_are_those_of_main():
    base = tree({**many(20), **limited("{max_deletes: 1}")})
    files = {queue("q0"): None, queue("q1"): None, **limited("{max_deletes: 100}")}
    assert ids(files, base) == ["limits.deletes"]


QUOTA = "members: [rita]\nquotas: {Queue: 3}\n"
SHOP = "resources/shop/queue-test/Queue/given.yml"


@pytest.mark.threat("web.team-quota")
def test_a_team_gets_no_more_of_a_kind_than_its_quota():
    base = tree({"teams/payments.yml": QUOTA, queue("a"): QUEUE})
    assert violations({queue("b"): QUEUE}, base) == ()
    found = only({queue("b"): QUEUE, queue("c", system="queue-prod"): QUEUE}, base)
    assert (found.id, found.path) == ("limits.quota", queue("b"))
    assert found.message == "payments would have 4 documents of Queue, and its quota is 3."
    assert ids({queue("b"): QUEUE, queue("c"): QUEUE, queue("a"): None}, base) == []


def test_the_quota_that_holds_is_that_of_main_and_what_is_beyond_it_may_stay():
    base = tree({"teams/payments.yml": QUOTA.replace("3", "1"), queue("a"): QUEUE, queue("b"): QUEUE})
    assert violations({queue("a"): spec(size=6)}, base) == ()
    assert violations({queue("a"): None}, base) == ()
    assert violations({queue("a"): None, queue("c"): QUEUE}, base) == ()
    higher = {"teams/payments.yml": QUOTA.replace("3", "9"), queue("c"): QUEUE}
    assert "limits.quota" in ids(higher, base)


def test_a_document_that_comes_from_another_team_counts():
    base = tree({"teams/payments.yml": QUOTA.replace("3", "0"), SHOP: QUEUE})
    assert "limits.quota" in ids({SHOP: None, queue("given"): QUEUE}, base)


def test_a_quota_names_a_kind_of_the_catalogue():
    found = only({"teams/payments.yml": QUOTA.replace("Queue", "Queu")})
    assert (found.id, found.field) == ("kind.unknown", "quotas.Queu")


def test_limits_are_counted_per_system():
    base = tree({**limited("{max_deletes: 1}"), queue("a"): QUEUE, queue("a", system="queue-prod"): QUEUE})
    assert violations({queue("a"): None, queue("a", system="queue-prod"): None}, base) == ()


@pytest.mark.parametrize(
    ("secrets", "id", "field"),
    [
        ({"password": "file:payments/a", "pasword": "file:payments/b"}, "secrets.unknown", "secrets.pasword"),
        ({"pin": "file:payments/a"}, "secrets.missing", "secrets"),
        ({"password": "file:shop/a"}, "secrets.prefix", "secrets.password"),
        ({"password": "file:paymentsx/a"}, "secrets.prefix", "secrets.password"),
        ({"password": "env:MERGEYARD_SECRET_KAFKA"}, "secrets.prefix", "secrets.password"),
        ({"password": "file:payments/a", "pin": {"ref": "file:payments/b", "generate": True}}, "secrets.generate", "secrets.pin"),
    ],
)  # fmt: skip
def test_a_documents_secrets_are_known_allowed_and_there(secrets, id, field):
    found = only({ACCOUNT.format("a"): account(**secrets)})
    assert (found.id, found.field) == (id, field)


def test_good_secrets_pass():
    good = account(password={"ref": "file:payments/a", "generate": True}, pin="file:payments/deep/b")
    assert violations({ACCOUNT.format("a"): good}) == ()


def test_only_what_can_be_written_is_generated():
    base = tree({"teams/payments.yml": "members: [rita]\nsecret_prefixes: ['env:MERGEYARD_SECRET_PAY_']\n"})
    written = account(password={"ref": "env:MERGEYARD_SECRET_PAY_X", "generate": True})
    assert only({ACCOUNT.format("a"): written}, base).id == "secrets.generate"


@pytest.mark.threat("values.foreign-secret")
def test_a_prefix_counts_from_main_and_a_new_team_brings_its_own():
    wider = {"teams/shop.yml": "members: [sam]\nsecret_prefixes: ['file:shop/']\n"}
    path = ACCOUNT.format("a").replace("payments", "shop")
    found = only({**wider, path: account(password="file:shop/a")}, requester="sam")
    assert (found.id, found.fix) == ("secrets.prefix", "Ask the platform team for a prefix for your team.")
    new = {"teams/new.yml": "members: [nina]\nsecret_prefixes: ['file:new/']\n"}
    path = path.replace("shop", "new")
    assert violations({**new, path: account(password="file:new/a")}, requester="paula") == ()


def test_what_may_be_generated_goes_where_a_worker_can_write():
    vault = "members: [rita]\nsecret_prefixes: ['vault:pay/', 'ansible-vault:pay.yml', 'file:pay/']\n"
    base = tree({"teams/payments.yml": vault})

    def generated(ref):
        return violations({ACCOUNT.format("a"): account(password={"ref": ref, "generate": True})}, base)

    assert generated("vault:pay/a#password") == ()
    (found,) = generated("ansible-vault:pay.yml#a")
    assert (found.id, found.fix) == ("secrets.generate", "Use a file: or vault: reference, or remove 'generate: true'.")
    (found,) = violations({ACCOUNT.format("a"): account()}, base)
    assert found.fix == "Add a reference under secrets, like 'password: vault:pay/a#password'."


@pytest.mark.parametrize(
    ("ref", "prefix", "under"),
    [
        ("file:pay/a", "file:pay/", True),
        ("file:pay/a", "file:pay", True),
        ("file:pay", "file:pay", True),
        ("file:payments", "file:pay", False),
        ("env:MERGEYARD_SECRET_PAY_A", "env:MERGEYARD_SECRET_PAY", True),
        ("env:MERGEYARD_SECRET_PAYMENTS", "env:MERGEYARD_SECRET_PAY", False),
    ],
)
def test_a_prefix_ends_at_a_border(ref, prefix, under):
    assert is_under(ref, prefix) is under


def test_a_systems_secrets_come_from_allowed_places():
    def system(secrets):
        return SYSTEM.replace("secrets: {password: env:MERGEYARD_SECRET_QUEUE}", f"secrets: {secrets}")

    def found(secrets):
        violation = only({TEST: system(secrets)}, requester="paula")
        return violation.id, violation.field, violation.line

    assert found("{password: env:HOME}") == ("secrets.prefix", "secrets.password", 5)
    assert found("{password: 'vault:x#y'}") == ("secrets.prefix", "secrets.password", 5)
    assert found("{password: 'file:a', passwort: 'file:b'}") == ("secrets.unknown", "secrets.passwort", 5)
    assert found("{token: 'file:a'}") == ("secrets.missing", "secrets", 5)
    assert violations({TEST: system("{password: 'file:queue'}")}, requester="paula") == ()


@pytest.mark.threat("values.foreign-secret")
def test_a_systems_secrets_come_from_other_places_only_where_a_setting_names_them():
    base = tree()
    files = {TEST: SYSTEM.replace("env:MERGEYARD_SECRET_QUEUE", "vault:systems/queue#password")}
    head = base.with_changes(changed(files))
    plan = make_plan(base, head, files, KINDS)

    def found(*places):
        return run_checks(plan, base=base, head=head, catalog=KINDS, requester="paula", system_secrets=places)

    assert found("file:", "vault:systems/") == ()
    (refused,) = found("file:", "vault:others/")
    assert (refused.id, refused.fix) == ("secrets.prefix", "Use a reference under file: or vault:others/.")


def test_a_system_names_a_type_and_teams_that_exist():
    wrong = SYSTEM.replace("queueing", "queuing")
    found = only({"systems/new.yml": wrong}, requester="paula")
    assert (found.id, found.field, found.line) == ("type.unknown", "type", 1)
    assert "did you mean 'queueing'" in found.message
    lost = only({"systems/new.yml": SYSTEM.replace("[messaging]", "[messagign]")}, requester="paula")
    assert (lost.id, lost.field) == ("team.unknown", "owners")
    other = only({PEOPLE: SYSTEM}, requester="paula")
    assert (other.id, other.line) == ("immutable.type", 1)


def test_a_systems_connection_is_checked_with_its_line():
    found = violations({TEST: SYSTEM.replace("host:", "hots:")}, requester="paula")
    assert {(violation.id, violation.field, violation.line) for violation in found} == {
        ("file.schema.unknown-field", "connection.hots", 4),
        ("file.schema.required", "connection.host", 4),
    }


def test_a_policy_asks_a_team_that_exists():
    text = "- id: a\n  approvals: {from: secruity}\n- id: b\n  approvals: {from: owners}\n- id: c\n  approvals: {from: shop}\n"
    assert only({"policies/p.yml": text}, requester="paula").id == "team.unknown"


def test_what_others_rest_on_is_not_taken_away():
    assert "system.in-use" in ids({TEST: None}, requester="paula")
    assert "system.in-use" in ids({TEST: None, ORDERS: None, BILLING: None}, requester="paula")
    assert ids({PROD: None, queue("x", system="queue-prod"): QUEUE}, requester="paula") == [
        "system.unknown",
        "system.in-use",
    ]
    assert ids({PROD: None}, requester="paula") == []
    owns = violations({"teams/messaging.yml": None}, requester="paula")
    assert [violation.id for violation in owns if violation.id == "team.in-use"]
    assert "has documents" in only({"teams/payments.yml": None}, requester="paula").message
    assert ids({"teams/shop.yml": None}, requester="paula") == []


def test_a_team_that_a_policy_asks_is_not_taken_away():
    base = tree({"teams/safety.yml": "members: [sid]\n", "policies/p.yml": "- id: p\n  approvals: {from: safety}\n"})
    found = only({"teams/safety.yml": None}, base, "paula")
    assert (found.id, found.message) == ("team.in-use", "safety is still asked for approvals by the policy p.")


def test_the_auditors_of_the_site_are_a_team_that_exists():
    named = SITE + "auditors: shop\n"
    assert ids({"mergeyard.yml": named}, requester="paula") == []
    [found] = violations({"mergeyard.yml": named.replace("shop", "shoop")}, requester="paula")
    assert (found.id, found.field) == ("team.unknown", "auditors")
    assert "'shop'" in found.message
    base = tree({"mergeyard.yml": named})
    assert [one.id for one in violations({"teams/shop.yml": None}, base, "paula")] == ["team.in-use"]


def test_the_platform_team_never_loses_its_last_member():
    assert ids({"teams/platform.yml": "members: []\n"}, requester="paula") == ["site.platform-team"]
    assert ids({"mergeyard.yml": None}, requester="paula") == ["site.platform-team"]


def test_a_change_that_nobody_could_approve_is_told():
    lonely = tree({"teams/messaging.yml": "members: [olaf]\n"})
    found = only({ORDERS: spec(size=6)}, lonely, "olaf")
    assert (found.id, found.path) == ("approval.nobody", ORDERS)
    assert (
        found.message
        == "One of the owners of queue-test (messaging) must approve this, and none of them can: who had a hand in it never may, nor who cannot sign in."
    )
    assert "messaging" in found.fix


def test_nobody_left_looks_at_everybody_who_is_barred():
    owners = People("rita", frozenset({"olaf", "ove"}), EVERYBODY)
    asked = requirements(plan_of({ORDERS: spec(size=6)}), rules=tree(), people=owners)
    assert [violation.id for violation in nobody_left(asked)] == ["approval.nobody"]
    nobody = People("rita", frozenset(), EVERYBODY)
    without = requirements(plan_of({"odd.txt": "x"}), rules=tree({"mergeyard.yml": None}), people=nobody)
    assert "a platform team in mergeyard.yml" in next(nobody_left(without)).fix


def test_all_checks_run_and_are_told_in_the_order_of_the_plan():
    files = {REFUNDS: "kind: [", BILLING: subscription(queue="nope"), ORDERS: None}
    found = violations(files, requester="sam")
    assert {violation.id for violation in found} == {
        "file.yaml.syntax",
        "ownership.team",
        "reference.missing",
        "identity.changed",
    }
    assert [violation.path for violation in found] == sorted(violation.path for violation in found)


def test_an_empty_plan_has_nothing_against_it():
    assert run_checks(Plan(()), base=tree(), head=tree(), catalog=KINDS, requester="rita") == ()
    assert len(CHECKS) == 16


@pytest.mark.threat("values.fuzz")
@settings(max_examples=100, deadline=None)
@given(CHANGES, CHANGES, st.sampled_from(["rita", "sam", "paula", "nobody"]))
def test_no_check_ever_raises(before, after, requester):
    for violation in violations(after, tree(before), requester):
        assert violation.message
        assert violation.fix


@settings(max_examples=60, deadline=None)
@given(CHANGES)
def test_each_problem_of_a_changed_file_is_told(step):
    snapshot = tree().with_changes(changed(step))
    told = {(violation.path, violation.message) for violation in violations(step)}
    for path in step:
        if snapshot.files.get(path) != tree().files.get(path):
            for problem in snapshot.problems.get(path, ()):
                assert (path, problem.message) in told
