"""Owns the queue: the only importer of rq and django-rq, and of the connection to Redis or Valkey.

Jobs carry the name of a system and nothing else. The database is the record: a job that is lost is enqueued again by
the controller, a job that comes twice finds nothing to claim. A key per system keeps a second job from being queued
while one still waits; it expires, so a job that died between queue and worker holds nothing up. The controller is woken
by a list that holds no job at all.
"""

import functools
import logging
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import django_rq
import redis as redis_client
from django.conf import settings
from django.db import close_old_connections
from rq import SimpleWorker, worker_registration
from rq.job import Job
from rq.serializers import JSONSerializer

from changes.crash_points import crash_point
from changes.declarations import DEFAULT_ZONE

log = logging.getLogger(__name__)

RUN = "executors.jobs.run_system"
WAKE = "mergeyard:wake"
QUEUED_SECONDS = 45  # how long a queued job is believed to be on its way
FAILURE_SECONDS = 3600
AWAY_SECONDS = 2.0
SOCKET_SECONDS = 5
WORKER_SECONDS = 60  # an idle worker reports within them; one that does not is forgotten a minute later
_zone = ContextVar("zone", default=DEFAULT_ZONE)


class QueueAway(Exception):
    """Redis or Valkey cannot be reached, is loading or is full."""


class NotAllowed(Exception):
    """A job is none of ours."""


class AllowedJob(Job):  # type: ignore[misc]
    """Whoever can write to Redis can write any job. Of what stands there only the name of a system has an effect."""

    @property
    def func(self) -> Any:
        if self.func_name != RUN or self.instance is not None:
            raise NotAllowed(f"{str(self.func_name)[:100]!r} is not a job of Mergeyard")
        if self.kwargs or [type(given) for given in self.args] != [str]:
            raise NotAllowed("a job of Mergeyard names one system and nothing else")
        return super().func

    @property
    def success_callback(self) -> None:
        return None

    @property
    def failure_callback(self) -> None:
        return None

    @property
    def stopped_callback(self) -> None:
        return None

    def restore(self, raw_data: Any) -> Any:
        """What it is and where it comes from; no time limit, retry, repetition, dependency or address."""
        restored = super().restore({name: raw_data[name] for name in (b"data", b"origin") if name in raw_data})
        self.timeout, self.result_ttl, self.failure_ttl = -1, 0, FAILURE_SECONDS
        return restored


class ZoneWorker(SimpleWorker):  # type: ignore[misc]
    """Runs jobs in its main thread: the play's guard ends the play with the thread that started it."""

    max_connection_wait_time = 5.0
    zone = DEFAULT_ZONE
    between: Callable[[], object] = staticmethod(lambda: None)  # called in the main thread, while no job runs

    def heartbeat(self, *args: Any, **kwargs: Any) -> None:
        super().heartbeat(*args, **kwargs)
        self.between()

    def subscribe(self) -> None:
        """To nothing: who can write to Redis could stop workers by RQ's channel of commands."""

    def check_for_suspension(self, burst: bool) -> None:
        """For nothing, for the same reason: a key in Redis would stop all workers for good."""

    def perform_job(self, *args: Any, **kwargs: Any) -> bool:
        close_old_connections()
        before = _zone.set(self.zone)
        try:
            return bool(super().perform_job(*args, **kwargs))
        finally:
            _zone.reset(before)
            close_old_connections()


def own_zone() -> str:
    """The zone of the worker that runs this job. The job does not say it: whoever writes to Redis could."""
    return _zone.get()


@functools.cache
def _connection(url: str) -> "redis_client.Redis[bytes]":
    return redis_client.Redis.from_url(url, socket_timeout=SOCKET_SECONDS, socket_connect_timeout=2)


def redis() -> "redis_client.Redis[bytes]":
    """This process's connection for short commands; also for the streams of events."""
    return _connection(settings.MERGEYARD_REDIS_URL)


def away(error: Exception) -> QueueAway:
    return QueueAway(f"talking to the queue: {error}")


Errors = (redis_client.RedisError, OSError)


def _queue(name: str, *, connection: Any = None) -> Any:
    return django_rq.get_queue(
        name, connection=connection or redis(), job_class=AllowedJob, serializer=JSONSerializer, commit_mode="auto"
    )


def enqueue(system: str, zone: str) -> bool:
    """Have a worker of the zone look for work of the system; False if one is on its way already."""
    if f"zone-{zone}" not in settings.RQ_QUEUES:
        log.error("No workers are configured for zone %s of system %s: add it to MERGEYARD_ZONES", zone, system)
        return False
    try:
        if not redis().set(_queued(system), "1", nx=True, ex=QUEUED_SECONDS):
            return False
        crash_point("enqueue: key set")
        try:
            _queue(f"zone-{zone}").enqueue_call(
                RUN, args=(system,), timeout=-1, result_ttl=0, failure_ttl=FAILURE_SECONDS, ttl=FAILURE_SECONDS
            )
        except Errors:
            redis().delete(_queued(system))
            raise
        crash_point("enqueue: job queued")
    except Errors as error:
        raise away(error) from error
    return True


