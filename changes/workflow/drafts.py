"""Compose and propose: edits are rows until they become a commit on the request's branch.

Owns drafts and revisions of open requests. A commit that is proposed differs from main by exactly the edits.
"""

from collections.abc import Iterable
from datetime import datetime

from django.db import models, transaction
from django.utils import timezone

from changes.catalog import catalog
from changes.crash_points import crash_point
from changes.forges.builtin import BRANCH_PREFIX, ref_of
from changes.models import ChangeRequest, Edit, User
from changes.plain_secrets import plain_secrets
from changes.repository import RefMoved, Repository, state
from changes.repository.policy import REGULAR, Entry, problems_of_entry
from changes.repository.snapshots import snapshot
from changes.review import is_stale
from changes.rights import main_snapshot
from changes.states import ChangeRequestState, IntentState
from changes.workflow.people import (
    Refused,
    must_edit,
    note,
    person,
    plan_rows,
    record_plan,
    remember_editors,
)

MAX_EDITS = 2000
MAX_TEXT = 1_000_000


def start_draft(user: User, title: str = "", reason: str = "") -> ChangeRequest:
    return ChangeRequest.objects.create(requester=user, title=one_line(title), reason=reason.replace("\0", "").strip())


def one_line(title: str) -> str:
    return " ".join(title.replace("\0", "").split())[:200]


def describe(change_request: ChangeRequest, user: User, title: str, reason: str) -> None:
    """Set the title and the reason."""
    must_edit(change_request, user)
    change_request.title, change_request.reason = one_line(title), reason.replace("\0", "").strip()
    change_request.save(update_fields=["title", "reason", "updated_at"])


def put_edit(change_request: ChangeRequest, user: User, path: str, text: str, delete: bool = False) -> Edit:
    """Say what a file shall be after the change. It remembers which text of main it began from."""
    must_edit(change_request, user)
    if not delete and (problems := problems_of_entry(Entry(path, REGULAR, ""))):
        raise Refused(problems[0])
    if len(text.encode()) > MAX_TEXT:
        raise Refused(f"{path}: a file may have at most {MAX_TEXT:,} bytes: split it.")
    if not delete and (plain := plain_secrets(path, text.encode())) and not _is_on_main(path, text):
        raise Refused(f"Not saved: {plain[0]}")
    if "\0" in text:
        raise Refused(f"{path}: a text cannot hold the character NUL (U+0000): remove it.")
    base = main_snapshot().files.get(path, "")
    with transaction.atomic():
        _lock_to_edit(change_request, user)
        edit = change_request.edits.filter(path=path).first()
        if edit is None:
            if delete and not base:
                raise Refused(f"{path[:200]} is not on the main branch, so there is nothing to delete.")
            edit = Edit(
                change_request=change_request, path=path, base_blob=base, position=_next_position(change_request)
            )
        edit.text, edit.deletes = text, delete
        edit.save()
        _has_a_hand_in(change_request, user)
    return edit


def _next_position(change_request: ChangeRequest) -> int:
    last = change_request.edits.aggregate(last=models.Max("position"), count=models.Count("id"))
    if last["count"] >= MAX_EDITS:
        raise Refused(f"A change request may edit at most {MAX_EDITS:,} files in compose: push a branch instead.")
    return (last["last"] or 0) + 1


def _lock_to_edit(change_request: ChangeRequest, user: User) -> None:
    """Hold the row to the transaction's end. Refused if by now it is open and nobody revises it: the edits of an open
    request are all of it, so one alone would take every other file out of it.
    """
    now = ChangeRequest.objects.select_for_update().get(pk=change_request.pk)
    must_edit(now, user)
    if now.state == ChangeRequestState.OPEN and not now.edits.exists():
        raise Refused(
            f"Change request {now.number} is proposed by now, or its revision was thrown away: press Edit on its page "
            "before you go on."
        )


