"""Pages in a real browser while a rollout begins, prints and ends: they follow without a reload, each line once."""

import os
import signal
import threading
import time

import pytest
from playwright.sync_api import expect

from changes.models import ChangeRequest
from executors.models import Commit, Event, Rollout

pytestmark = pytest.mark.journeys
HOSTILE = """'"><img src=x onerror="window.struck = 1"><script>window.struck = 1</script>"""
BOX = "resources/payments/shelf-a/Box/one.yml"


@pytest.fixture
def opened(portal, chromium):
    """Opens a page of the portal as somebody; whatever the console complains about is in `page.complaints`."""
    contexts = []

    def open_page(name, path, **context):
        contexts.append(chromium.new_context(base_url=portal.url, **context))
        (cookie,) = portal.cookies(name).items()
        contexts[-1].add_cookies([{"name": cookie[0], "value": cookie[1], "url": portal.url}])
        page = contexts[-1].new_page()
        page.complaints = []
        page.on("console", lambda line: page.complaints.append(line.text) if line.type == "error" else None)
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.goto(path)
        page.evaluate("window.neverReloaded = true")
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture
def merged(portal):
    """A change request that was merged a moment ago; no rollout of it exists yet."""
    size = ChangeRequest.objects.count() + 1
    sha = portal.commit({BOX: f"kind: Box\nspec:\n  size: {size}\n"})
    return ChangeRequest.objects.create(
        requester=portal.user("rita"),
        title="A bigger box",
        state="merged",
        merge_commit=sha,
        head=sha,
        branch="change/x",
    )


def pick_up(portal, request):
    """What the controller does: the commit, its rollout, one queued work item."""
    position = Commit.objects.count() + 1
    commit = Commit.objects.create(position=position, sha=request.merge_commit, change_request_id=request.pk)
    item = portal.item(Rollout.objects.create(commit=commit, cause="merge"), state="queued")
    portal.resource(item)
    return item


def become(portal, item, state):
    type(item).objects.filter(pk=item.pk).update(state=state)
    portal.hint(item.rollout, item, state)


def test_a_merged_change_becomes_its_rollout_without_a_reload(portal, opened, merged):
    page = opened("rita", f"/changes/{merged.pk}/")
    expect(page.locator("[data-live-wait]")).to_contain_text("Being picked up")
    item = pick_up(portal, merged)
    expect(page.locator("#rollout-live")).to_have_attribute("data-state", "queued")
    expect(page.locator("[data-live-wait]")).to_have_count(0)
    become(portal, item, "running")
    run = portal.run(item)
    portal.stream(run, 1, 3)
    expect(page.locator(".log .ln")).to_have_count(3)
    become(portal, item, "succeeded")
    expect(page.locator("#change-head .title-row .state")).to_have_text("Applied")
    expect(page.locator(".steps li").last).to_contain_text("1 of 1")
    assert page.evaluate("window.neverReloaded")
    assert page.complaints == []


def test_the_head_of_another_tab_follows_the_rollout(portal, opened, merged):
    item = pick_up(portal, merged)
    page = opened("rita", f"/changes/{merged.pk}/?tab=plan")
    expect(page.locator("#change-head .title-row .state")).to_have_text("Applying")
    become(portal, item, "failed")
    expect(page.locator("#change-head .title-row .state")).to_have_text("Failed to apply")
    expect(page.locator(".steps li").last).to_contain_text("1 of 1 failed")
    assert page.evaluate("window.neverReloaded")


def test_home_shows_what_runs_as_soon_as_it_runs(portal, opened, merged):
    page = opened("rita", "/")
    expect(page.locator("#running")).to_have_count(0)
    item = pick_up(portal, merged)
    become(portal, item, "running")
    expect(page.locator(".run-row .state")).to_have_text("Running")
    become(portal, item, "succeeded")
    expect(page.locator("#running")).to_have_count(0)
    assert page.complaints == []


# Lines of a log


@pytest.fixture
def run(portal):
    """A run that goes on; nothing of it is printed yet."""
    return portal.running()


def address(run):
    return f"/rollouts/{run.item.rollout_id}/"


def numbers(page):
    return page.evaluate("[...document.querySelectorAll('.log .ln')].map(line => Number(line.dataset.number))")


def one_to(last):
    return list(range(1, last + 1))


def shows_to(page, number):
    expect(page.locator(f".log .ln[data-number='{number}']")).to_be_attached()


