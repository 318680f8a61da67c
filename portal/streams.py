"""Live lines for pages: one reader per process, any number of watchers.

Owns the way of an event from Redis or the database to a watcher's queue. A run's events are numbered without gaps; a
watcher gets each number once, in order: what it lacks is read from the database, then from the run's Redis stream, and
from then on the one reader hands out what comes. When Redis is away the same reader asks the database every second.
Must not know requests, users or rights (`portal.views.events` does).
"""

import asyncio
import json
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import ParamSpec, TypeVar
from weakref import WeakKeyDictionary
from zlib import crc32

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import close_old_connections
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from executors.events import stored
from executors.models import Event, WorkItem
from portal import log

HINTS = "mergeyard:hints"
COALESCE = 0.1  # seconds between two readings while lines come
BLOCK_MS = 200  # so long a newly watched run may wait to be read
POLL_AWAY = 1.0  # seconds between looks at the database without Redis
POLL = 5.0  # and with it, for what Redis never got
CHUNK = 500
MAX_WAITING = 5000  # lines, and
MAX_WAITING_BYTES = 2_000_000  # bytes that may wait for one watcher
STALLED = 30.0  # seconds after which a watcher that reads nothing is cut off

P = ParamSpec("P")
T = TypeVar("T")
Line = tuple[int, int, str]  # run, number, the line as JSON
Entry = tuple[str, dict[str, str]]  # of a stream: id, fields


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call it in one of the loop's few threads, so that a thousand streams hold no thread and no connection each."""

    def call() -> T:
        close_old_connections()
        try:
            return function(*args, **kwargs)
        finally:
            close_old_connections()

    return await sync_to_async(call, thread_sensitive=False)()


def key(run: int) -> str:
    return f"mergeyard:run:{run}"


def line(run: int, entry: dict[str, object] | Event) -> Line:
    shown = log.shown(run, entry)
    return run, shown["number"], json.dumps(shown, separators=(",", ":"))


def readable(run: int, entries: Iterable[Entry]) -> list[Line]:
    """The lines of a stream's entries. Others can write to Redis too: what is none leaves a gap."""
    lines: list[Line] = []
    for _, fields in entries:
        with suppress(Exception):
            lines.append(line(run, json.loads(fields["e"])))
    return lines


def hinted(entries: Iterable[Entry]) -> set[int]:
    """The rollouts that hints name; what is no hint names none."""
    rollouts: set[int] = set()
    for _, fields in entries:
        with suppress(Exception):
            rollouts.add(int(json.loads(fields["e"])["rollout"]))
    return rollouts


def stored_lines(run: int, after: int) -> list[Line]:
    events = Event.objects.filter(run_id=run, number__gt=after).order_by("number")[:CHUNK]
    return [line(run, event) for event in events]


def signs(rollouts: Iterable[int]) -> dict[int, str]:
    """For each rollout a word that changes when what its page says of its items does."""
    seen: dict[int, int] = dict.fromkeys(rollouts, 0)
    items = WorkItem.objects.filter(rollout_id__in=seen).order_by("pk")
    for rollout, *rest in items.values_list("rollout_id", "pk", "state", "attempts", "reason", "cancel_requested"):
        seen[rollout] = crc32(repr(rest).encode(), seen[rollout])
    return {rollout: f"{sign:08x}" for rollout, sign in seen.items()}


def look(positions: dict[int, int], rollouts: set[int]) -> tuple[list[Line], dict[int, str]]:
    """(Stored lines after each run's position, each rollout's sign)."""
    return [found for run, position in positions.items() for found in stored_lines(run, position)], signs(rollouts)


