"""P8: a page gets each event once, in order, with no gap, through reloads, reconnects and a queue that dies."""

import asyncio
import contextlib
import time

import httpx
import pytest

from executors.events import stream_of
from executors.models import Event, WorkItem
from portal.streams import MAX_WAITING, Hub, Watcher
from portal.views.events import positions
from tests.portal.live import after_of, seen_of


def one_to(number):
    return list(range(1, number + 1))


def test_lines_come_from_the_database_then_from_the_stream_then_live(portal):
    run = portal.running()
    portal.store(run, 1, 1200)
    portal.stream(run, 1100, 1500)
    with portal.watch(run.item.rollout) as stream:
        stream.until(run, 1500)
        portal.stream(run, 1501, 1600)
        assert stream.until(run, 1600) == one_to(1600)


def test_a_reconnect_goes_on_where_it_was(portal):
    run = portal.running()
    portal.stream(run, 1, 30)
    with portal.watch(run.item.rollout) as stream:
        first = stream.until(run, 30)
        last_id = stream.last_id
    portal.stream(run, 31, 60)
    portal.store(run, 1, 45)
    with portal.watch(run.item.rollout, f"{run.pk}:3", last_id=last_id) as stream:
        portal.stream(run, 61, 70)
        assert first + stream.until(run, 70) == one_to(70)


def test_a_reload_goes_on_after_what_the_page_shows(portal):
    run = portal.running()
    portal.store(run, 1, 40)
    with portal.http("rita") as http:
        page = http.get(f"/rollouts/{run.item.rollout_id}/").text
    assert f'id="r{run.pk}-l40"' in page
    portal.store(run, 41, 50)
    with portal.watch(run.item.rollout, after_of(page)) as stream:
        portal.stream(run, 51, 60)
        assert stream.until(run, 60) == list(range(41, 61))


@pytest.mark.threat("faults.redis-killed")
def test_a_queue_that_is_killed_costs_no_line(portal):
    run = portal.running()
    portal.stream(run, 1, 10)
    with portal.watch(run.item.rollout) as stream:
        stream.until(run, 10)
        portal.valkey.stop()
        portal.store(run, 1, 25)
        stream.until(run, 25)
        portal.valkey.start()
        portal.store(run, 26, 30)
        portal.stream(run, 31, 40)
        assert stream.until(run, 40) == one_to(40)


@pytest.mark.threat("faults.redis-gone")
def test_without_a_queue_pages_read_the_database(portal):
    run = portal.running()
    portal.store(run, 1, 5)
    portal.valkey.stop()
    try:
        with portal.watch(run.item.rollout) as stream:
            stream.until(run, 5)
            portal.store(run, 6, 9)
            assert stream.until(run, 9) == one_to(9)
    finally:
        portal.valkey.start()


def test_what_the_stream_has_cut_off_comes_from_the_database(portal):
    run = portal.running()
    portal.store(run, 1, 100)
    portal.stream(run, 90, 120)
    with portal.watch(run.item.rollout, f"{run.pk}:20") as stream:
        assert stream.until(run, 120) == list(range(21, 121))


def test_a_gap_that_is_not_stored_yet_holds_back_what_is_behind_it(portal):
    run = portal.running()
    portal.stream(run, 1, 5)
    with portal.watch(run.item.rollout) as stream:
        stream.until(run, 5)
        portal.stream(run, 9, 12)
        portal.store(run, 6, 8)
        assert stream.until(run, 12) == one_to(12)


