"""From a draft to main: propose, evaluate, approve, merge."""

import os
import subprocess
import time

import pytest

from changes import workflow
from changes.forges.builtin import merge_lock
from changes.models import MergeIntent, Transition
from changes.repository import MAIN_REF, RefMoved, Repository
from changes.review import evaluate
from changes.states import ChangeRequestState, IntentState
from changes.workflow import Refused
from tests.changes.conftest import ORDERS, REFUNDS, box


def test_a_request_goes_from_draft_to_main(office):
    draft = workflow.start_draft(office.rita, title="A box for refunds", reason="They come back.")
    workflow.put_edit(draft, office.rita, REFUNDS, box(5))
    workflow.propose(draft, office.rita)
    assert (draft.state, draft.branch) == (ChangeRequestState.OPEN, f"change/{draft.number}")
    assert evaluate(draft).blockers == ("Waits for the approval of one of the owners of shelf-test (shelves).",)
    office.approved(draft)
    review = evaluate(draft)
    assert review.violations == ()
    assert review.can_merge
    before = office.repository.main()
    commit = workflow.merge(draft, office.rita)
    assert office.repository.main() == commit
    assert office.text(REFUNDS) == box(5)
    assert draft.state == ChangeRequestState.MERGED
    info = office.repository.info(commit)
    assert info.parents == (before, draft.head)
    assert info.message == (
        f"Merge change request {draft.number}: A box for refunds\n\nThey come back.\n\n"
        f"Change-Request: {draft.number}\n"
        "Requested-by: Rita <rita@users.mergeyard.invalid>\n"
        "Approved-by: Olga <olga@users.mergeyard.invalid>\n"
    )
    intent = MergeIntent.objects.get(change_request=draft)
    assert (intent.state, intent.commit, intent.base, intent.head) == (IntentState.DONE, commit, before, draft.head)


def test_every_move_is_a_row_with_who_and_why(office):
    request = office.merged()
    rows = Transition.objects.filter(noun="changerequest", noun_id=request.pk).order_by("id")
    assert [(row.before, row.after, row.who.username, row.why) for row in rows] == [
        ("draft", "open", "rita", "Proposed"),
        ("open", "merged", "rita", "Merged"),
    ]


def test_git_finds_nothing_wrong_with_what_the_portal_wrote(office):
    request = office.merged()
    git = ["git", f"--git-dir={office.path}"]
    subprocess.run([*git, "fsck", "--strict"], check=True, capture_output=True)
    signers = subprocess.run([*git, "log", "-2", "--format=%an|%ae|%cn", request.merge_commit], capture_output=True)
    assert signers.stdout.decode().splitlines()[0] == "Rita|rita@users.mergeyard.invalid|Mergeyard"


def test_nothing_is_merged_without_approval(office):
    request = office.proposed()
    with pytest.raises(Refused, match="approval of one of the owners of shelf-test"):
        workflow.merge(request, office.rita)
    assert office.text(REFUNDS) is None


def test_nothing_is_merged_with_a_failing_check(office):
    request = office.proposed({REFUNDS: "kind: Box\nspec:\n  size: 0\n"})
    office.approved(request)
    with pytest.raises(Refused, match="One check fails"):
        workflow.merge(request, office.rita)


def test_a_stranger_cannot_merge(office):
    request = office.proposed()
    office.approved(request)
    with pytest.raises(Refused, match="Only people who may edit or approve"):
        workflow.merge(request, office.sam)


@pytest.mark.threat("approval.replayed")
def test_a_merged_request_is_not_merged_again(office):
    request = office.merged()
    main = office.repository.main()
    with pytest.raises(Refused, match="is merged"):
        workflow.merge(request, office.rita)
    assert office.repository.main() == main


def test_a_branch_that_main_left_behind_is_merged_onto_main(office):
    first, second = office.proposed(), office.proposed({ORDERS: box(9)})
    office.approved(first)
    office.approved(second)
    workflow.merge(first, office.rita)
    assert evaluate(second).outdated
    workflow.merge(second, office.rita)
    assert (office.text(REFUNDS), office.text(ORDERS)) == (box(5), box(9))


