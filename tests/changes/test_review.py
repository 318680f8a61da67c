"""The evaluation of a change request: what it sees, and that looking again is cheap."""

from changes import review as reviews
from changes import workflow
from changes.review import evaluate
from tests.changes.conftest import ORDERS, REFUNDS, box


def test_looking_again_at_the_same_commits_plans_nothing_again(office, monkeypatch):
    request = office.proposed()
    plan = evaluate(request).plan
    monkeypatch.setattr(reviews, "make_plan", None)
    office.approved(request)
    review = evaluate(request)
    assert review.plan is plan
    assert review.can_merge


def test_the_plan_is_that_of_the_merge_result(office):
    request = office.proposed({ORDERS: box(7), REFUNDS: box(5)})
    office.merged({REFUNDS: box(5)})
    review = evaluate(request)
    assert review.outdated
    assert [item.path for item in review.plan.items] == [ORDERS]
    assert set(review.changes) == {ORDERS}


def test_a_request_that_main_overtook_changes_nothing(office):
    request = office.proposed()
    office.merged()
    assert "It changes nothing" in evaluate(request).blockers[0]


def test_a_merged_request_shows_what_it_did_and_who_approved(office):
    request = office.merged()
    office.merged({REFUNDS: box(77)}, title="Later")
    review = evaluate(request)
    assert [(item.path, item.operation) for item in review.plan.items] == [(REFUNDS, "create")]
    assert [requirement.given for requirement in review.requirements] == [("olga",)]
    assert not review.can_merge


def test_a_draft_is_never_ready_to_merge(office):
    draft = workflow.start_draft(office.rita)
    workflow.put_edit(draft, office.rita, REFUNDS, box(5))
    assert evaluate(draft).blockers[0] == "This is a draft: propose it when it is ready."


def test_a_conflicting_request_still_shows_what_its_branch_does(office):
    request = office.proposed({ORDERS: box(7), REFUNDS: box(5)})
    office.merged({ORDERS: box(8)})
    review = evaluate(request)
    assert review.conflicts == (ORDERS,)
    assert [item.path for item in review.plan.items] == [ORDERS, REFUNDS]


def test_more_deletions_than_the_system_allows_are_refused_until_split(office):
    paths = [f"resources/payments/shelf-test/Box/b{number}.yml" for number in range(8)]
    office.commit_by_hand({path: box(1).encode() for path in paths})
    request = office.proposed(dict.fromkeys(paths))
    office.approved(request)
    assert {violation.id for violation in evaluate(request).violations} >= {"limits.deletes"}
    assert not evaluate(request).can_merge
