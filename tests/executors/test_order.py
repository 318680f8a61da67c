"""What waits for what, what is skipped, tried again, superseded."""

import pytest

from executors import queues
from executors.actions import cancel, retry
from executors.discovery import discover, reapply
from executors.models import Rollout, Run, WorkItem
from executors.reconcile import reconcile
from tests.executors.conftest import box, document, label


def test_a_dependency_on_another_system_is_a_later_wave(yard):
    yard.roll_out(
        {
            box("first"): document("Box"),
            box("second", "shelf-b"): document("Box", depends_on=["payments/shelf-a/Box/first"]),
            box("beside", "shelf-b"): document("Box"),
        }
    )
    assert [(item.wave, item.system, item.state) for item in yard.items()] == [
        (0, "shelf-a", "succeeded"),
        (0, "shelf-b", "succeeded"),
        (1, "shelf-b", "succeeded"),
    ]


def test_deletes_go_in_mirrored_order(yard):
    yard.roll_out(
        {
            box("first"): document("Box"),
            box("second", "shelf-b"): document("Box", depends_on=["payments/shelf-a/Box/first"]),
        }
    )
    yard.roll_out({box("first"): None, box("second", "shelf-b"): None})
    last = Rollout.objects.latest("pk")
    assert [(item.wave, item.system) for item in yard.items(rollout=last)] == [(0, "shelf-b"), (1, "shelf-a")]


def test_an_update_that_drops_its_reference_goes_before_the_delete(yard):
    yard.roll_out({label("red"): document("Label"), box("orders"): document("Box", label="red")})
    yard.roll_out({label("red"): None, box("orders"): document("Box")})
    last = Rollout.objects.latest("pk")
    [item] = yard.items(rollout=last)
    assert [row.path for row in item.resources.all()] == [box("orders"), label("red")]


def test_dependents_of_a_failure_are_skipped_and_come_back_with_its_retry(yard):
    first, second = box("first"), box("second", "shelf-b")
    needs = {"depends_on": ["payments/shelf-a/Box/first"]}
    third = document("Box", depends_on=["payments/shelf-b/Box/second"])
    yard.roll_out({first: document("Box", trouble="fail no"), second: document("Box", **needs), box("third"): third})
    failed, skipped, last = yard.items()
    assert [failed.state, skipped.state, last.state] == ["failed", "skipped", "skipped"]
    assert skipped.reason == "Skipped because shelf-a (wave 1) failed, and this depends on it."
    retry(failed, yard.user("olga"))
    assert [item.state for item in yard.items()] == ["waiting", "waiting", "waiting"]


def test_a_retry_runs_only_what_has_not_succeeded(yard):
    yard.roll_out({box("bad"): document("Box", trouble="fail no"), box("good"): document("Box")})
    [item] = yard.items()
    done = yard.result(box("good")).run_id
    retry(item, yard.user("rita"))
    yard.work()
    assert [run.number for run in Run.objects.order_by("pk")] == [1, 2]
    assert yard.result(box("good")).run_id == done


def test_a_late_retry_never_overwrites_a_later_commit(yard):
    path = box("orders")
    yard.roll_out({path: document("Box", size=1, trouble="fail no")})
    yard.roll_out({path: document("Box", size=2)})
    first, second = yard.items()
    assert [first.state, second.state] == ["failed", "succeeded"]
    retry(first, yard.user("rita"))
    yard.work()
    first, second = yard.items()
    assert first.state == "superseded"
    assert first.runs.count() == 1
    assert yard.result(path, item=first).result == "superseded"
    assert yard.stored("orders")["size"] == 2
    assert yard.resource(path).sync == "synced"


def test_a_later_item_waits_only_for_what_it_shares(yard):
    yard.merge({box("one"): document("Box")})
    yard.merge({box("one"): document("Box", size=9), box("x", "shelf-b"): document("Box")})
    yard.merge({box("two"): document("Box")})
    while reconcile():
        pass
    states = {(item.position, item.system): item.state for item in yard.items()}
    assert states == {
        (2, "shelf-a"): "queued",
        (3, "shelf-a"): "waiting",
        (3, "shelf-b"): "queued",
        (4, "shelf-a"): "queued",
    }
    yard.work()
    assert {item.state for item in yard.items()} == {"succeeded"}
    assert yard.stored("one")["size"] == 9


REFERS = {"depends_on": ["payments/shelf-a/Box/first"]}
FIRST, SECOND = box("first"), box("second", "shelf-b")


def waits(yard):
    """Which open items wait, by system and position."""
    while reconcile():
        pass
    return {(item.system, item.position): item.state for item in yard.items() if item.state in ("waiting", "queued")}


