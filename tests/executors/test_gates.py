"""A run starts only for what main said when it was prepared."""

import json

import pytest

from changes.forges.builtin import merge_lock
from changes.models import MergeIntent, User
from changes.states import IntentState
from executors import runs
from executors.actions import retry
from executors.discovery import discover, reapply
from executors.models import ItemResource, Run, WorkItem
from tests.executors.conftest import box, document


def declared(yard, shelf):
    connection = {"directory": str(yard.directory / shelf)}
    return {"systems/shelf-a.yml": json.dumps({"type": "shelf", "owners": ["shelves"], "connection": connection})}


@pytest.fixture
def between(monkeypatch):
    """Have something happen once, after the preparation of a run and before its start."""
    todo = []
    real = runs.local_paths

    def look(paths):
        if todo:
            todo.pop()()
        return real(paths)

    monkeypatch.setattr(runs, "local_paths", look)
    return todo


@pytest.mark.threat("approval.changed-before-run")
def test_a_system_that_was_changed_meanwhile_is_prepared_again_and_it_counts_as_no_attempt(yard, between):
    between.append(lambda: (yard.merge(declared(yard, "shelf-b")), discover()))
    yard.roll_out({box("orders"): document("Box")})
    assert (yard.stored("orders", "shelf-a"), yard.stored("orders", "shelf-b") is None) == (None, False)
    [item] = yard.items()
    assert (item.state, item.attempts) == ("succeeded", 1)
    assert [run.state for run in Run.objects.order_by("number")] == ["interrupted", "succeeded"]
    assert Run.objects.earliest("number").error == runs.MOVED


@pytest.mark.threat("approval.changed-before-run", "git.commit-on-main")
def test_a_system_that_an_unapproved_commit_changed_meanwhile_is_not_used(yard, between):
    between.append(lambda: (yard.commit(declared(yard, "shelf-b")), discover()))
    yard.roll_out({box("orders"): document("Box")})
    [item] = yard.items()
    assert (item.state, "without an approved change request" in item.reason) == ("failed", True)
    assert (yard.stored("orders", "shelf-a"), yard.stored("orders", "shelf-b")) == (None, None)


@pytest.mark.threat("approval.changed-before-run", "values.foreign-secret")
def test_a_team_whose_secrets_were_taken_away_meanwhile_gets_none(yard, between):
    (yard.directory / "secrets" / "payments").mkdir(parents=True)
    (yard.directory / "secrets" / "payments" / "lock").write_text("open")
    (yard.directory / "secrets" / "payments" / "lock").chmod(0o600)
    between.append(lambda: (yard.merge({"teams/payments.yml": "title: Payments\nmembers: [rita]\n"}), discover()))
    yard.roll_out({box("orders"): document("Box", secrets={"lock": "file:payments/lock"})})
    assert "payments may not use file:payments/lock" in yard.items()[0].reason
    assert yard.stored("orders") is None


def test_a_merge_of_something_else_meanwhile_costs_nothing(yard, between):
    between.append(lambda: (yard.merge({box("refunds", "shelf-b"): document("Box")}), discover()))
    yard.roll_out({box("orders"): document("Box")})
    assert [run.state for run in Run.objects.filter(item__system="shelf-a")] == ["succeeded"]


def test_a_result_carries_the_digest_of_what_the_play_was_given(yard):
    yard.roll_out({box("orders"): document("Box"), box("bad"): document("Box", trouble="silent")})
    digests = dict(ItemResource.objects.values_list("path", "digest"))
    yard.roll_out({box("orders"): document("Box", size=3, note="")})  # only its defaults, written out
    assert len(digests[box("orders")]) == 64
    assert yard.result(box("orders")).digest == digests[box("orders")]
    assert digests[box("bad")] == ""
    yard.roll_out({box("orders"): document("Box", size=4)})
    assert yard.result(box("orders")).digest != digests[box("orders")]
    assert WorkItem.objects.filter(state="succeeded").count() == 2


def shelves(*members):
    return {"teams/shelves.yml": f"title: Shelves\nmembers: [{', '.join(members)}]\n"}


