"""The stream of a rollout's page: which runs its reader may see, what the page has, what comes.

Server-sent events: `log` (a list of lines), `state` (look again at the page's live part), `end` (with a reason). The id
of an event is `run:number,...`: all that this client has. A reconnect sends it back and goes on exactly there.
A page that speaks of many rollouts asks for none: it gets `state` whenever one of them moves.
"""

import json
import re
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import timedelta

from asgiref.sync import sync_to_async
from django.contrib.auth import get_user
from django.contrib.auth.decorators import login_not_required
from django.core.handlers.asgi import ASGIRequest
from django.db import connections
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.utils import timezone
from django.views.decorators.http import require_GET

from changes.models import User
from executors.events import stored
from executors.models import Rollout
from executors.rights import read_rights
from portal.streams import Hub, Watcher, hub, in_thread

HEARTBEAT = 15.0
RECHECK = 30.0
RETRY_MS = 1000
# Lines of a run may still be on their way to the database so long after it ended.
SETTLES = timedelta(seconds=60)
_POSITIONS = re.compile(r"(?:\d{1,18}:\d{1,9}(?:,\d{1,18}:\d{1,9})*)?")


@dataclass(frozen=True, slots=True)
class Source:
    """A run that the reader may see: the latest attempt at its work item."""

    run: int
    closed: bool  # over for so long that nothing comes any more
    latest: bool = True  # of an earlier attempt only what the page has is gone on with


@dataclass(frozen=True, slots=True)
class Visit:
    """Who watches which rollout, and what they might see when they came."""

    request: HttpRequest
    rollout: int
    sources: tuple[Source, ...]
    sign: str


@require_GET
@login_not_required  # a redirect to a page is no answer for an event stream
async def events(request: HttpRequest) -> HttpResponseBase:
    have = positions(request.headers.get("Last-Event-ID") or request.GET.get("after", ""))
    rollout = request.GET.get("rollout", "0")
    if have is None or not re.fullmatch(r"\d{1,18}", rollout):
        return _refused(400, "This address does not say where to go on: reload the page.")
    sources = await in_thread(sources_of, request, int(rollout))
    if sources is None:
        return _refused(403, "You are not signed in any more, or there is no such rollout: reload the page.")
    if not set(have) <= {source.run for source in sources}:
        return _refused(
            403, "You may not see the log of one of these runs, or it is not of this rollout: reload the page."
        )
    if isinstance(request, ASGIRequest):
        await sync_to_async(connections.close_all)()  # else it stays open as long as the stream
    visit = Visit(request, int(rollout), tuple(sources), request.GET.get("seen", "")[:8])
    response = StreamingHttpResponse(stream(visit, have), content_type="text/event-stream")
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"
    return response


def positions(text: str) -> dict[int, int] | None:
    """`run:number,...` as a mapping; None when it is not of that form."""
    if len(text) > 60_000 or not _POSITIONS.fullmatch(text):
        return None
    return {int(run): int(number) for run, number in (one.split(":") for one in text.split(",") if one)}


def sources_of(request: HttpRequest, rollout_id: int) -> list[Source] | None:
    """The runs of the rollout whose log this session's person may see now; None without such a person or rollout.

    Rollout 0 stands for all of them and has no runs: that something moved, everybody may know.
    """
    store = type(request.session)(request.session.session_key)
    check = HttpRequest()
    check.session = store
    user = get_user(check)
    if not isinstance(user, User) or not user.is_active:
        return None
    if not rollout_id:
        return []
    rollout = Rollout.objects.select_related("commit").filter(pk=rollout_id).first()
    if rollout is None:
        return None
    may_see, found = read_rights(user, rollout), list[Source]()
    for item in rollout.items.prefetch_related("runs"):
        runs = sorted(item.runs.all(), key=lambda run: run.number)
        if runs and may_see(item):
            older = [Source(run.pk, closed=True, latest=False) for run in runs[:-1]]
            last = runs[-1]
            over = last.finished_at is not None and timezone.now() - last.finished_at > SETTLES
            found += [*older, Source(last.pk, closed=not last.is_open and over)]
    return found


def _refused(code: int, sentence: str) -> HttpResponse:
    return HttpResponse(sentence, status=code, content_type="text/plain; charset=utf-8")


async def stream(visit: Visit, have: dict[int, int]) -> AsyncIterator[str]:
    watcher, reader = Watcher(visit.rollout, have, sign=visit.sign), hub()
    reader.join(watcher)
    try:
        yield f"retry: {RETRY_MS}\n\n"
        async for frame in _watch(visit, watcher, reader):
            watcher.sending_since = time.monotonic()
            yield frame
            watcher.sending_since = 0.0
    finally:
        reader.leave(watcher)


async def _watch(visit: Visit, watcher: Watcher, reader: Hub) -> AsyncIterator[str]:
    closed = await _admit(visit.sources, watcher, reader)
    checked = sent = time.monotonic()
    while True:
        lines = watcher.take()
        if lines:
            sent = time.monotonic()
            yield frame_of(watcher.have, lines)
        watcher.catching_up, stuck = True, False
        for run in watcher.behind():
            async for frame in _catch_up(run, watcher, reader, closed=run in closed):
                sent = time.monotonic()
                yield frame
            stuck = stuck or watcher.have.get(run, 0) < watcher.known[run]
        watcher.catching_up = False
        if watcher.slow:
            yield _end("slow", "This page could not keep up with the log; it goes on where it was.")
            return
        look, watcher.look_again = watcher.look_again, False
        if look or time.monotonic() - checked > RECHECK:
            sources = await in_thread(sources_of, visit.request, visit.rollout)
            checked = time.monotonic()
            if sources is None or not set(watcher.known) <= {source.run for source in sources}:
                yield _end("revoked", "You may no longer see this log: your rights or your session have changed.")
                return
            reader.join(watcher)  # starts the reader again, should it have died
            closed = await _admit(sources, watcher, reader)
        if look:
            yield "event: state\ndata: {}\n\n"
        if not look and not lines:
            await watcher.wait(1.0 if stuck else HEARTBEAT)
        if time.monotonic() - sent > HEARTBEAT * 0.9:
            sent = time.monotonic()
            yield ": still here\n\n"


async def _admit(sources: Iterable[Source], watcher: Watcher, reader: Hub) -> set[int]:
    """Watch what is not watched yet; the runs that are over."""
    closed = set()
    for source in sources:
        if source.closed:
            closed.add(source.run)
        if source.run in watcher.known or not (source.latest or source.run in watcher.have):
            continue
        if source.closed:
            watcher.known[source.run] = await in_thread(stored, source.run)
        else:
            await reader.watch(watcher, source.run)
    return closed


async def _catch_up(run: int, watcher: Watcher, reader: Hub, *, closed: bool) -> AsyncIterator[str]:
    """What the watcher lacks of a run up to what is known to exist, from where it stands."""
    while (after := watcher.have.get(run, 0)) < watcher.known[run]:
        lines = await reader.missing(run, after, closed=closed)
        if not lines:
            if closed:  # numbers that a lost worker took with it
                watcher.have[run] = watcher.known[run]
            return
        watcher.have[run] = lines[-1][1]
        yield frame_of(watcher.have, [text for _, _, text in lines])


def frame_of(have: dict[int, int], lines: list[str]) -> str:
    number = ",".join(f"{run}:{number}" for run, number in have.items())
    return f"id: {number}\nevent: log\ndata: [{','.join(lines)}]\n\n"


def _end(reason: str, sentence: str) -> str:
    return f"event: end\ndata: {json.dumps({'reason': reason, 'text': sentence})}\n\n"