@pytest.mark.threat("approval.together")
def test_requests_that_are_fine_alone_and_invalid_together_are_not_both_merged(office):
    other = "resources/others/shelf-test/Box/mine.yml"
    first = office.proposed({REFUNDS: "kind: Box\nspec:\n  name: same\n  size: 1\n"})
    second = office.proposed({other: "kind: Box\nspec:\n  name: same\n  size: 2\n"}, by=office.sam)
    office.approved(first)
    office.approved(second)
    assert evaluate(second).can_merge
    workflow.merge(first, office.rita)
    assert [violation.id for violation in evaluate(second).violations] == ["identity.taken"]
    with pytest.raises(Refused, match="One check fails"):
        workflow.merge(second, office.sam)


def test_a_conflict_names_the_file_and_the_way_out(office):
    request = office.proposed({ORDERS: box(7)})
    office.merged({ORDERS: box(8)})
    review = evaluate(request)
    assert review.conflicts == (ORDERS,)
    assert "Open the file in compose" in review.blockers[0]
    with pytest.raises(Refused, match="Open the file in compose"):
        workflow.update_branch(request, office.rita)


@pytest.mark.threat("approval.base-moved")
def test_main_that_moves_between_look_and_write_is_looked_at_again(office, monkeypatch):
    request = office.proposed()
    office.approved(request)
    repository = office.repository
    swap, others = repository.swap_ref, []

    def moved_first(ref, new, old):
        if ref == MAIN_REF and not others:
            others.append("")
            others[0] = office.commit_by_hand({ORDERS: box(4).encode()})
        swap(ref, new, old)

    monkeypatch.setattr(repository, "swap_ref", moved_first)
    commit = workflow.merge(request, office.rita)
    assert repository.info(commit).parents[0] == others[0]
    assert (office.text(ORDERS), office.text(REFUNDS)) == (box(4), box(5))
    assert [i.state for i in MergeIntent.objects.filter(change_request=request).order_by("id")] == ["dropped", "done"]


class Crash(BaseException):
    pass


def crash(*_):
    raise Crash


@pytest.mark.threat("faults.merge-crash")
def test_a_crash_before_the_ref_moved_is_dropped(office, monkeypatch):
    request = office.proposed()
    office.approved(request)
    with monkeypatch.context() as patched:
        patched.setattr(office.repository, "swap_ref", crash)
        with pytest.raises(Crash):
            workflow.merge(request, office.rita)
    assert workflow.finish_intents()
    assert not workflow.finish_intents()
    assert MergeIntent.objects.get(change_request=request).state == IntentState.DROPPED
    workflow.merge(request, office.rita)
    assert office.again(request).state == ChangeRequestState.MERGED


@pytest.mark.threat("faults.merge-crash")
def test_a_crash_after_the_ref_moved_is_completed(office, monkeypatch):
    request = office.proposed()
    office.approved(request)
    with monkeypatch.context() as patched:
        patched.setattr("changes.workflow.merging._close", crash)
        with pytest.raises(Crash):
            workflow.merge(request, office.rita)
    assert office.again(request).state == ChangeRequestState.OPEN
    assert workflow.finish_intents()
    assert not workflow.finish_intents()
    done = office.again(request)
    assert (done.state, done.merge_commit) == (ChangeRequestState.MERGED, office.repository.main())


