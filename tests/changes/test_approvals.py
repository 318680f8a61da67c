# ruff: noqa: E501 - a case of a table is one line
"""Who must approve which item, who may, and whose word counts."""

import pytest

from changes.approvals import Fact, People, declined_by, may_approve, may_decline, requirements
from changes.plan import Plan
from tests.changes.trees import EVERYBODY, QUEUE, SYSTEM, plan_of, queue, tree

ORDERS, REFUNDS = queue("orders"), queue("refunds")
PROD = queue("orders", system="queue-prod")


def asked(plan: Plan, rules=None, barred=("rita",), facts=(), by="rita", able=EVERYBODY):
    people = People(by, frozenset(barred), frozenset(able))
    return requirements(plan, rules=rules or tree(), people=people, facts=facts)


def shown(plan: Plan, **more):
    return [(found.id, found.count, sorted(found.candidates)) for found in asked(plan, **more)]


def yes(user, plan, *items):
    return Fact(user, "yes", frozenset(item.digest for item in (items or plan.items)))


def no(user, plan):
    return Fact(user, "no", frozenset(item.digest for item in plan.items))


def policy(text):
    return tree({"policies/p.yml": text})


def test_a_resource_needs_one_owner_of_its_system():
    plan = plan_of({REFUNDS: QUEUE})
    (found,) = asked(plan)
    assert (found.id, found.path, found.teams, found.count) == ("owners:queue-test", REFUNDS, ("messaging",), 1)
    assert found.sentence == "One of the owners of queue-test (messaging)"
    assert found.candidates == {"olaf", "ove"}
    assert found.digest == plan.items[0].digest
    assert not found.met
    assert found.possible


def test_an_owners_yes_meets_it_and_nobody_elses_does():
    plan = plan_of({REFUNDS: QUEUE})
    assert asked(plan, facts=[yes("olaf", plan)])[0].met
    assert asked(plan, facts=[yes("olaf", plan)])[0].given == ("olaf",)
    for stranger in ("sam", "paula", "rita"):
        assert not asked(plan, facts=[yes(stranger, plan)])[0].met


@pytest.mark.threat("approval.own")
def test_who_had_a_hand_in_it_never_counts():
    plan = plan_of({REFUNDS: QUEUE})
    (found,) = asked(plan, barred=("olaf",), facts=[yes("olaf", plan)])
    assert (found.candidates, found.given, found.met) == ({"ove"}, (), False)


def test_who_cannot_sign_in_never_counts_and_rules_that_leave_nobody_are_seen():
    plan = plan_of({REFUNDS: QUEUE})
    (found,) = asked(plan, able=EVERYBODY - {"olaf"}, facts=[yes("olaf", plan)])
    assert (found.candidates, found.given, found.possible) == ({"ove"}, (), True)
    (found,) = asked(plan, able=EVERYBODY - {"olaf", "ove"}, facts=[yes("olaf", plan)])
    assert (found.candidates, found.met, found.possible) == (frozenset(), False, False)


def test_who_asks_for_another_teams_document_needs_somebody_of_that_team_too():
    for change in ({REFUNDS: QUEUE}, {ORDERS: QUEUE.replace("5", "6")}, {ORDERS: None}):
        plan = plan_of(change)
        assert shown(plan, by="olaf", barred=("olaf",)) == [
            ("owners:queue-test", 1, ["ove"]),
            ("team:payments", 1, ["rita", "rob"]),
        ]
        owners, team = asked(plan, by="olaf", barred=("olaf",), facts=[yes("ove", plan)])
        assert owners.met
        assert not team.met
        assert team.sentence == "One of the team payments"


def test_a_policys_count_for_the_documents_team_holds_if_it_is_higher():
    rules = policy("- {id: a, approvals: {from: payments, count: 2}}\n")
    plan = plan_of({REFUNDS: QUEUE})
    assert shown(plan, rules=rules, by="paula", barred=("paula",))[1] == ("team:payments", 2, ["rita", "rob"])


def test_the_platform_team_speaks_for_a_team_that_main_does_not_know():
    plan = plan_of({queue("old", team="gone"): QUEUE})
    assert [found.id for found in asked(plan)] == ["owners:queue-test", "platform:platform"]
    there = tree({queue("old", team="gone"): QUEUE})
    moved = plan_of({queue("old", team="gone"): None, queue("old"): QUEUE}, there)
    assert [found.id for found in asked(moved, rules=there)] == [
        "owners:queue-test",
        "platform:platform",
        "team:payments",
    ]


def test_a_new_systems_documents_need_their_team_besides_the_platform():
    plan = plan_of({"systems/new.yml": SYSTEM, queue("first", system="new"): QUEUE})
    asks = [found.id for found in asked(plan, by="sam", barred=("sam",))]
    assert asks == ["platform:platform", "team:payments", "platform:platform"]


def test_a_changed_item_drops_its_part_of_an_approval():
    before, after = plan_of({REFUNDS: QUEUE, ORDERS: None}), plan_of({REFUNDS: QUEUE.replace("5", "6"), ORDERS: None})
    met = {found.path: found.met for found in asked(after, facts=[yes("olaf", before)])}
    assert met == {ORDERS: True, REFUNDS: False}


def test_the_last_word_of_a_person_counts():
    plan = plan_of({REFUNDS: QUEUE})
    assert not asked(plan, facts=[yes("olaf", plan), no("olaf", plan)])[0].met
    assert asked(plan, facts=[no("olaf", plan), yes("olaf", plan)])[0].met


