"""Changes, systems, resources, teams and home: what is found, who sees it, and what it costs."""

import html
from datetime import date, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from changes.models import ChangeRequest
from executors.models import Resource, WorkItem
from portal.views import home
from tests.changes.conftest import ORDERS, REFUNDS, box


def queries(client, url):
    client.get(url)
    with CaptureQueriesContext(
        connection,
    ) as seen:
        assert client.get(url).status_code == 200
    return len(seen)


def titles(client, **query):
    text = client.get("/history/", query).content.decode()
    return [part.split("<")[0] for part in text.split("data-row href=")[1:] for part in [part.split(">", 1)[1]]]


@pytest.fixture
def some(office):
    office.proposed(title="First", edits={ORDERS: box(4)})
    office.proposed(title="Second", edits={"resources/payments/shelf-prod/Box/orders.yml": box(4)})
    office.merged(title="Third", edits={REFUNDS: box(4)})


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, ["Third", "Second", "First"]),
        ({"q": "system:shelf-prod"}, ["Second"]),
        ({"q": "state:open team:payments"}, ["Second", "First"]),
        ({"q": "refunds"}, ["Third"]),
        ({"q": "by:olga"}, []),
        ({"q": "by:rita kind:Box state:merged"}, ["Third"]),
        ({"state": "merged"}, ["Third"]),
        ({"q": "before:2001-01-01"}, []),
        ({"q": "after:2001-01-01 first"}, ["First"]),
        ({"q": "#1"}, None),
    ],
)
def test_history_finds_by_typed_filters(some, reader, query, found):
    shown = titles(reader("sam"), **query)
    assert found is None or shown == found


def test_every_filter_has_a_field_and_a_chip_that_takes_it_away(some, reader):
    client = reader("sam")
    text = client.get("/history/", {"q": "first team:payments by:rita after:2001-01-01 state:open"}).content.decode()
    for name in ("q", "state", "team", "system", "kind", "by", "after", "before"):
        assert f' name="{name}"' in text
    assert 'name="q" data-search-here value="first"' in text
    assert "<option selected>payments</option>" in text
    assert 'name="after" value="2001-01-01"' in text
    assert 'href="?q=first&amp;team=payments&amp;state=open&amp;after=2001-01-01"' in text
    assert titles(client, q="first", team="payments", state="open", after="2001-01-01") == ["First"]


def test_lists_name_who_approved_and_who_declined(office, reader):
    request = office.proposed({ORDERS: box(4), REFUNDS: box(5)}, title="Asked")
    office.approved(request)
    assert "approved by" in reader("sam").get("/history/").content.decode()


def test_home_says_what_my_open_changes_wait_for(office, reader):
    office.proposed({ORDERS: box(4)}, title="Asked")
    text = reader("rita").get("/").content.decode().split('id="mine"')[1]
    assert "Waiting for approval" in text


def test_an_unknown_filter_is_told_and_not_ignored(some, reader):
    text = reader("sam").get("/history/", {"q": "colour:red"}).content.decode()
    assert "“colour:” is not a filter here" in text


def test_a_day_that_is_none_is_told(some, reader):
    assert "is not a day" in reader("sam").get("/history/", {"q": "before:soon"}).content.decode()


@pytest.mark.parametrize(
    ("url", "state", "told"),
    [
        ("/history/", "opne", "“state:opne” is not a state here; did you mean &#x27;open&#x27;?"),
        ("/history/", "xyzzy", "“state:xyzzy” is not a state here; known are open, merged, applying,"),
        ("/resources/", "sinced", "“state:sinced” is not a state here; did you mean &#x27;synced&#x27;?"),
        ("/resources/", "deleted", "“state:deleted” is not a state here"),
    ],
)
def test_a_state_that_is_none_is_told(some, reader, work, url, state, told):
    work()
    for query in ({"q": f"state:{state}"}, {"state": state}):
        answer = reader("sam").get(url, query)
        assert told in answer.content.decode()
        assert answer.context["page"].rows


