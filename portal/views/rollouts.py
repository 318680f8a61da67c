"""Pages of rollouts and runs: the list, one rollout, a run's log, and the two verbs on a work item."""

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from changes.models import ChangeRequest, User
from executors import actions
from executors.models import Rollout, Run, WorkItem
from executors.states import ITEM_FINAL, rollout_state
from portal import log
from portal.access import log_readers, may_see_logs, signed_in, within_site
from portal.streams import in_thread
from portal.templatetags.rollouts import number_of
from portal.timeline import rollout_timeline

PAGE = 30


@require_GET
def rollouts(request: HttpRequest) -> HttpResponse:
    """All rollouts, newest first, by key: `before` and `after` are numbers of rollouts."""
    rows = Rollout.objects.select_related("commit")
    before, after = number_of(request.GET.get("before")), number_of(request.GET.get("after"))
    if after:
        found = list(rows.filter(pk__gt=after).order_by("pk")[: PAGE + 1])
        more, found = len(found) > PAGE, found[:PAGE][::-1]
        newer, older = more, True
    else:
        found = list((rows.filter(pk__lt=before) if before else rows).order_by("-pk")[: PAGE + 1])
        newer, older, found = bool(before), len(found) > PAGE, found[:PAGE]
    pager = {
        "newer": f"?after={found[0].pk}" if newer and found else "",
        "older": f"?before={found[-1].pk}" if older and found else "",
    }
    return render(request, "rollouts/list.html", {"rows": _list_rows(found), "page": pager, "section": "rollouts"})


def _list_rows(found: list[Rollout]) -> list[dict[str, object]]:
    states: dict[int, list[str]] = defaultdict(list)
    systems: dict[int, list[str]] = defaultdict(list)
    for pk, state, system in WorkItem.objects.filter(rollout__in=found).values_list("rollout_id", "state", "system"):
        states[pk].append(state)
        if system not in systems[pk]:
            systems[pk].append(system)
    numbers = [one.change_request_id for one in found if one.change_request_id]
    titles = ChangeRequest.objects.in_bulk(numbers)
    return [
        {
            "rollout": one,
            "change": titles.get(one.change_request_id or 0),
            "state": rollout_state(states[one.pk]),
            "systems": systems[one.pk],
            "total": len(states[one.pk]),
            "done": sum(1 for state in states[one.pk] if state in ITEM_FINAL),
        }
        for one in found
    ]


@require_GET
def rollout(request: HttpRequest, pk: int) -> HttpResponse:
    """The page; for its own script only its live part or its timeline."""
    found = get_object_or_404(Rollout.objects.select_related("commit"), pk=pk)
    context: dict[str, object] = {"rollout": found, "section": "rollouts"}
    template = "rollouts/rollout.html"
    if request.GET.get("part") == "timeline":
        template = "rollouts/_timeline.html"
    elif request.headers.get("HX-Request"):
        template = "rollouts/_rollout.html"
    if template != "rollouts/_rollout.html":
        context["timeline"] = rollout_timeline(found, request.GET)
    response = render(request, template, context)
    response.headers["Cache-Control"] = "no-store"
    response.headers["Vary"] = "HX-Request, X-Keep-Log, Cookie"
    return response


@require_POST
def item_retry(request: HttpRequest, pk: int) -> HttpResponse:
    return _act(request, pk, verb=actions.retry, done="{system} is tried again.")


@require_POST
def item_cancel(request: HttpRequest, pk: int) -> HttpResponse:
    return _act(request, pk, verb=actions.cancel, done="{system} is being cancelled.")


def _act(request: HttpRequest, pk: int, *, verb: Callable[[WorkItem, User], object], done: str) -> HttpResponse:
    item = get_object_or_404(WorkItem.objects.select_related("rollout__commit"), pk=pk)
    user = signed_in(request)
    refused = ""
    try:
        verb(item, user)
    except actions.NotTheirs as error:
        raise PermissionDenied(str(error)) from error
    except actions.Refused as error:
        refused = str(error)
    if request.headers.get("HX-Request"):
        told = {"told": refused or done.format(system=item.system), "refused": bool(refused)}
        return JsonResponse(told, status=409 if refused else 200)
    (messages.error if refused else messages.success)(request, refused or done.format(system=item.system))
    page = f"{reverse('rollout', args=[item.rollout_id])}?item={item.pk}#item"
    return redirect(within_site(request, request.headers.get("Referer", ""), otherwise=page))


def _run(request: HttpRequest, pk: int) -> Run:
    """The run, when the reader may see its log."""
    run = get_object_or_404(Run.objects.select_related("item__rollout__commit"), pk=pk)
    if not may_see_logs(signed_in(request), run.item):
        raise PermissionDenied(log_readers(run.item))
    return run


@require_GET
def run_log(request: HttpRequest, pk: int) -> HttpResponse:
    """A run's log: its end, what is before or after a number, or around `line`; for the script only the lines."""
    run = _run(request, pk)
    numbers = {name: number_of(request.GET.get(name)) for name in ("before", "after", "line")}
    words = request.GET.get("q", "").strip()[:200].replace("\0", "")
    shown = log.page(run, **numbers)
    context: dict[str, object] = {
        "run": run,
        "log": shown,
        "rollout": run.item.rollout,
        "section": "rollouts",
        "q": words,
    }
    if request.headers.get("HX-Request"):
        return render(request, "rollouts/_lines.html", context)
    if words:
        context["count"], found = log.search(run, words)
        context["found"] = found[:500]
    context["after"] = f"{run.pk}:{shown.stored}"
    return render(request, "rollouts/log.html", context)


@require_GET
def run_search(request: HttpRequest, pk: int) -> HttpResponse:
    words = request.GET.get("q", "").strip()[:200].replace("\0", "")
    count, numbers = log.search(_run(request, pk), words) if words else (0, [])
    return JsonResponse({"count": count, "lines": numbers})


@require_GET
def run_download(request: HttpRequest, pk: int) -> HttpResponseBase:
    """The whole stored log as text, from the database as it is read."""
    run = _run(request, pk)
    chunks = _chunks_async(run) if isinstance(request, ASGIRequest) else _chunks(run)
    response = StreamingHttpResponse(chunks, content_type="text/plain; charset=utf-8")
    name = f"{run.item.system}-rollout-{run.item.rollout_id}-run-{run.pk}.txt"
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _chunks(run: Run) -> Iterator[str]:
    text, after = log.text_chunks(run)
    yield text
    while after:
        text, after = log.text_chunks(run, after=after)
        yield text


async def _chunks_async(run: Run) -> AsyncIterator[str]:
    text, after = await in_thread(log.text_chunks, run)
    yield text
    while after:
        text, after = await in_thread(log.text_chunks, run, after=after)
        yield text