def _is_on_main(path: str, text: str) -> bool:
    """What git has already is opened to be mended."""
    return main_snapshot().files.get(path) == Repository.hash_blob(text.encode())


def _has_a_hand_in(change_request: ChangeRequest, user: User) -> None:
    """Whoever chose what it says never approves it, whoever commits it in the end."""
    if user.pk != change_request.requester_id:
        remember_editors(change_request, [user])


def rebase_edit(change_request: ChangeRequest, user: User, path: str) -> None:
    """The person has seen main's newer text of this file and keeps their own."""
    must_edit(change_request, user)
    base = main_snapshot().files.get(path, "")
    with transaction.atomic():
        _lock_to_edit(change_request, user)
        if not change_request.edits.filter(path=path).update(base_blob=base, updated_at=timezone.now()):
            raise Refused(f"{path} is not edited by this change request.")
        _has_a_hand_in(change_request, user)


def drop_edit(change_request: ChangeRequest, user: User, path: str) -> None:
    """The file shall be as main has it."""
    must_edit(change_request, user)
    with transaction.atomic():
        _lock_to_edit(change_request, user)
        change_request.edits.filter(path=path).delete()
        _has_a_hand_in(change_request, user)


def revise(change_request: ChangeRequest, user: User) -> None:
    """Load what the open request's branch changes into edits, so that it can be composed again."""
    must_edit(change_request, user)
    if change_request.state != ChangeRequestState.OPEN:
        raise Refused("A draft is edited as it is; only a proposed change request can be revised.")
    if change_request.edits.exists():
        return
    repository = state()
    base = repository.merge_base(repository.main(), change_request.head)
    edits = [
        Edit(
            change_request=change_request,
            path=path,
            text=repository.text(new),
            deletes=new is None,
            base_blob=old or "",
            position=position,
        )
        for position, (path, (old, new)) in enumerate(repository.diff(base, change_request.head).items(), start=1)
    ]
    if len(edits) > MAX_EDITS:
        raise Refused(f"It changes {len(edits):,} files, too many for compose: push to its branch instead.")
    Edit.objects.bulk_create(edits, ignore_conflicts=True)


def stop_revising(change_request: ChangeRequest, user: User) -> None:
    """Throw a revision away: the open request stays as it was proposed."""
    must_edit(change_request, user)
    if change_request.state != ChangeRequestState.OPEN:
        raise Refused("A draft has nothing else than its edits: withdraw it instead.")
    change_request.edits.all().delete()


def propose(change_request: ChangeRequest, user: User) -> None:
    """Commit the edits on the request's branch and open it; an open request that was revised gets one more commit."""
    must_edit(change_request, user)
    repository = state()
    main = repository.main()
    edits = list(change_request.edits.all())
    changes = _changes(repository, main, edits)
    if not change_request.title:
        raise Refused("Give the change request a title that says what it is for.")
    if change_request.state == ChangeRequestState.DRAFT:
        if not changes:
            raise Refused("It changes nothing yet: add a resource, or edit one, before you propose it.")
        head = _commit(change_request, user, main=main, changes=changes, parents=[main])
        crash_point("propose: commit written")
        branch = _new_branch(repository, change_request, head)
        crash_point("propose: branch made")
        _opened(change_request, user, branch=branch, base=main, head=head)
    else:
        _revised(repository, change_request, user, main=main, changes=changes)
    crash_point("propose: row opened")
    _forget(change_request, edits)


def _revised(
    repository: Repository, change_request: ChangeRequest, user: User, *, main: str, changes: dict[str, bytes | None]
) -> None:
    old = change_request.head
    if not change_request.edits.exists():
        raise Refused("There is nothing to propose: no file was edited since it was proposed last.")
    parents = [old] if repository.contains(old, main) else [old, main]
    head = _commit(change_request, user, main=main, changes=changes, parents=parents)
    try:
        repository.swap_ref(ref_of(change_request.branch), head, old)
    except RefMoved as moved:
        raise Refused("Somebody pushed to the branch in the meantime: look at it again, then propose.") from moved
    crash_point("propose again: branch moved")
    if not moved_to(change_request, base=main, head=head, who=user, why="Proposed a new version"):
        raise Refused("It was merged or closed this moment: look at the change request again.")