def test_every_state_that_a_list_offers_is_one(some, reader):
    for url in ("/history/", "/resources/"):
        for state, _ in reader("sam").get(url).context["states"]:
            assert "is not a state here" not in reader("sam").get(url, {"state": state}).content.decode()


@pytest.mark.parametrize(
    ("zone", "day"),
    [
        ("", "2026-11-30"), ("Asia/Tokyo", "2026-12-01"), ("America/New_York", "2026-11-30"), ("Asia", "2026-11-30"),
        ("Nowhere/At_All", "2026-11-30"), ("../../etc/passwd", "2026-11-30"), ("Pacific/Honolulu", "2026-11-30"),
    ],
)  # fmt: skip
def test_a_day_is_the_readers_day(office, reader, zone, day):
    """At 20:00 of 30 November in London it is 5:00 of the next day in Tokyo."""
    request = office.proposed(title="Late")
    ChangeRequest.objects.filter(pk=request.pk).update(created_at="2026-11-30T20:00:00Z")
    client = reader("sam")
    client.cookies["zone"] = zone
    after = (date.fromisoformat(day) + timedelta(days=1)).isoformat()
    assert titles(client, after=day, before=after) == ["Late"]
    assert titles(client, before=day) == titles(client, after=after) == []


def test_the_list_says_whose_days_it_means(office, reader):
    client = reader("sam")
    assert "A day begins at midnight, UTC." in client.get("/history/?state=open").content.decode()
    client.cookies["zone"] = "Asia/Tokyo"
    assert "A day begins at midnight, Asia/Tokyo." in client.get("/history/?state=open").content.decode()


@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31"])
def test_a_day_at_the_end_of_the_calendar_is_told(office, reader, day):
    client = reader("sam")
    for zone in ("Asia/Tokyo", "America/New_York"):
        client.cookies["zone"] = zone
        for key in ("before", "after"):
            assert "is not a day" in client.get("/history/", {key: day}).content.decode()


def test_the_older_commits_and_runs_of_a_resource_are_a_link_away(office, reader, work, monkeypatch):
    monkeypatch.setattr("portal.views.resources.COMMITS", 2)
    monkeypatch.setattr("portal.views.resources.RUNS", 2)
    for number in range(4):
        work(office.again(office.merged({ORDERS: box(number + 10)}, title=f"Number {number}")))
    client, here = reader("sam"), "/resources/payments/shelf-test/Box/orders/"
    url, seen = here, []
    while url:
        context = client.get(url).context
        seen += [change.title if change else commit.subject for commit, change in context["commits"].rows]
        url = here + context["commits"].older if context["commits"].older else ""
    assert seen == ["Number 3", "Number 2", "Number 1", "Number 0", "Begin the state repository"]
    assert context["commits"].newer == "?"
    first = client.get(here).context["runs"]
    second = client.get(here + first.older).context["runs"]
    runs = [row.pk for page in (first, second) for row in page.rows]
    assert runs == sorted(runs, reverse=True)
    assert len(set(runs)) == 4
    assert client.get(here + second.newer).context["runs"].rows == first.rows
    page = client.get(here).content.decode()
    assert f'href="{html.escape(first.older)}#applied"' in page
    assert 'href="?commits=' in page


@pytest.mark.parametrize("sha", ["x", "0" * 40, "refs/heads/main", "../../etc/passwd", "blob"])
def test_a_place_in_the_history_that_is_none_is_its_beginning(office, reader, sha):
    sha = office.repository.blob_at(office.repository.main(), ORDERS) if sha == "blob" else sha
    answer = reader("sam").get("/resources/payments/shelf-test/Box/orders/", {"commits": sha})
    assert len(answer.context["commits"].rows) == 1


def test_pages_of_the_history_join_without_gap_or_double(office, reader, monkeypatch):
    monkeypatch.setattr("portal.views.history.PAGE", 2)
    for number in range(5):
        office.proposed(title=f"Number {number}", edits={REFUNDS: box(number + 1)})
    client, url, seen = reader("sam"), "/history/", []
    while url:
        answer = client.get(url)
        seen += [row["request"].title for row in answer.context["rows"]]
        last, url = answer, "/history/" + answer.context["page"].older if answer.context["page"].older else ""
    assert seen == [f"Number {number}" for number in (4, 3, 2, 1, 0)]
    back = client.get("/history/" + last.context["page"].newer)
    assert [row["request"].title for row in back.context["rows"]] == ["Number 2", "Number 1"]


