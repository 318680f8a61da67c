"""Every waiting thing says what it waits for."""

import pytest

from executors.claim import claim
from executors.models import WorkItem
from executors.reconcile import reconcile
from executors.waiting import why_waiting
from tests.executors.conftest import box, document


@pytest.fixture
def items(yard):
    needs = {"depends_on": ["payments/shelf-a/Box/one"]}
    yard.merge({box("one"): document("Box"), box("two", "shelf-b"): document("Box", **needs)})
    yard.merge({box("one"): document("Box", size=9)})
    while reconcile():
        pass
    return yard.items()


def test_an_item_names_what_it_waits_for(items):
    first, second, later = items
    number = first.rollout.commit.change_request_id
    assert why_waiting(first) == "Waits for a free worker of the zone default."
    assert why_waiting(second) == "Waits for shelf-a in wave 1."
    assert why_waiting(later) == (
        f"Waits for shelf-a in change request {number}, "
        "which changes the same resources, what they rest on or what rests on them."
    )


def test_an_item_of_a_busy_system_and_one_without_workers_say_so(items):
    first = items[0]
    claim("shelf-a", worker="w")
    other = WorkItem.objects.create(rollout=first.rollout, position=9, wave=5, system="shelf-a", zone="default")
    assert why_waiting(other) == "Waits for the work that runs on shelf-a now."
    other.zone = "moon"
    assert "No workers are configured for the zone moon" in why_waiting(other)
