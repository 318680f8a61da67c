"""Each refusal of a verb or a push says in whole sentences what is in the way and what to do instead."""

import re

import pytest

from changes import workflow
from changes.forges import builtin
from changes.models import MergeIntent
from changes.repository import policy
from changes.review import evaluate
from changes.workflow import Refused, drafts
from tests.changes.conftest import ORDERS, REFUNDS, box

ZERO, SHA = "0" * 40, "a" * 40
DIGESTS = lambda request: [item.digest for item in evaluate(request).plan.items]  # noqa: E731


def merged(office):
    return office.merged()


def approve_badly(office):
    request = office.proposed()
    workflow.approve(request, office.olga, "maybe", DIGESTS(request))


def approve_nothing(office):
    workflow.approve(office.proposed(), office.olga, "yes", [])


def approve_what_is_closed(office):
    workflow.approve(office.merged(), office.otto, "yes", ["x"])


def approve_an_older_page(office):
    workflow.approve(office.proposed(), office.olga, "yes", ["0" * 64])


def withdraw_as_a_stranger(office):
    workflow.withdraw(office.proposed(), office.sam)


def withdraw_what_is_merged(office):
    workflow.withdraw(office.merged(), office.rita)


def withdraw_while_merging(office):
    request = office.proposed()
    MergeIntent.objects.create(change_request=request, base=SHA, head=request.head, commit=SHA)
    workflow.withdraw(request, office.rita)


def withdraw_too_late(office):
    request = office.proposed()
    workflow.withdraw(office.again(request), office.rita)
    workflow.withdraw(request, office.rita)


def reject_a_draft(office):
    draft = workflow.start_draft(office.pia, title="x")
    workflow.reject(draft, office.pia, "No.")


def reject_as_a_stranger(office):
    workflow.reject(office.proposed(), office.sam, "No.")


def reject_without_a_word(office):
    workflow.reject(office.proposed(), office.olga, " \0")


def say_nothing(office):
    workflow.comment(office.proposed(), office.rita, " \0 ")


def say_too_much(office):
    workflow.comment(office.proposed(), office.rita, "x" * 20_001)


def update_what_is_merged(office):
    workflow.update_branch(office.merged(), office.rita)


def update_as_a_stranger(office):
    workflow.update_branch(office.proposed(), office.sam)


def update_what_is_up_to_date(office):
    workflow.update_branch(office.proposed(), office.rita)


def update_with_a_conflict(office):
    request = office.proposed({ORDERS: box(7)})
    office.merged({ORDERS: box(8)})
    workflow.update_branch(request, office.rita)


def pushed_meanwhile(office, request):
    repository, ref = office.repository, builtin.ref_of(request.branch)
    repository.swap_ref(ref, repository.main(), repository.head(ref))


def update_what_was_pushed(office):
    request = office.proposed()
    office.merged({ORDERS: box(8)})
    pushed_meanwhile(office, request)
    workflow.update_branch(request, office.rita)


def propose_what_was_pushed(office):
    request = office.proposed()
    workflow.revise(request, office.rita)
    workflow.put_edit(request, office.rita, REFUNDS, box(6))
    pushed_meanwhile(office, request)
    workflow.propose(request, office.rita)


def propose_without_a_revision(office):
    workflow.propose(office.proposed(), office.rita)


def propose_without_a_title(office):
    draft = workflow.start_draft(office.rita)
    workflow.put_edit(draft, office.rita, REFUNDS, box(5))
    workflow.propose(draft, office.rita)


def propose_nothing(office):
    workflow.propose(workflow.start_draft(office.rita, title="x"), office.rita)


def propose_what_main_changed(office):
    draft = workflow.start_draft(office.rita, title="x")
    workflow.put_edit(draft, office.rita, ORDERS, box(7))
    office.merged({ORDERS: box(8)})
    workflow.propose(draft, office.rita)


def edit_what_is_merged(office):
    workflow.put_edit(office.merged(), office.rita, ORDERS, box(1))


def edit_a_draft_of_somebody_else(office):
    workflow.put_edit(workflow.start_draft(office.rita), office.paul, ORDERS, box(1))


def edit_a_strange_path(office):
    workflow.put_edit(workflow.start_draft(office.rita), office.rita, "../etc/passwd", "x")


def edit_too_much_text(office):
    workflow.put_edit(workflow.start_draft(office.rita), office.rita, ORDERS, "x" * 1_000_001)


def edit_with_nul(office):
    workflow.put_edit(workflow.start_draft(office.rita), office.rita, ORDERS, "a\0b")


