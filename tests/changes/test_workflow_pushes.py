"""What a push becomes, however late and however often it is recorded."""

import json
import subprocess

import pytest

from changes import workflow
from changes.forges import builtin
from changes.models import ChangeRequest
from changes.repository import CommitInfo, Person
from changes.review import barred_from_approving, evaluate
from changes.states import ChangeRequestState
from changes.workflow import branches, drafts
from changes.workflow.people import MERGEYARD, hands_on
from tests.changes.conftest import ORDERS, REFUNDS, box

BRANCH = "change/refunds"


@pytest.fixture
def push(office):
    """Write a commit and move the branch, as git does; who is told of it is the test's business."""

    def pushed(changes, *, by="rita", branch=BRANCH, message="A box\n\nWhy not.\n"):
        repository = office.repository
        old = repository.head(builtin.ref_of(branch))
        signer = Person(by.title(), f"{by}@office.example")
        new = repository.commit(
            parents=[old or repository.main()],
            base_tree_of=old or repository.main(),
            changes={path: text.encode() for path, text in changes.items()},
            message=message,
            author=signer,
            committer=signer,
            when=office.now,
        )
        repository.swap_ref(builtin.ref_of(branch), new, old)
        return old, new

    return pushed


@pytest.mark.threat("approval.second-identity")
def test_authors_and_committers_are_barred_beside_the_pusher(office, push):
    _ = office.olga
    old, new = push({REFUNDS: box(5)}, by="olga")
    request = workflow.received_push(office.rita, BRANCH, old, new)
    assert barred_from_approving(request) == {"rita", "olga"}
    with pytest.raises(workflow.Refused, match="had a hand in it"):
        office.approved(request, by=office.olga)


@pytest.mark.threat("approval.second-identity")
@pytest.mark.parametrize("branch", [BRANCH, "change/other"])
def test_who_pushed_commits_under_another_name_stays_barred_when_somebody_else_brings_them_again(office, push, branch):
    """The first request is withdrawn; a colleague pushes the same commits, on the same branch or another."""
    repository = office.repository
    _, head = push({REFUNDS: box(5)}, by="nobody")
    first = workflow.received_push(office.olga, BRANCH, None, head)
    workflow.withdraw(first, office.olga)
    if branch != BRANCH:
        repository.swap_ref(builtin.ref_of(branch), head, None)
    old, new = push({ORDERS: box(6)}, by="rita", branch=branch)
    request = workflow.received_push(office.rita, branch, old if branch == BRANCH else None, new)
    assert barred_from_approving(request) == {"rita", "olga"}


@pytest.mark.threat("faults.push-unheard")
def test_recording_a_push_again_changes_nothing(office, push):
    old, new = push({REFUNDS: box(5)})
    first = workflow.received_push(office.rita, BRANCH, old, new)
    again = workflow.received_push(office.rita, BRANCH, old, new)
    assert first == again
    assert ChangeRequest.objects.count() == 1


@pytest.mark.threat("faults.push-unheard")
def test_pushes_recorded_in_the_wrong_order_end_at_the_branch(office, push):
    _ = office.paul
    first, second = push({REFUNDS: box(5)}), push({REFUNDS: box(6)}, by="paul")
    workflow.received_push(office.paul, BRANCH, *second)
    request = workflow.received_push(office.rita, BRANCH, *first)
    assert office.again(request).head == second[1]
    assert barred_from_approving(request) == {"rita", "paul"}


def test_a_branch_without_anything_new_opens_nothing(office):
    main = office.repository.main()
    office.repository.swap_ref(builtin.ref_of(BRANCH), main, None)
    assert workflow.received_push(office.rita, BRANCH, None, main) is None


