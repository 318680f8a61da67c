"""Rules on main that cannot be read, or that a commit changed without a change request, give nobody a right."""

import pytest

from changes import rules, setup, workflow
from changes.models import MergeIntent
from changes.repository import Repository
from changes.review import evaluate
from changes.rights import rights_of
from changes.rules import rules_at
from changes.states import IntentState
from changes.workflow import Refused
from tests.changes.conftest import FILES, ORDERS, REFUNDS, box

PROD = "resources/payments/shelf-prod/Box/orders.yml"
SHELVES = "teams/shelves.yml"
WITH_SAM = "title: Shelves\nmembers: [olga, otto, sam]\n"
BROKEN = {"policies/broken.yml": b"- id: two\n  deny_if: 'true'\n"}
BROKEN_AND_MORE = {"policies/broken.yml": None, PROD: box(3)}


def digests(request):
    return [item.digest for item in evaluate(request).plan.items]


def unapproved(office):
    return dict(rules_at(office.repository, office.repository.main()).unapproved)


def test_a_request_that_mends_an_unreadable_rule_can_bring_nothing_else(office):
    office.commit_by_hand(
        BROKEN | {"systems/shelf-prod.yml": FILES["systems/shelf-prod.yml"].encode() + b"future_key: 1\n"}
    )
    edits = {"policies/broken.yml": None, "systems/shelf-prod.yml": FILES["systems/shelf-prod.yml"]}
    request = office.proposed(edits | {PROD: box(3)}, by=office.pia)
    with pytest.raises(Refused, match="a change request that changes nothing else has to mend this"):
        workflow.approve(request, office.piet, "yes", digests(request))
    blockers = " ".join(evaluate(request).blockers)
    assert "policies/broken.yml on main cannot be read" in blockers
    assert "systems/shelf-prod.yml on main cannot be read" in blockers
    mend = office.proposed(edits, by=office.pia)
    asked = {requirement.sentence for requirement in evaluate(mend).requirements}
    assert asked == {"One of the platform team (platform)", "One of the owners of shelf-prod (shelves)"}
    workflow.approve(mend, office.piet, "yes", digests(mend))
    system = [item.digest for item in evaluate(mend).plan.items if item.path.startswith("systems/")]
    workflow.approve(mend, office.otto, "yes", system)
    workflow.merge(mend, office.pia)
    assert unapproved(office) == {}


def test_a_rule_that_was_merged_and_cannot_be_read_any_more_holds_everything_up_too(office):
    before = office.repository.main()
    commit = office.commit_by_hand(BROKEN)
    MergeIntent.objects.create(base=before, head=commit, commit=commit, state=IntentState.DONE)
    assert unapproved(office) == {}
    request = office.proposed(BROKEN_AND_MORE, by=office.pia)
    with pytest.raises(Refused, match="policies/broken.yml on main cannot be read"):
        workflow.approve(request, office.piet, "yes", digests(request))
    office.declared({"policies/broken.yml": None})
    assert not evaluate(request).unsettled


def test_one_of_two_unreadable_rules_can_be_mended_alone(office):
    office.commit_by_hand(BROKEN | {"policies/other.yml": b"- nonsense\n"})
    office.declared({"policies/broken.yml": None})
    assert any("policies/other.yml on main cannot be read" in why for why in evaluate(office.proposed()).blockers)
    office.declared({"policies/other.yml": None})
    assert not evaluate(office.proposed()).unsettled


@pytest.mark.threat("git.commit-on-main", "approval.policy")
def test_a_commit_that_nobody_approved_makes_nobody_an_approver(office):
    request = office.proposed()
    commit = office.commit_by_hand({SHELVES: WITH_SAM.encode()})
    for person in (office.sam, office.olga):
        with pytest.raises(Refused, match=f"Commit {commit[:10]} changed {SHELVES} on main without a change request"):
            workflow.approve(request, person, "yes", digests(request))
    assert "sam" not in evaluate(request).requirements[0].candidates
    assert not rights_of(office.sam).owns("shelf-test")


def test_what_was_approved_before_is_not_merged_while_the_rules_are_not(office):
    request = office.proposed()
    office.approved(request)
    office.commit_by_hand({SHELVES: WITH_SAM.encode()})
    with pytest.raises(Refused, match="Until then nothing else can be approved or merged"):
        workflow.merge(request, office.rita)
    office.declared({SHELVES: FILES[SHELVES]})
    workflow.merge(request, office.rita)


def test_an_unapproved_member_of_the_platform_team_mends_nothing(office):
    office.commit_by_hand({"teams/platform.yml": b"title: Platform\nmembers: [sam, rita]\n"})
    take_over = office.proposed({"teams/platform.yml": "title: Platform\nmembers: [sam]\n"}, by=office.rita)
    with pytest.raises(Refused, match="It needs: One of the platform team"):
        workflow.approve(take_over, office.sam, "yes", digests(take_over))
    assert rights_of(office.pia).is_platform
    office.declared({"teams/platform.yml": FILES["teams/platform.yml"]})
    assert unapproved(office) == {}


