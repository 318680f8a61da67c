"""Who may try again or cancel, and what it does."""

import pytest

from changes.models import Transition
from executors import results
from executors.actions import Refused, cancel, retry
from executors.claim import claim
from executors.events import Stale
from executors.models import WorkItem
from executors.reconcile import reconcile, take_over
from executors.results import End
from executors.states import ItemState, RunState
from tests.executors.conftest import box, document

NEEDS = {"depends_on": ["payments/shelf-a/Box/first"]}


@pytest.fixture
def item(yard):
    yard.merge({box("first"): document("Box"), box("second", "shelf-b"): document("Box", **NEEDS)})
    while reconcile():
        pass
    return WorkItem.objects.get(system="shelf-a")


@pytest.mark.parametrize("name", ["rita", "paul", "olga", "pia"])
def test_the_team_the_owners_and_the_platform_may_cancel_and_retry(yard, item, name):
    cancel(item, yard.user(name))
    assert WorkItem.objects.get(pk=item.pk).state == "cancelled"
    assert WorkItem.objects.get(system="shelf-b").state == "skipped"
    row = Transition.objects.filter(noun="workitem", noun_id=item.pk).latest("pk")
    assert (row.who, row.after) == (yard.user(name), "cancelled")
    retry(item, yard.user(name))
    assert {one.state for one in WorkItem.objects.all()} == {"waiting"}


def test_a_stranger_may_not(yard, item):
    for verb in (cancel, retry):
        with pytest.raises(Refused, match="the owners of shelf-a and the platform team"):
            verb(item, yard.user("sam"))
    assert WorkItem.objects.get(pk=item.pk).state == "queued"


def test_what_has_not_ended_cannot_be_tried_again(yard, item):
    with pytest.raises(Refused, match="This work is queued"):
        retry(item, yard.user("olga"))


def test_what_has_ended_cannot_be_cancelled(yard, item):
    yard.work()
    with pytest.raises(Refused, match="nothing to cancel"):
        cancel(WorkItem.objects.get(pk=item.pk), yard.user("olga"))


def test_what_the_controller_moved_meanwhile_is_cancelled_all_the_same(yard, item):
    stale = WorkItem.objects.get(pk=item.pk)
    stale.state = "waiting"
    cancel(stale, yard.user("olga"))
    assert WorkItem.objects.get(pk=item.pk).state == "cancelled"


def test_a_wish_to_cancel_that_comes_while_its_worker_gives_up_is_not_lost(yard, item):
    claimed = claim("shelf-a", worker="w")
    look = claimed.item.refresh_from_db

    def look_and_be_overtaken(**which):
        look(**which)
        cancel(WorkItem.objects.get(pk=item.pk), yard.user("olga"))

    claimed.item.refresh_from_db = look_and_be_overtaken
    for state in (RunState.INTERRUPTED, RunState.ERRORED):
        with pytest.raises(Stale):
            results.give_up(claimed, state=state, why="It was stopped.")
        WorkItem.objects.filter(pk=item.pk).update(cancel_requested=False)
    WorkItem.objects.filter(pk=item.pk).update(cancel_requested=True, lease_until="2001-01-01T00:00:00Z")
    take_over()
    assert WorkItem.objects.get(pk=item.pk).state == "cancelled"


def finishes(claimed):
    results.finish(claimed, End(ItemState.CANCELLED, RunState.CANCELLED, "The run was cancelled.", {}))


def breaks(claimed):
    results.give_up(claimed, state=RunState.ERRORED, why="It broke.")


def is_stopped(claimed):
    results.give_up(claimed, state=RunState.INTERRUPTED, why="It was stopped.")


def dies(claimed):
    WorkItem.objects.filter(pk=claimed.item.pk).update(lease_until="2001-01-01T00:00:00Z")
    take_over()


@pytest.mark.parametrize("worker", [finishes, breaks, is_stopped, dies])
def test_who_cancels_running_work_is_on_record_however_its_worker_ends(yard, item, worker):
    claimed = claim("shelf-a", worker="w")
    results.start(claimed)
    olga = yard.user("olga")
    cancel(WorkItem.objects.get(pk=item.pk), olga)
    cancel(WorkItem.objects.get(pk=item.pk), yard.user("rita"))  # too late to be the one
    worker(claimed)
    moves = Transition.objects.filter(noun="workitem", noun_id=item.pk).order_by("-pk")
    assert [(row.before, row.after, row.who) for row in moves[:2]] == [
        ("running", "cancelled", olga),
        ("running", "running", olga),
    ]
    assert Transition.objects.filter(noun="run", noun_id=claimed.run.pk).latest("pk").who == olga
    retry(WorkItem.objects.get(pk=item.pk), olga)
    assert WorkItem.objects.get(pk=item.pk).cancelled_by is None


def test_a_run_that_was_quicker_than_the_wish_to_cancel_is_nobodys_move(yard, item):
    claimed = claim("shelf-a", worker="w")
    results.start(claimed)
    cancel(WorkItem.objects.get(pk=item.pk), yard.user("olga"))
    results.finish(claimed, End(ItemState.SUCCEEDED, RunState.SUCCEEDED, "Done.", {}))
    moves = Transition.objects.filter(noun="workitem", noun_id=item.pk).order_by("-pk")
    assert [(row.after, row.who, row.why) for row in moves[:2]] == [
        ("succeeded", None, "Done."),
        ("running", yard.user("olga"), "Asked to cancel it."),
    ]


def test_what_rests_on_failed_work_is_not_tried_again_before_it(yard):
    yard.merge({box("first"): document("Box", trouble="fail no"), box("second", "shelf-b"): document("Box", **NEEDS)})
    while reconcile():
        pass
    cancel(WorkItem.objects.get(system="shelf-b"), yard.user("olga"))
    yard.work()
    first, second = WorkItem.objects.get(system="shelf-a"), WorkItem.objects.get(system="shelf-b")
    assert (first.state, second.state) == ("failed", "cancelled")
    with pytest.raises(Refused, match=r"rests on shelf-a \(wave 1\), which is failed: try that again first"):
        retry(second, yard.user("olga"))
    retry(first, yard.user("olga"))
    retry(second, yard.user("olga"))
    assert {one.state for one in WorkItem.objects.all()} == {"waiting"}