@pytest.mark.threat("worker.forged-job")
def test_what_is_no_event_in_the_stream_holds_up_no_other_line(portal):
    deep = "[" * 100_000 + "]" * 100_000
    run = portal.running()
    other = portal.run(portal.item(run.item.rollout, "shelf-b"))
    for one in (run, other):
        portal.stream(one, 1, 2)
    with portal.watch(run.item.rollout) as stream:
        stream.until(run, 2)
        stream.until(other, 2)
        with portal.valkey.client() as client:
            for forged in (deep, b"\xff", "[]"):
                client.xadd("mergeyard:hints", {"e": forged})
            client.xadd(stream_of(run.pk), {"e": '{"number": 3, "data": ' + deep + "}"}, id="3-0")
        portal.stream(run, 4, 5)
        portal.stream(other, 3, 5)
        assert stream.until(other, 5) == one_to(5)
        assert stream.numbers(run) == one_to(2)
        portal.store(run, 3, 3)
        assert stream.until(run, 5) == one_to(5)
    with portal.watch(run.item.rollout) as stream:
        assert stream.until(run, 5) == one_to(5)


def test_a_new_run_joins_by_a_hint(portal):
    run = portal.running()
    rollout = run.item.rollout
    portal.stream(run, 1, 2)
    with portal.watch(rollout) as stream:
        stream.until(run, 2)
        other = portal.run(portal.item(rollout, "shelf-b"))
        portal.stream(other, 1, 3)
        portal.hint(rollout, other.item)
        assert stream.until(other, 3) == one_to(3)
        stream.until_event("state")
        assert set(stream.last_id.split(",")) == {f"{run.pk}:2", f"{other.pk}:3"}


def test_a_hint_that_got_lost_is_found_in_the_database(portal):
    run = portal.running()
    with portal.http("rita") as http:
        page = http.get(f"/rollouts/{run.item.rollout_id}/").text
    with portal.watch(run.item.rollout, after_of(page), seen=seen_of(page)) as stream:
        WorkItem.objects.filter(pk=run.item_id).update(state="failed", reason="The disk is full.")
        stream.until_event("state")


def test_what_changed_before_the_stream_was_open_is_told(portal):
    run = portal.running()
    with portal.http("rita") as http:
        page = http.get(f"/rollouts/{run.item.rollout_id}/").text
    WorkItem.objects.filter(pk=run.item_id).update(state="succeeded")
    with portal.watch(run.item.rollout, after_of(page), seen=seen_of(page)) as stream:
        stream.until_event("state")


def test_an_attempt_that_is_over_is_not_sent_to_who_does_not_show_it(portal):
    run = portal.running()
    again = portal.run(run.item, number=2)
    portal.store(run, 1, 5)
    portal.store(again, 1, 5)
    with portal.watch(run.item.rollout) as stream:
        stream.until(again, 5)
        assert stream.numbers(run) == []


@pytest.mark.parametrize("who", ["rita", "olga", "pia"])
def test_requesters_owners_and_the_platform_team_may_read(portal, who):
    run = portal.running()
    portal.store(run, 1, 3)
    with portal.watch(run.item.rollout, who=who) as stream:
        assert stream.until(run, 3) == one_to(3)


@pytest.mark.threat("web.foreign-stream")
def test_a_stranger_is_refused_the_log(portal):
    run = portal.running()
    with portal.watch(run.item.rollout, f"{run.pk}:0", who="sam") as stream:
        assert stream.status == 403


def test_a_stranger_sees_states_and_no_line(portal):
    run = portal.running()
    portal.store(run, 1, 3)
    portal.stream(run, 4, 6)
    with portal.watch(run.item.rollout, who="sam", seen="earlier") as stream:
        stream.until_event("state")
        assert stream.lines == []


@pytest.mark.threat("web.nobody")
def test_nobody_is_refused(portal):
    run = portal.running()
    with portal.watch(run.item.rollout, who=None) as stream:
        assert stream.status == 403


@pytest.mark.threat("web.revoked")
def test_rights_that_end_end_the_stream(portal):
    run = portal.running()
    portal.stream(run, 1, 2)
    with portal.watch(run.item.rollout, who="olga") as stream:
        stream.until(run, 2)
        portal.commit({"teams/shelves.yml": "title: Shelves\nmembers: [otto]\n"})
        try:
            portal.hint(run.item.rollout)
            assert stream.until_event("end")["reason"] == "revoked"
            assert stream.next() is None
        finally:
            portal.commit({"teams/shelves.yml": "title: Shelves\nmembers: [olga]\n"})