@pytest.mark.threat("git.commit-on-main")
@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("mergeyard.yml", "format: 1\nplatform_team: others\n"),
        ("systems/shelf-test.yml", FILES["systems/shelf-test.yml"].replace("shelves", "others")),
        ("teams/payments.yml", 'members: [rita, paul, sam]\nsecret_prefixes: ["file:x/"]\n'),
        ("teams/payments.yml", None),
    ],
)
def test_each_sort_of_rule_counts_as_it_was_approved_last(office, path, text):
    before = {name: rights_of(getattr(office, name)) for name in ("rita", "olga", "sam", "pia")}
    office.commit_by_hand({path: text and text.encode()})
    assert list(unapproved(office)) == [path]
    assert {name: rights_of(getattr(office, name)) for name in before} == before
    foreign = office.proposed({ORDERS: box(4)}, by=office.sam)
    assert "ownership.team" in {violation.id for violation in evaluate(foreign).violations}


def test_an_edit_that_is_approved_covers_all_of_the_file_and_shows_all_of_it(office):
    office.commit_by_hand({SHELVES: WITH_SAM.encode()})
    request = office.proposed({SHELVES: WITH_SAM + "# sam has joined\n"}, by=office.pia)
    (item,) = evaluate(request).plan.items
    assert office.repository.read_blob(item.base_blob).decode() == FILES[SHELVES]
    workflow.approve(request, office.piet, "yes", [item.digest])
    workflow.merge(request, office.pia)
    assert rights_of(office.sam).owns("shelf-test")
    assert not evaluate(office.proposed()).unsettled


def test_the_first_of_several_commits_says_what_was_approved_and_the_last_is_named(office):
    office.commit_by_hand({SHELVES: b"members: [sam]\n"})
    office.commit_by_hand({ORDERS: box(9).encode()})
    last = office.commit_by_hand({SHELVES: b"members: [sam, rita]\n"})
    found = unapproved(office)[SHELVES]
    assert (found.commit, office.repository.read_blob(found.approved).decode()) == (last, FILES[SHELVES])
    office.commit_by_hand({SHELVES: FILES[SHELVES].encode()})
    assert unapproved(office) == {}


def test_documents_that_a_commit_changed_are_no_rules(office):
    office.commit_by_hand({ORDERS: box(9).encode(), "README.md": b"Hello\n"})
    assert unapproved(office) == {}
    office.merged()


def test_a_merge_that_was_dropped_approves_nothing(office):
    commit = office.commit_by_hand({SHELVES: WITH_SAM.encode()})
    MergeIntent.objects.create(base="x", head=commit, commit=commit, state=IntentState.DROPPED)
    assert unapproved(office)[SHELVES].commit == commit


def test_where_init_began_counts_as_approved_whatever_came_before(office):
    MergeIntent.objects.all().delete()
    begin = office.commit_by_hand({SHELVES: WITH_SAM.encode()})
    vouched = office.commit_by_hand({"teams/others.yml": b"members: [otto]\n"})
    assert set(unapproved(office)) >= {SHELVES, "mergeyard.yml"}
    assert not rights_of(office.pia).is_platform
    setup.adopt(office.path, since=begin)
    assert unapproved(office) == {}
    assert rights_of(office.sam).owns("shelf-test")
    assert rights_of(office.otto).teams == {"shelves", "others"}
    assert vouched == office.repository.main()


def test_vouching_for_later_commits_does_not_approve_the_one_they_follow(office):
    sneaky = office.commit_by_hand({SHELVES: WITH_SAM.encode()})
    office.commit_by_hand({ORDERS: box(9).encode()})
    setup.adopt(office.path, since=sneaky)
    assert list(unapproved(office)) == [SHELVES]


def test_the_walk_ends_where_everything_was_approved(office, monkeypatch):
    for number in range(3):
        office.merged({ORDERS: box(20 + number)})
    rules._settled.clear()
    office.commit_by_hand({SHELVES: WITH_SAM.encode()})
    looked_at, info = [], Repository.info
    monkeypatch.setattr(Repository, "info", lambda self, sha: looked_at.append(sha) or info(self, sha))
    assert list(unapproved(office)) == [SHELVES]
    assert len(looked_at) == 2  # the commit by hand, and the last merge that changed a document
    looked_at.clear()
    office.declared({SHELVES: FILES[SHELVES]})
    unapproved(office)
    looked_at.clear()
    unapproved(office)
    assert looked_at == []


def test_nobody_who_can_sign_in_is_said_and_is_no_approval(office):
    request = office.proposed()
    for owner in (office.olga, office.otto):
        owner.is_active = False
        owner.save()
    review = evaluate(request)
    assert "approval.nobody" in {violation.id for violation in review.violations}
    assert any(why.startswith("Nobody is left to approve as one of the owners") for why in review.blockers)


def test_a_member_without_an_account_is_nobodys_approver(office):
    office.declared({SHELVES: "title: Shelves\nmembers: [ghost]\n"})
    review = evaluate(office.proposed())
    assert review.requirements[0].candidates == frozenset()
    assert "approval.nobody" in {violation.id for violation in review.violations}


def test_an_owner_of_the_system_cannot_take_another_teams_document_away(office):
    request = office.proposed({ORDERS: None}, by=office.olga)
    workflow.approve(request, office.otto, "yes", digests(request))
    with pytest.raises(Refused, match="Waits for the approval of one of the team payments"):
        workflow.merge(request, office.olga)
    workflow.approve(request, office.rita, "yes", digests(request))
    workflow.merge(request, office.olga)
    assert office.text(ORDERS) is None


def test_a_merged_request_names_its_approvers_after_they_left(office):
    request = office.merged({REFUNDS: box(5)})
    olga = office.olga
    olga.is_active = False
    olga.save()
    assert [requirement.given for requirement in evaluate(request).requirements] == [("olga",)]
