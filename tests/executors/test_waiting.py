"""Every waiting thing says what it waits for, behind whom, and what would unblock it."""

import pytest
from django.utils import timezone

from executors import queues
from executors.actions import cancel
from executors.claim import claim
from executors.models import Resource, WorkItem
from executors.reconcile import reconcile
from executors.waiting import stopped_work, waits_of, why_waiting, work_for
from tests.executors.conftest import box, document

NEEDS = {"depends_on": ["payments/shelf-a/Box/one"]}


@pytest.fixture
def items(yard):
    yard.merge({box("one"): document("Box"), box("two", "shelf-b"): document("Box", **NEEDS)})
    yard.merge({box("one"): document("Box", size=9)})
    while reconcile():
        pass
    return yard.items()


@pytest.fixture
def connected(queue):
    """A worker of the zone that waits for work."""
    worker = queues.worker("default")
    worker.birth_date = worker.last_heartbeat = timezone.now()
    worker.register_birth()
    yield worker
    worker.register_death()


def said(item):
    return [f"{wait.why} {wait.unblock}" for wait in waits_of(item)]


def test_an_item_names_what_it_waits_for(items, connected):
    first, second, later = items
    assert said(first) == ["It is next for a worker of zone default. It starts as soon as one is free."]
    assert said(second) == [
        "It waits for shelf-a in wave 1, which is queued. It goes on when that has succeeded.",
    ]
    assert said(later) == [
        f"It waits for shelf-a of rollout {first.rollout_id}, which is queued. It goes on when that has ended."
    ]
    assert [wait.item for wait in waits_of(later)] == [first]
    assert why_waiting(second) == said(second)[0]
    second.state, second.reason = "succeeded", "Changed 1 of 1 resources."
    assert why_waiting(second) == "Changed 1 of 1 resources."


def test_an_item_behind_very_many_names_some(items):
    last = items[-1]
    for wave in range(12):
        other = WorkItem.objects.create(rollout=last.rollout, position=3, wave=wave + 1, system="shelf-b", zone="x")
        last.needs_rows.create(needs=other, must_succeed=False)
    assert len(waits_of(last)) == 11
    assert waits_of(last)[-1].why == "It waits for more work than is named here."


def test_work_of_a_busy_system_waits_for_what_runs_there(items):
    first = items[0]
    claim("shelf-a", worker="w")
    other = WorkItem.objects.create(rollout=first.rollout, position=9, wave=5, system="shelf-a", zone="default")
    assert said(other) == ["shelf-a is busy with shelf-a in wave 1. It goes on when that has ended."]


def test_a_zone_without_a_worker_says_so_and_what_to_do(items):
    assert said(items[0]) == [
        "No worker of zone default is connected. "
        "It starts when the platform team has started one: manage.py worker --zone default."
    ]


def test_a_worker_that_died_is_not_connected_and_one_that_runs_is(items, connected):
    queues.redis().delete(connected.key)
    assert "No worker of zone default" in said(items[0])[0]
    WorkItem.objects.filter(pk=items[1].pk).update(state="running")
    assert "It is next for a worker" in said(items[0])[0]


def test_an_idle_worker_is_forgotten_soon_after_its_death(connected):
    assert 0 < queues.redis().ttl(connected.key) <= 2 * queues.WORKER_SECONDS


def test_a_zone_that_is_not_configured_says_who_adds_it(items):
    items[0].zone = "moon"
    assert said(items[0]) == [
        "No workers are configured for zone moon. The platform team adds moon to MERGEYARD_ZONES and starts one there: "
        "manage.py worker --zone moon."
    ]


def test_a_queue_that_is_away_is_told(items, settings):
    settings.MERGEYARD_REDIS_URL = "unix:///nonexistent/queue.sock"
    assert said(items[0]) == [
        "The queue cannot be reached, so no worker hears of it. It starts when the queue is back."
    ]


def test_what_was_cancelled_or_skipped_says_what_would_bring_it_about(yard):
    third = {"depends_on": ["payments/shelf-b/Box/two"]}
    changes = {box("one"): document("Box"), box("two", "shelf-b"): document("Box", **NEEDS)}
    yard.merge({**changes, box("three"): document("Box", **third)})
    while reconcile():
        pass
    first, second, last = yard.items()
    cancel(first, yard.user("olga"))
    first, second, last = yard.items()
    assert said(first) == ["Its work has been cancelled. Cancelled by olga. It goes on when somebody retries that."]
    for skipped in (second, last):
        [wait] = waits_of(skipped)
        assert wait.why == "Skipped because shelf-a (wave 1) was cancelled, and this depends on it."
        assert (wait.unblock, wait.item) == ("Retry shelf-a (wave 1) to go on; this runs after it.", first)


def test_a_resource_knows_the_work_that_has_to_apply_it(items):
    first, second, later = items
    [one, two] = Resource.objects.order_by("path")
    assert (work_for(one), work_for(two)) == (first, second)
    WorkItem.objects.filter(pk=first.pk).update(state="cancelled")
    assert work_for(one) == later
    WorkItem.objects.filter(pk=later.pk).update(state="skipped")
    assert work_for(one) == later


def test_work_that_stopped_is_found_by_what_still_waits_for_it(items, yard):
    assert stopped_work(Resource.objects.all()) == []
    cancel(items[0], yard.user("olga"))
    assert [item.state for item in stopped_work(Resource.objects.all())] == ["skipped"]  # a later one is still open
    cancel(items[2], yard.user("olga"))
    assert {item.pk for item in stopped_work(Resource.objects.all())} == {items[1].pk, items[2].pk}
    Resource.objects.update(sync="synced")
    assert stopped_work(Resource.objects.all()) == []