def test_pages_of_the_resources_join_although_two_things_had_the_same_path(office, reader, monkeypatch):
    """A document that names another thing leaves two rows of one path until the old thing is deleted."""
    monkeypatch.setattr("portal.views.resources.PAGE", 2)
    paths = [ORDERS, ORDERS, ORDERS, REFUNDS, ORDERS, REFUNDS, "resources/payments/shelf-prod/Box/a.yml"]
    for number, path in enumerate(paths):
        _, team, system, kind, name = path.removesuffix(".yml").split("/")
        row = {"team": team, "system": system, "kind": kind, "name": name}
        Resource.objects.create(path=path, identity=f'{{"name":"{number}"}}', **row)
    client, url, seen = reader("sam"), "/resources/?team=payments", []
    while url:
        page = client.get(url).context["page"]
        seen.append([row.pk for row in page.rows])
        last, url = page, "/resources/" + page.older if page.older else ""
    assert [pk for pks in seen for pk in pks] == [row.pk for row in Resource.objects.order_by("path", "pk")]
    assert [len(pks) for pks in seen] == [2, 2, 2, 1]
    for before in seen[-2::-1]:
        last = client.get("/resources/" + last.newer).context["page"]
        assert [row.pk for row in last.rows] == before
    assert last.newer == ""


@pytest.mark.parametrize("key", ["x", "-1", "7", "7 ", "\0", "99999999999999999999 a", "٣ a", " a"])
def test_a_place_in_the_list_that_is_none_is_its_beginning(office, reader, work, key):
    work()
    for name in ("from", "back"):
        assert len(reader("sam").get("/resources/", {name: key}).context["page"].rows) == 1


def test_a_resource_stands_where_what_it_describes_now_does(office, reader, work):
    work()
    gone = {"team": "payments", "system": "shelf-test", "kind": "Box", "name": "orders", "path": ORDERS}
    Resource.objects.create(identity='{"name":"former"}', sync="failed", **gone)
    answer = reader("sam").get("/resources/payments/shelf-test/Box/orders/")
    assert answer.context["standing"].sync == "synced"


def test_the_history_costs_the_same_number_of_queries_however_long(office, reader):
    office.merged(title="One", edits={REFUNDS: box(1)})
    client = reader("sam")
    few = queries(client, "/history/")
    for number in range(6):
        office.merged(title=f"More {number}", edits={REFUNDS: box(number + 2)})
    assert queries(client, "/history/") == few


def test_no_list_counts_or_skips_rows(some, reader, work):
    work()
    client = reader("sam")
    for url in ("/history/", "/resources/"):
        with CaptureQueriesContext(connection) as seen:
            client.get(url)
        assert not [query["sql"] for query in seen if "OFFSET" in query["sql"] or "COUNT(*)" in query["sql"]]


def test_resources_and_systems_cost_a_constant_number_of_queries(office, reader, work):
    work()
    client = reader("sam")
    before = {url: queries(client, url) for url in ("/resources/", "/systems/", "/teams/")}
    request = office.merged(edits={REFUNDS: box(4)})
    work(office.again(request), states={"shelf-test": "failed", "shelf-prod": "succeeded"})
    assert {url: queries(client, url) for url in before} == before


def test_drafts_are_listed_for_their_owner_only(office, reader):
    from changes import workflow

    workflow.start_draft(office.rita, title="Not ready")
    assert titles(reader("rita"), state="draft") == ["Not ready"]
    assert titles(reader("sam"), state="draft") == []


def test_home_lists_what_waits_for_me(office, reader):
    office.proposed(title="Bigger refunds")
    assert "Bigger refunds" in reader("olga").get("/").content.decode()
    assert "Waiting for you" in reader("sam").get("/").content.decode()
    assert "Bigger refunds" not in reader("sam").get("/").content.decode()