def note_arrivals(page):
    """From now on the page notes when each line came into it."""
    page.evaluate(
        """() => {
            window.arrivals = [];
            new MutationObserver(changes => {
                for (const added of changes.flatMap(change => [...change.addedNodes])) {
                    for (const line of added.querySelectorAll ? [added, ...added.querySelectorAll(".ln")] : []) {
                        if (line.matches(".ln")) arrivals.push([Number(line.dataset.number), Date.now(),
                            Date.parse(line.querySelector("time").dateTime)]);
                    }
                }
            }).observe(document.body, {childList: true, subtree: true});
        }"""
    )


def seconds_to_arrive(page):
    """Of each line, between the time in its event, when it was printed, and its being in the page."""
    return {number: (came - printed) / 1000 for number, came, printed in page.evaluate("window.arrivals")}


def test_a_line_is_on_the_page_within_a_second_of_its_being_printed(portal, opened, run):
    page = opened("rita", address(run))
    note_arrivals(page)
    for number in one_to(50):
        portal.stream(run, number, number)
        page.wait_for_timeout(40)
    shows_to(page, 50)
    took = seconds_to_arrive(page)
    assert sorted(took) == one_to(50)
    assert sorted(took.values())[47] < 1.0, f"95 of 100 lines take {sorted(took.values())[47]} s"
    assert took[1] < 1.0


def test_the_first_line_of_a_run_that_just_began_is_there_within_a_second(portal, opened, run):
    portal.stream(run, 1, 1)
    page = opened("rita", address(run))
    shows_to(page, 1)
    took = []
    for attempt in range(2, 7):
        note_arrivals(page)
        page.wait_for_timeout(300)
        again = portal.run(run.item, number=attempt)
        portal.hint(run.item.rollout, run.item)
        portal.stream(again, 1, 1)
        expect(page.locator(f"#r{again.pk}-l1")).to_be_attached()
        took.append(seconds_to_arrive(page)[1])
    assert sorted(took)[2] < 1.0, took


def test_a_connection_that_is_cut_brings_no_line_twice_and_loses_none(portal, opened, run):
    page = opened("rita", address(run))
    portal.stream(run, 1, 30)
    shows_to(page, 30)
    os.kill(portal.process.pid, signal.SIGKILL)
    portal.process.wait(20)
    portal.stream(run, 31, 60)
    portal.store(run, 1, 45)
    portal.start()
    shows_to(page, 60)
    portal.stream(run, 61, 70)
    shows_to(page, 70)
    assert numbers(page) == one_to(70)
    assert page.evaluate("window.neverReloaded")


def test_every_reload_shows_every_line_once_and_in_order(portal, opened, run):
    page = opened("rita", address(run))

    def print_on():
        for number in one_to(150):
            portal.stream(run, number, number)
            time.sleep(0.02)

    printing = threading.Thread(target=print_on)
    printing.start()
    for first, last in ((1, 10), (11, 40), (41, 80)):
        page.wait_for_timeout(700)
        portal.store(run, first, last)
        page.reload()
        seen = numbers(page)
        assert seen == one_to(len(seen))
    printing.join()
    shows_to(page, 150)
    assert numbers(page) == one_to(150)
    portal.store(run, 81, 150)
    page.reload()
    assert numbers(page) == one_to(150)
    assert page.complaints == []


def test_the_log_follows_only_while_its_reader_is_at_its_end(portal, opened, run):
    page = opened("rita", address(run))
    portal.stream(run, 1, 200)
    shows_to(page, 200)
    body, at_end = page.locator(".log-body"), "body => body.scrollHeight - body.scrollTop - body.clientHeight < 2"
    assert body.evaluate(at_end)
    body.evaluate("body => { body.scrollTop = 300 }")
    expect(page.locator("[data-end]")).to_be_visible()
    portal.stream(run, 201, 230)
    expect(page.locator("[data-end]")).to_have_text("30 new lines")
    assert body.evaluate("body => body.scrollTop") == 300
    page.click("[data-end]")
    expect(page.locator("[data-end]")).to_be_hidden()
    assert body.evaluate(at_end)
    portal.stream(run, 231, 240)
    shows_to(page, 240)
    assert body.evaluate(at_end)
    assert numbers(page) == one_to(240)


def test_tasks_that_are_over_fold_but_not_failed_ones_nor_those_a_reader_opened(portal, opened, run):
    page = opened("rita", address(run))
    folds = page.locator(".log .fold")
    portal.stream(run, 1, 1, sort="task", task="Read", text="Read")
    portal.stream(run, 2, 3, task="Read", text="ok: [system]")
    expect(folds).to_have_count(1)
    expect(folds.nth(0)).to_have_attribute("open", "")
    portal.stream(run, 4, 4, sort="task", task="Write", text="Write")
    portal.stream(run, 5, 5, task="Write", text="fatal: [system]: FAILED! => {}")
    expect(folds).to_have_count(2)
    expect(folds.nth(0)).not_to_have_attribute("open", "")
    expect(folds.nth(0).locator("[data-counts]")).to_have_text("3 lines")
    folds.nth(0).locator("summary").click()
    portal.stream(run, 6, 6, sort="task", task="Clean up", text="Clean up")
    portal.stream(run, 7, 7, sort="task", task="Say goodbye", text="Say goodbye")
    expect(folds).to_have_count(4)
    expect(folds.nth(0)).to_have_attribute("open", "")
    expect(folds.nth(1)).to_have_attribute("open", "")
    expect(folds.nth(1).locator("[data-counts]")).to_have_text("1 failed, 2 lines")
    expect(folds.nth(2)).not_to_have_attribute("open", "")
    expect(folds.nth(3)).to_have_attribute("open", "")