@pytest.mark.threat("approval.left-before-run")
def test_who_left_the_team_after_the_merge_no_longer_counts_and_a_colleague_who_retries_does(yard):
    yard.merge({box("orders"): document("Box")})
    yard.merge(shelves("oscar"))
    discover()
    yard.work()
    [item] = yard.items()
    assert (item.state, yard.stored("orders")) == ("failed", None)
    assert item.reason == (
        "It was approved by olga, who no longer may. One of the owners of shelf-a (shelves) has to agree: whoever of "
        "them tries this work again says yes by that."
    )
    retry(item, yard.user("rita"))  # who asked for it may have it tried again, and never approves it
    yard.work()
    assert (yard.items()[0].state, yard.stored("orders")) == ("failed", None)
    retry(yard.items()[0], yard.user("oscar"))
    yard.work()
    assert (yard.items()[0].state, yard.stored("orders") is None) == ("succeeded", False)


@pytest.mark.threat("approval.left-before-run")
def test_an_account_that_was_closed_after_the_merge_no_longer_counts(yard):
    yard.merge({box("orders"): document("Box")})
    User.objects.filter(username="olga").update(is_active=False)
    yard.work()
    assert "approved by olga, who no longer may" in yard.items()[0].reason


@pytest.mark.threat("approval.left-before-run")
@pytest.mark.parametrize("how", ["team", "account"])
def test_who_is_shut_out_between_preparation_and_start_stops_the_run(yard, between, how):
    yard.merge({box("orders"): document("Box")})

    def shut_out():
        User.objects.filter(username="olga").update(is_active=False)

    between.append(shut_out if how == "account" else lambda: (yard.merge(shelves("oscar")), discover()))
    yard.work()
    [item] = yard.items()
    assert (item.state, yard.stored("orders"), item.attempts) == ("failed", None, 1)
    assert [run.error for run in Run.objects.order_by("number")][0] == runs.MOVED
    assert "approved by olga, who no longer may" in item.reason


def test_one_of_two_who_left_is_enough_to_stop_and_others_of_the_item_go_on(yard):
    sha = yard.merge({box("orders"): document("Box"), box("refunds"): document("Box")}, by=("olga", "oscar"))
    intent = MergeIntent.objects.get(commit=sha)
    intent.approvals["asked"][0]["count"] = 2
    intent.save()
    yard.work()
    [item] = yard.items()
    assert (item.state, yard.stored("orders"), yard.stored("refunds") is None) == ("failed", None, False)
    assert item.reason.startswith(
        "1 of 2 resources failed, first payments/shelf-a/Box/orders: It was approved by oscar"
    )


@pytest.mark.threat("approval.left-before-run")
def test_a_merge_that_is_not_closed_yet_is_looked_at_too(yard):
    sha = yard.merge({box("orders"): document("Box")})
    MergeIntent.objects.filter(commit=sha).update(state=IntentState.OPEN)
    User.objects.filter(username="olga").update(is_active=False)
    with merge_lock(yard.repository):  # whoever merges has come no further than to move main
        yard.work()
    assert MergeIntent.objects.get(commit=sha).state == IntentState.OPEN
    [item] = yard.items()
    assert (item.state, "approved by olga, who no longer may" in item.reason) == ("failed", True)
    assert yard.stored("orders") is None


@pytest.mark.parametrize(
    ("record", "why"),
    [
        ({"state": IntentState.DROPPED}, "No merge of ours"),
        ({"approvals": {"barred": [], "asked": []}}, "Nobody was asked"),
    ],
)
def test_work_of_a_merge_of_which_nothing_says_who_approved_it_is_refused(yard, record, why):
    sha = yard.merge({box("orders"): document("Box")})
    discover()
    MergeIntent.objects.filter(commit=sha).update(**record)
    yard.work()
    [item] = yard.items()
    assert (item.state, item.reason[: len(why)], yard.stored("orders")) == ("failed", why, None)


def test_what_somebody_vouched_for_when_this_was_set_up_runs(yard):
    sha = yard.commit({box("orders"): document("Box")})
    MergeIntent.objects.create(base=yard.first, head=sha, commit=sha, state=IntentState.DONE)  # as `init` does
    yard.work()
    assert yard.stored("orders") is not None


@pytest.mark.threat("git.commit-on-main")
def test_a_team_that_an_unapproved_commit_changed_stops_what_its_people_approved(yard):
    yard.merge({box("orders"): document("Box")})
    yard.commit(shelves("olga", "mallory"))
    discover()
    yard.work()
    [item] = yard.items()
    assert (item.state, "without an approved change request" in item.reason) == ("failed", True)


def test_what_is_applied_again_at_a_commit_needs_no_approval_of_that_commit(yard):
    yard.merge({box("orders"): document("Box")})
    yard.work()
    yard.merge(shelves("oscar"))
    discover()
    reapply("shelf-a", "Olga wants it")
    yard.work()
    assert [item.state for item in yard.items()] == ["succeeded"] * 2
