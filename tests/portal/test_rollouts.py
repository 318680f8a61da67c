"""The pages of rollouts and runs, from a portal that runs."""

import re
from datetime import timedelta

import pytest
from django.utils import timezone

from changes.models import PlanRow
from executors.models import ItemNeed, WorkItem
from portal.rollouts import changed_fields


def get(portal, who, path, **options):
    with portal.http(who, **options) as http:
        return http.get(path)


def post(portal, who, path, **headers):
    with portal.http(who) as http:
        page = http.get("/rollouts/").text
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page).group(1)
        return http.post(path, data={"csrfmiddlewaretoken": token}, headers={"Referer": f"{portal.url}/x/", **headers})


@pytest.fixture
def failed(portal):
    """A rollout whose first wave failed and whose second one waits for it."""
    rollout = portal.rollout("<b>Boxes</b> for the shop")
    item = portal.item(rollout, state="failed", reason="One of two boxes failed.")
    run = portal.run(item, state="failed", finished_at=timezone.now())
    portal.resource(
        item, "good", result="changed", before={"size": 1, "color": "red"}, after={"size": 2, "color": "red"}
    )
    portal.resource(item, "bad", result="failed", message="The lid <i>is</i> missing.")
    portal.store(run, 1, 3, text="ok: [localhost] {}", task="Read")
    portal.store(run, 4, 4, text="\x1b[31mfatal: [localhost]: no lid <script>\x1b[0m", task="Close the boxes")
    later = portal.item(rollout, "shelf-b", wave=2, state="waiting")
    ItemNeed.objects.create(item=later, needs=item, must_succeed=True)
    return rollout, item, run, later


def test_a_failure_floats_up_with_words_task_line_and_what_can_be_done(portal, failed):
    rollout, item, run, _ = failed
    page = get(portal, "rita", f"/rollouts/{rollout.pk}/").text
    trouble = page.split('class="notice notice-bad trouble"')[1].split("</section>")[0]
    assert "One of two boxes failed." in trouble
    assert "The lid &lt;i&gt;is&lt;/i&gt; missing." in trouble
    assert "Close the boxes" in trouble
    assert f"/runs/{run.pk}/log/?line=4#r{run.pk}-l4" in trouble
    assert f'action="/items/{item.pk}/retry/"' in trouble
    assert page.index("notice-bad trouble") < page.index('class="matrix"')


@pytest.mark.parametrize(("spent", "said"), [(1, "s left"), (60, "takes longer than usual")])
def test_how_long_it_still_takes_is_told_from_past_runs_or_not_at_all(portal, spent, said):
    now, system = timezone.now(), f"shelf-{spent}"
    former = portal.item(portal.rollout(), system, state="succeeded")
    past = portal.run(former, state="succeeded", finished_at=now)
    type(past).objects.filter(pk=past.pk).update(started_at=now - timedelta(seconds=10))
    running = portal.run(portal.item(portal.rollout(), system))
    type(running).objects.filter(pk=running.pk).update(started_at=now - timedelta(seconds=spent))
    assert said in get(portal, "rita", f"/rollouts/{running.item.rollout_id}/").text


@pytest.mark.threat("web.xss")
def test_nothing_of_an_event_or_document_is_markup(portal, failed):
    page = get(portal, "rita", f"/rollouts/{failed[0].pk}/").text
    assert "<script>" not in page
    assert "<i>is</i>" not in page
    assert "<b>Boxes</b>" not in page


def test_a_waiting_item_says_for_whom_and_what_would_unblock_it(portal, failed):
    rollout, item, _, later = failed
    page = get(portal, "rita", f"/rollouts/{rollout.pk}/?item={later.pk}").text
    assert "It waits for shelf-a in wave 2, which has failed." in page
    assert "Retry shelf-a to go on, or revert the change." in page
    assert f"?item={item.pk}#item" in page


def test_an_item_behind_another_rollout_names_it(portal):
    run = portal.running()
    item = portal.item(portal.rollout(), state="waiting")
    page = get(portal, "rita", f"/rollouts/{item.rollout_id}/").text
    assert f"shelf-a is busy with shelf-a of rollout {run.item.rollout_id}." in page


def test_fields_are_shown_before_and_after(portal, failed):
    page = get(portal, "rita", f"/rollouts/{failed[0].pk}/?item={failed[1].pk}").text
    fields = page.split('class="fields"')[1].split("</dl>")[0]
    assert "size" in fields
    assert "color" not in fields


def test_a_stranger_sees_states_but_no_output(portal, failed):
    rollout, _, run, _ = failed
    page = get(portal, "sam", f"/rollouts/{rollout.pk}/").text
    assert 'data-state="failed"' in page
    assert "Logs are for the requesting team (payments)" in page
    assert "The lid" not in page
    assert "no lid" not in page
    assert 'data-after=""' in page


@pytest.mark.threat("web.foreign")
@pytest.mark.parametrize("path", ["log/", "search/?q=lid", "log.txt"])
def test_a_stranger_is_refused_a_log(portal, failed, path):
    answer = get(portal, "sam", f"/runs/{failed[2].pk}/{path}")
    assert answer.status_code == 403
    assert "no lid" not in answer.text


