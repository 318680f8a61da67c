"""The queue carries hints only: jobs may be lost, doubled or forged."""

import signal

import pytest
from rq.job import Job
from rq.serializers import JSONSerializer

from executors import queues
from executors.models import WorkItem
from executors.queues import QueueAway
from executors.reconcile import reconcile
from tests.executors.conftest import box, document


def jobs():
    return queues.redis().llen("rq:queue:zone-default")


def test_a_system_is_queued_once_until_its_job_has_arrived(queue):
    assert queues.enqueue("kafka-test", "default")
    assert not queues.enqueue("kafka-test", "default")
    assert queues.enqueue("kafka-prod", "default")
    assert jobs() == 2
    queues.arrived("kafka-test")
    assert queues.enqueue("kafka-test", "default")


def test_a_job_without_work_does_nothing(yard):
    queues.enqueue("shelf-a", "default")
    queues.worker("default").work(burst=True, logging_level="ERROR")
    assert jobs() == 0


def test_a_worker_in_a_terminal_works_too(yard, monkeypatch):
    monkeypatch.setattr("rq.logutils.colorizer.notty", False)
    yard.merge({box("orders"): document("Box")})
    while reconcile():
        pass
    queues.worker("default").work(burst=True, logging_level="WARNING")
    assert WorkItem.objects.get().state == "succeeded"


def test_a_worker_leaves_work_of_another_zone_to_the_workers_there(yard):
    yard.merge({box("orders"): document("Box")})
    while reconcile():
        pass
    WorkItem.objects.update(zone="moon")
    queues.worker("default").work(burst=True, logging_level="ERROR")
    assert WorkItem.objects.get().state == "queued"


def test_waking_ends_the_wait_of_the_controller(queue):
    assert not queues.wait_for_wake(1)
    assert queues.wake()
    assert not queues.wake()
    assert queues.wait_for_wake(1)
    assert queues.wake()


@pytest.mark.threat("faults.redis-gone")
def test_without_a_queue_work_is_still_discovered_and_waits(yard, settings):
    settings.MERGEYARD_REDIS_URL = "unix:///nonexistent/queue.sock"
    yard.merge({box("orders"): document("Box")})
    while reconcile():
        pass
    assert WorkItem.objects.get().state == "queued"
    with pytest.raises(QueueAway):
        queues.enqueue("shelf-a", "default")
    assert not queues.wake()


@pytest.mark.threat("faults.redis-full")
def test_a_queue_that_is_full_holds_nothing_up_for_good(yard):
    yard.merge({box("orders"): document("Box")})
    queues.redis().config_set("maxmemory", 1)
    try:
        while reconcile():
            pass
        with pytest.raises(QueueAway):
            queues.enqueue("shelf-a", "default")
    finally:
        queues.redis().config_set("maxmemory", 0)
    assert WorkItem.objects.get().state == "queued"
    yard.work()
    assert WorkItem.objects.get().state == "succeeded"


@pytest.mark.threat("faults.redis-slow")
def test_a_queue_that_does_not_answer_is_not_waited_for(yard, queue, settings):
    yard.merge({box("orders"): document("Box")})
    own, settings.MERGEYARD_REDIS_URL = queues.redis(), f"{queue.url}?socket_timeout=0.2"
    own.execute_command("CLIENT", "PAUSE", 3_000, "ALL")
    try:
        while reconcile():
            pass
        with pytest.raises(QueueAway):
            queues.enqueue("shelf-a", "default")
    finally:
        own.ping()  # it answers again
    assert WorkItem.objects.get().state == "queued"
    yard.work()
    assert WorkItem.objects.get().state == "succeeded"


@pytest.mark.threat("worker.forged-job")
@pytest.mark.parametrize("function", ["os.system", "subprocess.call", "executors.jobs.os.system"])
def test_a_forged_job_runs_nothing(queue, tmp_path, function):
    marker = tmp_path / "marker"
    job = Job.create(function, args=(f"touch {marker}",), connection=queues.redis(), serializer=JSONSerializer)
    job.origin = "zone-default"
    job.save()
    queues.redis().rpush("rq:queue:zone-default", job.id)
    queues.worker("default").work(burst=True, logging_level="CRITICAL")
    assert not marker.exists()


