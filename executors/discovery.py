"""Owns the walk over main: every first-parent commit once, in order, turned into rows.

A commit is ours if a merge intent has its id; any other is quarantined: its resources show `unapproved` and nothing of
it runs. So a later merge is measured against what was approved and not against what lay on main: taking an unapproved
document back deletes nothing. Trees are read before a transaction begins; inside it the cursor is moved by
compare-and-set, so two controllers never record a commit twice. It must not know queues or runs.
"""

import logging
import time
from collections.abc import Iterable

from django.db import transaction
from django.db.models import Max

from changes.catalog import catalog
from changes.crash_points import crash_point
from changes.documents import Document, InvalidFile, parse_document
from changes.models import MergeIntent
from changes.plan import make_plan
from changes.repository import MAIN_REF, CommitInfo, Repository, RepositoryError, state
from changes.repository.snapshots import changed, snapshot
from changes.snapshot import Snapshot
from changes.states import IntentState
from executors import events, rollouts
from executors.models import Commit, Cursor, Resource, Rollout
from executors.states import Cause

log = logging.getLogger(__name__)

REAPPLY_TRIES = 5
TURN_SECONDS = 10.0
RESOURCES = "resources/"


class HistoryRewritten(Exception):
    """Main no longer contains the last commit that was discovered; nothing is discovered until it does."""


def initialise(commit: str, *, applied: bool) -> None:
    """Begin at a commit: what it holds is on its systems already, or all of it is work. Does nothing a second time."""
    repository = state()
    head = snapshot(repository, commit, catalog())
    work = _work(Snapshot.empty(catalog()), head, repository.diff(None, commit))
    info = repository.info(commit)
    with transaction.atomic():
        if Cursor.objects.exists():
            return
        row = _commit_row(info, position=1)
        Cursor.objects.create(pk=1, sha=commit, position=1)
        if applied:
            rollouts.want_applied(row, work.changes.values())
            return
        rollouts.want(row, work.changes.values())
        _record(row, work, cause=Cause.INITIAL, reason="Everything in the state repository", snapshots=(head,))


def discover() -> bool:
    """Record every new commit of main. True if there was one. Raises HistoryRewritten.

    After TURN_SECONDS the rest waits for the next call: the work of the first ones does not wait for the last.
    """
    cursor = Cursor.objects.first()
    if cursor is None:
        return False
    repository = state()
    head = repository.head(MAIN_REF)
    if head is None or head == cursor.sha:
        return False
    try:
        shas = repository.first_parents(cursor.sha, head)
    except RepositoryError as error:
        raise HistoryRewritten(
            f"The main branch of {repository.path} was rewritten: {cursor.sha[:10]}, the last commit that was "
            "discovered, is no longer on it. Nothing is discovered until the branch contains it again. To put it back: "
            f"git --git-dir={repository.path} update-ref {MAIN_REF} {cursor.sha} {head}. If the repository does not "
            "have that commit any more, restore a backup."
        ) from error
    before, found = cursor.sha, False
    limit = time.monotonic() + TURN_SECONDS
    for sha in shas:
        if found and time.monotonic() > limit:
            break
        if not _discover(repository, sha, before=before):
            break
        found, before = True, sha
    return found


