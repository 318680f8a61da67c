"""All that happened to a change request or in a rollout, in order: moves, answers, comments, by whom, when and why.

Knows no request and no right. One page holds the newest moments, and leads to the older ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from django.db.models import Model, QuerySet

from changes.models import ChangeRequest, Transition, User
from executors.models import Rollout, Run
from executors.states import ItemState
from portal.pages import Page, link

MOST = 400
MOST_WORK = 100
UNTIL = "until"
Row = TypeVar("Row", bound=Model)


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


@dataclass(frozen=True, slots=True)
class _Stretch:
    """How much of every source one page needs: the newest `most` before a moment."""

    most: int
    until: datetime | None

    def of(self, rows: "QuerySet[Row]") -> "QuerySet[Row]":
        rows = rows.filter(at__lt=self.until) if self.until else rows
        return rows.order_by("-at", "-pk")[: self.most + 1]


def timeline(request: ChangeRequest, rollout: Rollout | None, query: Mapping[str, str]) -> Page[Moment]:
    """Of a change request, oldest first: the newest moments, or those before `?until=`."""
    stretch = _Stretch(MOST, _until(query))
    found = _moves(Transition.objects.filter(noun="changerequest", noun_id=request.pk), stretch)
    if stretch.until is None or request.created_at < stretch.until:
        found.append(Moment("move", request.created_at, request.requester, after="draft"))
    for approval in stretch.of(request.approvals.select_related("user")):
        subject = f"{len(approval.items)} item{'' if len(approval.items) == 1 else 's'}"
        found.append(Moment("approval", approval.at, approval.user, "", approval.decision, approval.comment, subject))
    for comment in stretch.of(request.comments.select_related("user")):
        found.append(Moment("comment", comment.at, comment.user, why=comment.text))
    if rollout is not None:
        found += _work(rollout, stretch)
    return _page(found, stretch, query)


def rollout_timeline(rollout: Rollout, query: Mapping[str, str]) -> Page[Moment]:
    """Of a rollout: the moves of its work items and of their runs."""
    stretch = _Stretch(MOST_WORK, _until(query))
    return _page([*_work(rollout, stretch), *_runs(rollout, stretch)], stretch, query)


def _until(query: Mapping[str, str]) -> datetime | None:
    try:
        found = datetime.fromisoformat(query.get(UNTIL, "")[:40])
    except ValueError:
        return None
    return found if found.tzinfo and 1970 < found.year < 9000 else None


def _page(found: list[Moment], stretch: _Stretch, query: Mapping[str, str]) -> Page[Moment]:
    found.sort(key=lambda moment: moment.at)
    first = found[-stretch.most].at if len(found) > stretch.most else None
    kept = [moment for moment in found if first is None or moment.at >= first]
    places = (UNTIL, "part")
    return Page(
        kept,
        older=link(query, places, UNTIL, kept[0].at.isoformat()) if len(kept) < len(found) else "",
        newer=link(query, places) if stretch.until else "",
    )


def _work(rollout: Rollout, stretch: _Stretch) -> list[Moment]:
    items = rollout.items.order_by()
    rows = Transition.objects.filter(noun="workitem", noun_id__in=items.values("pk"))
    found = items.values_list("pk", "system", "wave")
    waves = {wave for _, _, wave in found}
    subjects = {pk: f"{system}, wave {wave + 1}" if len(waves) > 1 else system for pk, system, wave in found}
    return _moves(rows, stretch, subjects)


def _runs(rollout: Rollout, stretch: _Stretch) -> list[Moment]:
    runs = Run.objects.filter(item__rollout=rollout)
    rows = Transition.objects.filter(noun="run", noun_id__in=runs.values("pk"))
    named = runs.values_list("pk", "item__system", "number")
    return _moves(rows, stretch, {pk: f"{system}, attempt {number}" for pk, system, number in named})


def _moves(rows: "QuerySet[Transition]", stretch: _Stretch, subjects: Mapping[int, str] | None = None) -> list[Moment]:
    sort = "move" if subjects is None else "work"
    return [
        Moment(sort, row.at, row.who, row.before, row.after, _why(row), (subjects or {}).get(row.noun_id, ""))
        for row in stretch.of(rows.select_related("who"))
    ]


def _why(row: Transition) -> str:
    """Of what failed the reason may be a module's own words: an output, which the rollout shows to whom it may."""
    return "" if row.noun in ("workitem", "run") and row.after == ItemState.FAILED else row.why
