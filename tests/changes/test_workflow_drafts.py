"""Drafts, revisions of open requests, and reverts."""

import pytest

from changes import workflow
from changes.models import PlanRow
from changes.review import evaluate, evaluate_draft
from changes.states import ChangeRequestState
from changes.workflow import Refused, drafts
from tests.changes.conftest import FILES, ORDERS, REFUNDS, box


def test_a_draft_shows_its_plan_and_commits_nothing(office):
    draft = workflow.start_draft(office.rita, title="More")
    workflow.put_edit(draft, office.rita, REFUNDS, box(5))
    workflow.put_edit(draft, office.rita, ORDERS, "", delete=True)
    review = evaluate_draft(draft)
    assert [(item.path, item.operation) for item in review.plan.items] == [(ORDERS, "delete"), (REFUNDS, "create")]
    assert review.changes == {ORDERS: None, REFUNDS: office.repository.hash_blob(box(5).encode())}
    assert list(office.repository.branches()) == ["main"]


def test_a_draft_belongs_to_its_requester(office):
    draft = workflow.start_draft(office.rita)
    for verb in (
        lambda: workflow.put_edit(draft, office.paul, REFUNDS, box(5)),
        lambda: workflow.describe(draft, office.paul, "x", ""),
        lambda: workflow.propose(draft, office.paul),
    ):
        with pytest.raises(Refused, match="belongs to Rita"):
            verb()


def test_a_draft_without_changes_or_title_is_not_proposed(office):
    draft = workflow.start_draft(office.rita, title="Nothing")
    with pytest.raises(Refused, match="It changes nothing yet"):
        workflow.propose(draft, office.rita)
    workflow.put_edit(draft, office.rita, ORDERS, FILES[ORDERS])
    with pytest.raises(Refused, match="It changes nothing yet"):
        workflow.propose(draft, office.rita)
    workflow.put_edit(draft, office.rita, REFUNDS, box(5))
    workflow.describe(draft, office.rita, " ", "")
    with pytest.raises(Refused, match="Give the change request a title"):
        workflow.propose(draft, office.rita)


@pytest.mark.threat("values.paths", "git.newline")
@pytest.mark.parametrize("path", ["../x.yml", ".git/config", "resources/a/b.yml", "teams/É.yml", "", "teams/a\n.yml"])
def test_a_path_that_cannot_be_is_refused(office, path):
    draft = workflow.start_draft(office.rita)
    with pytest.raises(Refused, match="is not a path of the state repository"):
        workflow.put_edit(draft, office.rita, path, "x")


@pytest.mark.threat("approval.base-moved")
def test_a_file_that_main_changed_meanwhile_is_not_overwritten_unseen(office):
    draft = workflow.start_draft(office.rita, title="Seven")
    workflow.put_edit(draft, office.rita, ORDERS, box(7))
    office.merged({ORDERS: box(8)})
    workflow.put_edit(draft, office.rita, ORDERS, box(9))
    assert evaluate_draft(draft).conflicts == (ORDERS,)
    with pytest.raises(Refused, match="was changed on main since you began"):
        workflow.propose(draft, office.rita)
    workflow.rebase_edit(draft, office.rita, ORDERS)
    workflow.propose(draft, office.rita)
    assert evaluate(draft).conflicts == ()


def test_a_revision_is_one_more_commit_that_differs_from_main_by_exactly_the_edits(office):
    request = office.proposed({REFUNDS: box(5), ORDERS: box(4)})
    first = request.head
    office.merged({"resources/payments/shelf-test/Box/other.yml": box(1)})
    workflow.revise(request, office.rita)
    workflow.drop_edit(request, office.rita, ORDERS)
    workflow.put_edit(request, office.rita, REFUNDS, box(6))
    workflow.propose(request, office.rita)
    repository, main = office.repository, office.repository.main()
    assert set(repository.diff(main, request.head)) == {REFUNDS}
    assert repository.info(request.head).parents == (first, main)
    assert not request.edits.exists()
    assert list(PlanRow.objects.filter(change_request=request).values_list("path", flat=True)) == [REFUNDS]


