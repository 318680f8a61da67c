"""Who may try again or cancel, and what it does."""

import pytest

from changes.models import Transition
from executors.actions import Refused, cancel, retry
from executors.models import WorkItem
from executors.reconcile import reconcile
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
    from executors import results
    from executors.claim import claim
    from executors.events import Stale
    from executors.reconcile import take_over
    from executors.states import RunState

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