def test_home_says_that_it_did_not_look_at_every_request(office, reader, monkeypatch):
    """Those that the reader has answered are the last to be looked at."""
    monkeypatch.setattr(home, "LOOKED_AT", 1)
    office.approved(office.proposed(title="Answered"))
    assert "All done." in reader("olga").get("/").content.decode()
    office.proposed({ORDERS: box(8)}, title="Newer")
    page = reader("olga").get("/").content.decode()
    assert "Newer" in page
    assert "only the first 1 were looked at" in page
    assert "All done." not in reader("rita").get("/").content.decode()


def test_home_lists_my_request_when_it_can_be_merged(office, reader):
    request = office.proposed()
    assert not reader("rita").get("/").context["waiting"]
    office.approved(request)
    assert reader("rita").get("/").context["waiting"][0].ready


def test_home_shows_failures_of_my_resources(office, reader, work):
    work(states={"shelf-test": "failed"}, sync="failed")
    assert "Needs a look" in reader("rita").get("/").content.decode()
    assert "Needs a look" in reader("olga").get("/").content.decode()
    assert "Needs a look" not in reader("sam").get("/").content.decode()


def test_a_resource_page_tells_where_it_stands_and_how_it_came(office, reader, work):
    request = office.merged({ORDERS: box(9)}, title="Nine")
    work(office.again(request))
    text = reader("sam").get("/resources/payments/shelf-test/Box/orders/").content.decode()
    assert "In sync" in text
    assert "Nine" in text
    assert f"/compose/?edit={ORDERS}" in text


def test_why_a_resource_failed_is_for_those_who_may_read_its_log(office, reader, work):
    work(states={"shelf-test": "failed"}, sync="failed", message="password=hunter2 was refused")
    url = "/resources/payments/shelf-test/Box/orders/"
    for name in ("rita", "olga", "pia"):
        assert "hunter2" in reader(name).get(url).content.decode()
    assert "hunter2" not in reader("sam").get(url).content.decode()


@pytest.mark.parametrize("state", ["cancelled", "skipped", "parked"])
def test_what_stopped_before_it_was_applied_says_why_and_where_to_go_on(office, reader, work, state):
    rollout = work(states={"shelf-test": state}, sync="pending")
    item = WorkItem.objects.get(rollout=rollout)
    WorkItem.objects.filter(pk=item.pk).update(reason="Something about it.")
    for name in ("rita", "olga"):
        shown = reader(name).get("/").content.decode().split('id="unwell"')[1].split("</section>")[0]
        assert f'href="/rollouts/{rollout.pk}/?item={item.pk}"' in shown
        assert f'data-state="{state}"' in shown
    assert 'id="unwell"' not in reader("sam").get("/").content.decode()
    page = reader("sam").get("/resources/payments/shelf-test/Box/orders/").content.decode()
    stands = page.split('id="stands"')[1].split("</section>")[0]
    assert "Waiting to be applied." in stands
    assert "Something about it." in stands
    assert f'href="/rollouts/{rollout.pk}/?item={item.pk}#item"' in stands


def test_what_waits_to_be_applied_says_for_what(office, reader, work):
    rollout = work(states={"shelf-test": "queued"}, sync="pending")
    page = reader("sam").get("/resources/payments/shelf-test/Box/orders/").content.decode()
    stands = page.split('id="stands"')[1].split("</section>")[0]
    assert "The queue cannot be reached, so no worker hears of it." in stands
    assert f"/rollouts/{rollout.pk}/?item=" in stands
    assert 'id="unwell"' not in reader("olga").get("/").content.decode()
    WorkItem.objects.filter(rollout=rollout).update(state="running")
    assert (
        "It is being applied now." in reader("sam").get("/resources/payments/shelf-test/Box/orders/").content.decode()
    )


def test_a_deleted_resource_keeps_its_history(office, reader):
    office.merged({ORDERS: None}, title="Gone")
    text = reader("sam").get("/resources/payments/shelf-test/Box/orders/").content.decode()
    assert "It is deleted." in text
    assert "Gone" in text


