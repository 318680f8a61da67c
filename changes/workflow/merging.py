"""The merge: intent first, then the ref by compare-and-swap, then the row. And what a crash left of one.

Nothing is merged but exactly what was evaluated: the commit's tree is the merge result that was planned and checked,
and main moves only from the commit whose rules were read.
"""

import logging

from django.db import transaction
from django.utils import timezone

from changes.crash_points import crash_point
from changes.documents import Json
from changes.forges.builtin import merge_lock
from changes.models import ChangeRequest, MergeIntent, StateConflict, User
from changes.repository import LOCK_SECONDS, MAIN_REF, RefMoved, Repository, left_locks, state
from changes.review import Review, evaluate, seen_rows
from changes.states import ChangeRequestState, IntentState
from changes.workflow.people import DOMAIN, MERGEYARD, Refused, has_a_say, person

log = logging.getLogger(__name__)
ATTEMPTS = 3


def merge(change_request: ChangeRequest, user: User) -> str:
    """Merge an open request whose gates all hold; the id of the merge commit. Raises Refused."""
    repository = state()
    with merge_lock(repository):
        _finish(repository)
        for _ in range(ATTEMPTS):
            change_request.refresh_from_db()
            review = evaluate(change_request)
            _may_merge(review, user)
            commit = _write(repository, review)
            crash_point("merge: commit written")
            intent = _intend(review, user, commit)
            crash_point("merge: intent written")
            try:
                repository.swap_ref(MAIN_REF, commit, review.main)
                crash_point("merge: main moved")
            except RefMoved as moved:
                log.warning("Merging change request %s: %s", change_request.number, moved)
                if repository.contains(repository.main(), commit):  # it moved, and then something broke
                    _close(intent)
                    return commit
                MergeIntent.objects.filter(pk=intent.pk).update(state=IntentState.DROPPED)
                continue
            _close(intent)
            crash_point("merge: row closed")
            change_request.refresh_from_db()
            return commit
    if (repository.path / f"{MAIN_REF}.lock").exists():
        raise Refused(
            "Main is locked by a process that died while it moved main. The controller removes the lock "
            f"{LOCK_SECONDS} seconds after that: merge again then."
        )
    if repository.main() == review.main:
        raise Refused("Main cannot be moved on the server; its log says why. Tell the platform team.")
    raise Refused("Main moved while this was being merged: look at the change request again, then merge.")


def _may_merge(review: Review, user: User) -> None:
    request = review.change_request
    if request.state != ChangeRequestState.OPEN:
        raise Refused(f"Change request {request.number} is {request.state}: there is nothing to merge.")
    if review.blockers:
        raise Refused(f"Change request {request.number} cannot be merged yet. {' '.join(review.blockers)}")
    if not has_a_say(review, user):
        raise Refused("Only people who may edit or approve this change request can merge it.")


def _write(repository: Repository, review: Review) -> str:
    """The merge commit's object; no ref points at it yet."""
    request = review.change_request
    approvers = sorted({name for requirement in review.requirements for name in requirement.given})
    people = {user.username: user for user in User.objects.filter(username__in=approvers)}
    lines = [
        f"Merge change request {request.number}: {request.title}",
        "",
        *([_body(request.reason), ""] if request.reason else []),
        f"Change-Request: {request.number}",
        f"Requested-by: {_signed(request.requester)}",
        *(f"Approved-by: {_signed(people[name])}" for name in approvers if name in people),
    ]
    return repository.commit(
        parents=[review.main, review.head],
        base_tree_of=review.main,
        changes=review.changes,
        message="\n".join(lines) + "\n",
        author=person(request.requester),
        committer=MERGEYARD,
        when=timezone.now(),
    )


def _body(reason: str) -> str:
    """A reason whose lines cannot be taken for our trailers."""
    return "\n".join(f" {line}" if ":" in line.split(" ")[0] else line for line in reason.splitlines())


def _signed(user: User) -> str:
    name = " ".join(user.shown_name.replace("<", "").replace(">", "").split())
    return f"{name} <{user.username}{DOMAIN}>"


def _intend(review: Review, user: User, commit: str) -> MergeIntent:
    """The row that comes first. It is written only if the rows are still the ones that were evaluated."""
    request = review.change_request
    with transaction.atomic():
        now = ChangeRequest.objects.select_for_update().get(pk=request.pk)
        if now.state != ChangeRequestState.OPEN or now.head != review.head or seen_rows(now) != review.seen:
            raise Refused("The change request changed this moment: look at it again, then merge.")
        # A dropped attempt of the same second wrote the very same commit: its row is opened again.
        intent, _ = MergeIntent.objects.update_or_create(
            commit=commit,
            defaults={
                "change_request": now,
                "base": review.main,
                "head": review.head,
                "by": user,
                "state": IntentState.OPEN,
                "approvals": _approvals(review),
            },
        )
        return intent


def _approvals(review: Review) -> Json:
    """For those who look again whether it still holds, before they act on the merge."""
    asked: list[Json] = [
        {
            "path": each.path,
            "sentence": each.sentence,
            "teams": list(each.teams),
            "count": each.count,
            "given": list(each.given),
        }
        for each in review.requirements
    ]
    return {"barred": [*sorted(review.barred)], "asked": asked}


def _close(intent: MergeIntent) -> None:
    """Main has the commit: say so in both rows."""
    request = intent.change_request
    with transaction.atomic():
        MergeIntent.objects.filter(pk=intent.pk).update(state=IntentState.DONE)
        if request is None or request.state == ChangeRequestState.MERGED:
            return
        request.move(
            ChangeRequestState.MERGED, who=intent.by, why="Merged", merge_commit=intent.commit, head=intent.head
        )
        request.edits.all().delete()  # after the request's own row, as who saves one locks them in that order


def finish_merges() -> bool:
    """Complete merges whose commit main has, drop the others. Does nothing while somebody alive is merging."""
    if not MergeIntent.objects.filter(state=IntentState.OPEN).exists():
        return False
    repository = state()
    with merge_lock(repository, wait=False) as ours:
        return ours and _finish(repository)


def drop_left_locks() -> bool:
    """Remove the locks of branches that killed processes left. Does nothing while somebody alive is merging.

    Main is moved under the merge lock alone, so whoever holds that knows that no process of ours holds main's.
    """
    repository = state()
    if not left_locks(repository.path):
        return False
    with merge_lock(repository, wait=False) as ours:
        locks = left_locks(repository.path) if ours else []
        for lock in locks:
            log.warning("A process died while it moved a branch: its lock %s is removed.", lock)
            lock.unlink(missing_ok=True)
    return bool(locks)


def settle_merges(repository: Repository) -> None:
    """Wait until no merge is under way."""
    with merge_lock(repository):
        _finish(repository)


def _finish(repository: Repository) -> bool:
    """With the merge lock held, an open intent belongs to nobody alive."""
    worked = False
    for intent in MergeIntent.objects.filter(state=IntentState.OPEN).select_related("change_request", "by"):
        if repository.contains(repository.main(), intent.commit):
            try:
                _close(intent)
            except StateConflict:
                log.exception("closing the merge of change request %s", intent.change_request_id)
                continue
        else:
            MergeIntent.objects.filter(pk=intent.pk).update(state=IntentState.DROPPED)
        worked = True
    return worked
