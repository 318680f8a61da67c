"""A run starts only for what main said when it was prepared."""

import json

import pytest

from executors import runs
from executors.discovery import discover
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
