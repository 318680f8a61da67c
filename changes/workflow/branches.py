"""Branches that moved: by a person's git client, or by taking main in.

Owns how a push becomes, or updates, a change request. What a push may bring was decided by `repository.policy` before.
"""

import logging
from contextlib import suppress
from pathlib import Path

from django.db import IntegrityError, transaction
from django.utils import timezone

from changes.crash_points import crash_point
from changes.forges.builtin import Push, notes, read_note, ref_of
from changes.models import ChangeRequest, Edit, PlanRow, User
from changes.repository import HEADS, CommitInfo, Conflict, RefMoved, Repository, state
from changes.repository.objects import ZERO
from changes.repository.policy import NUMBERED
from changes.review import evaluate
from changes.rights import rights_of
from changes.states import ChangeRequestState
from changes.workflow.drafts import moved_to
from changes.workflow.merging import drop_left_locks, finish_merges, settle_merges
from changes.workflow.people import (
    MERGEYARD,
    Refused,
    hands_on,
    has_a_say,
    person,
    plan_rows,
    record_plan,
    remember_editors,
)

log = logging.getLogger(__name__)


def push_limits(user: User) -> tuple[dict[str, str], dict[str, str]]:
    """What a push that this person begins now is held against: branches and their heads, and refs that are refused.

    A branch whose change request is still being opened is in neither, so nobody can push to it until it is.
    """
    repository = state()
    heads = {ref_of(branch): head for branch, head in repository.branches().items()}  # first: what moves now is refused
    opening = {ref for note in notes(repository) for ref in _refs_of_others(note, user)}
    opened = {ref_of(branch) for branch in ChangeRequest.objects.exclude(branch="").values_list("branch", flat=True)}
    opening |= {ref for ref in heads if NUMBERED.fullmatch(ref) and ref not in opened}
    return {ref: head for ref, head in heads.items() if ref not in opening}, refused_refs(user)


def _refs_of_others(note: Path, user: User) -> list[str]:
    with suppress(ValueError, KeyError):  # the controller says in its log that it cannot be read
        push = read_note(note)
        return [ref for ref, _, _ in push.refs] if push is not None and push.pusher != user.username else []
    return []


def refused_refs(user: User) -> dict[str, str]:
    """Branches of other people's open requests that this person may not push to, each with the reason."""
    mine = PlanRow.objects.filter(team__in=rights_of(user).teams).values("change_request")
    requests = ChangeRequest.objects.filter(state=ChangeRequestState.OPEN).exclude(requester=user)
    return {
        ref_of(request.branch): (
            f"{request.branch} is the branch of change request {request.number} by {request.requester.shown_name}: "
            "only they and members of the teams it touches can push to it. Push to a branch of your own."
        )
        for request in requests.exclude(pk__in=mine).select_related("requester")
    }


def received_push(user: User, branch: str, old: str | None, new: str) -> ChangeRequest | None:
    """Record that `user` pushed `branch`: open a change request for it, or update the open one. Safe to repeat.

    None when the branch has nothing that main does not have.
    """
    repository = state()
    repository.sync_ref(ref_of(branch))
    head = repository.head(ref_of(branch)) or new  # a later push may have been recorded before this one
    known = [sha for sha in (old, repository.main()) if sha and repository.has(sha)]
    hands = [user, *hands_on(repository.new_commits(new, known))]
    while True:
        request = ChangeRequest.objects.filter(branch=branch, state=ChangeRequestState.OPEN).first()
        if request is None:
            if not repository.new_commits(head, [repository.main()]):
                return None
            with suppress(IntegrityError):  # somebody else's push opened it this moment
                return _opened_by_push(user, branch, head=head)
            continue
        remember_editors(request, hands)
        if request.head == head:
            _record_first_plan(request)  # who opened it may have died before
            return request
        if _updated_by_push(repository, request, user, head=head):
            return request
        settle_merges(repository)  # it is being merged: what was pushed now becomes a request of its own


def _updated_by_push(repository: Repository, request: ChangeRequest, user: User, *, head: str) -> bool:
    _carry_into_revision(repository, request, head)
    base = repository.merge_base(repository.main(), head) or ""
    return moved_to(request, base=base, head=head, who=user, why=f"Pushed {request.branch}")


def _opened_by_push(user: User, branch: str, *, head: str) -> ChangeRequest:
    repository = state()
    commits = repository.new_commits(head, [repository.main()])
    base = repository.merge_base(repository.main(), head) or ""
    title, reason = _described_by(commits)
    request = ChangeRequest(title=title, reason=reason, requester=user, branch=branch, base=base, head=head)
    with transaction.atomic():
        request.save()
        remember_editors(request, [user, *hands_on(commits)])
        request.move(ChangeRequestState.OPEN, who=user, why=f"Pushed {branch}")
    crash_point("push: request opened")
    _record_first_plan(request)
    return request


def _record_first_plan(request: ChangeRequest) -> None:
    if request.plan_rows.exists():
        return
    rows = plan_rows(request)
    with transaction.atomic():
        now = ChangeRequest.objects.select_for_update().get(pk=request.pk)
        if now.head == request.head and not now.plan_rows.exists():
            record_plan(request, rows)


def _described_by(commits: list[CommitInfo]) -> tuple[str, str]:
    """Title and reason: the subject and body of the first commit that is no merge."""
    first = next((info for info in commits if len(info.parents) < 2), commits[0])
    _, _, body = first.message.partition("\n")
    title = "".join(letter for letter in first.subject if letter.isprintable())
    return title[:200] or "Pushed change", body.strip()[:10_000]