class Watcher:
    """One open page: what it has, what waits for it. Filled by the hub, emptied by its own response.

    Without a rollout (0) it is told of every rollout that something moved, and gets no line.
    """

    def __init__(self, rollout: int, have: dict[int, int], *, sign: str = "") -> None:
        self.rollout = rollout
        self.sign = sign  # of what the page shows; empty: whatever is found first
        self.have = have
        self.known: dict[int, int] = {}  # run -> the last number known to exist
        self.waiting: deque[Line] = deque()
        self.bytes = 0
        self.look_again = False
        self.catching_up = True
        self.slow = False
        self.sending_since = 0.0
        self.task = asyncio.current_task()
        self._woken = asyncio.Event()

    def offer(self, lines: Iterable[Line]) -> None:
        for one in lines:
            self.waiting.append(one)
            self.bytes += len(one[2])
            self.known[one[0]] = max(self.known.get(one[0], 0), one[1])
        if len(self.waiting) > MAX_WAITING or self.bytes > MAX_WAITING_BYTES:
            self._overflow()
        self._woken.set()

    def _overflow(self) -> None:
        """While it catches up the lines are read again from where they stand; else its reader is too slow."""
        self.waiting.clear()
        self.bytes = 0
        self.slow = self.slow or not self.catching_up

    def hint(self) -> None:
        self.look_again = True
        self._woken.set()

    async def wait(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._woken.wait(), seconds)
        except TimeoutError:
            return
        self._woken.clear()

    def take(self) -> list[str]:
        """What may be sent now: lines that follow the last sent one of their run. The rest is behind a gap."""
        ready: list[str] = []
        while self.waiting:
            run, number, text = self.waiting.popleft()
            if number == self.have.get(run, 0) + 1:
                self.have[run] = number
                ready.append(text)
        self.bytes = 0
        return ready

    def behind(self) -> list[int]:
        return [run for run, number in self.known.items() if number > self.have.get(run, 0)]