@pytest.mark.parametrize(
    "farewell",
    [{SECOND: None}, {SECOND: document("Box", size=9)}, {SECOND: None, box("third", "shelf-b"): document("Box")}],
)
def test_a_delete_waits_for_earlier_work_that_drops_a_reference_to_it(yard, farewell):
    yard.roll_out({FIRST: document("Box"), SECOND: document("Box", **REFERS)})
    yard.merge(farewell)
    yard.merge({FIRST: None})
    assert waits(yard) == {("shelf-b", 3): "queued", ("shelf-a", 4): "waiting"}
    yard.work()
    assert yard.stored("first") is None
    assert {item.state for item in yard.items()} == {"succeeded"}


def test_a_delete_waits_for_what_referred_to_it_under_its_native_name(yard):
    yard.roll_out({label("red"): document("Label"), box("orders"): document("Box", label="red")})
    yard.merge({box("orders"): document("Box")})
    yard.merge({label("red"): None})
    assert waits(yard) == {("shelf-a", 3): "queued", ("shelf-a", 4): "waiting"}


def test_a_delete_does_not_wait_for_work_it_shares_nothing_with(yard):
    yard.roll_out({FIRST: document("Box")})
    yard.merge({box("stranger"): document("Box")})
    yard.merge({FIRST: None})
    assert waits(yard) == {("shelf-a", 3): "queued", ("shelf-a", 4): "queued"}


def test_a_deletion_that_is_tried_again_comes_before_the_later_one_of_what_it_referred_to(yard):
    yard.roll_out({FIRST: document("Box"), SECOND: document("Box", **REFERS)})
    yard.merge({SECOND: None})
    discover()
    [*_, taken] = yard.items()
    cancel(taken, yard.user("rita"))
    yard.merge({FIRST: None})
    assert waits(yard) == {("shelf-a", 4): "queued"}
    retry(WorkItem.objects.get(pk=taken.pk), yard.user("rita"))
    WorkItem.objects.filter(state="queued").update(state="waiting")
    assert waits(yard) == {("shelf-b", 3): "queued", ("shelf-a", 4): "waiting"}


def test_applying_a_system_again_waits_for_what_its_documents_rest_on(yard):
    yard.roll_out({FIRST: document("Box"), SECOND: document("Box", **REFERS)})
    yard.merge({FIRST: document("Box", size=9)})
    discover()
    reapply("shelf-b", "It forgot everything.")
    assert waits(yard) == {("shelf-a", 3): "queued", ("shelf-b", 3): "waiting"}


def test_a_failed_item_holds_nothing_back(yard):
    yard.roll_out({box("one"): document("Box", trouble="fail no")})
    yard.roll_out({box("one"): document("Box", size=4)})
    assert [item.state for item in yard.items()] == ["failed", "succeeded"]


@pytest.mark.threat("git.commit-on-main")
def test_what_was_merged_is_applied_again_though_somebody_put_an_unapproved_commit_on_main(yard):
    yard.roll_out({box("orders"): document("Box", size=4)})
    yard.commit({box("orders"): document("Box", size=66), box("sneaky"): document("Box")})
    yard.work()
    (yard.directory / "shelf-a" / "Box-orders.json").unlink()
    rollout = reapply("shelf-a", "The shelf forgot everything.")
    yard.work()
    assert [item.state for item in yard.items(rollout=rollout)] == ["succeeded"]
    assert (yard.stored("orders")["size"], yard.stored("sneaky")) == (4, None)
    yard.roll_out({box("orders"): document("Box", size=5)})
    assert yard.stored("orders")["size"] == 5


def test_reapply_runs_everything_merged_again_though_it_is_applied(yard):
    yard.roll_out({box("orders"): document("Box", size=4), box("gone"): document("Box")})
    yard.roll_out({box("gone"): None})
    (yard.directory / "shelf-a" / "Box-orders.json").unlink()
    rollout = reapply("shelf-a", "The shelf forgot everything.")
    assert (rollout.cause, rollout.reason) == ("reapply", "The shelf forgot everything.")
    yard.work()
    [item] = yard.items(rollout=rollout)
    assert item.state == "succeeded"
    assert [(row.path, row.operation, row.result) for row in item.resources.all()] == [
        (box("orders"), "reapply", "changed")
    ]
    assert yard.stored("orders")["size"] == 4
    assert reapply("shelf-b", "Nothing there.") is None


@pytest.mark.threat("faults.redis-emptied")
def test_a_queue_that_forgot_everything_is_filled_again(yard):
    yard.merge({box("orders"): document("Box")})
    while reconcile():
        pass
    queues.redis().flushall()
    yard.work()
    assert yard.items()[0].state == "succeeded"