def edit_too_many_files(office, monkeypatch=None):
    draft = workflow.start_draft(office.rita)
    former, drafts.MAX_EDITS = drafts.MAX_EDITS, 1
    try:
        workflow.put_edit(draft, office.rita, ORDERS, box(1))
        workflow.put_edit(draft, office.rita, REFUNDS, box(1))
    finally:
        drafts.MAX_EDITS = former


def delete_what_is_not_there(office):
    workflow.put_edit(workflow.start_draft(office.rita), office.rita, REFUNDS, "", delete=True)


def keep_what_is_not_edited(office):
    workflow.rebase_edit(workflow.start_draft(office.rita), office.rita, ORDERS)


def revise_a_draft(office):
    workflow.revise(workflow.start_draft(office.rita), office.rita)


def stop_revising_a_draft(office):
    workflow.stop_revising(workflow.start_draft(office.rita), office.rita)


def revise_too_many_files(office):
    request = office.proposed({ORDERS: box(8), REFUNDS: box(1)})
    former, drafts.MAX_EDITS = drafts.MAX_EDITS, 1
    try:
        workflow.revise(request, office.rita)
    finally:
        drafts.MAX_EDITS = former


def merge_without_approval(office):
    workflow.merge(office.proposed(), office.rita)


def merge_as_a_stranger(office):
    request = office.proposed()
    office.approved(request)
    workflow.merge(request, office.sam)


def merge_twice(office):
    workflow.merge(office.merged(), office.rita)


def revert_what_is_open(office):
    workflow.revert(office.proposed(), office.rita)


def revert_twice(office):
    request = office.merged()
    draft = workflow.revert(request, office.rita)
    workflow.propose(draft, office.rita)
    office.approved(draft)
    workflow.merge(draft, office.rita)
    workflow.revert(office.again(request), office.rita)


REFUSALS = {
    approve_badly: "Say yes or no.",
    approve_nothing: "Choose at least one item of the plan.",
    approve_what_is_closed: "Change request 1 is merged: there is nothing to approve.",
    approve_an_older_page: "The change request has changed since you opened this page: look at the plan again.",
    withdraw_as_a_stranger: "Only the requester, their team and the platform team can withdraw a change request.",
    withdraw_what_is_merged: "Change request 1 is merged already: there is nothing to close.",
    withdraw_while_merging: "It is being merged this moment: wait for that, then look again.",
    withdraw_too_late: "Somebody else was faster: look at the change request again.",
    reject_a_draft: "A draft was not proposed yet: only its requester can withdraw it.",
    reject_as_a_stranger: "Only people whose approval it needs can reject a change request.",
    reject_without_a_word: "Say why, so that the requester knows what to do instead.",
    say_nothing: "Write something first.",
    say_too_much: "A comment may have at most 20,000 characters: shorten it.",
    update_what_is_merged: "Change request 1 is merged: its branch stays as it is.",
    update_as_a_stranger: "Only people who may edit or approve this change request can update its branch.",
    update_what_is_up_to_date: "The branch already contains everything that is on main: there is nothing to update.",
    update_with_a_conflict: (
        f"Main and the branch both changed {ORDERS}. Open the file in compose, which shows main's text, and decide "
        "what it should say."
    ),
    update_what_was_pushed: "Somebody pushed to the branch in the meantime: look at it again.",
    propose_what_was_pushed: "Somebody pushed to the branch in the meantime: look at it again, then propose.",
    propose_without_a_revision: "There is nothing to propose: no file was edited since it was proposed last.",
    propose_without_a_title: "Give the change request a title that says what it is for.",
    propose_nothing: "It changes nothing yet: add a resource, or edit one, before you propose it.",
    propose_what_main_changed: (
        f"{ORDERS} was changed on main since you began. Open the file in compose, which shows main's text, and decide "
        "what it should say."
    ),
    edit_what_is_merged: "Change request 1 is merged and cannot be edited any more.",
    edit_a_draft_of_somebody_else: (
        "Change request 1 belongs to Rita: only they and, once it is proposed, members of the teams it touches can "
        "edit it."
    ),
    edit_a_strange_path: (
        "../etc/passwd: is not a path of the state repository. Documents are at "
        "resources/<team>/<system>/<Kind>/<name>.yml, in lower case but for the kind."
    ),
    edit_too_much_text: f"{ORDERS}: a file may have at most 1,000,000 bytes: split it.",
    edit_with_nul: f"{ORDERS}: a text cannot hold the character NUL (U+0000): remove it.",
    edit_too_many_files: "A change request may edit at most 1 files in compose: push a branch instead.",
    delete_what_is_not_there: f"{REFUNDS} is not on the main branch, so there is nothing to delete.",
    keep_what_is_not_edited: f"{ORDERS} is not edited by this change request.",
    revise_a_draft: "A draft is edited as it is; only a proposed change request can be revised.",
    stop_revising_a_draft: "A draft has nothing else than its edits: withdraw it instead.",
    revise_too_many_files: "It changes 2 files, too many for compose: push to its branch instead.",
    merge_without_approval: (
        "Change request 1 cannot be merged yet. Waits for the approval of one of the owners of shelf-test (shelves)."
    ),
    merge_as_a_stranger: "Only people who may edit or approve this change request can merge it.",
    merge_twice: "Change request 1 is merged: there is nothing to merge.",
    revert_what_is_open: "Change request 1 is not merged: there is nothing to revert.",
    revert_twice: "Main no longer has anything of change request 1: it is undone already.",
}