@pytest.mark.parametrize("url", ["/systems/none/", "/teams/none/", "/resources/a/b/C/d/", "/resources/A!/b/C/d/"])
def test_what_is_not_there_is_a_page_that_helps(office, reader, url):
    answer = reader("sam").get(url)
    assert answer.status_code == 404
    assert "There is nothing here" in answer.content.decode()


def test_a_system_page_shows_owners_and_never_a_secret(office, reader, work):
    work()
    text = reader("sam").get("/systems/shelf-test/").content.decode()
    assert "Shelves" in text
    assert "Contained." in text


@pytest.mark.parametrize("words", ["orders", "shelf", "rita", "payments", "new box", "zzzz", "", "#1", "\0'\"%"])
def test_the_palette_answers_any_words(some, reader, words):
    answer = reader("sam").get("/search/", {"q": words})
    assert answer.status_code == 200
    if words in ("orders", "shelf", "rita", "payments"):
        assert 'role="option"' in answer.content.decode()


@pytest.mark.parametrize("url", ["/", "/history/", "/systems/", "/resources/", "/teams/", "/tokens/", "/search/"])
def test_a_stranger_to_the_portal_is_asked_to_sign_in(client, db, url):
    assert client.get(url).url.startswith("/login/")


def test_home_costs_the_same_number_of_queries_however_many_requests_wait(office, reader):
    client = reader("olga")
    office.approved(office.proposed(title="One", edits={REFUNDS: box(1)}), by=office.otto)
    few = queries(client, "/")
    for number in range(4):
        path = f"resources/payments/shelf-test/Box/more-{number}.yml"
        office.approved(office.proposed(title=f"More {number}", edits={path: box(2)}), by=office.otto)
    office.proposed(title="Not yet", edits={ORDERS: box(9)})
    office.proposed(title="Not yet either", edits={ORDERS: box(8)})
    assert queries(client, "/") <= few


def test_what_is_applied_again_is_nobodys_request(office, reader, work):
    request = office.merged({REFUNDS: box(9)}, title="Nine refunds")
    rollout = work(office.again(request), states={"shelf-test": "failed", "shelf-prod": "waiting"}, cause="reapply")
    client = reader("olga")
    page = client.get(f"/rollouts/{rollout.pk}/").content.decode()
    assert "<h1>Its disk was new.</h1>" in page
    assert "Retry shelf-test" in page
    assert "Revert the change" not in page
    running = client.get("/").content.decode().split('id="running"')[1].split("</section>")[0]
    assert f'href="/rollouts/{rollout.pk}/">Its disk was new.</a>' in running
    for url in ("/systems/shelf-test/", "/systems/shelf-prod/", "/resources/payments/shelf-test/Box/orders/"):
        assert f"Change #{request.pk}" not in client.get(url).content.decode(), url
    assert "Nine refunds" not in client.get("/rollouts/").content.decode()


def test_a_rollout_asks_once_who_may_see_its_logs(office, reader, work):
    request = office.merged(edits={REFUNDS: box(4)})
    client = reader("sam")
    few = work(office.again(request), states={"shelf-test": "succeeded"})
    before = queries(client, f"/rollouts/{few.pk}/")
    other = office.merged(edits={ORDERS: box(4)})
    many = work(office.again(other), states={f"shelf-{letter}": "succeeded" for letter in "abcdef"})
    assert queries(client, f"/rollouts/{many.pk}/") <= before


def test_a_teams_page_says_what_is_left_of_its_quotas(office, reader):
    office.commit_by_hand({"teams/payments.yml": b"title: Payments\nmembers: [rita]\nquotas: {Box: 7, Label: 0}\n"})
    page = reader("sam").get("/teams/payments/").content.decode()
    assert 'href="/catalogue/Box/">Box</a><span class="small faint right">1 of 7</span>' in page
    assert 'href="/catalogue/Label/">Label</a><span class="small faint right">0 of 0</span>' in page