def test_buttons_are_for_those_whose_press_counts(portal, failed):
    """One of the request's other teams sees the log, and is not offered what would be refused."""
    rollout, item, run, _ = failed
    number = rollout.change_request_id
    PlanRow.objects.create(change_request_id=number, path="resources/others/x", operation="create", team="others")
    page = get(portal, "sam", f"/rollouts/{rollout.pk}/").text
    assert f'id="log-{run.pk}"' in page
    assert f"/items/{item.pk}/retry/" not in page
    assert post(portal, "sam", f"/items/{item.pk}/retry/").status_code == 403


@pytest.mark.threat("web.foreign")
@pytest.mark.parametrize("verb", ["retry", "cancel"])
def test_a_stranger_is_refused_the_verbs(portal, failed, verb):
    assert post(portal, "sam", f"/items/{failed[1].pk}/{verb}/").status_code == 403
    assert WorkItem.objects.get(pk=failed[1].pk).state == "failed"


def test_a_retry_puts_the_item_back_and_returns_to_the_page(portal, failed):
    rollout, item, _, _ = failed
    answer = post(portal, "rita", f"/items/{item.pk}/retry/", Referer=f"{portal.url}/changes/1/?tab=rollout")
    assert (answer.status_code, answer.headers["Location"]) == (302, f"{portal.url}/changes/1/?tab=rollout")
    assert WorkItem.objects.get(pk=item.pk).state == "waiting"


def test_a_retry_of_what_cannot_be_retried_says_so(portal):
    item = portal.item(portal.rollout(), state="succeeded")
    answer = post(portal, "rita", f"/items/{item.pk}/retry/", **{"HX-Request": "true"})
    assert answer.status_code == 409
    assert answer.json()["told"].endswith("can be tried again.")


def test_a_cancel_from_elsewhere_goes_to_the_rollout(portal, failed):
    later = failed[3]
    answer = post(portal, "rita", f"/items/{later.pk}/cancel/", Referer=f"{portal.url}/x/")
    assert answer.status_code == 302
    assert WorkItem.objects.get(pk=later.pk).state == "cancelled"


def test_the_script_gets_only_the_live_part_and_may_keep_its_log(portal, failed):
    rollout, _, run, _ = failed
    part = get(portal, "rita", f"/rollouts/{rollout.pk}/?tab=rollout", headers={"HX-Request": "true"}).text
    assert "<html" not in part
    assert f'id="r{run.pk}-l4"' in part
    assert "?tab=rollout&amp;item=" in part
    kept = {"HX-Request": "true", "X-Keep-Log": str(run.pk)}
    part = get(portal, "rita", f"/rollouts/{rollout.pk}/", headers=kept).text
    assert f'id="log-{run.pk}"' in part
    assert f'id="r{run.pk}-l4"' not in part


def test_a_permalink_shows_its_line_without_a_script(portal, failed):
    run = failed[2]
    page = get(portal, "rita", f"/runs/{run.pk}/log/?line=2").text
    assert f'id="r{run.pk}-l2"' in page


def test_search_finds_and_counts(portal, failed):
    run = failed[2]
    assert get(portal, "rita", f"/runs/{run.pk}/search/?q=LOCALHOST").json() == {"count": 4, "lines": [1, 2, 3, 4]}
    assert "4 lines with" in get(portal, "rita", f"/runs/{run.pk}/log/?q=localhost").text


def test_the_download_is_plain_text(portal, failed):
    answer = get(portal, "rita", f"/runs/{failed[2].pk}/log.txt")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert len(answer.text.splitlines()) == 4
    assert "\x1b" not in answer.text


def test_a_long_download_is_whole(portal):
    run = portal.running()
    portal.store(run, 1, 9001)
    lines = get(portal, "rita", f"/runs/{run.pk}/log.txt").text.splitlines()
    assert [line.rsplit(" ", 1)[1] for line in lines] == [str(n) for n in range(1, 9002)]


def test_the_list_pages_by_key(portal):
    for index in range(65):
        portal.rollout(f"Rollout number {index}")
    with portal.http("rita") as http:
        seen, path = [], "/rollouts/"
        while path:
            page = http.get(path).text
            seen += [int(one) for one in re.findall(r'data-row href="/rollouts/(\d+)/"', page)]
            older = re.search(r'href="(\?before=\d+)"', page)
            path = f"/rollouts/{older.group(1)}" if older and len(seen) < 65 else None
    assert seen == sorted(seen, reverse=True)
    assert len(set(seen)) == len(seen) >= 65


@pytest.mark.parametrize("query", ["?item=x", "?item=99999999999999999999", "?run=-1", "?item=²"])
def test_a_wrong_choice_shows_the_page(portal, failed, query):
    assert get(portal, "rita", f"/rollouts/{failed[0].pk}/{query}").status_code == 200


def test_changed_fields_are_dotted_and_know_what_was_not_there():
    fields = changed_fields({"a": 1, "b": {"c": [1], "d": 2}}, {"a": 1, "b": {"c": [2]}, "e": {}})
    assert [(one.name, one.before, one.after, one.has_after) for one in fields] == [
        ("b.c", [1], [2], True),
        ("b.d", 2, None, False),
        ("e", None, {}, True),
    ]
    assert changed_fields(None, None) == ()