class Hub:
    """The one reader of this process. Runs while somebody watches."""

    def __init__(self) -> None:
        self.watchers: set[Watcher] = set()
        self._runs: dict[int, set[Watcher]] = {}
        self._positions: dict[int, int] = {}  # run -> number of the last line handed out
        self._resume: dict[int, float] = {}  # run -> when to read on after a gap
        self._hints_at = ""
        self._polled = 0.0
        self._away = False
        self._redis: Redis[str] | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def redis(self) -> "Redis[str]":
        if self._redis is None:
            self._redis = Redis.from_url(
                settings.MERGEYARD_REDIS_URL,
                socket_connect_timeout=2,
                socket_timeout=5,
                retry=Retry(NoBackoff(), 0),
                decode_responses=True,
                encoding_errors="replace",
            )
        return self._redis

    def join(self, watcher: Watcher) -> None:
        self.watchers.add(watcher)
        self._polled = min(self._polled, time.monotonic() - POLL + 0.5)  # what changed before it came
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())

    def leave(self, watcher: Watcher) -> None:
        self.watchers.discard(watcher)
        for run in [run for run, watchers in self._runs.items() if watcher in watchers]:
            self._runs[run].discard(watcher)
            if not self._runs[run]:
                del self._runs[run]
                self._positions.pop(run, None)
                self._resume.pop(run, None)

    async def watch(self, watcher: Watcher, run: int) -> None:
        """From now on the run's lines are offered to the watcher; what came before, it must read itself."""
        self._runs.setdefault(run, set()).add(watcher)
        if run not in self._positions:
            end = max(await in_thread(stored, run), await self._redis_end(run))
            if run in self._runs:
                self._positions.setdefault(run, end)
        watcher.known[run] = max(watcher.known.get(run, 0), self._positions.get(run, 0))

    async def _redis_end(self, run: int) -> int:
        try:
            entries = await self.redis.xrevrange(key(run), count=1)
        except (RedisError, OSError):
            return 0
        return int(entries[0][0].split("-")[0]) if entries else 0

    async def missing(self, run: int, after: int, *, closed: bool) -> list[Line]:
        """The next lines after a number without a gap; of a run that is over, whatever there is."""
        lines = await in_thread(stored_lines, run, after)
        found = lines if closed and lines else _without_gap(lines, after)
        if not found:
            try:
                entries = await self.redis.xrange(key(run), f"{after + 1}-0", "+", count=CHUNK)
            except (RedisError, OSError):
                entries = []
            lines = readable(run, entries)
            found = lines if closed else _without_gap(lines, after)
        return found

    async def _work(self) -> None:
        while self.watchers:
            try:
                read = await self._read_redis()
                self._away = False
            except Exception:  # the queue is away, or holds what is not ours
                self._away, read = True, False
            try:
                await self._poll()
            except Exception:  # the database is away: pages wait, the stream stays
                await asyncio.sleep(POLL_AWAY)
            self._cut_off()
            if self._away:
                await asyncio.sleep(POLL_AWAY)
            elif read:
                await asyncio.sleep(COALESCE)
            if not self.watchers:
                await self._hang_up()  # somebody may come meanwhile, and this is still the reader then

    async def _hang_up(self) -> None:
        redis, self._redis = self._redis, None
        if redis is not None:
            await redis.aclose()  # type: ignore[attr-defined]  # the stubs are older

    async def _read_redis(self) -> bool:
        if not self._hints_at:
            last = await self.redis.xrevrange(HINTS, count=1)
            self._hints_at = last[0][0] if last else "0-0"
        now = time.monotonic()
        streams = {
            key(run): f"{position}-0" for run, position in self._positions.items() if self._resume.get(run, 0) <= now
        }
        answer = await self.redis.xread({HINTS: self._hints_at, **streams}, count=CHUNK, block=BLOCK_MS)
        for name, entries in dict(answer).items():
            if name == HINTS:
                self._hints_at = entries[-1][0]
                self._hint(hinted(entries))
            else:
                run = int(name.rsplit(":", 1)[1])
                lines = readable(run, entries)
                if len(lines) < len(entries) and run in self._positions:
                    self._resume[run] = time.monotonic() + POLL_AWAY  # it is there again until the database has it
                await self._hand_out(run, lines)
        return bool(answer)

    async def _hand_out(self, run: int, lines: list[Line]) -> None:
        """Offer lines to the run's watchers without a gap; what Redis lacks is in the database, or soon will be."""
        position = self._positions.get(run)
        if position is None:
            return
        lines = [one for one in lines if one[1] > position]
        ready = _without_gap(lines, position)
        while lines and len(ready) < len(lines):
            at = ready[-1][1] if ready else position
            stored = _without_gap(await in_thread(stored_lines, run, at), at)
            if not stored:
                self._resume[run] = time.monotonic() + POLL_AWAY
                break
            ready += stored
            lines = ready + [one for one in lines if one[1] > stored[-1][1]]
            ready = _without_gap(lines, position)
        if ready and run in self._positions:
            self._positions[run] = ready[-1][1]
            for watcher in self._runs[run]:
                watcher.offer(ready)

    def _hint(self, rollouts: set[int]) -> None:
        for watcher in self.watchers:
            if watcher.rollout in rollouts or not watcher.rollout:
                watcher.hint()

    async def _poll(self) -> None:
        now = time.monotonic()
        if now - self._polled < (POLL_AWAY if self._away else POLL) * 0.9:
            return
        self._polled = now
        rollouts = {watcher.rollout for watcher in self.watchers}
        lines, found = await in_thread(look, dict(self._positions), rollouts)
        for run in {one[0] for one in lines}:
            await self._hand_out(run, [one for one in lines if one[0] == run])
        for watcher in self.watchers:
            sign = found.get(watcher.rollout, "")
            if sign and watcher.sign not in ("", sign):
                watcher.hint()
            watcher.sign = sign or watcher.sign

    def _cut_off(self) -> None:
        """End the response of a watcher whose connection takes nothing any more."""
        now = time.monotonic()
        for watcher in [one for one in self.watchers if one.sending_since and now - one.sending_since > STALLED]:
            self.leave(watcher)
            if watcher.task is not None:
                watcher.task.cancel()


def _without_gap(lines: list[Line], after: int) -> list[Line]:
    for index, one in enumerate(lines):
        if one[1] != after + 1 + index:
            return lines[:index]
    return lines


_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()


def hub() -> Hub:
    """The hub of this process (of its event loop)."""
    return _hubs.setdefault(asyncio.get_running_loop(), Hub())
