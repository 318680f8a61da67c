"""The page of one change request: plan, checks and approvals, rollout, discussion, files."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect, render

from changes.models import ChangeRequest, User
from changes.repository import Hunk, RepositoryError, state
from changes.review import Review, evaluate
from changes.rights import main_snapshot
from changes.states import ChangeRequestState
from executors.models import Rollout
from executors.states import ITEM_OPEN, Cause
from portal import change_page
from portal.access import change_request, signed_in
from portal.timeline import timeline

TABS = ("plan", "checks", "rollout", "discussion", "files")
FILES = 100
UNFOLDED = 30  # items of a plan whose fields are all open
LINES = 1500


def change(request: HttpRequest, number: int) -> HttpResponseBase:
    found = change_request(request, number)
    if found.state == ChangeRequestState.DRAFT:
        return redirect("compose", number)
    if found.state != ChangeRequestState.OPEN and not found.head and not found.merge_commit:
        return render(request, "changes/unproposed.html", {"section": "changes", "change": found})
    merged = found.state == ChangeRequestState.MERGED
    tab = request.GET.get("tab", "")
    tab = tab if tab in TABS else "rollout" if merged else "plan"
    context = _frame(request, found, tab)
    if request.GET.get("part") == "head":
        return render(request, "changes/_head.html", context)
    context |= _TAB[tab](context["review"], context["rollout"], request)  # type: ignore[arg-type]
    return render(request, f"changes/{tab}.html", context)


def _frame(request: HttpRequest, found: ChangeRequest, tab: str) -> dict[str, object]:
    """What stands above every tab."""
    user, review = signed_in(request), evaluate(found)
    rollout = _rollout(found)
    states = list(rollout.items.values_list("state", flat=True)) if rollout else None
    return {
        "section": "changes",
        "tab": tab,
        "change": found,
        "review": review,
        "rollout": rollout,
        "headline": change_page.headline_of(review, states),
        "steps": change_page.steps(review, states),
        "may": change_page.may(review, user),
        "undecided": change_page.undecided(review, user),
        "systems": sorted(review.plan.by_system()),
        "live": found.state == ChangeRequestState.OPEN
        or (found.state == ChangeRequestState.MERGED and (states is None or not ITEM_OPEN.isdisjoint(states))),
        "revising": found.state == ChangeRequestState.OPEN and found.edits.exists(),
        "reverted_by": found.reverted_by.exclude(state=ChangeRequestState.DRAFT).first(),
        "comments": found.comments.count(),
        "folded": len(review.plan.items) > UNFOLDED and "all" not in request.GET,
        "problems": len(review.violations) + len(review.conflicts),
        "met": sum(one.met for one in review.requirements),
    }


def _rollout(found: ChangeRequest) -> Rollout | None:
    rollouts = Rollout.objects.filter(cause=Cause.MERGE, commit__change_request_id=found.pk)
    return rollouts.select_related("commit").first()


def _plan(review: Review, rollout: Rollout | None, request: HttpRequest) -> dict[str, object]:
    rules = main_snapshot()
    return {
        "groups": [(name, rules.systems.get(name), items) for name, items in review.plan.by_system().items()],
        "others": [(item, _hunks(item.base_blob, item.head_blob)) for item in review.plan.others[:FILES]],
        "counts": {str(operation): count for operation, count in review.plan.counts().items() if count},
        "said": change_page.said(review, signed_in(request)),
    }


def _checks(review: Review, rollout: Rollout | None, request: HttpRequest) -> dict[str, object]:
    names = {name for one in review.requirements for name in one.asked}
    people = {person.username: person for person in User.objects.filter(username__in=names)}
    return {
        "groups": change_page.groups(review),
        "people": people,
        "said": change_page.said(review, signed_in(request)),
    }


def _work(review: Review, rollout: Rollout | None, request: HttpRequest) -> dict[str, object]:
    return {}


def _discussion(review: Review, rollout: Rollout | None, request: HttpRequest) -> dict[str, object]:
    return {"timeline": timeline(review.change_request, rollout, request.GET)}


def _files(review: Review, rollout: Rollout | None, request: HttpRequest) -> dict[str, object]:
    shown = [{"item": item, "hunks": _hunks(item.base_blob, item.head_blob)} for item in review.plan.items[:FILES]]
    return {"files": shown, "left_out": max(0, len(review.plan.items) - FILES)}


def _hunks(old: str | None, new: str | None) -> tuple[Hunk, ...]:
    try:
        hunks = state().text_diff(old, new)
    except RepositoryError:
        return ()
    room, kept = LINES, []
    for hunk in hunks:
        kept.append(Hunk(hunk.header, hunk.lines[:room]))
        room -= len(hunk.lines)
        if room <= 0:
            break
    return tuple(kept)


_TAB: dict[str, Callable[[Review, Rollout | None, HttpRequest], dict[str, object]]] = {
    "plan": _plan,
    "checks": _checks,
    "rollout": _work,
    "discussion": _discussion,
    "files": _files,
}
