"""Every page in a real browser: nothing that axe objects to, nothing wider than the screen, keys, no script needed.

The pages are those of the resolver: an address that is new is a page here, or on the list of those that are none.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.template.loader import render_to_string
from playwright.sync_api import expect

from tests.changes.conftest import CATALOG
from tests.portal.pages.test_doors import CHANGING, addresses

ROOT = Path(__file__).resolve().parents[3]
PASSWORD = "correct horse"
LISTS = ["/", "/history/", "/rollouts/", "/systems/", "/resources/", "/teams/", "/tokens/", "/catalogue/"]
TABS = ["plan", "checks", "rollout", "discussion", "files"]
NO_PAGES = (
    CHANGING | {"healthz", "readyz", "metrics"} | {"compose_save", "search", "events", "run_search", "run_download"}
)
SCREENS = [(1440, "light"), (1440, "dark"), (390, "light"), (390, "dark")]
BOTH = [(1440, "light"), (390, "dark")]  # where a page is long in coming: both widths and both colours all the same
pytestmark = pytest.mark.journeys


def pages(numbers):
    """Address of the resolver -> (who looks, the pages there)."""
    changes, draft = f"/changes/{numbers['waiting']}/", f"/changes/{numbers['draft']}/compose/"
    others = [f"/changes/{numbers['wrong']}/?tab=checks", f"/changes/{numbers['failed']}/?tab=plan"]
    rollouts = [f"/changes/{numbers[which]}/?tab=rollout" for which in ("failed", "running", "done")]
    edit = f"{draft}{numbers['edit']}/"
    before = f"/rollouts/{numbers['rollout']}/?until=2026-01-01T00:00:00%2B00:00"
    return {
        "home": ("olga", ["/"]),
        "login": ("", ["/login/", "/login/?next=/history/"]),
        "history": ("olga", ["/history/", "/history/?q=none+x:y", "/history/?q=team:payments", "/history/?q=nothing"]),
        "change": ("olga", [f"{changes}?tab={tab}" for tab in TABS] + others + rollouts),
        "systems": ("olga", ["/systems/"]),
        "system": ("olga", ["/systems/shelf-test/", "/systems/shelf-prod/"]),
        "resources": ("olga", ["/resources/", "/resources/?q=nothing"]),
        "resource": ("olga", ["/resources/payments/shelf-test/Box/orders/"]),
        "teams": ("olga", ["/teams/"]),
        "team": ("olga", ["/teams/payments/", "/teams/others/"]),
        "tokens": ("olga", ["/tokens/"]),
        "health": ("olga", ["/health/"]),
        "catalogue": ("rita", ["/catalogue/", "/catalogue/?q=nothing"]),
        "kind": ("rita", ["/catalogue/Box/", "/catalogue/KafkaTopic/"]),
        "compose": ("rita", [draft]),
        "compose_edit": ("rita", [f"{edit}?view={view}" for view in ("form", "yaml", "split")]),
        "compose_add": ("rita", [f"{draft}add/", f"{draft}add/?kind=Box&team=payments", f"{draft}add/?q="]),
        "rollouts": ("olga", ["/rollouts/"]),
        "rollout": ("olga", [*(f"/rollouts/{numbers[which]}/" for which in ("rollout", "live")), before]),
        "run_log": ("olga", [f"/runs/{numbers['run']}/log/", f"/runs/{numbers['run']}/log/?q=orders"]),
    }


class Site:
    """The portal as a process, on a free port, filled by `site.py`."""

    def __init__(self, *how):
        self.home = Path(tempfile.mkdtemp(prefix="pages-"))
        environment = os.environ | {
            "DJANGO_SETTINGS_MODULE": "portal.settings",
            "MERGEYARD_HOME": str(self.home),
            "MERGEYARD_SECRET_KEY": "only-for-tests",
            "MERGEYARD_CATALOG": str(CATALOG),
            "MERGEYARD_DATABASE_URL": f"sqlite:///{self.home}/mergeyard.sqlite3",
        }
        fill = [sys.executable, "-m", "tests.portal.pages.site", *how]
        made = subprocess.run(fill, env=environment, cwd=ROOT, capture_output=True, text=True)
        assert made.returncode == 0, made.stderr
        self.numbers = json.loads(made.stdout)
        listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self.log = (self.home / "web.log").open("w")
        serve = [sys.executable, "-m", "uvicorn", "portal.asgi:application", "--fd", str(listener.fileno())]
        self.process = subprocess.Popen(
            serve, env=environment, cwd=ROOT, pass_fds=[listener.fileno()], stdout=self.log, stderr=self.log
        )
        listener.close()
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"{self.address}/login/", timeout=10).close()
                return
            except OSError:
                time.sleep(0.1)

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=20)
        self.log.close()
        shutil.rmtree(self.home)


@pytest.fixture(scope="module")
def site():
    started = Site()
    yield started
    started.stop()


@pytest.fixture(scope="module")
def empty_site():
    started = Site("empty")
    yield started
    started.stop()


@pytest.fixture
def person(chromium):
    """A signed-in page; whatever the console complains about is in `page.complaints`."""
    contexts = []

    def signed_in(site, name, **context):
        contexts.append(chromium.new_context(base_url=site.address, **context))
        page = contexts[-1].new_page()
        page.complaints = []
        page.on("console", lambda line: page.complaints.append(line.text) if line.type == "error" else None)
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        if not name:
            return page
        page.goto("/login/")
        page.fill("#id_username", name)
        page.fill("#id_password", PASSWORD)
        page.click("button:has-text('Sign in')")
        page.wait_for_selector("#sidebar", state="attached")
        return page

    yield signed_in
    for context in contexts:
        context.close()


def objections(page, what):
    """What axe objects to on the page once all of it came, and whether it scrolls sideways."""
    page.wait_for_load_state("load")
    found = Axe().run(page).response["violations"]
    wrong = [f"{what}: {one['id']} {one['nodes'][0]['target']}" for one in found]
    if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
        wrong.append(f"{what}: wider than the screen")
    return wrong


def looked_at(page, urls):
    """What is wrong with each page, with what the console complains about."""
    wrong = []
    for url in urls:
        page.goto(url)
        wrong += objections(page, url)
    return wrong + page.complaints


def hidden_part(page, selector):
    """Whether some of what just opened lies outside of the screen, or is cut off by what it lies in."""
    return page.locator(selector).evaluate(
        """opened => {
            const box = opened.getBoundingClientRect();
            let left = 0, right = innerWidth;
            for (let part = opened.parentElement; part; part = part.parentElement) {
                if (getComputedStyle(part).overflowX === "visible") continue;
                const around = part.getBoundingClientRect();
                if (opened.matches("dialog, [popover]")) break;
                left = Math.max(left, around.left); right = Math.min(right, around.right);
            }
            return box.left < left || box.right > right || box.width === 0;
        }"""
    )


def test_every_address_is_a_page_that_axe_looks_at_or_is_none():
    numbers = dict.fromkeys(("waiting", "wrong", "failed", "running", "done", "draft", "edit"), 1)
    known = pages(numbers | dict.fromkeys(("rollout", "live", "run"), 1))
    assert set(addresses()) == set(known) | NO_PAGES
    assert not set(known) & NO_PAGES


@pytest.mark.parametrize(("width", "colours"), BOTH)
def test_axe_finds_nothing_on_any_page(site, person, width, colours):
    of_whom = {}
    for who, urls in pages(site.numbers).values():
        of_whom.setdefault(who, []).extend(urls)
    for who, urls in of_whom.items():
        page = person(site, who, viewport={"width": width, "height": 900}, color_scheme=colours)
        assert looked_at(page, urls) == []


@pytest.mark.parametrize(("width", "colours"), SCREENS)
def test_axe_finds_nothing_where_something_went_wrong(site, person, width, colours):
    page = person(site, "sam", viewport={"width": width, "height": 900}, color_scheme=colours)
    wrong = []
    for url, status in (("/nowhere/", 404), (f"/runs/{site.numbers['run']}/log/", 403)):
        assert page.goto(url).status == status
        wrong += objections(page, url)
    page.route(
        "**/broken/", lambda route: route.fulfill(body=render_to_string("errors/500.html"), content_type="text/html")
    )
    page.goto("/broken/")
    wrong += objections(page, "a broken server")
    send = """names => {
        const form = document.createElement("form");
        const field = name => Object.assign(document.createElement("input"), {name});
        Object.assign(form, {method: "post", action: "/theme/"}).append(...names.map(field));
        document.body.append(form);
        form.submit();
    }"""
    for what, names, status in (("an old form", [], 403), ("a form of another", ["x"] * 2000, 400)):
        page.goto("/login/")
        with page.expect_navigation() as answered:
            page.evaluate(send, names)
        assert answered.value.status == status, what
        wrong += objections(page, what)
    page.context.clear_cookies()
    page.goto("/login/")
    page.fill("#id_username", "sam")
    page.fill("#id_password", "wrong")
    page.click("button:has-text('Sign in')")
    expect(page.locator("[role=alert]")).to_contain_text("not right")
    assert wrong + objections(page, "a wrong password") == []


@pytest.mark.parametrize(("width", "colours"), SCREENS)
def test_axe_finds_nothing_in_what_opens(site, person, width, colours):
    page = person(site, "rita", viewport={"width": width, "height": 900}, color_scheme=colours)
    change = f"/changes/{site.numbers['waiting']}/"
    edit = f"/changes/{site.numbers['draft']}/compose/{site.numbers['edit']}/"
    wrong = []

    def opened(what, selector):
        expect(page.locator(selector)).to_be_visible()
        wrong.extend(objections(page, what))
        if hidden_part(page, selector):
            wrong.append(f"{what}: not all of it can be seen")

    page.goto(change)
    page.keyboard.press("Control+k")
    page.keyboard.type("orders")
    expect(page.locator("#palette [aria-selected=true]")).to_contain_text("orders")
    opened("the palette", "#palette")
    page.keyboard.press("Control+a")
    page.keyboard.type("nothing is called so")
    expect(page.locator(".palette-empty")).to_be_visible()
    opened("the palette without a result", "#palette")
    page.keyboard.press("Escape")
    expect(page.locator("#palette")).not_to_be_visible()
    page.keyboard.press("?")
    opened("the help", "#help")
    page.keyboard.press("Escape")
    page.click("[aria-label='More actions']")
    opened("more actions", ".close-panel")
    page.keyboard.press("Escape")
    if width < 861:
        page.click("[aria-label=Menu]")
        opened("the menu", "#sidebar")
    page.click("#sidebar summary")
    opened("the person's menu", "#sidebar .menu-panel")
    page.goto(edit)
    for summary in page.locator("summary:visible").all():
        summary.click()
    wrong.extend(objections(page, "everything unfolded"))
    if width < 861:
        for step in ("Resources", "YAML", "Plan"):
            page.get_by_role("button", name=step).click()
            wrong.extend(objections(page, f"the step {step}"))
    assert wrong + page.complaints == []


@pytest.mark.parametrize(("width", "colours"), BOTH)
def test_axe_finds_nothing_where_there_is_nothing_yet(empty_site, person, width, colours):
    page = person(empty_site, "pia", viewport={"width": width, "height": 900}, color_scheme=colours)
    assert looked_at(page, LISTS) == []


def test_the_palette_is_all_keyboard(site, person):
    page = person(site, "olga")
    page.keyboard.press("Control+k")
    page.keyboard.type("orders")
    expect(page.locator("#palette [aria-selected=true]")).to_contain_text("orders")
    page.keyboard.press("Enter")
    page.wait_for_url("**/resources/payments/shelf-test/Box/orders/")
    page.keyboard.press("Control+k")
    page.keyboard.type("x")
    page.keyboard.press("Escape")
    expect(page.locator("#palette")).not_to_be_visible()


def test_keys_lead_everywhere(site, person):
    page = person(site, "olga")
    keys = {"gs": "/systems/", "gr": "/resources/", "gc": "/history/", "go": "/rollouts/", "gt": "/teams/", "gh": "/"}
    for typed, url in keys.items():
        page.keyboard.type(typed)
        page.wait_for_url(site.address + url)
    page.keyboard.press("ArrowDown")
    expect(page.locator("[data-row]:focus")).to_contain_text("Waits for the shelves")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/changes/{site.numbers['waiting']}/**")
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()


def test_slash_goes_to_the_pages_own_search(site, person):
    page = person(site, "olga")
    page.goto("/history/")
    page.keyboard.press("/")
    expect(page.locator("#q")).to_be_focused()


def test_the_colours_change_at_once_and_stay(site, person):
    page = person(site, "olga", color_scheme="light")
    page.click("#sidebar summary")
    page.click("button:has-text('Dark')")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.goto("/systems/")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_approving_and_commenting_need_no_script(site, person):
    page = person(site, "olga", java_script_enabled=False)
    page.goto(f"/changes/{site.numbers['waiting']}/")
    page.locator("[name=items]").first.uncheck()
    page.click("button:has-text('Approve the chosen')")
    expect(page.locator(".messages")).to_contain_text("You approved 1 item.")
    page.click("a:has-text('Discussion')")
    page.fill("#say", "One of them, for now.")
    page.click("button:has-text('Comment')")
    expect(page.locator(".timeline")).to_contain_text("One of them, for now.")


def test_an_update_never_takes_away_what_is_being_typed(site, person):
    page = person(site, "rita")
    page.goto(f"/changes/{site.numbers['waiting']}/")
    page.click("[aria-label='More actions']")
    page.fill("#why-withdraw", "Not needed")
    page.evaluate("document.body.dispatchEvent(new Event('mergeyard:hint'))")
    page.wait_for_timeout(500)
    expect(page.locator("#why-withdraw")).to_have_value("Not needed")
    page.locator("h1").click()
    with page.expect_response("**/?part=head*"):
        page.evaluate("document.activeElement.blur(); document.body.dispatchEvent(new Event('mergeyard:hint'))")


def test_times_are_in_the_readers_zone(site, person):
    page = person(site, "olga", timezone_id="Asia/Tokyo", locale="en-GB")
    page.goto("/history/")
    time_element = page.locator("time[data-when]").first
    there = page.evaluate(
        "new Intl.DateTimeFormat(undefined, {dateStyle: 'medium', timeStyle: 'medium'})"
        ".format(new Date(document.querySelector('time[data-when]').dateTime))"
    )
    assert time_element.get_attribute("title") == there


def test_the_server_learns_the_readers_zone(site, person):
    page = person(site, "olga", timezone_id="Asia/Tokyo")
    page.goto("/history/?state=open")
    page.click("summary:has-text('More filters')")
    expect(page.locator(".more-filters")).to_contain_text("A day begins at midnight, Asia/Tokyo.")


def test_on_a_phone_the_menu_opens_over_the_page(site, person):
    page = person(site, "olga", viewport={"width": 390, "height": 800})
    expect(page.locator("#sidebar")).not_to_be_visible()
    page.click("[aria-label=Menu]")
    page.click("#sidebar a:has-text('Systems')")
    page.wait_for_url("**/systems/")