@pytest.mark.threat("web.revoked")
def test_signing_out_ends_the_stream(portal):
    run = portal.running()
    with portal.http("rita") as http, portal.watch(run.item.rollout, http=http) as stream:
        portal.stream(run, 1, 1)
        stream.until(run, 1)
        token = http.get("/rollouts/").text.split('name="csrfmiddlewaretoken" value="')[1].split('"')[0]
        http.post("/logout/", data={"csrfmiddlewaretoken": token}, headers={"Referer": portal.url})
        portal.hint(run.item.rollout)
        assert stream.until_event("end")["reason"] == "revoked"


@pytest.mark.threat("web.event-id")
@pytest.mark.parametrize("wrong", ["x", "1", "1:2:3", "1:-4", "1:2,", ";1:2", "1:99999999999", "９:1"])
def test_a_wrong_last_event_id_is_told_so(portal, wrong):
    run = portal.running()
    with portal.watch(run.item.rollout, last_id=wrong.encode()) as stream:
        assert stream.status == 400


@pytest.mark.threat("web.foreign-stream")
def test_a_run_of_another_rollout_is_refused(portal):
    other = portal.running()
    run = portal.running()
    with portal.watch(run.item.rollout, f"{other.pk}:0") as stream:
        assert stream.status == 403


@pytest.mark.threat("web.event-id")
def test_a_last_event_id_ahead_of_what_is_stored_gets_nothing_twice(portal):
    run = portal.running()
    portal.store(run, 1, 10)
    with portal.watch(run.item.rollout, last_id=f"{run.pk}:12") as stream:
        portal.stream(run, 11, 15)
        assert stream.until(run, 15) == [13, 14, 15]


@pytest.mark.threat("web.escapes", "web.xss")
def test_escape_sequences_arrive_as_classes_and_never_as_themselves(portal):
    run = portal.running()
    hostile = "\x1b]8;;javascript:alert(1)\x07click\x1b]8;;\x07 \x1b[31;1mred\x1b[0m <script>x</script> \x1b[2J\x9b31m"
    portal.stream(run, 1, 1, text=hostile)
    with portal.watch(run.item.rollout) as stream:
        stream.until(run, 1)
    assert stream.lines[0]["parts"] == [["", "click "], ["a-bold f-1", "red"], ["", " <script>x</script> "]]


def is_reading(client):
    """Not so a connection that once was a reader's and is kept for another use."""
    return client["cmd"] == "xread" and int(client["idle"]) < 2


def test_many_watchers_have_one_reader(portal):
    run = portal.running()
    with (
        portal.watch(run.item.rollout) as one,
        portal.watch(run.item.rollout) as two,
        portal.watch(run.item.rollout, who="pia") as three,
    ):
        portal.stream(run, 1, 50)
        for stream in (one, two, three):
            assert stream.until(run, 50) == one_to(50)
        with portal.valkey.client() as client:
            limit = time.monotonic() + 15  # a reader of an earlier page ends with its last wait
            while (readers := len([one for one in client.client_list() if is_reading(one)])) != 1:
                assert time.monotonic() < limit, f"{readers} readers"
                time.sleep(0.1)


@pytest.mark.threat("web.thousand-streams")
def test_a_thousand_pages_get_every_line_and_another_page_still_comes(portal):
    run = portal.running()
    portal.stream(run, 1, 1)
    with portal.http("rita") as http, contextlib.ExitStack() as opened:
        many = httpx.Client(base_url=portal.url, cookies=http.cookies, limits=httpx.Limits(), timeout=60)
        opened.enter_context(many)
        streams = [opened.enter_context(portal.watch(run.item.rollout, http=many)) for _ in range(1000)]
        portal.stream(run, 2, 50)
        assert http.get("/rollouts/").status_code == 200
        assert {tuple(stream.until(run, 50)) for stream in streams} == {tuple(one_to(50))}


