"""Who may say yes to what, and when it counts."""

import pytest

from changes import workflow
from changes.repository import Person
from changes.review import evaluate
from changes.states import ChangeRequestState
from changes.workflow import Refused
from changes.workflow.decisions import TAKEN_BACK
from tests.changes.conftest import ORDERS, REFUNDS, box

PROD = "resources/payments/shelf-prod/Box/orders.yml"


def digests(request):
    return [item.digest for item in evaluate(request).plan.items]


@pytest.mark.threat("approval.own")
def test_the_requester_cannot_approve(office):
    request = office.proposed(
        {"resources/shelves/shelf-test/Box/mine.yml": box(1)}, by=office.olga, title="Of the owners themselves"
    )
    with pytest.raises(Refused, match="had a hand in it"):
        workflow.approve(request, office.olga, "yes", digests(request))
    office.approved(request, by=office.otto)
    assert evaluate(request).can_merge


@pytest.mark.threat("approval.rename")
@pytest.mark.parametrize(("one_side", "other"), [("paul", "sam"), ("sam", "paul")])
def test_a_transfer_is_merged_when_both_sides_agreed_and_not_before(office, one_side, other):
    taken = ORDERS.replace("payments", "others")
    request = office.proposed({ORDERS: None, taken: office.text(ORDERS)}, by=office.pia)
    assert [item.operation for item in evaluate(request).plan.items] == ["transfer"]
    for name in ("olga", one_side):
        office.approved(request, by=getattr(office, name))
    missing = {"sam": "others", "paul": "payments"}[other]
    with pytest.raises(Refused, match=f"Waits for the approval of one of the team {missing}"):
        workflow.merge(request, office.pia)
    assert (office.text(ORDERS) is None, office.text(taken)) == (False, None)
    office.approved(request, by=getattr(office, other))
    workflow.merge(request, office.pia)
    assert (office.text(ORDERS), office.text(taken) is None) == (None, False)


def test_a_stranger_cannot_approve_and_is_told_who_can(office):
    request = office.proposed()
    with pytest.raises(Refused, match=r"You cannot approve .*refunds.yml. It needs: One of the owners of shelf-test"):
        workflow.approve(request, office.sam, "yes", digests(request))


@pytest.mark.threat("approval.stale-page")
def test_an_approval_of_a_page_that_is_out_of_date_is_refused(office):
    request = office.proposed()
    old = digests(request)
    workflow.revise(request, office.rita)
    workflow.put_edit(request, office.rita, REFUNDS, box(50))
    workflow.propose(request, office.rita)
    with pytest.raises(Refused, match="has changed since you opened this page"):
        workflow.approve(request, office.olga, "yes", old)


@pytest.mark.threat("approval.later-push")
def test_a_changed_item_drops_its_approval_and_the_others_stay(office):
    other = "resources/payments/shelf-test/Box/other.yml"
    request = office.proposed({REFUNDS: box(5), other: box(1)})
    office.approved(request)
    workflow.revise(request, office.rita)
    workflow.put_edit(request, office.rita, REFUNDS, box(6))
    workflow.propose(request, office.rita)
    met = {requirement.path: requirement.met for requirement in evaluate(request).requirements}
    assert met == {REFUNDS: False, other: True}


def test_updating_the_branch_keeps_approvals_and_makes_nobody_an_editor(office):
    request = office.proposed()
    office.approved(request)
    office.merged({ORDERS: box(9)})
    workflow.update_branch(request, office.olga)
    review = evaluate(request)
    assert not review.outdated
    assert review.barred == {"rita"}
    assert review.can_merge


def test_a_no_stands_in_the_way_until_it_becomes_a_yes(office):
    request = office.proposed()
    office.approved(request)
    workflow.approve(request, office.otto, "no", digests(request), "Too many boxes.")
    assert evaluate(request).blockers == ("otto said no as one of the owners of shelf-test (shelves).",)
    workflow.approve(request, office.otto, "yes", digests(request))
    assert evaluate(request).can_merge


@pytest.mark.threat("approval.left-before-merge")
def test_who_left_the_team_before_the_merge_no_longer_counts(office):
    request = office.proposed()
    office.approved(request)
    change = office.proposed({"teams/shelves.yml": "title: Shelves\nmembers: [otto]\n"}, by=office.pia)
    workflow.approve(change, office.piet, "yes", digests(change))
    workflow.merge(change, office.piet)
    assert not evaluate(request).can_merge


