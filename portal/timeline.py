"""All that happened to a change request, in order: every move, answer and comment, with who, when and why.

Knows no request and no right.
"""

from dataclasses import dataclass
from datetime import datetime

from changes.models import ChangeRequest, Transition, User
from executors.models import Rollout, WorkItem
from executors.states import ItemState

MOST = 400


@dataclass(frozen=True, slots=True)
class Moment:
    """sort: move | approval | comment | work. `before` and `after` are states."""

    sort: str
    at: datetime
    who: User | None
    before: str = ""
    after: str = ""
    why: str = ""
    subject: str = ""


def timeline(request: ChangeRequest, rollout: Rollout | None) -> list[Moment]:
    """Oldest first; of a very long history the newest moments."""
    found = [Moment("move", request.created_at, request.requester, after="draft", why="")]
    found += _moves("changerequest", {request.pk: ""}, sort="move")
    for approval in request.approvals.select_related("user"):
        subject = f"{len(approval.items)} item{'' if len(approval.items) == 1 else 's'}"
        found.append(Moment("approval", approval.at, approval.user, "", approval.decision, approval.comment, subject))
    for comment in request.comments.select_related("user"):
        found.append(Moment("comment", comment.at, comment.user, why=comment.text))
    if rollout is not None:
        systems = dict(WorkItem.objects.filter(rollout=rollout).values_list("pk", "system"))
        found += _moves("workitem", systems, sort="work")
    return sorted(found, key=lambda moment: moment.at)[-MOST:]


def _moves(noun: str, subjects: dict[int, str], *, sort: str) -> list[Moment]:
    rows = Transition.objects.filter(noun=noun, noun_id__in=list(subjects)).select_related("who").order_by("-pk")[:MOST]
    return [Moment(sort, row.at, row.who, row.before, row.after, _why(row), subjects[row.noun_id]) for row in rows]


def _why(row: Transition) -> str:
    """Of failed work the reason may be a module's own words: an output, which the rollout shows to whom it may."""
    return "" if row.noun == "workitem" and row.after == ItemState.FAILED else row.why
