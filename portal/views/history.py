"""Every change request, found by typed filters, in keyset pages: no OFFSET, no count, a constant number of queries."""

from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, tzinfo
from types import MappingProxyType

from django.db.models import Count, Exists, OuterRef, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from changes.catalog import catalog
from changes.models import Approval, ChangeRequest, PlanRow
from changes.review import Review
from changes.rights import main_snapshot
from changes.states import ChangeRequestState
from executors.models import Rollout, WorkItem
from executors.states import ITEM_OPEN, Cause, ItemState
from portal import change_page
from portal.access import private_to_others, signed_in, zone_of
from portal.filters import Filters, from_query
from portal.headline import headlines
from portal.pages import keyset

PAGE = 40
SHOWN_STATES = (
    ("open", "Open"),
    ("merged", "Merged"),
    ("applying", "Applying"),
    ("applied", "Applied"),
    ("apply-failed", "Failed to apply"),
    ("withdrawn", "Withdrawn"),
    ("rejected", "Rejected"),
    ("draft", "My drafts"),
)
STATES = (*(value for value, _ in SHOWN_STATES), "failed")


def history(request: HttpRequest) -> HttpResponse:
    filters, zone = from_query(request.GET, states=STATES), zone_of(request)
    found = matching(filters, signed_in(request).pk, zone=zone)
    page = keyset(found, request.GET, size=PAGE, field="pk", newest_first=True)
    rows = with_summaries(page.rows)
    rules = main_snapshot()
    context = {
        "section": "changes",
        "filters": filters,
        "page": page,
        "rows": rows,
        "zone": zone,
        "states": SHOWN_STATES,
        "teams": sorted(rules.teams),
        "systems": sorted(rules.systems),
        "kinds": sorted(catalog().kinds),
        "people": _people(),
    }
    return render(request, "history/list.html", context)


def matching(filters: Filters, reader: int, *, zone: tzinfo = UTC) -> "QuerySet[ChangeRequest]":
    """The requests that the filters ask for; drafts only the reader's own, and only when asked for. `zone`: of days."""
    found = ChangeRequest.objects.select_related("requester").exclude(private_to_others(reader))
    if filters.state == ChangeRequestState.DRAFT:
        found = found.filter(state=ChangeRequestState.DRAFT)
    else:
        found = found.exclude(state=ChangeRequestState.DRAFT)
    touched = {key: value for key in ("team", "system", "kind") if (value := getattr(filters, key))}
    if touched:
        found = found.filter(_touches(**touched))
    if filters.by:
        found = found.filter(requester__username=filters.by)
    if filters.before:
        found = found.filter(created_at__lt=_midnight(filters.before, zone))
    if filters.after:
        found = found.filter(created_at__gte=_midnight(filters.after, zone))
    found = _in_state(found, filters.state)
    for word in filters.words:
        found = found.filter(_says(word))
    return found


def _touches(**columns: str) -> Exists:
    return Exists(PlanRow.objects.filter(change_request=OuterRef("pk"), **columns))


def _midnight(day: date, zone: tzinfo) -> datetime:
    return datetime.combine(day, time(), zone)


def _says(word: str) -> Q:
    says = Q(title__icontains=word) | Q(_touches(path__icontains=word))
    number = word.removeprefix("#")
    return says | Q(pk=int(number)) if number.isascii() and number.isdigit() and len(number) < 18 else says


def _in_state(found: "QuerySet[ChangeRequest]", state: str) -> "QuerySet[ChangeRequest]":
    items = WorkItem.objects.filter(rollout__cause=Cause.MERGE, rollout__commit__change_request_id=OuterRef("pk"))
    working, failed = items.filter(state__in=ITEM_OPEN), items.filter(state__in=(ItemState.FAILED, ItemState.PARKED))
    match state:
        case "" | "draft":
            return found
        case "applying":
            return found.filter(Exists(working), state=ChangeRequestState.MERGED)
        case "apply-failed" | "failed":
            return found.filter(Exists(failed), state=ChangeRequestState.MERGED)
        case "applied":
            rollout = Rollout.objects.filter(cause=Cause.MERGE, commit__change_request_id=OuterRef("pk"))
            unfinished = items.exclude(state__in=(ItemState.SUCCEEDED, ItemState.SUPERSEDED))
            return found.filter(Exists(rollout), ~Exists(unfinished), state=ChangeRequestState.MERGED)
        case _:
            return found.filter(state=state)


def with_summaries(
    requests: list[ChangeRequest], reviews: Mapping[int, Review] = MappingProxyType({})
) -> list[dict[str, object]]:
    """Each request with its headline, what it touches and who said what; four queries however many there are.

    What an open request waits for is known only by evaluating it. A page that did so gives the `reviews`; on the others
    it is "open", with the answers that are on record for its newest commit.
    """
    heads = headlines(requests) | {number: change_page.headline_of(review, None) for number, review in reviews.items()}
    said = _said(requests)
    touched: dict[int, dict[str, int]] = defaultdict(dict)
    operations: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    rows = PlanRow.objects.filter(change_request__in=[request.pk for request in requests])
    for number, system, operation, count in rows.values_list("change_request_id", "system", "operation").annotate(
        count=Count("pk")
    ):
        if system:
            touched[number][system] = touched[number].get(system, 0) + count
        operations[number][operation] += count
    return [
        {
            "request": request,
            "state": heads[request.pk],
            "systems": sorted(touched[request.pk]),
            "operations": sorted(operations[request.pk].items()),
            "said": said[request.pk],
        }
        for request in requests
    ]


def _said(requests: list[ChangeRequest]) -> dict[int, dict[str, list[str]]]:
    """Request -> yes or no -> the names of those whose last answer to its newest commit that is."""
    heads = {request.pk: request.head for request in requests if request.state == ChangeRequestState.OPEN}
    last: dict[tuple[int, str], str] = {}
    for row in Approval.objects.filter(change_request__in=heads).select_related("user").order_by("pk"):
        if row.head == heads[row.change_request_id]:
            last[row.change_request_id, row.user.shown_name] = row.decision
    said: dict[int, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for (number, name), decision in last.items():
        said[number][decision].append(name)
    return said


def _people() -> list[str]:
    """Whoever has asked for something, as far as one list can hold them."""
    asked = ChangeRequest.objects.exclude(state=ChangeRequestState.DRAFT)
    return list(asked.order_by("requester__username").values_list("requester__username", flat=True).distinct()[:200])