@pytest.mark.threat("approval.policy")
def test_the_rules_are_those_of_main_and_not_of_the_request(office):
    request = office.proposed(
        {REFUNDS: box(5), "teams/shelves.yml": "title: Shelves\nmembers: [rita, paul]\n"}, title="Take the shelves"
    )
    with pytest.raises(Refused, match="You cannot approve"):
        workflow.approve(request, office.paul, "yes", digests(request))
    assert {r.teams for r in evaluate(request).requirements} == {("shelves",), ("platform",)}


def test_files_beside_the_resources_need_the_platform_team_and_systems_their_owners(office):
    text = office.text("systems/shelf-test.yml").replace("environment: test", "environment: lab")
    request = office.proposed({"systems/shelf-test.yml": text}, by=office.sam)
    office.approved(request, by=office.pia)
    assert not evaluate(request).can_merge
    office.approved(request, by=office.olga)
    assert evaluate(request).can_merge


def test_a_policy_can_ask_for_two_owners(office):
    policy = "- id: two\n  match: {environment: production}\n  approvals: {from: owners, count: 2}\n"
    change = office.proposed({"policies/production.yml": policy}, by=office.pia)
    workflow.approve(change, office.piet, "yes", digests(change))
    workflow.merge(change, office.pia)
    request = office.proposed({PROD: box(2)})
    office.approved(request)
    assert not evaluate(request).can_merge
    office.approved(request, by=office.otto)
    assert evaluate(request).can_merge


def test_rules_that_leave_nobody_are_said_and_are_no_approval(office):
    change = office.proposed({"teams/shelves.yml": "title: Shelves\nmembers: [olga]\n"}, by=office.pia)
    workflow.approve(change, office.piet, "yes", digests(change))
    workflow.merge(change, office.pia)
    request = office.proposed({"resources/shelves/shelf-test/Box/mine.yml": box(1)}, by=office.olga)
    review = evaluate(request)
    assert not review.can_merge
    assert any("Nobody is left to approve" in blocker for blocker in review.blockers)


@pytest.mark.threat("approval.second-identity")
def test_who_edited_an_open_request_cannot_approve_it(office):
    change = office.proposed({"teams/payments.yml": "title: Payments\nmembers: [rita, paul, olga]\n"}, by=office.pia)
    workflow.approve(change, office.piet, "yes", digests(change))
    workflow.merge(change, office.pia)
    request = office.proposed()
    workflow.revise(request, office.olga)
    workflow.put_edit(request, office.olga, REFUNDS, box(6))
    workflow.propose(request, office.olga)
    with pytest.raises(Refused, match="had a hand in it"):
        workflow.approve(request, office.olga, "yes", digests(request))
    office.approved(request, by=office.otto)
    workflow.merge(request, office.rita)


def test_a_rule_on_main_that_cannot_be_read_refuses_everything_but_its_mending(office):
    office.commit_by_hand({"policies/broken.yml": b"- id: two\n  deny_if: 'true'\n"})
    request = office.proposed()
    assert any("policies/broken.yml on main cannot be read" in blocker for blocker in evaluate(request).blockers)
    with pytest.raises(Refused, match=r"policies/broken.yml on main cannot be read"):
        office.approved(request)
    mend = office.proposed({"policies/broken.yml": None}, by=office.pia)
    workflow.approve(mend, office.piet, "yes", digests(mend))
    workflow.merge(mend, office.pia)
    office.approved(request)
    assert evaluate(request).can_merge


def test_closing_says_why_and_ends_the_request(office):
    request = office.proposed()
    with pytest.raises(Refused, match="Say why"):
        workflow.reject(request, office.olga, " ")
    with pytest.raises(Refused, match="Only people whose approval"):
        workflow.reject(request, office.sam, "No")
    workflow.reject(request, office.olga, "Use the other shelf.")
    assert office.again(request).state == ChangeRequestState.REJECTED
    with pytest.raises(Refused, match="there is nothing to approve"):
        workflow.approve(request, office.olga, "yes", ["x"])
    second = office.proposed()
    with pytest.raises(Refused, match="Only the requester"):
        workflow.withdraw(second, office.sam)
    workflow.withdraw(second, office.rita, "Not needed.")
    assert office.again(second).state == ChangeRequestState.WITHDRAWN
    assert evaluate(second).blockers == ("This change request is withdrawn.",)


def test_a_comment_needs_words(office):
    request = office.proposed()
    with pytest.raises(Refused, match="Write something"):
        workflow.comment(request, office.sam, "  ")
    assert workflow.comment(request, office.sam, " Nice. ").text == "Nice."