def test_what_is_saved_while_it_is_proposed_is_a_revision_of_the_whole_request(office, monkeypatch):
    request = office.proposed({REFUNDS: box(5), ORDERS: box(9)})
    workflow.revise(request, office.rita)

    def and_paul_types(*given, commit=drafts._commit, **named):
        workflow.put_edit(office.again(request), office.paul, REFUNDS, box(55))
        return commit(*given, **named)

    with monkeypatch.context() as patched:
        patched.setattr(drafts, "_commit", and_paul_types)
        workflow.propose(request, office.rita)
    assert office.text(REFUNDS, at=request.head) == box(5)
    workflow.propose(request, office.paul)
    assert office.text(REFUNDS, at=request.head) == box(55)
    assert {item.path for item in evaluate(request).plan.items} == {REFUNDS, ORDERS}
    assert not request.edits.exists()


@pytest.mark.parametrize(
    "verb",
    [
        lambda draft, rita: workflow.put_edit(draft, rita, REFUNDS, box(6)),
        lambda draft, rita: workflow.put_edit(draft, rita, ORDERS, box(6)),
        lambda draft, rita: workflow.drop_edit(draft, rita, REFUNDS),
        lambda draft, rita: workflow.rebase_edit(draft, rita, REFUNDS),
    ],
)
def test_a_window_that_still_shows_the_draft_leaves_no_lone_edit_beside_what_was_proposed(office, verb):
    draft = workflow.start_draft(office.rita, title="More")
    workflow.put_edit(draft, office.rita, REFUNDS, box(5))
    other_window = office.again(draft)
    workflow.propose(draft, office.rita)
    with pytest.raises(Refused, match="is proposed by now, .*: press Edit on its page"):
        verb(other_window, office.rita)
    assert not draft.edits.exists()


def test_a_conflict_is_solved_by_revising(office):
    request = office.proposed({ORDERS: box(7)})
    office.merged({ORDERS: box(8)})
    workflow.revise(request, office.rita)
    with pytest.raises(Refused, match="was changed on main"):
        workflow.propose(request, office.rita)
    workflow.rebase_edit(request, office.rita, ORDERS)
    workflow.propose(request, office.rita)
    office.approved(request)
    workflow.merge(request, office.rita)
    assert office.text(ORDERS) == box(7)


def test_a_revision_can_be_thrown_away(office):
    request = office.proposed()
    head = request.head
    workflow.revise(request, office.rita)
    workflow.stop_revising(request, office.rita)
    assert not request.edits.exists()
    with pytest.raises(Refused, match="nothing to propose"):
        workflow.propose(request, office.rita)
    assert office.again(request).head == head


def test_a_member_of_the_team_may_revise_and_a_stranger_may_not(office):
    request = office.proposed()
    workflow.revise(request, office.paul)
    with pytest.raises(Refused, match="members of the teams it touches"):
        workflow.revise(request, office.sam)


def test_a_branch_name_that_is_taken_is_left_alone(office):
    main = office.repository.main()
    draft = workflow.start_draft(office.rita, title="More")
    office.repository.swap_ref(f"refs/heads/change/{draft.number}", main, None)
    workflow.put_edit(draft, office.rita, REFUNDS, box(5))
    workflow.propose(draft, office.rita)
    assert draft.branch == f"change/{draft.number}-2"
    assert office.repository.head(f"refs/heads/change/{draft.number}") == main


def test_a_revert_is_a_draft_that_undoes_every_file(office):
    request = office.merged({REFUNDS: box(5), ORDERS: box(9)})
    draft = workflow.revert(request, office.rita)
    assert (draft.title, draft.reverts, draft.state) == ("Revert: More boxes", request, ChangeRequestState.DRAFT)
    workflow.propose(draft, office.rita)
    office.approved(draft)
    workflow.merge(draft, office.rita)
    assert office.text(REFUNDS) is None
    assert office.text(ORDERS) == FILES[ORDERS]
    with pytest.raises(Refused, match="undone already"):
        workflow.revert(request, office.rita)


def test_a_revert_points_out_what_changed_again_since(office):
    request = office.merged({ORDERS: box(9)})
    office.merged({ORDERS: box(10)})
    draft = workflow.revert(request, office.rita)
    assert f"Changed again since, and set back here as well:\n- {ORDERS}" in draft.reason
    workflow.propose(draft, office.rita)
    office.approved(draft)
    workflow.merge(draft, office.rita)
    assert office.text(ORDERS) == FILES[ORDERS]


def test_only_a_merged_request_can_be_reverted(office):
    with pytest.raises(Refused, match="is not merged"):
        workflow.revert(office.proposed(), office.rita)