def test_a_push_after_the_merge_opens_a_new_request(office, push):
    request = workflow.received_push(office.rita, BRANCH, *push({REFUNDS: box(5)}))
    office.approved(request)
    workflow.merge(request, office.rita)
    second = workflow.received_push(office.rita, BRANCH, *push({ORDERS: box(6)}))
    assert second != request
    assert [item.path for item in evaluate(second).plan.items] == [ORDERS]


@pytest.mark.threat("approval.later-push")
def test_a_push_after_the_approval_is_not_merged_with_it(office, push):
    request = workflow.received_push(office.rita, BRANCH, *push({REFUNDS: box(5)}))
    office.approved(request)
    workflow.received_push(office.rita, BRANCH, *push({REFUNDS: box(99)}))
    with pytest.raises(workflow.Refused, match="Waits for the approval"):
        workflow.merge(office.again(request), office.rita)


@pytest.mark.threat("faults.push-unheard")
def test_a_push_that_nobody_could_record_is_recorded_later(office, push):
    _ = office.paul, office.rita
    old, new = push({REFUNDS: box(5)}, by="paul")
    with builtin.push_by(office.repository, "rita", heads={}, refused={}) as (note, _environment):
        note.write_text(json.dumps({"pusher": "rita", "refs": [[builtin.ref_of(BRANCH), old or "0" * 40, new]]}))
    assert workflow.catch_up()
    assert not workflow.catch_up()
    request = ChangeRequest.objects.get(branch=BRANCH)
    assert (request.state, request.requester.username) == (ChangeRequestState.OPEN, "rita")
    assert barred_from_approving(request) == {"rita", "paul"}
    assert not note.exists()


NONSENSE = json.dumps({"pusher": "rita", "refs": [[builtin.ref_of(BRANCH), "0" * 40, "nonsense"]]})


@pytest.mark.threat("faults.push-unheard")
@pytest.mark.parametrize("broken", ["no JSON", '{"pusher": "rita"}', NONSENSE])
def test_a_push_that_cannot_be_recorded_keeps_no_other_one_from_it(office, push, caplog, broken):
    _ = office.rita
    old, new = push({REFUNDS: box(5)})
    written = [broken, json.dumps({"pusher": "rita", "refs": [[builtin.ref_of(BRANCH), old or "0" * 40, new]]})]
    for text in written:
        with builtin.push_by(office.repository, "rita", heads={}, refused={}) as (note, _environment):
            note.write_text(text)
    workflow.catch_up()
    assert ChangeRequest.objects.get(branch=BRANCH).head == new
    kept = [note.read_text() for note in builtin.notes(office.repository)]
    assert kept == [broken]
    assert "could not be recorded" in caplog.text


@pytest.mark.threat("faults.push-unheard")
def test_a_request_that_cannot_be_brought_up_to_its_branch_keeps_no_other_one_from_it(office, push, monkeypatch):
    requests = [office.proposed(), office.proposed({ORDERS: box(6)})]
    heads = [push({REFUNDS: box(7)}, branch=request.branch)[1] for request in requests]

    def break_off(request, moved_to=branches.moved_to, **fields):
        if request == requests[0]:
            raise LookupError("unknown encoding: nonsense")
        return moved_to(request, **fields)

    monkeypatch.setattr(branches, "moved_to", break_off)
    assert workflow.catch_up()
    assert [office.again(request).head == head for request, head in zip(requests, heads, strict=True)] == [False, True]


def noted(office, pusher, *refs):
    """The hook's note of a push of branches, each from where to where."""
    with builtin.push_by(office.repository, pusher, heads={}, refused={}) as (note, _environment):
        moves = [[builtin.ref_of(branch), old or "0" * 40, new] for branch, old, new in refs]
        note.write_text(json.dumps({"pusher": pusher, "refs": moves}))
    return note


