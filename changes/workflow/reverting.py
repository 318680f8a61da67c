"""A draft that undoes a merged change request, on today's main."""

from django.db import transaction

from changes.models import ChangeRequest, Edit, User
from changes.repository import Repository, state
from changes.states import ChangeRequestState
from changes.workflow.people import Refused


def revert(change_request: ChangeRequest, user: User) -> ChangeRequest:
    """Files go back to before the merge; those that changed again since are pointed out in the reason."""
    if change_request.state != ChangeRequestState.MERGED:
        raise Refused(f"Change request {change_request.number} is not merged: there is nothing to revert.")
    repository = state()
    main = repository.main()
    edits, changed_since = _undone(repository, change_request.merge_commit, main)
    if not edits:
        raise Refused(f"Main no longer has anything of change request {change_request.number}: it is undone already.")
    reason = f"Undoes change request {change_request.number}."
    if changed_since:
        reason += "\n\nChanged again since, and set back here as well:\n" + "".join(f"- {p}\n" for p in changed_since)
    with transaction.atomic():
        draft = ChangeRequest.objects.create(
            requester=user,
            title=f"Revert: {change_request.shown_title}"[:200],
            reason=reason.strip(),
            reverts=change_request,
        )
        for position, edit in enumerate(edits, start=1):
            edit.change_request, edit.position = draft, position
        Edit.objects.bulk_create(edits)
    return draft


def _undone(repository: Repository, merge_commit: str, main: str) -> tuple[list[Edit], list[str]]:
    """The edits that lead back, and the paths that main changed again after the merge."""
    before = repository.info(merge_commit).parents[0]
    edits: list[Edit] = []
    changed_since: list[str] = []
    for path, (old, new) in repository.diff(before, merge_commit).items():
        now = repository.blob_at(main, path)
        if now == old:
            continue
        if now != new:
            changed_since.append(path)
        text = repository.text(old)
        edits.append(Edit(path=path, text=text, deletes=old is None, base_blob=now or ""))
    return edits, changed_since