@pytest.mark.parametrize("verb", REFUSALS, ids=lambda verb: verb.__name__)
def test_a_verb_that_is_refused_says_why(office, verb):
    with pytest.raises(Refused, match=f"^{re.escape(REFUSALS[verb])}$"):
        verb(office)


ONLY = "only regular files (mode 100644) may be here."
ENTRIES = {
    ("resources/payments/x/Box/a.yml", "120000"): f"is a symbolic link; {ONLY}",
    ("resources/payments/x/Box/a.yml", "100755"): f"is an executable file; {ONLY}",
    ("resources/payments/x", "160000"): f"is a submodule; {ONLY}",
    ("a/b/c/d/e", "040000"): f"is a folder nested too deep; {ONLY}",
    ("a", "100664"): f"is an entry of mode 100664; {ONLY}",
    ("teams/A.yml", "100644"): (
        "is not a path of the state repository. Documents are at resources/<team>/<system>/<Kind>/<name>.yml, in "
        "lower case but for the kind."
    ),
}  # fmt: skip


@pytest.mark.threat("git.symlink", "git.executable", "git.submodule", "git.deep-path", "git.case-twins")
@pytest.mark.parametrize(("path", "mode"), ENTRIES)
def test_a_file_that_may_not_be_pushed_is_named_with_the_reason(path, mode):
    assert policy.problems_of_entry(policy.Entry(path, mode, SHA)) == [f"{path}: {ENTRIES[path, mode]}"]


def test_a_branch_that_may_not_be_pushed_says_which_may():
    command = "git push origin HEAD:refs/heads/change/my-change"
    [main] = policy.problems_of_ref("refs/heads/main", ZERO, SHA)
    assert main.startswith("The main branch only moves when an approved change request is merged.")
    [tag] = policy.problems_of_ref("refs/tags/v1", ZERO, SHA)
    assert tag.startswith("refs/tags/v1: only branches named change/<name>")
    assert main.endswith(command)
    assert tag.endswith(command)
    [deletion] = policy.problems_of_ref("refs/heads/change/a", SHA, ZERO)
    assert deletion == "change/a: branches are kept as a record. Withdraw the change request instead."
    for number in ("7", "7-2"):
        [numbered] = policy.problems_of_ref(f"refs/heads/change/{number}", ZERO, SHA)
        assert numbered.startswith(f"change/{number}: such a name is kept for the change request of that number.")
        assert policy.problems_of_ref(f"refs/heads/change/{number}", SHA, SHA) == []
    for name in ("a", "7-more", "JIRA-7"):
        assert policy.problems_of_ref(f"refs/heads/change/{name}", ZERO, SHA) == []


@pytest.mark.threat("git.large-blob")
def test_what_is_too_large_says_how_large_it_may_be():
    assert policy.problem_of_size("a.yml", 1_000_001) == [
        "a.yml: has 1,000,001 bytes, and 1,000,000 are allowed: split it."
    ]
    assert policy.problem_of_size("a.yml", 1_000_000) == []


@pytest.mark.threat("git.large-tree")
@pytest.mark.parametrize(
    ("limit", "value", "sentence"),
    [
        ("MAX_COMMITS", 1, "The push has more than 1 new commits: push them in several parts or squash them."),
        ("MAX_CHANGED_FILES", 1, "The push changes more than 1 files: split it."),
        ("MAX_TREE_BYTES", 10, "A folder of this push has too many files: split it."),
    ],
)
def test_a_push_over_a_limit_says_how_to_split_it(office, monkeypatch, limit, value, sentence):
    repository, parent = office.repository, office.repository.main()
    for size in (5, 6):
        signer = {"author": workflow.people.MERGEYARD, "committer": workflow.people.MERGEYARD}
        changes = {REFUNDS: box(size).encode(), ORDERS: box(size).encode()}
        parent = repository.commit(
            parents=[parent], base_tree_of=parent, changes=changes, message="x", when=office.now, **signer
        )
    monkeypatch.setenv("GIT_DIR", str(repository.path))
    monkeypatch.setattr(policy, limit, value)
    assert policy.problems_of_push(parent)[-1] == sentence