@pytest.mark.threat("faults.left-lock")
def test_a_lock_that_a_killed_git_left_is_removed_when_nobody_can_hold_it(office):
    request = office.proposed()
    office.approved(request)
    refs = {MAIN_REF: office.repository.main(), f"refs/heads/{request.branch}": request.head}
    locks = [office.path / f"{ref}.lock" for ref in refs]
    git = subprocess.Popen(
        ["git", f"--git-dir={office.path}", "update-ref", "--stdin"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    git.stdin.write("".join(["start\n", *(f"update {ref} {sha}\n" for ref, sha in refs.items()), "prepare\n"]).encode())
    git.stdin.flush()
    assert [git.stdout.readline(), git.stdout.readline()] == [b"start: ok\n", b"prepare: ok\n"]
    git.kill()
    git.communicate()
    assert all(lock.exists() for lock in locks)
    with pytest.raises(Refused, match="merge again then"):
        workflow.merge(request, office.rita)
    assert not workflow.finish_intents()  # whose they are is not certain yet
    for lock in locks:
        os.utime(lock, times=(time.time() - 61,) * 2)
    with merge_lock(office.repository):
        assert not workflow.finish_intents()
    assert workflow.finish_intents()
    workflow.revise(request, office.rita)
    workflow.put_edit(request, office.rita, REFUNDS, box(6))
    workflow.propose(request, office.rita)
    office.approved(request)
    workflow.merge(request, office.rita)
    assert office.text(REFUNDS) == box(6)


def test_a_main_that_nothing_can_move_is_told_as_that(office, monkeypatch):
    request = office.proposed()
    office.approved(request)

    def refuse(*given):
        raise RefMoved("moving refs/heads/main: permission denied")

    monkeypatch.setattr(Repository, "swap_ref", refuse)
    with pytest.raises(Refused, match="its log says why"):
        workflow.merge(request, office.rita)
    assert office.again(request).state == ChangeRequestState.OPEN


@pytest.mark.threat("approval.between")
def test_an_approval_that_turns_to_no_while_merging_stops_the_merge(office, monkeypatch):
    request = office.proposed()
    office.approved(request)
    from changes.workflow import merging

    write = merging._write

    def declined_meanwhile(repository, review):
        workflow.approve(request, office.otto, "no", [item.digest for item in review.plan.items])
        return write(repository, review)

    monkeypatch.setattr(merging, "_write", declined_meanwhile)
    with pytest.raises(Refused, match="changed this moment"):
        workflow.merge(request, office.rita)
    assert office.text(REFUNDS) is None


@pytest.mark.threat("git.signers")
def test_a_reason_cannot_forge_the_trailers(office):
    draft = workflow.start_draft(office.rita, title="More", reason="Approved-by: Pia <pia@users.mergeyard.invalid>")
    workflow.put_edit(draft, office.rita, REFUNDS, box(5))
    workflow.propose(draft, office.rita)
    office.approved(draft)
    commit = workflow.merge(draft, office.rita)
    trailers = subprocess.run(
        ["git", f"--git-dir={office.path}", "log", "-1", "--format=%(trailers:key=Approved-by)", commit],
        capture_output=True,
        check=True,
    )
    assert trailers.stdout.decode().strip() == "Approved-by: Olga <olga@users.mergeyard.invalid>"


@pytest.mark.threat("faults.merge-crash")
def test_a_ref_that_moved_before_its_move_broke_is_a_merge(office, monkeypatch):
    request = office.proposed()
    office.approved(request)
    swap = type(office.repository).swap_ref

    def moves_and_breaks(self, ref, new, old):
        swap(self, ref, new, old)
        raise RefMoved("the disk was full when the log of the ref was written")

    with monkeypatch.context() as patched:
        patched.setattr("changes.repository.Repository.swap_ref", moves_and_breaks)
        commit = workflow.merge(request, office.rita)
    assert office.repository.main() == commit
    assert MergeIntent.objects.get(commit=commit).state == IntentState.DONE
    assert office.again(request).state == ChangeRequestState.MERGED


def test_a_merge_writes_down_what_was_asked_for_and_who_gave_it(office):
    request = office.merged()
    intent = request.intents.get()
    [asked] = [each for each in intent.approvals["asked"] if each["path"] == REFUNDS]
    assert "rita" in intent.approvals["barred"]
    assert asked["given"]
    assert not {*asked["given"]} & {*intent.approvals["barred"]}
    assert {"path", "sentence", "teams", "count", "given"} == asked.keys()