def moved_to(change_request: ChangeRequest, *, base: str, head: str, who: User | None, why: str) -> bool:
    """Record an open request's new head; `who` had hands on it. False when it is closed or being merged."""
    change_request.base, change_request.head = base, head
    rows = plan_rows(change_request)
    with transaction.atomic():
        if who is not None:
            remember_editors(change_request, [who])
        locked = ChangeRequest.objects.select_for_update().get(pk=change_request.pk)
        if locked.state != ChangeRequestState.OPEN or locked.intents.filter(state=IntentState.OPEN).exists():
            return False
        change_request.save(update_fields=["base", "head", "updated_at"])
        record_plan(change_request, rows)
        note(change_request, who=who, why=f"{why} ({head[:10]})")
    return True


def _opened(change_request: ChangeRequest, user: User, *, branch: str, base: str, head: str) -> None:
    change_request.base, change_request.head = base, head
    rows = plan_rows(change_request)
    with transaction.atomic():
        remember_editors(change_request, [user])
        change_request.move(ChangeRequestState.OPEN, who=user, why="Proposed", branch=branch, base=base, head=head)
        record_plan(change_request, rows)


def _changes(repository: Repository, main: str, edits: list[Edit]) -> dict[str, bytes | None]:
    """What the edits change in main's tree. Refused when main's file moved on since an edit was begun."""
    rules = snapshot(repository, main, catalog())
    for edit in edits:
        if is_stale(edit, rules):
            raise Refused(
                f"{edit.path} was changed on main since you began. Open the file in compose, which shows main's text, "
                "and decide what it should say."
            )
    wanted = {edit.path: None if edit.deletes else edit.text.encode() for edit in edits}
    changes = {
        path: content
        for path, content in wanted.items()
        if repository.blob_at(main, path) != (None if content is None else repository.hash_blob(content))
    }
    for path, content in changes.items():
        if content is not None and (plain := plain_secrets(path, content)):
            raise Refused(f"Not proposed: {plain[0]}")  # an edit may come from git's history
    return changes


def _commit(
    change_request: ChangeRequest, user: User, *, main: str, changes: dict[str, bytes | None], parents: list[str]
) -> str:
    message = change_request.title + (f"\n\n{change_request.reason}" if change_request.reason else "") + "\n"
    return state().commit(
        parents=parents,
        base_tree_of=main,
        changes=changes,
        message=message,
        author=person(user),
        committer=person(user),
        when=timezone.now(),
    )


def _new_branch(repository: Repository, change_request: ChangeRequest, head: str) -> str:
    """A branch of its own, named for the number; what a crash or a push left under that name is not touched."""
    for attempt in range(1, 100):
        branch = f"{BRANCH_PREFIX}{change_request.number}" + (f"-{attempt}" if attempt > 1 else "")
        if repository.head(ref_of(branch)) is not None:
            continue
        try:
            repository.swap_ref(ref_of(branch), head, None)
        except RefMoved:
            continue
        return branch
    raise Refused(f"No free branch name is left for change request {change_request.number}.")


def _forget(change_request: ChangeRequest, committed: list[Edit]) -> None:
    """Edits that were committed. If any was saved again meanwhile all of them stay, as a revision of the whole."""
    with transaction.atomic():
        ChangeRequest.objects.select_for_update().get(pk=change_request.pk)
        if _versions(change_request.edits.all()) == _versions(committed):
            change_request.edits.all().delete()


def _versions(edits: Iterable[Edit]) -> set[tuple[int, datetime]]:
    return {(edit.pk, edit.updated_at) for edit in edits}