def test_search_goes_through_the_whole_log_and_shows_what_it_found(portal, opened, run):
    for first in (1, 1001, 2001):
        portal.store(run, first, first + 999, text="line {}")
    for number in (10, 1500, 2990):
        Event.objects.filter(run=run, number=number).update(text="a Needle in it")
    page = opened("rita", address(run))
    shows_to(page, 3000)
    found, words = page.locator("[data-found]"), page.get_by_label("Search this log")
    words.fill("needle")
    expect(found).to_have_text("3 of 3")
    for number, told in ((10, "1 of 3"), (1500, "2 of 3"), (2990, "3 of 3")):
        words.press("Enter")
        expect(found).to_have_text(told)
        expect(page.locator(f".ln[data-number='{number}'].is-marked")).to_be_in_viewport()
        assert page.evaluate("CSS.highlights.get('found').size") == 1
    words.press("Shift+Enter")
    expect(found).to_have_text("2 of 3")
    words.fill("hay")
    expect(found).to_have_text("not found")
    words.press("Escape")
    expect(found).to_have_text("")
    page.get_by_role("button", name="Go to the end").click()
    shows_to(page, 3000)
    portal.stream(run, 3001, 3002)
    shows_to(page, 3002)
    assert numbers(page)[-3:] == [3000, 3001, 3002]
    assert page.complaints == []


def test_a_line_has_an_address_that_leads_to_it(portal, opened, run):
    for first in (1, 1001, 2001):
        portal.store(run, first, first + 999)
    page = opened("rita", f"/runs/{run.pk}/log/?line=700#r{run.pk}-l700")
    expect(page.locator(".ln.is-marked")).to_have_attribute("data-number", "700")
    expect(page.locator(".ln.is-marked")).to_be_in_viewport()
    page.locator(f"#r{run.pk}-l702 .ln-n").click()
    assert page.url.endswith(f"#r{run.pk}-l702")


@pytest.mark.threat("web.xss")
def test_markup_in_any_field_of_what_is_streamed_is_words_on_the_page(portal, opened, run):
    page = opened("rita", address(run))
    data = {"path": f"resources/{HOSTILE}.yml", "status": HOSTILE, "reasons": [HOSTILE]}
    portal.stream(run, 1, 1, sort="task", task=HOSTILE, text=HOSTILE)
    portal.stream(run, 2, 2, task=HOSTILE, text=f"fatal: [{HOSTILE}]")
    portal.stream(run, 3, 3, task=HOSTILE, sort="resource", text=HOSTILE, data=data)
    portal.stream(run, 4, 4, task=HOSTILE, sort="resource", text="", data=data)
    portal.stream(run, 5, 5, task=HOSTILE, sort="note", text="", data=data)
    portal.stream(run, 6, 6, task=HOSTILE, text=f"\x1b[31m{HOSTILE}", forged={"at": HOSTILE, "sort": HOSTILE})
    shows_to(page, 6)
    told = f"{HOSTILE}: {HOSTILE}"
    lines = [HOSTILE, f"fatal: [{HOSTILE}]", f"{HOSTILE} {told}", f"{HOSTILE} {told}", told, HOSTILE]
    assert page.locator(".log .ln-text").all_text_contents() == lines
    assert {*page.locator(".log .fold-task").all_text_contents()} == {HOSTILE}
    expect(page.locator("[data-latest]")).to_have_text(HOSTILE)
    portal.resource(run.item, result="failed", message=HOSTILE, reasons=[HOSTILE], before={"size": HOSTILE})
    type(run.item).objects.filter(pk=run.item_id).update(reason=HOSTILE)
    become(portal, run.item, "failed")  # the page draws itself again
    for place in (".trouble-words", ".result p", ".reasons li", ".fields .was"):
        expect(page.locator(place).first).to_contain_text(HOSTILE)
    assert page.locator("main :is(img, script)").count() == 0
    assert page.evaluate("window.struck") is None
    assert page.evaluate("window.neverReloaded")
    assert page.complaints == []