def joined_payments(office):
    """olga, who owns the shelves, is a member of the requesting team too."""
    change = office.proposed({"teams/payments.yml": "title: Payments\nmembers: [rita, paul, olga]\n"}, by=office.pia)
    workflow.approve(change, office.piet, "yes", digests(change))
    workflow.merge(change, office.pia)


@pytest.mark.threat("approval.second-identity")
def test_who_edited_what_somebody_else_then_proposed_cannot_approve_it(office):
    joined_payments(office)
    request = office.proposed()
    workflow.revise(request, office.rita)
    workflow.put_edit(request, office.olga, REFUNDS, box(6))
    workflow.propose(request, office.rita)
    with pytest.raises(Refused, match="had a hand in it"):
        workflow.approve(request, office.olga, "yes", digests(request))


@pytest.mark.threat("approval.second-identity")
def test_who_took_a_file_out_of_a_request_cannot_approve_the_rest(office):
    joined_payments(office)
    other = "resources/payments/shelf-test/Box/other.yml"
    request = office.proposed({REFUNDS: box(5), other: box(1)})
    workflow.revise(request, office.rita)
    workflow.drop_edit(request, office.olga, other)
    workflow.propose(request, office.rita)
    with pytest.raises(Refused, match="had a hand in it"):
        workflow.approve(request, office.olga, "yes", digests(request))


@pytest.mark.threat("approval.second-identity")
def test_a_no_is_not_taken_away_by_a_commit_that_names_its_speaker(office):
    request = office.proposed()
    workflow.approve(request, office.otto, "no", digests(request))
    office.approved(request)
    repository, old = office.repository, request.head
    new = repository.commit(
        parents=[old],
        base_tree_of=old,
        changes={},
        message="Tidy\n",
        author=Person("Otto", "otto@office.example"),
        committer=Person("Rita", "rita@office.example"),
        when=office.now,
    )
    repository.swap_ref(f"refs/heads/{request.branch}", new, old)
    workflow.received_push(office.rita, request.branch, old, new)
    request = office.again(request)
    with pytest.raises(Refused, match="otto said no as one of the owners"):
        workflow.merge(request, office.rita)
    workflow.approve(request, office.otto, "no", digests(request), "Still no.")
    workflow.reject(request, office.otto, "No.")


@pytest.mark.threat("approval.own", "approval.second-identity")
def test_who_had_a_hand_in_it_takes_their_no_back_by_a_yes_that_counts_for_nothing_else(office):
    joined_payments(office)
    other = "resources/payments/shelf-test/Box/other.yml"
    request = office.proposed({REFUNDS: box(5), other: box(1)})
    (declined,) = (item.digest for item in evaluate(request).plan.items if item.path == REFUNDS)
    workflow.approve(request, office.olga, "no", [declined])
    workflow.revise(request, office.olga)
    workflow.put_edit(request, office.olga, other, box(2))
    workflow.propose(request, office.olga)
    office.approved(request, by=office.otto)
    assert evaluate(request).blockers == ("olga said no as one of the owners of shelf-test (shelves).",)
    with pytest.raises(Refused, match="had a hand in it"):
        workflow.approve(request, office.olga, "yes", digests(request))
    said = workflow.approve(request, office.olga, "yes", [declined], "Mended.")
    assert said.comment == "Mended.\n\n" + TAKEN_BACK
    review = evaluate(request)
    assert {requirement.given for requirement in review.requirements} == {("otto",)}
    assert review.can_merge


@pytest.mark.threat("approval.left-before-merge")
def test_an_approval_of_an_account_that_was_closed_since_does_not_count(office):
    request = office.proposed()
    office.approved(request)
    assert evaluate(request).can_merge
    olga = office.olga
    olga.is_active = False
    olga.save()
    with pytest.raises(Refused, match="Waits for the approval of one of the owners"):
        workflow.merge(request, office.rita)


@pytest.mark.threat("approval.replayed")
def test_an_approval_sent_twice_is_one_approval(office):
    policy = "- id: two\n  approvals: {from: owners, count: 2}\n"
    change = office.proposed({"policies/two.yml": policy}, by=office.pia)
    workflow.approve(change, office.piet, "yes", digests(change))
    workflow.merge(change, office.pia)
    request = office.proposed()
    office.approved(request)
    office.approved(request)
    assert not evaluate(request).can_merge
