"""What waits for me, what runs, what is not well, what I asked for."""

from collections import defaultdict
from dataclasses import dataclass

from django.db.models import Exists, OuterRef, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from changes.models import Approval, ChangeRequest, Editor, User
from changes.repository import RepositoryError
from changes.review import Review, evaluate
from changes.rights import Rights, can_sign_in, main_snapshot
from changes.states import ChangeRequestState
from executors import health
from executors.health import State
from executors.models import Resource, Rollout, WorkItem
from executors.states import ITEM_FINAL, ITEM_OPEN, ItemState, rollout_state
from executors.waiting import stopped_work
from portal import change_page
from portal.access import rights, signed_in
from portal.standing import UNWELL, of_mine
from portal.views.history import with_summaries

LOOKED_AT = 60  # open requests that are evaluated for one page
SHOWN = 8


@dataclass(frozen=True, slots=True)
class Waiting:
    """A change request that waits for the reader: why, and for how many of its items."""

    change: ChangeRequest
    items: int
    deletes: int
    systems: tuple[str, ...]
    ready: bool


@dataclass(frozen=True, slots=True)
class Running:
    """A rollout with open work items."""

    rollout: Rollout
    title: str
    state: str
    done: int
    total: int
    systems: tuple[str, ...]


def home(request: HttpRequest) -> HttpResponse:
    user, mine = signed_in(request), rights(request)
    reviews, more = looked_at(user, mine)
    unwell = Resource.objects.filter(of_mine(mine.teams, mine.owned_systems), sync__in=UNWELL)
    requests = ChangeRequest.objects.filter(requester=user).exclude(state=ChangeRequestState.DRAFT)
    drafts = ChangeRequest.objects.filter(requester=user, state=ChangeRequestState.DRAFT)
    context = {
        "section": "home",
        "broken": [check for check in health.people() if check.state is State.BAD] if mine.is_platform else [],
        "waiting": [one for review in reviews.values() if (one := _waiting(review, user))],
        "looked_at": LOOKED_AT if more else 0,
        "running": running(),
        "unwell": list(unwell.order_by("-changed_at")[: SHOWN + 1]),
        "stopped": stopped(mine),
        "rows": with_summaries(list(requests.select_related("requester").order_by("-pk")[:SHOWN]), reviews),
        "drafts": list(drafts.order_by("-updated_at")[:SHOWN]),
        "empty_site": not main_snapshot().systems,
    }
    template = "home/_live.html" if request.GET.get("part") == "live" else "home/home.html"
    return render(request, template, context)


def looked_at(user: User, mine: Rights) -> tuple[dict[int, Review], bool]:
    """The open requests that may wait for the reader, by number: their own, and what touches their teams or systems.

    And whether there are more. What the reader has answered, or had a hand in, is the last to be looked at.
    """
    touched = Q(plan_rows__system__in=mine.owned_systems) | Q(plan_rows__team__in=mine.teams) | Q(requester=user)
    if mine.is_platform:
        touched |= Q(plan_rows__system="")
    found = ChangeRequest.objects.filter(touched, state=ChangeRequestState.OPEN).distinct()
    found = found.select_related("requester").prefetch_related("approvals__user", "editors__user")
    answered = Approval.objects.filter(change_request=OuterRef("pk"), user=user, head=OuterRef("head"))
    hand_in = Editor.objects.filter(change_request=OuterRef("pk"), user=user)
    found = found.annotate(last=Exists(answered) | Exists(hand_in)).order_by("last", "pk")
    requests, able = list(found[: LOOKED_AT + 1]), can_sign_in()
    first = sorted(requests[:LOOKED_AT], key=lambda one: one.pk)
    return {one.pk: review for one in first if (review := _look(one, able))}, len(requests) > LOOKED_AT


def _look(change: ChangeRequest, able: frozenset[str]) -> Review | None:
    try:
        return evaluate(change, able=able)
    except RepositoryError:
        return None


def _waiting(review: Review, user: User) -> Waiting | None:
    """For an approval that the reader can give; or, their own, for the merge."""
    items = change_page.undecided(review, user)
    ready = review.can_merge and review.change_request.requester_id == user.pk
    if not items and not ready:
        return None
    return Waiting(
        review.change_request,
        len(items),
        sum(item.operation == "delete" for item in items or review.plan.items),
        tuple(sorted(review.plan.by_system())),
        ready,
    )


def running() -> list[Running]:
    """Rollouts with open work, oldest first; three queries."""
    rollouts = list(
        Rollout.objects.filter(items__state__in=ITEM_OPEN)
        .select_related("commit")
        .distinct()
        .order_by("commit__position")[:SHOWN]
    )
    items: dict[int, list[tuple[str, str]]] = defaultdict(list)
    rows = WorkItem.objects.filter(rollout__in=rollouts).values_list("rollout_id", "state", "system")
    for rollout_id, state, system in rows:
        items[rollout_id].append((state, system))
    numbers = [one.change_request_id for one in rollouts if one.change_request_id]
    titles = {one.pk: one.shown_title for one in ChangeRequest.objects.filter(pk__in=numbers)}
    return [
        Running(
            rollout=one,
            title=titles.get(one.change_request_id or 0, one.title),
            state=rollout_state(state for state, _ in items[one.pk]),
            done=sum(state in ITEM_FINAL for state, _ in items[one.pk]),
            total=len(items[one.pk]),
            systems=tuple(sorted({system for _, system in items[one.pk]})),
        )
        for one in rollouts
    ]


def stopped(mine: Rights) -> list[WorkItem]:
    """Work that ended without success and that something of mine still waits for; what failed comes first."""
    left = stopped_work(Resource.objects.filter(of_mine(mine.teams, mine.owned_systems)))
    found = {item.pk: item for item in (*_failed_items(mine), *left)}
    return list(found.values())[:SHOWN]


def _failed_items(mine: Rights) -> "list[WorkItem]":
    """Failed work on my systems that nobody has taken up: the latest of each system."""
    failed = WorkItem.objects.filter(
        system__in=mine.owned_systems, state__in=(ItemState.FAILED, ItemState.PARKED)
    ).select_related("rollout__commit")
    latest: dict[str, WorkItem] = {}
    for item in failed.order_by("-position", "-wave")[:50]:
        latest.setdefault(item.system, item)
    after = WorkItem.objects.filter(system__in=latest, state=ItemState.SUCCEEDED).values_list("system", "position")
    newest: dict[str, int] = {}
    for system, position in after.order_by("position"):
        newest[system] = position
    return [item for item in latest.values() if newest.get(item.system, -1) < item.position][:SHOWN]