def wake() -> bool:
    """Have the controller look again now. Without a queue it looks by its own timer, so nothing is raised."""
    try:
        if redis().llen(WAKE):
            return False
        redis().lpush(WAKE, "1")
    except Errors as error:
        log.warning("The controller could not be woken: %s", away(error))
        return False
    return True


def _queued(system: str) -> str:
    return f"mergeyard:queued:{system}"


def arrived(system: str) -> None:
    """The job is at a worker: from now on a new one may be queued. Called before the first claim."""
    try:
        redis().delete(_queued(system))
    except Errors as error:
        log.warning("The queue is away: %s", error)


def wait_for_wake(seconds: float) -> bool:
    """Wait until somebody wants the controller to look, at most so long. Raises QueueAway at once without a queue."""
    try:
        if redis().blpop([WAKE], min(max(1, round(seconds)), SOCKET_SECONDS - 1)) is None:
            return False
        redis().delete(WAKE)  # one look is enough, whatever stands there
    except Errors as error:
        raise away(error) from error
    return True


def worker(zone: str) -> ZoneWorker:
    """A worker on exactly one queue: on two, RQ loses a job for ever if it dies after the pop."""
    queue = _queue(f"zone-{zone}", connection=django_rq.get_connection(f"zone-{zone}"))
    one = ZoneWorker(
        [queue],
        connection=queue.connection,
        job_class=AllowedJob,
        serializer=JSONSerializer,
        worker_ttl=WORKER_SECONDS,
        log_job_description=False,  # ours have none, and in a terminal that stops a worker of RQ
    )
    one.zone = zone
    return one


def has_worker(zone: str) -> bool:
    """Is a worker of the zone connected? One that runs something for minutes may be missing. Raises QueueAway."""
    try:
        keys = worker_registration.get_keys(_queue(f"zone-{zone}"))
        return bool(keys) and int(redis().exists(*keys)) > 0
    except Errors as error:
        raise away(error) from error


def serve(zone: str, *, burst: bool = False, between: Callable[[], object] = lambda: None) -> None:
    """Work until told to stop. A worker that loses the queue in the middle of a job ends; here the next one begins."""
    while True:
        try:
            for warning in warnings():
                log.warning("%s", warning)
            one = worker(zone)
            one.between = between
            one.work(burst=burst, logging_level="WARNING")
            if burst or one._shutdown_requested_date is not None:
                return
        except (QueueAway, *Errors) as error:
            log.warning("The queue is away: %s; it is tried again", error)
            if burst:
                raise away(error) from error
        time.sleep(AWAY_SECONDS)


def warnings() -> list[str]:
    """What would lose jobs or events in this server's configuration, as sentences; empty if nothing."""
    return keeping()[1]


def keeping() -> tuple[str, list[str]]:
    """How this server keeps jobs and events, as a sentence, and its warnings. Raises QueueAway."""
    try:
        found = redis().config_get("maxmemory-policy", "appendonly", "save")
    except redis_client.ResponseError:  # managed servers forbid CONFIG
        return "", [
            "Whether the queue may forget jobs is not known: it lets nobody read its configuration. See there that "
            "maxmemory-policy is noeviction and appendonly is yes."
        ]
    except Errors as error:
        raise away(error) from error
    policy, save = found.get("maxmemory-policy", "unknown"), found.get("save")
    kept = "an append-only file" if found.get("appendonly") == "yes" else "snapshots" if save else "nothing"
    wrong = []
    if policy != "noeviction":
        wrong.append(f"The queue's maxmemory-policy is {policy}, so it may forget jobs; set it to noeviction.")
    if kept == "nothing":
        wrong.append(
            "The queue keeps nothing on disk: after a restart the controller queues all work again, and what a page "
            "was following is read from the database. Set appendonly to yes to spare that."
        )
    return f"Its maxmemory-policy is {policy}; on disk it keeps {kept}.", wrong


def forget() -> None:
    """Drop what was kept for rows: after a restore their numbers are given out again. Raises QueueAway."""
    try:
        for key in redis().scan_iter("mergeyard:*", count=1000):
            redis().delete(key)
    except Errors as error:
        raise away(error) from error


def lengths() -> dict[str, int]:
    """Zone -> systems that wait in its queue. Raises QueueAway."""
    try:
        return {zone: _queue(f"zone-{zone}").count for zone in settings.MERGEYARD_ZONES}
    except Errors as error:
        raise away(error) from error
