"""Yes, no, and words: approvals by plan items, comments, and closing without a merge."""

from collections.abc import Iterable

from django.db import transaction

from changes.approvals import declined_by, may_approve, may_decline
from changes.models import Approval, ChangeRequest, Comment, StateConflict, User
from changes.review import Review, evaluate
from changes.rights import rights_of
from changes.states import OPEN_STATES, ChangeRequestState, Decision, IntentState
from changes.workflow.people import Refused, has_a_say, may_edit

MAX_COMMENT = 20_000
HAND_IN_IT = "You cannot approve this change request: you asked for it or had a hand in it. Somebody else has to."
TAKEN_BACK = "This only takes the no back: the yes of somebody who had a hand in it does not count."


def approve(
    change_request: ChangeRequest, user: User, decision: str, digests: Iterable[str], comment: str = ""
) -> Approval:
    """One person's yes or no to plan items, each named by its digest as their page showed it.

    Who had a hand in it can say no, and take that back by a yes that counts for nothing else.
    """
    if change_request.state != ChangeRequestState.OPEN:
        raise Refused(f"Change request {change_request.number} is {change_request.state}: there is nothing to approve.")
    if decision not in Decision.values:
        raise Refused("Say yes or no.")
    review = evaluate(change_request)
    wanted = frozenset(digests)
    _may_answer(review, user, decision, wanted)
    words = _storable(comment)[:MAX_COMMENT]
    if decision == Decision.YES and user.username in review.barred:
        words = f"{words}\n\n{TAKEN_BACK}".strip()
    return Approval.objects.create(
        change_request=change_request,
        user=user,
        decision=decision,
        items=sorted(wanted),
        base=review.main,
        head=review.head,
        comment=words,
    )


def _may_answer(review: Review, user: User, decision: str, wanted: frozenset[str]) -> None:
    name, asked, is_barred = user.username, review.requirements, user.username in review.barred
    mine = may_decline(name, asked) if decision == Decision.NO else may_approve(name, asked) | declined_by(name, asked)
    if is_barred and not mine:
        raise Refused(HAND_IN_IT)
    if review.unsettled:
        raise Refused(" ".join(review.unsettled))
    if not wanted:
        raise Refused("Choose at least one item of the plan.")
    if wanted - {item.digest for item in review.plan.items}:
        raise Refused("The change request has changed since you opened this page: look at the plan again.")
    if foreign := wanted - mine:
        if is_barred:
            raise Refused(HAND_IN_IT)
        path = next(item.path for item in review.plan.items if item.digest in foreign)
        needed = sorted({r.sentence for r in review.requirements if r.digest in foreign})
        raise Refused(f"You cannot approve {path}. It needs: {' '.join(f'{sentence}.' for sentence in needed)}")


def _storable(text: str) -> str:
    """Not every database can hold the character NUL."""
    return text.replace("\0", "").strip()


def comment(change_request: ChangeRequest, user: User, text: str) -> Comment:
    if not _storable(text):
        raise Refused("Write something first.")
    if len(text) > MAX_COMMENT:
        raise Refused(f"A comment may have at most {MAX_COMMENT:,} characters: shorten it.")
    return Comment.objects.create(change_request=change_request, user=user, text=_storable(text))


def withdraw(change_request: ChangeRequest, user: User, why: str = "") -> None:
    """Take the request back. Its branch stays."""
    if not (may_edit(change_request, user) or rights_of(user).is_platform):
        raise Refused("Only the requester, their team and the platform team can withdraw a change request.")
    _close(change_request, ChangeRequestState.WITHDRAWN, user=user, why=why)


def reject(change_request: ChangeRequest, user: User, why: str) -> None:
    """Say a final no, with the reason, as somebody whose approval it needs."""
    if not _storable(why):
        raise Refused("Say why, so that the requester knows what to do instead.")
    if not has_a_say(evaluate(change_request), user):
        raise Refused("Only people whose approval it needs can reject a change request.")
    _close(change_request, ChangeRequestState.REJECTED, user=user, why=why)


def _close(change_request: ChangeRequest, after: ChangeRequestState, *, user: User, why: str) -> None:
    if change_request.state not in OPEN_STATES:
        raise Refused(
            f"Change request {change_request.number} is {change_request.state} already: there is nothing to close."
        )
    if after == ChangeRequestState.REJECTED and change_request.state == ChangeRequestState.DRAFT:
        raise Refused("A draft was not proposed yet: only its requester can withdraw it.")
    try:
        with transaction.atomic():
            # The row's lock orders this with the intent of a merge.
            ChangeRequest.objects.select_for_update().get(pk=change_request.pk)
            if change_request.intents.filter(state=IntentState.OPEN).exists():
                raise Refused("It is being merged this moment: wait for that, then look again.")
            change_request.move(after, who=user, why=_storable(why))
    except StateConflict as conflict:
        raise Refused("Somebody else was faster: look at the change request again.") from conflict
