"""Every page in a real browser: nothing that axe objects to, nothing wider than the screen, keys, no script needed."""

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
from playwright.sync_api import expect

from tests.changes.conftest import CATALOG

ROOT = Path(__file__).resolve().parents[3]
PASSWORD = "correct horse"
LISTS = ["/", "/history/", "/systems/", "/resources/", "/teams/", "/tokens/"]
ONES = [
    "/systems/shelf-test/",
    "/resources/payments/shelf-test/Box/orders/",
    "/teams/payments/",
    "/rollouts/1/",
    "/rollouts/2/?until=2026-01-01T00:00:00%2B00:00",
    "/history/?q=none+x:y",
]
TABS = ["plan", "checks", "rollout", "discussion", "files"]
pytestmark = pytest.mark.journeys


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
        page.goto("/login/")
        page.fill("#id_username", name)
        page.fill("#id_password", PASSWORD)
        page.click("button:has-text('Sign in')")
        page.wait_for_selector("#sidebar", state="attached")
        return page

    yield signed_in
    for context in contexts:
        context.close()


def looked_at(page, urls):
    """What is wrong with each page: axe's violations, sideways scrolling, complaints of the console."""
    wrong = []
    for url in urls:
        page.goto(url)
        wrong += [
            f"{url}: {found['id']} {found['nodes'][0]['target']}" for found in Axe().run(page).response["violations"]
        ]
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            wrong.append(f"{url}: wider than the screen")
    return wrong + page.complaints


@pytest.mark.parametrize(("width", "colours"), [(1440, "light"), (1440, "dark"), (390, "light"), (390, "dark")])
def test_axe_finds_nothing_on_any_page(site, person, width, colours):
    page = person(site, "olga", viewport={"width": width, "height": 900}, color_scheme=colours)
    waiting = [f"/changes/{site.numbers['waiting']}/?tab={tab}" for tab in TABS]
    others = [f"/changes/{site.numbers['wrong']}/?tab=checks", f"/changes/{site.numbers['failed']}/?tab=plan"]
    assert looked_at(page, LISTS + ONES + waiting + others) == []


@pytest.mark.parametrize(("width", "colours"), [(1440, "light"), (390, "dark")])
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
    for keys, url in (("gs", "/systems/"), ("gr", "/resources/"), ("gc", "/history/"), ("gh", "/")):
        page.keyboard.type(keys)
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