@pytest.mark.threat("approval.second-identity")
def test_a_ref_that_cannot_be_recorded_hides_nobodys_hand_in_the_others_of_its_push(office, push, monkeypatch, caplog):
    """Olga pushes under nobody's name to rita's branch, beside a branch of her own that nothing can be made of."""
    request = office.proposed()
    broken, hidden = push({ORDERS: box(6)}), push({REFUNDS: box(99)}, by="nobody", branch=request.branch)

    def received(user, branch, *more, received=branches.received_push):
        if branch == BRANCH:
            raise LookupError("nothing can be made of it")
        return received(user, branch, *more)

    monkeypatch.setattr(branches, "received_push", received)
    note = noted(office, "olga", (BRANCH, *broken), (request.branch, *hidden))
    workflow.catch_up()
    assert office.again(request).head == hidden[1]
    assert barred_from_approving(request) == {"rita", "olga"}
    assert note.exists()
    assert "nothing can be made of it" in caplog.text


@pytest.mark.threat("approval.second-identity")
def test_a_note_stays_until_git_has_moved_the_last_ref_of_its_push(office, push):
    request = office.proposed()
    first = push({ORDERS: box(6)})
    repository, ref = office.repository, builtin.ref_of(request.branch)
    old, new = push({REFUNDS: box(99)}, by="nobody", branch=request.branch)
    repository._git.references[ref].set_target(old)
    note = noted(office, "olga", (BRANCH, *first), (request.branch, old, new))
    workflow.catch_up()
    assert note.exists()
    repository.swap_ref(ref, new, old)
    workflow.catch_up()
    assert barred_from_approving(request) == {"rita", "olga"}
    assert not note.exists()


@pytest.mark.threat("approval.second-identity")
def test_a_branch_of_very_many_signers_is_recorded_with_those_who_are_people(office):
    people = [Person("A", "OLGA@office.example"), Person("B", "x" * 60_000 + "@office.example")]
    people += [Person("C", f"{number}@elsewhere.example") for number in range(1_005)]
    commits = [CommitInfo("0" * 40, (), "", "", "", signer, signer, office.now) for signer in people]
    assert hands_on(commits) == [office.olga]


def test_what_no_draft_can_hold_is_a_replacement_character_in_a_revision(office, push):
    request = office.proposed()
    workflow.revise(request, office.rita)
    workflow.received_push(office.rita, request.branch, *push({ORDERS: "a\0b"}, branch=request.branch))
    assert request.edits.get(path=ORDERS).text == "a\ufffdb"


def test_a_push_under_way_is_left_alone(office):
    with builtin.push_by(office.repository, "rita", heads={}, refused={}) as (note, _environment):
        note.write_text(json.dumps({"pusher": "rita", "refs": [[builtin.ref_of(BRANCH), "0" * 40, "1" * 40]]}))
    assert not workflow.catch_up()
    assert note.exists()


def test_a_request_whose_opening_was_interrupted_is_found_by_those_it_waits_for(office, push, monkeypatch):
    old, new = push({REFUNDS: box(5)})
    with monkeypatch.context() as patched:
        patched.setattr(branches, "plan_rows", died)
        with pytest.raises(RuntimeError):
            workflow.received_push(office.rita, BRANCH, old, new)
    request = workflow.received_push(office.rita, BRANCH, old, new)
    assert request.plan_rows.get().system == "shelf-test"
    assert workflow.may_edit(request, office.paul)


def died(*_):
    raise RuntimeError("died")


@pytest.mark.threat("faults.merge-crash")
def test_a_version_of_the_portal_that_was_not_recorded_is_taken_up(office, monkeypatch):
    request = office.proposed()
    workflow.revise(request, office.paul)
    workflow.put_edit(request, office.paul, REFUNDS, box(6))

    class Crash(BaseException):
        pass

    def crash(*_, **__):
        raise Crash

    with monkeypatch.context() as patched:
        patched.setattr("changes.workflow.drafts.moved_to", crash)
        with pytest.raises(Crash):
            workflow.propose(request, office.paul)
    assert workflow.catch_up()
    assert not workflow.catch_up()
    assert office.again(request).head == office.repository.head(builtin.ref_of(request.branch))
    assert barred_from_approving(request) == {"rita", "paul"}


