"""The queue carries hints only: jobs may be lost, doubled or forged."""

import pytest
from rq.callbacks import Callback
from rq.job import Job
from rq.serializers import JSONSerializer

from executors import queues
from executors.models import WorkItem
from executors.queues import AllowedJob, QueueAway
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
def test_a_forged_pickle_is_not_opened(queue, tmp_path):
    marker = tmp_path / "marker"
    job = Job.create("os.system", args=(f"touch {marker}",), connection=queues.redis())
    job.origin = "zone-default"
    job.save()
    queues.redis().rpush("rq:queue:zone-default", job.id)
    queues.worker("default").work(burst=True, logging_level="CRITICAL")
    assert not marker.exists()


@pytest.mark.threat("worker.forged-job")
def test_callbacks_and_webhooks_of_a_job_are_ignored(queue):
    from rq.webhook import Webhook

    job = Job.create(
        "executors.jobs.reconcile",
        connection=queues.redis(),
        serializer=JSONSerializer,
        on_success=Callback("os.system"),
        webhooks=[Webhook("http://127.0.0.1:9/", "finished")],
    )
    job.save()
    found = AllowedJob.fetch(job.id, connection=queues.redis(), serializer=JSONSerializer)
    assert (found.success_callback, found.failure_callback, found.webhooks) == (None, None, [])