@pytest.mark.threat("worker.forged-job")
def test_a_key_in_redis_does_not_suspend_workers(yard):
    yard.merge({box("orders"): document("Box")})
    reconcile()
    queues.redis().set("rq:suspended", 1)
    queues.worker("default").work(burst=True, logging_level="ERROR")
    assert WorkItem.objects.get().state == "succeeded"


@pytest.mark.threat("worker.forged-job")
def test_a_forged_pickle_is_not_opened(queue, tmp_path):
    marker = tmp_path / "marker"
    job = Job.create("os.system", args=(f"touch {marker}",), connection=queues.redis())
    job.origin = "zone-default"
    job.save()
    queues.redis().rpush("rq:queue:zone-default", job.id)
    queues.worker("default").work(burst=True, logging_level="CRITICAL")
    assert not marker.exists()


@pytest.fixture
def forged(queue, monkeypatch):
    """Has a worker work a job that fails; answers what it was run for, and how many seconds it was given."""

    def work(function="executors.jobs.run_system", *, data=None, **fields):
        seen = []
        monkeypatch.setattr(
            "executors.jobs.run_system",
            lambda *given, **more: seen.append((*given, signal.getitimer(signal.ITIMER_REAL)[0])) or given[1],
        )
        job = Job.create(function, connection=queues.redis(), serializer=JSONSerializer, **(data or {"args": ["a"]}))
        job.origin = "zone-default"
        job.save()
        if fields:
            queues.redis().hset(job.key, mapping=fields)
        queues.redis().rpush("rq:queue:zone-default", job.id)
        queues.worker("default").work(burst=True, logging_level="CRITICAL")
        return seen

    return work


@pytest.mark.threat("worker.forged-job")
def test_nothing_of_a_forged_job_but_the_name_of_a_system_has_an_effect(forged):
    fields = {
        "timeout": 1, "result_ttl": 500, "retries_left": 3, "repeats_left": 3, "repeat_intervals": "[0]",
        "rate_limit_key": "all", "rate_limit_concurrency": 1, "dependency_ids": '["another"]', "meta": "{",
        "success_callback_name": "os.system", "failure_callback_name": "os.system", "status": "nonsense",
        "webhooks": '[{"url": "http://127.0.0.1:9/", "on_status": "finished"}]', "group_id": "none",
    }  # fmt: skip
    [(system, seconds)] = forged(**fields)
    assert system == "a"
    assert seconds > 1_000_000
    assert jobs() == 0
    assert not list(queues.redis().scan_iter("rq:scheduled:*"))


@pytest.mark.threat("worker.forged-job")
@pytest.mark.parametrize(
    "job",
    [
        {"function": "executors.reconcile.reconcile", "data": {"args": []}},
        {"function": "executors.jobs.tidy", "data": {"args": []}},
        {"data": {"args": ["a", "b"]}},
        {"data": {"args": [{"a": 1}]}},
        {"data": {"args": ["a"], "kwargs": {"system": "a"}}},
    ],
)
def test_a_worker_takes_no_job_but_one_that_names_a_system(forged, monkeypatch, job):
    passes = []
    monkeypatch.setattr("executors.reconcile.reconcile", lambda: passes.append("reconcile"))
    monkeypatch.setattr("executors.jobs.tidy", lambda: passes.append("tidy"))
    assert forged(**job) == []
    assert passes == []


@pytest.mark.threat("worker.forged-job")
def test_no_command_in_the_queue_stops_a_worker(queue, monkeypatch):
    heard = []
    worker = queues.worker("default")
    say = '{"command": "shutdown"}'
    monkeypatch.setattr(
        "executors.jobs.run_system", lambda _: heard.append(queues.redis().publish(worker.pubsub_channel_name, say))
    )
    queues.enqueue("shelf-a", "default")
    worker.work(burst=True, logging_level="ERROR")
    assert heard == [0]


@pytest.mark.threat("worker.forged-job")
def test_what_somebody_else_writes_into_the_controllers_list_only_wakes_it(queue):
    queues.redis().rpush(queues.WAKE, b"\xff\x00os.system", "more")
    assert queues.wait_for_wake(1)
    assert not queues.redis().llen(queues.WAKE)