def test_a_revision_in_compose_takes_a_push_in(office, push):
    request = workflow.received_push(office.rita, BRANCH, *push({REFUNDS: box(5)}))
    workflow.revise(request, office.rita)
    workflow.received_push(office.rita, BRANCH, *push({ORDERS: box(7), REFUNDS: box(6)}))
    request = office.again(request)
    workflow.propose(request, office.rita)
    repository = office.repository
    assert repository.read(request.head, ORDERS).decode() == box(7)
    assert repository.read(request.head, REFUNDS).decode() == box(6)


def test_a_revision_in_compose_makes_no_edits_of_what_a_push_merged_in_from_main(office):
    request = office.proposed({REFUNDS: box(5)})
    workflow.revise(request, office.rita)
    office.merged({ORDERS: box(7)})
    repository, old = office.repository, request.head
    new = repository.commit(
        parents=[old, repository.main()],
        base_tree_of=repository.main(),
        changes={REFUNDS: box(6).encode()},
        message="Merge main\n",
        author=MERGEYARD,
        committer=MERGEYARD,
        when=office.now,
    )
    repository.swap_ref(builtin.ref_of(request.branch), new, old)
    workflow.received_push(office.rita, request.branch, old, new)
    assert [(edit.path, edit.text) for edit in request.edits.all()] == [(REFUNDS, box(6))]


def test_only_branches_of_others_are_refused(office, push):
    workflow.received_push(office.rita, BRANCH, *push({REFUNDS: box(5)}))
    assert workflow.refused_refs(office.rita) == {}
    assert workflow.refused_refs(office.paul) == {}
    assert list(workflow.refused_refs(office.sam)) == [builtin.ref_of(BRANCH)]


def held_against(limits, office, user, branch, old, new):
    """What the hook says to a push of a person who began it with these limits."""
    heads, refused = limits
    with builtin.push_by(office.repository, user, heads=heads, refused=refused) as (_note, environment):
        done = subprocess.run(
            [environment["MERGEYARD_PYTHON"], "-I", environment["MERGEYARD_POLICY"]],
            input=f"{old} {new} {builtin.ref_of(branch)}\n",
            env=environment | {"GIT_DIR": str(office.path)},
            capture_output=True,
            text=True,
            check=False,
        )
    return done.returncode, done.stderr


@pytest.mark.threat("approval.second-identity")
def test_a_push_that_began_before_a_request_was_opened_does_not_get_into_it(office, monkeypatch):
    """Sam begins his push before rita proposes, or while she does, and sends the rest when he knows her commit."""
    begun = [workflow.push_limits(office.sam)]

    def opened(*arguments, opened=drafts._opened, **more):
        begun.append(workflow.push_limits(office.sam))
        opened(*arguments, **more)

    monkeypatch.setattr(drafts, "_opened", opened)
    request = office.proposed()
    for limits in begun:
        code, said = held_against(limits, office, "sam", request.branch, request.head, request.head)
        assert code == 1
        assert f"{request.branch}: the branch is being moved by somebody else: fetch it, then push again." in said
    now = workflow.push_limits(office.paul)
    assert held_against(now, office, "paul", request.branch, request.head, request.head) == (0, "")


@pytest.mark.threat("approval.second-identity")
def test_nobody_else_pushes_to_a_branch_whose_push_is_not_recorded_yet(office, push):
    old, new = push({REFUNDS: box(5)})
    ref = builtin.ref_of(BRANCH)
    noted(office, "rita", (BRANCH, old, new)).with_name("0.json").write_text("no JSON")
    assert [ref in workflow.push_limits(user)[0] for user in (office.rita, office.paul)] == [True, False]
    workflow.catch_up()
    assert workflow.push_limits(office.paul)[0][ref] == new
