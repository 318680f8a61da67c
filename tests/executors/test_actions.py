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
