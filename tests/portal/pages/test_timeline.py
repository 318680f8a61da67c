"""What happened, on the page of a change request and of a rollout: whole, in order, and with who."""

import pytest

from changes import workflow
from changes.models import Transition
from executors.models import Run, WorkItem
from portal import timeline
from tests.changes.conftest import REFUNDS, box


def moved(noun, pk, before, after, *, who=None, why=""):
    return Transition.objects.create(noun=noun, noun_id=pk, before=before, after=after, who=who, why=why)


@pytest.fixture
def again(office, work):
    """Work that was applied again, of which somebody cancelled a run and somebody else tried it again."""
    request = office.merged({REFUNDS: box(9)}, title="Nine refunds")
    rollout = work(office.again(request), states={"shelf-test": "queued"}, cause="reapply")
    item = WorkItem.objects.get(rollout=rollout)
    run = Run.objects.get(item=item)
    moved("workitem", item.pk, "queued", "running", why="Taken by worker w.")
    moved("run", run.pk, "starting", "running")
    moved("workitem", item.pk, "running", "running", who=office.olga, why="Asked to cancel it.")
    moved("run", run.pk, "running", "cancelled", who=office.olga, why="The run was cancelled.")
    moved("workitem", item.pk, "running", "cancelled", who=office.olga, why="The run was cancelled.")
    moved("workitem", item.pk, "cancelled", "waiting", who=office.rita, why="Rita tries it again.")
    return rollout


def walk(client, url, query=""):
    """Every page from the newest on, by the links that lead to the older ones; the moments oldest first."""
    found = client.get(url + query).context["timeline"]
    return [*(walk(client, url, found.older) if found.older else []), *found.rows]


def test_a_rollout_that_is_no_merge_says_who_cancelled_and_who_retried(again, reader):
    page = reader("sam").get(f"/rollouts/{again.pk}/").content.decode()
    happened = page.split('id="happened"')[1]
    for words in ("Asked to cancel it.", "Rita tries it again.", "shelf-test, attempt 1", "Taken by worker w."):
        assert words in happened
    assert happened.count("Olga") == 3
    assert "left out" not in happened
    rows = reader("sam").get(f"/rollouts/{again.pk}/").context["timeline"].rows
    assert [row.after for row in rows] == ["running", "running", "running", "cancelled", "cancelled", "waiting"]


def test_the_timeline_alone_is_for_the_pages_script(again, reader):
    part = reader("sam").get(f"/rollouts/{again.pk}/?part=timeline", headers={"HX-Request": "true"}).content.decode()
    assert part.lstrip().startswith("<section")
    assert "Asked to cancel it." in part
    assert "<html" not in part


def test_systems_of_several_waves_are_told_apart(again, reader, office):
    other = WorkItem.objects.create(rollout=again, position=1, wave=1, system="shelf-test", zone="default")
    moved("workitem", other.pk, "waiting", "cancelled", who=office.olga)
    rows = reader("sam").get(f"/rollouts/{again.pk}/").context["timeline"].rows
    assert {row.subject for row in rows} == {"shelf-test, wave 1", "shelf-test, wave 2", "shelf-test, attempt 1"}


def test_a_long_rollout_leads_to_what_happened_before(again, reader, monkeypatch):
    item = WorkItem.objects.get(rollout=again)
    for number in range(20):
        moved("workitem", item.pk, "waiting", "queued", why=f"Move {number}.")
    monkeypatch.setattr(timeline, "MOST_WORK", 4)
    client, url = reader("sam"), f"/rollouts/{again.pk}/"
    assert "What happened before is left out here." in client.get(url).content.decode()
    seen = walk(client, url)
    assert [row.why for row in seen[-20:]] == [f"Move {number}." for number in range(20)]
    assert len(seen) == 26
    older = client.get(f"{url}{client.get(url).context['timeline'].older}")
    assert older.context["timeline"].newer == "?"
    assert "hx-get" not in older.content.decode().split('id="rollout-timeline"')[1].split(">")[0]


def test_a_long_discussion_leads_to_what_was_said_before(office, reader, monkeypatch):
    request = office.proposed({REFUNDS: box(9)})
    for number in range(6):
        workflow.comment(request, office.rita, f"Word {number}")
        office.approved(office.again(request))
    client, url = reader("sam"), f"/changes/{request.pk}/"
    whole = client.get(f"{url}?tab=discussion").context["timeline"]
    assert (whole.older, whole.newer, whole.rows[0].after) == ("", "", "draft")
    monkeypatch.setattr(timeline, "MOST", 3)
    first = client.get(f"{url}?tab=discussion").context["timeline"]
    assert len(first.rows) == 3
    assert "tab=discussion" in first.older
    seen = walk(client, url, "?tab=discussion")
    assert [(row.sort, row.at) for row in seen] == [(row.sort, row.at) for row in whole.rows]


def test_moments_of_the_same_instant_stay_together(again, reader, monkeypatch):
    Transition.objects.update(at="2026-11-30T10:00:00Z")
    monkeypatch.setattr(timeline, "MOST_WORK", 4)
    found = reader("sam").get(f"/rollouts/{again.pk}/").context["timeline"]
    assert len(found.rows) == 6
    assert found.older == ""


@pytest.mark.parametrize("until", ["x", "2026-11-30", "2026-11-30T10:00:00", "0001-01-01T00:00:00+14:00", "\0", ""])
def test_a_moment_that_is_none_is_now(again, reader, until):
    assert len(reader("sam").get(f"/rollouts/{again.pk}/", {"until": until}).context["timeline"].rows) == 6