def _carry_into_revision(repository: Repository, request: ChangeRequest, head: str) -> None:
    """A request that is being revised in compose takes a push in, but for the files that were edited there."""
    edits = {edit.path: edit for edit in request.edits.all()}
    if not edits:
        return
    base = repository.merge_base(repository.main(), head)
    for path, (_, new) in repository.diff(request.head, head).items():
        before = repository.read(request.head, path)
        edit = edits.get(path)
        if edit is not None and (None if edit.deletes else edit.text.encode()) != before:
            continue
        began = repository.blob_at(base, path)
        if new == began:  # main's own change, which the push merged in: it stays main's
            request.edits.filter(path=path).delete()
            continue
        text = repository.text(new)
        Edit.objects.update_or_create(
            change_request=request,
            path=path,
            defaults={
                "text": text,
                "deletes": new is None,
                "base_blob": began or "",
                "updated_at": timezone.now(),
            },
        )


def update_branch(change_request: ChangeRequest, user: User) -> None:
    """Merge main into the request's branch. It makes nobody an editor, and approvals of unchanged items stay."""
    if change_request.state != ChangeRequestState.OPEN:
        raise Refused(f"Change request {change_request.number} is {change_request.state}: its branch stays as it is.")
    if not has_a_say(evaluate(change_request), user):
        raise Refused("Only people who may edit or approve this change request can update its branch.")
    repository, old = state(), change_request.head
    main = repository.main()
    if repository.contains(old, main):
        raise Refused("The branch already contains everything that is on main: there is nothing to update.")
    merged = repository.merge_trees(repository.merge_base(main, old), main, old)
    if isinstance(merged, Conflict):
        raise Refused(
            f"Main and the branch both changed {', '.join(merged.paths)}. Open the file in compose, which shows main's "
            "text, and decide what it should say."
        )
    head = repository.commit(
        parents=[old, main],
        base_tree_of=main,
        changes={path: new for path, (_, new) in merged.items()},
        message=f"Merge main into {change_request.branch}\n",
        author=MERGEYARD,
        committer=MERGEYARD,
        when=timezone.now(),
    )
    try:
        repository.swap_ref(ref_of(change_request.branch), head, old)
    except RefMoved as moved:
        raise Refused("Somebody pushed to the branch in the meantime: look at it again.") from moved
    crash_point("update: branch moved")
    moved_to(change_request, base=main, head=head, who=None, why=f"{person(user).name} updated the branch with main")


def finish_intents() -> bool:
    """Complete or drop what a crash left: locks, merges that were begun, branches that moved and were not recorded."""
    done = [drop_left_locks(), finish_merges(), catch_up()]
    return any(done)


def catch_up() -> bool:
    """Record what moved in git while nobody could write it down: pushes by their notes, then branches of the portal."""
    repository = state()
    if not repository.exists():
        return False
    requests = ChangeRequest.objects.filter(state=ChangeRequestState.OPEN).select_related("requester")
    heads = {request.pk: repository.head(ref_of(request.branch)) for request in requests}
    # A push is noted before its ref moves: what is ahead of its row after this is a commit of the portal itself.
    worked = _record_noted_pushes(repository)
    for request in requests.all():
        try:
            worked = _catch_up(repository, request, heads.get(request.pk)) or worked
        except Exception:
            log.exception("Change request %s could not be brought up to its branch; it is tried again", request.pk)
    return worked


def _catch_up(repository: Repository, request: ChangeRequest, head: str | None) -> bool:
    if head is None or head == request.head or repository.contains(request.head, head):
        return False
    remember_editors(request, hands_on(repository.new_commits(head, [request.head, repository.main()])))
    base = repository.merge_base(repository.main(), head) or ""
    moved_to(request, base=base, head=head, who=None, why="Took up a version whose recording was interrupted")
    return True


def _record_noted_pushes(repository: Repository) -> bool:
    """One that cannot be recorded does not keep the others from it; it is tried again."""
    worked = False
    for note in notes(repository):
        try:
            worked = _record_noted(note) or worked
        except Exception:
            log.exception("The push noted in %s could not be recorded; it is tried again", note.name)
    return worked


def _record_noted(note: Path) -> bool:
    push = read_note(note)
    if push is None:
        return False
    repository = state()
    is_whole = all(_has_moved(repository, ref, new) for ref, _, new in push.refs)  # git moves one ref after the other
    if not (record_push(push) and is_whole or push.is_old):
        return False
    note.unlink(missing_ok=True)
    return True


def record_push(push: Push) -> list[ChangeRequest]:
    """Record the refs of a noted push that did move; none while git is still at work, or when it refused."""
    repository = state()
    found: list[ChangeRequest] = []
    user = User.objects.filter(username=push.pusher).first()
    if user is None:
        log.error("a push was noted for %r, whom nobody knows", push.pusher)
        return found
    moved = [(ref.removeprefix(HEADS), old, new) for ref, old, new in push.refs if _has_moved(repository, ref, new)]
    # First, for all of them: a ref that cannot be recorded hides nobody's hand in the next one.
    for branch, _, _ in moved:
        for open_request in ChangeRequest.objects.filter(branch=branch, state=ChangeRequestState.OPEN):
            remember_editors(open_request, [user])
    problems: list[Exception] = []
    for branch, old, new in moved:
        try:
            request = received_push(user, branch, None if old == ZERO else old, new)
        except Exception as problem:
            problems.append(problem)
        else:
            found += [request] if request is not None else []
    if problems:
        raise problems[0]  # so that the note stays, and all of it is tried again
    return found


def _has_moved(repository: Repository, ref: str, new: str) -> bool:
    head = repository.head(ref)
    return head is not None and repository.contains(head, new)