def test_a_no_of_one_owner_blocks_the_yes_of_another():
    plan = plan_of({REFUNDS: QUEUE})
    (found,) = asked(plan, facts=[yes("ove", plan), no("olaf", plan)])
    assert (found.given, found.declined, found.met) == (("ove",), ("olaf",), False)
    (stranger,) = asked(plan, facts=[yes("ove", plan), no("sam", plan)])
    assert stranger.met


@pytest.mark.threat("approval.own", "approval.second-identity")
def test_a_no_of_who_had_a_hand_in_it_counts_unless_they_asked_for_it():
    plan = plan_of({REFUNDS: QUEUE})
    (found,) = asked(plan, barred=("rita", "olaf"), facts=[yes("ove", plan), no("olaf", plan)])
    assert (found.candidates, found.given, found.declined, found.met) == ({"ove"}, ("ove",), ("olaf",), False)
    assert may_decline("olaf", [found]) == declined_by("olaf", [found]) == {plan.items[0].digest}
    of_olaf = asked(plan, by="olaf", barred=("olaf",), facts=[yes("ove", plan), no("olaf", plan)])
    assert [each.declined for each in of_olaf] == [(), ()]
    assert may_decline("olaf", of_olaf) == frozenset()


def test_the_highest_count_of_matching_policies_holds():
    rules = policy(
        "- {id: a, match: {environment: production}, approvals: {count: 2}}\n"
        "- {id: b, match: {kind: Queue}, approvals: {from: owners, count: 1}}\n"
        "- {id: c, match: {system: queue-prod, type: queueing, team: payments}, approvals: {count: 2}}\n"
        "- {id: d, match: {team: shop}, approvals: {count: 9}}\n"
    )
    plan = plan_of({PROD: QUEUE, REFUNDS: QUEUE})
    assert shown(plan, rules=rules) == [
        ("owners:queue-prod", 2, ["olaf", "ove"]),
        ("owners:queue-test", 1, ["olaf", "ove"]),
    ]
    (first, _) = asked(plan, rules=rules, facts=[yes("olaf", plan)])
    assert (first.sentence, first.met) == ("2 of the owners of queue-prod (messaging)", False)
    assert asked(plan, rules=rules, facts=[yes("olaf", plan), yes("ove", plan)])[0].met


def test_a_policy_can_ask_another_team_besides_the_owners():
    rules = policy(
        "- {id: a, match: {kind: Queue}, approvals: {from: shop, count: 1}}\n- {id: b, approvals: {from: shop, count: 2}}\n"
    )
    found = asked(plan_of({REFUNDS: QUEUE}), rules=rules)
    assert [(each.id, each.count) for each in found] == [("owners:queue-test", 1), ("team:shop", 2)]
    assert found[1].sentence == "2 of the team shop"


@pytest.mark.threat("approval.rename")
def test_a_transfer_needs_somebody_of_both_sides_too():
    plan = plan_of({ORDERS: None, queue("orders", team="shop"): QUEUE})
    assert shown(plan) == [
        ("owners:queue-test", 1, ["olaf", "ove"]),
        ("team:payments", 1, ["rob"]),
        ("team:shop", 1, ["sam", "sue"]),
    ]
    rules = policy("- {id: a, match: {team: payments}, approvals: {count: 2}}\n")
    assert asked(plan, rules=rules)[0].count == 2


def test_a_transfer_within_a_team_needs_that_team_once():
    plan = plan_of({ORDERS: None, queue("incoming"): QUEUE + "  name: orders\n"})
    assert [found.id for found in asked(plan)] == ["owners:queue-test", "team:payments"]


def test_paths_outside_resources_need_the_platform_team():
    plan = plan_of({"teams/shop.yml": "title: Shops\nmembers: [sam]\n", "mergeyard.yml": None, "README.md": "hello"})
    assert shown(plan) == [("platform:platform", 1, ["paula", "pit"])] * 3


def test_a_system_needs_its_present_owners_too():
    plan = plan_of({"systems/queue-test.yml": SYSTEM.replace("[messaging]", "[shop]")})
    assert shown(plan) == [("platform:platform", 1, ["paula", "pit"]), ("owners:queue-test", 1, ["olaf", "ove"])]


def test_a_new_system_and_its_documents_need_the_platform_team():
    plan = plan_of({"systems/new.yml": SYSTEM, queue("first", system="new"): QUEUE})
    assert [found.id for found in asked(plan)] == ["platform:platform", "platform:platform"]


def test_a_broken_path_under_resources_needs_the_platform_team():
    assert [found.id for found in asked(plan_of({"resources/odd.yml": "a: 1\n"}))] == ["platform:platform"]


def test_without_a_platform_team_nothing_is_ever_met():
    (found,) = asked(plan_of({"teams/new.yml": "title: x\n"}), rules=tree({"mergeyard.yml": None}))
    assert (found.candidates, found.met, found.possible) == (frozenset(), False, False)
    assert "none is declared" in found.sentence


@pytest.mark.threat("approval.policy")
def test_rules_are_those_of_main_and_not_of_the_change():
    takeover = plan_of({"teams/messaging.yml": "members: [rita, rob]\n", ORDERS: None})
    assert shown(takeover)[0] == ("owners:queue-test", 1, ["olaf", "ove"])


def test_a_person_may_speak_to_the_items_they_are_asked_for():
    plan = plan_of({REFUNDS: QUEUE, "teams/new.yml": "title: x\n"})
    found = asked(plan)
    refunds, team = plan.items
    assert may_approve("olaf", found) == {refunds.digest}
    assert may_approve("paula", found) == {team.digest}
    assert may_approve("sam", found) == frozenset()
    assert may_approve("olaf", asked(plan, barred=("olaf",))) == frozenset()