def _discover(repository: Repository, sha: str, *, before: str) -> bool:
    """Record one commit after its first parent; False if somebody else did."""
    intent = MergeIntent.objects.filter(commit=sha).exclude(state=IntentState.DROPPED).first()
    base, head = snapshot(repository, before, catalog()), snapshot(repository, sha, catalog())
    paths = repository.diff(before, sha)
    touched = _work(base, head, paths)
    work = _work(_approved(repository, base, paths), head, paths)
    info = repository.info(sha)
    crash_point("discovery: commit read")
    with transaction.atomic():
        cursor = Cursor.objects.select_for_update().filter(pk=1, sha=before).first()
        if cursor is None:
            return False
        cursor.sha, cursor.position = sha, cursor.position + 1
        if not Cursor.objects.filter(pk=1, sha=before).update(sha=sha, position=cursor.position):
            return False
        row = _commit_row(info, position=cursor.position)
        rollouts.settle(touched.identities - work.identities)
        if intent is None:
            Commit.objects.filter(pk=row.pk).update(quarantined=True)
            rollouts.disown(work.changes.values(), message=_unapproved(row))
            log.warning("Commit %s is on main and no merge of ours: it is quarantined", sha)
            return True
        Commit.objects.filter(pk=row.pk).update(change_request_id=intent.change_request_id)
        row.change_request_id = intent.change_request_id
        rollouts.want(row, work.changes.values())
        rollouts.move_zones(base, head)
        _record(row, work, cause=Cause.MERGE, reason=row.subject, snapshots=(head, base))
        crash_point("discovery: rows written")
    crash_point("discovery: committed")
    return True


def _approved(repository: Repository, base: Snapshot, paths: Iterable[str]) -> Snapshot:
    """A tree in which these paths say what was approved last: the same one, unless a commit was never approved."""
    if not Commit.objects.filter(quarantined=True).exists():
        return base
    approved = rollouts.wanted_blobs(paths)
    differing = {path: approved.get(path) for path in paths if path.startswith(RESOURCES)}
    differing = {path: blob for path, blob in differing.items() if blob != base.files.get(path)}
    return changed(repository, base, differing, catalog=catalog())


def reapply(system: str, reason: str) -> Rollout | None:
    """A rollout of everything merged on a system, although it was applied before; None if nothing is."""
    for _ in range(REAPPLY_TRIES):
        recorded, rollout = _reapply(state(), system, reason)
        if recorded:
            return rollout
    raise RuntimeError(f"Applying {system} again: merges kept arriving; try once more.")


def _reapply(repository: Repository, system: str, reason: str) -> tuple[bool, Rollout | None]:
    wanted = Resource.objects.filter(system=system).exclude(blob="")
    rows = list(wanted)
    documents = {row.path: document for row in rows if (document := _document(repository, row)) is not None}
    sha = Cursor.objects.get(pk=1).sha
    merged = snapshot(repository, sha, catalog())
    work = rollouts.reapply_work(rows, documents=documents, merged=merged)
    with transaction.atomic():
        if not Cursor.objects.select_for_update().filter(pk=1, sha=sha).exists():
            return False, None  # a merge was discovered in between
        if set(wanted.values_list("path", "blob")) != {(row.path, row.blob) for row in rows}:
            return False, None
        commit = Commit.objects.get(sha=sha)
        return True, _record(commit, work, cause=Cause.REAPPLY, reason=reason, snapshots=(merged,))


def _document(repository: Repository, row: Resource) -> Document | None:
    try:
        return parse_document(row.path, repository.read_blob(row.blob))
    except (InvalidFile, RepositoryError):
        return None


def _work(base: Snapshot, head: Snapshot, paths: Iterable[str]) -> rollouts.Work:
    return rollouts.work_of(make_plan(base, head, paths, catalog()), base=base, head=head)


def _commit_row(info: CommitInfo, *, position: int) -> Commit:
    last = Commit.objects.aggregate(last=Max("position"))["last"] or 0
    return Commit.objects.create(
        position=max(position, last + 1), sha=info.sha, subject=info.subject[:300], author=info.author.name[:200]
    )


def _record(
    commit: Commit, work: rollouts.Work, *, cause: str, reason: str, snapshots: tuple[Snapshot, ...]
) -> Rollout | None:
    rollout = rollouts.record(commit, work, cause=cause, reason=reason, snapshots=snapshots)
    if rollout is not None:
        pk, number = rollout.pk, rollout.change_request_id
        transaction.on_commit(lambda: events.hint(rollout=pk, item=None, state="waiting", change_request=number))
    return rollout


def _unapproved(commit: Commit) -> str:
    return (
        f"Commit {commit.sha[:10]} by {commit.author or 'somebody'} changed this on main without an approved change "
        f"request, so it is not applied. Propose the change again, or one that takes it back."
    )
