"""What is wrong with Mergeyard itself is said in a sentence with what to do, and no part hides another."""

from datetime import timedelta

import pytest
from django.db.migrations.recorder import MigrationRecorder
from django.db.models.functions import Now
from django.utils import timezone

from executors import health, queues
from executors.discovery import discover
from executors.health import State
from executors.models import Cursor, Process, WorkItem
from executors.processes import CONTROLLER, WORKER, Presence, there
from executors.waiting import why_waiting
from tests.executors.conftest import box, document


def said(name):
    [check] = [check for check in health.checks() if check.name == name]
    return check


@pytest.fixture
def crew(yard):
    """A controller and a worker that are there."""
    Process.objects.create(sort=CONTROLLER, name="web:1")
    Process.objects.create(sort=WORKER, name="web:2", zone="default", containment="Contained by bubblewrap.")
    return yard


def test_all_is_well_where_everybody_is_there(crew):
    assert [(check.name, check.sentence) for check in health.checks() if check.state is State.BAD] == []
    assert "all of it is known" in said("State repository").sentence
    assert said("Workers of zone default").sentence == "web:2: Contained by bubblewrap."


@pytest.mark.parametrize(
    ("sort", "name", "todo"),
    [
        (CONTROLLER, "Controller", "manage.py controller"),
        (WORKER, "Workers of zone default", "manage.py worker --zone default"),
    ],
)
def test_who_was_not_heard_of_is_missed(crew, sort, name, todo):
    Process.objects.filter(sort=sort).update(seen_at=Now() - timedelta(seconds=25))
    assert said(name).state is State.OK
    Process.objects.filter(sort=sort).update(seen_at=Now() - timedelta(seconds=31))
    assert said(name).state is State.BAD
    assert todo in said(name).todo


def test_a_worker_without_containment_is_named(crew):
    Process.objects.create(sort=WORKER, name="old:3", zone="default", contained=False, containment="Not contained: x.")
    assert (said("Workers of zone default").state, said("Workers of zone default").sentence) == (
        State.WARNING,
        "old:3: Not contained: x.",
    )


def test_what_keeps_a_worker_from_work_does_not_hide_that_it_contains_nothing(crew):
    Process.objects.create(sort=WORKER, name="old:3", zone="default", contained=False, containment="Not contained: x.")
    Process.objects.filter(name="old:3").update(trouble="The disk is full.")
    check = said("Workers of zone default")
    assert (check.state, check.sentence) == (State.WARNING, "old:3: The disk is full. old:3: Not contained: x.")


def test_a_queue_that_is_away_hides_no_other_part(crew, settings):
    settings.MERGEYARD_REDIS_URL = "redis://127.0.0.1:1/0"
    assert said("Queue").state is State.BAD
    assert said("Controller").state is State.OK
    assert "queue_length" not in health.figures()


def test_a_queue_that_may_forget_is_a_warning_and_a_worker_says_so_when_it_begins(crew, caplog):
    kept = queues.redis().config_get("maxmemory-policy", "appendonly", "save")
    try:
        queues.redis().config_set("appendonly", "yes")
        assert said("Queue").sentence.endswith("policy is noeviction; on disk it keeps an append-only file.")
        assert said("Queue").state is State.OK
        queues.redis().config_set("appendonly", "no")
        queues.redis().config_set("maxmemory-policy", "allkeys-lru")
        queues.redis().config_set("save", "")
        assert said("Queue").state is State.WARNING
        assert "maxmemory-policy is allkeys-lru" in said("Queue").sentence
        assert "keeps nothing on disk" in said("Queue").sentence
        queues.serve("default", burst=True)
        assert "maxmemory-policy is allkeys-lru" in caplog.text
    finally:
        for name, value in kept.items():
            queues.redis().config_set(name, value)


def test_a_queue_whose_configuration_nobody_may_read_is_not_said_to_be_well(crew, settings):
    own = queues.redis()
    own.acl_setuser(
        "somebody", enabled=True, passwords=["+word"], categories=["+@all"], commands=["-config"], keys=["*"]
    )
    settings.MERGEYARD_REDIS_URL = settings.MERGEYARD_REDIS_URL.replace("unix://", "unix://somebody:word@")
    try:
        assert said("Queue").state is State.WARNING
        assert said("Queue").sentence.startswith("Whether the queue may forget jobs is not known")
    finally:
        own.acl_deluser("somebody")


def test_a_history_that_was_rewritten_is_an_alarm(crew):
    Cursor.objects.update(alarm="Main was rewritten; do this.")
    check = said("State repository")
    assert (check.state, check.sentence) == (State.BAD, "Main was rewritten; do this.")
    assert check.todo == "See what stops discovery on the operations page of the docs."


def test_a_database_of_before_says_which_tables_it_lacks(crew):
    last = MigrationRecorder.Migration.objects.filter(app="executors").latest("name")
    last.delete()
    try:
        [check] = health.readiness()
    finally:
        last.save()
    assert (check.state, check.todo) == (State.BAD, "Run manage.py migrate.")
    assert f"executors {last.name}" in check.sentence


def test_parked_and_late_work_is_named(crew):
    crew.merge({box("orders"): document("Box", size=5)})
    discover()
    health_before = said("Work").state
    WorkItem.objects.update(state="queued", created_at=timezone.now() - timedelta(minutes=6))
    assert (health_before, said("Work").state) == (State.OK, State.WARNING)
    assert "shelf-a" in said("Work").sentence
    WorkItem.objects.update(state="parked")
    assert "1 work item failed so often" in said("Work").sentence


def test_work_without_a_controller_says_so(crew):
    crew.merge({box("orders"): document("Box", size=5)})
    discover()
    [item] = WorkItem.objects.all()
    WorkItem.objects.update(state="waiting")
    item.refresh_from_db()
    assert "controller" not in why_waiting(item)
    Process.objects.filter(sort=CONTROLLER).delete()
    assert why_waiting(item).startswith("No controller was heard of lately")


def test_presence_is_said_now_and_then_and_ends(transactional_db):
    presence = Presence(WORKER, zone="default", contained=True, containment="")
    presence.here()
    first = there(WORKER).get()
    presence.here()
    assert there(WORKER).get().seen_at == first.seen_at
    presence.said -= 11
    presence.here()
    assert there(WORKER).get().seen_at > first.seen_at
    presence.end()
    assert not there(WORKER).exists()


def test_figures_count_what_there_is(crew):
    crew.roll_out({box("orders"): document("Box", size=5)})
    figures = health.figures()
    assert figures["work_items"][1]["succeeded",] == 1
    assert figures["resources"][1]["synced",] == 1
    assert figures["processes"][1][CONTROLLER, ""] == 1
    assert figures["checks"][1]["Database",] == 1
    assert {name for name in figures if name in health.LABELS} == set(health.LABELS)
