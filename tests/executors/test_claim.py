"""One worker at a time: claims, leases, fences, take-over."""

import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from changes.models import Transition
from executors.claim import claim, renew
from executors.events import EventWriter, Stale
from executors.models import Event, Run, WorkItem
from executors.reconcile import reconcile, take_over
from executors.results import End, Result, finish
from executors.secrets import Masker
from executors.states import ItemState, ResultState, RunState
from tests.executors.conftest import box, document

GOOD = End(ItemState.SUCCEEDED, RunState.SUCCEEDED, "Done.", {box("orders"): Result(ResultState.CHANGED)})


@pytest.fixture
def waiting(yard):
    yard.merge({box("orders"): document("Box")})
    while reconcile():
        pass
    return yard


def lose(item):
    WorkItem.objects.filter(pk=item.pk).update(lease_until=timezone.now() - timedelta(seconds=1))


def test_only_one_of_many_workers_gets_the_item(waiting):
    claims = []

    def try_it(number):
        claims.append(claim("shelf-a", worker=f"worker-{number}"))
        connection.close()

    threads = [threading.Thread(target=try_it, args=(number,)) for number in range(6)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len([one for one in claims if one]) == 1
    assert Run.objects.count() == 1


def test_a_claim_counts_the_attempt_before_it_starts_and_leaves_a_row(waiting):
    claimed = claim("shelf-a", worker="w")
    item = WorkItem.objects.get()
    assert (item.state, item.attempts, item.fence) == ("running", 1, 1)
    assert timedelta(seconds=25) < item.lease_until - timezone.now() < timedelta(seconds=31)
    rows = Transition.objects.filter(noun="workitem", noun_id=item.pk).order_by("pk")
    assert [row.after for row in rows] == ["queued", "running"]
    assert renew(claimed).held


def test_a_second_item_of_the_system_waits_for_the_first(waiting):
    waiting.merge({box("refunds"): document("Box")})
    reconcile()
    assert claim("shelf-a", worker="one") is not None
    assert claim("shelf-a", worker="two") is None


def test_an_item_is_taken_over_only_after_its_lease(waiting):
    claimed = claim("shelf-a", worker="w")
    assert not take_over()
    lose(claimed.item)
    assert take_over()
    item = WorkItem.objects.get()
    assert (item.state, item.reason) == ("waiting", "Its worker was not heard of for 30 seconds.")
    assert Run.objects.get().state == "interrupted"
    assert not take_over()


def test_a_stale_worker_can_record_nothing(waiting):
    stale = claim("shelf-a", worker="stale")
    writer = EventWriter(stale.run, mask=Masker())
    lose(stale.item)
    take_over()
    fresh = claim("shelf-a", worker="fresh")
    assert fresh.run.fence == 2
    assert not renew(stale).held
    with pytest.raises(Stale):
        finish(stale, GOOD)
    writer.write("line", text="too late")
    with pytest.raises(Stale):
        writer.finish()
    assert not Event.objects.exists()
    assert WorkItem.objects.get().state == "running"
    assert waiting.result(box("orders")).result == "pending"


def test_an_item_that_keeps_killing_its_workers_is_parked(waiting):
    for _ in range(3):
        lose(claim("shelf-a", worker="w").item)
        take_over()
    item = WorkItem.objects.get()
    assert item.state == "parked"
    assert "It was tried 3 times" in item.reason
    assert claim("shelf-a", worker="w") is None


def test_a_play_is_killed_when_its_lease_cannot_be_renewed(waiting, settings, monkeypatch):
    from executors import runs

    settings.MERGEYARD_RENEW_WITHIN_SECONDS = 1
    monkeypatch.setattr(runs, "renew", lambda claim: (_ for _ in ()).throw(runs.DatabaseError("away")))
    waiting.merge({box("slow", "shelf-b"): document("Box", trouble="slow 60")})
    reconcile()
    claimed = claim("shelf-b", worker="w")
    runs.work_on(claimed)
    assert WorkItem.objects.get(system="shelf-b").state == "running"  # until its lease has run out
    assert waiting.stored("slow", "shelf-b") is None
    assert waiting.result(box("slow", "shelf-b")).result == "pending"