@pytest.mark.threat("web.slow-reader")
def test_a_reader_that_stalls_gets_every_line_by_coming_back(portal):
    run = portal.running()
    wide, last, text = [], 40_000, "x" * 150 + " {}"
    with portal.watch(run.item.rollout) as stream:
        portal.stream(run, 1, 1)
        stream.until(run, 1)
        for first in range(2, last, 5000):
            portal.stream(run, first, min(first + 4999, last), text=text)
        while stream.next() not in ("end", None):
            if stream.numbers(run)[-1:] == [last]:
                break
        wide, last_id = stream.numbers(run), stream.last_id
    portal.store(run, 1, last, text=text)
    if wide[-1] < last:
        with portal.watch(run.item.rollout, last_id=last_id) as stream:
            wide += stream.until(run, last)
    assert wide == one_to(last)


@pytest.mark.threat("web.slow-reader")
async def test_a_watcher_that_takes_nothing_is_dropped_with_bounded_memory():
    watcher = Watcher(1, {})
    watcher.catching_up = False
    for number in range(1, 3 * MAX_WAITING):
        watcher.offer([(7, number, "{}")])
        assert len(watcher.waiting) <= MAX_WAITING
    assert watcher.slow
    assert watcher.behind() == [7]


async def test_a_watcher_that_catches_up_is_not_dropped():
    watcher = Watcher(1, {})
    for number in range(1, 2 * MAX_WAITING):
        watcher.offer([(7, number, "{}")])
    assert not watcher.slow
    assert watcher.known == {7: 2 * MAX_WAITING - 1}


async def test_a_watcher_takes_only_what_follows():
    watcher = Watcher(1, {7: 3})
    watcher.offer([(7, 2, "two"), (7, 4, "four"), (7, 6, "six")])
    await asyncio.wait_for(watcher.wait(5), 1)
    assert watcher.take() == ["four"]
    assert watcher.behind() == [7]


async def test_who_comes_while_the_reader_hangs_up_is_read_for_at_once(monkeypatch):
    monkeypatch.setattr("portal.streams.POLL_AWAY", 0.01)
    reader, first, second = Hub(), Watcher(0, {}), Watcher(0, {})

    class Slow:
        async def aclose(self):
            reader.join(second)
            await asyncio.sleep(0.01)

    reader._redis = Slow()
    reader.join(first)
    await asyncio.sleep(0.05)
    reader.leave(first)
    await asyncio.sleep(0.1)
    assert second in reader.watchers
    assert not reader._task.done()
    reader.leave(second)
    await asyncio.wait_for(reader._task, 5)


def test_positions_are_read_strictly():
    assert positions("") == {}
    assert positions("4:10,5:0") == {4: 10, 5: 0}
    assert positions("4:10\n") is None


def test_the_events_stay_unique_in_the_database(portal):
    run = portal.running()
    portal.store(run, 1, 3)
    assert Event.objects.filter(run=run).count() == 3


@pytest.mark.threat("faults.sigterm")
def test_a_web_process_that_is_told_to_stop_lets_its_open_pages_go_and_they_go_on_with_the_next_one(portal):
    """Streams never end by themselves, so without a limit it would wait for ever."""
    run = portal.running()
    portal.stream(run, 1, 5)
    with contextlib.ExitStack() as stack:
        open_pages = [stack.enter_context(portal.watch(run.item.rollout)) for _ in range(5)]
        for page in open_pages:
            page.until(run, 5)
        began = time.monotonic()
        portal.process.terminate()
        portal.process.wait(10)
        assert time.monotonic() - began < 5
        for page in open_pages:
            with contextlib.suppress(httpx.RemoteProtocolError):
                while page.next():
                    pass
        portal.stream(run, 6, 9)
        portal.log.close()
        portal.start()
        for page in open_pages:
            with portal.watch(run.item.rollout, last_id=page.last_id) as again:
                assert again.until(run, 9) == [6, 7, 8, 9]
