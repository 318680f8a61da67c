"""The compose page in a real browser, under the product's own content security policy."""

import os
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from playbooks.servers import free_port

pytestmark = pytest.mark.journeys
ROOT = Path(__file__).resolve().parents[3]
KIB = "[id='spec.max_message_kib']"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    home = tmp_path_factory.mktemp("compose")
    environment = {
        **os.environ,
        "MERGEYARD_HOME": str(home),
        "MERGEYARD_SECRET_KEY": "only-for-tests",
        "MERGEYARD_REDIS_URL": "unix:///nonexistent/redis.sock",
        "DJANGO_SETTINGS_MODULE": "portal.settings",
    }
    subprocess.run([sys.executable, "-m", "tests.portal.compose.seed"], cwd=ROOT, env=environment, check=True)
    port = free_port()
    serve = [sys.executable, "-m", "uvicorn", "portal.asgi:application", "--port", str(port), "--log-level", "warning"]
    process = subprocess.Popen(serve, cwd=ROOT, env=environment)
    found = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{found}/login/").close()
                break
            except OSError:
                time.sleep(0.1)
        yield found
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def page(chromium, address):
    """Rita, with a new topic in her form; a script that fails or breaks the security policy fails the test."""
    context = chromium.new_context(base_url=address, viewport={"width": 1440, "height": 900})
    page = context.new_page()
    complaints = []
    page.on("console", lambda said: complaints.append(said.text) if "Security Policy" in said.text else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto("/login/")
    page.fill("[name=username]", "rita")
    page.fill("[name=password]", "a long password")
    page.press("[name=password]", "Enter")
    page.wait_for_url("**/")
    page.goto("/catalogue/KafkaTopic/")
    page.get_by_role("button", name="Request one").click()
    page.wait_for_url("**/compose/add/**")
    page.select_option("#add-system", "kafka-test")
    expect(page.locator("#add-name")).to_be_visible()
    page.fill("#add-name", "refunds")
    expect(page.locator(".add-path")).to_contain_text("KafkaTopic/refunds.yml")
    page.click("#add-submit")
    page.wait_for_url("**/compose/*/")
    yield page
    context.close()
    assert complaints == []


def yaml(page):
    return page.evaluate("document.querySelector('.CodeMirror').CodeMirror.getValue()")


def saved(page):
    expect(page.locator("html")).not_to_have_class("scripted saving")


def test_what_is_typed_while_the_form_is_drawn_anew_stays_and_focus_too(page):
    page.click("text=compact_and_delete")
    page.click(KIB)
    page.keyboard.type("123456789", delay=80)
    expect(page.locator("[id='spec.compaction.keep_hours']")).to_be_visible()
    saved(page)
    assert page.input_value(KIB) == "123456789"
    assert page.evaluate("document.activeElement.id") == "spec.max_message_kib"
    assert "max_message_kib: 123456789" in yaml(page)


@pytest.fixture
def scripts_late(page):
    """Opens an address without its scripts, which come when the page is told so."""
    held = []
    page.route("**/*.js", lambda route: held.append(route))

    def open_at(address):
        page.goto(address, wait_until="commit")
        page.wait_for_selector("#propose")

    def come():
        for each in held:
            each.continue_()
        page.unroute("**/*.js")

    return open_at, come


def test_what_is_chosen_before_the_scripts_came_is_heard(page, scripts_late):
    open_at, come = scripts_late
    open_at(re.sub(r"compose/.*", "compose/add/?kind=KafkaTopic", page.url))
    page.select_option("#add-system", "kafka-test")
    page.fill("#add-name", "chargebacks")
    come()
    expect(page.locator(".add-path")).to_contain_text("kafka-test/KafkaTopic/chargebacks.yml")


def test_what_is_typed_before_the_scripts_came_is_stored(page, scripts_late):
    open_at, come = scripts_late
    open_at(page.url)
    page.fill("[id='spec.partitions']", "11")
    page.fill("#title", "A topic for refunds")
    come()
    expect(page.locator("#plan")).to_contain_text("11")
    saved(page)
    page.reload()
    assert page.input_value("[id='spec.partitions']") == "11"
    assert page.input_value("#title") == "A topic for refunds"


def test_an_error_stands_at_its_field_and_goes_again(page):
    page.fill(KIB, "abc")
    expect(page.locator("[id='spec.max_message_kib.error']")).to_contain_text("Must be a whole number")
    expect(page.locator(KIB)).to_have_attribute("aria-invalid", "true")
    page.locator("#problems").get_by_role("link", name="max_message_kib").click()
    assert page.evaluate("document.activeElement.id") == "spec.max_message_kib"
    page.fill(KIB, "512")
    expect(page.locator("[id='spec.max_message_kib.error']")).to_be_hidden()


def test_yaml_and_form_follow_each_other(page):
    page.get_by_role("link", name="Split").click()
    page.click(".CodeMirror-lines")
    page.keyboard.press("Control+A")
    page.keyboard.type("# why\nkind: KafkaTopic\nspec:\npartitions: [\n")
    expect(page.locator("#problems")).to_contain_text("not valid YAML")
    assert page.evaluate("document.getElementById('document-form').inert")
    page.keyboard.press("Control+A")
    page.keyboard.type("# why\nkind: KafkaTopic\nspec:\n  partitions: 9\n")
    expect(page.locator("[id='spec.partitions']")).to_have_value("9")
    page.fill("[id='spec.partitions']", "10")
    saved(page)
    expect(page.locator("#plan")).to_contain_text("10")
    assert yaml(page).startswith("# why\nkind: KafkaTopic\nspec:\n  partitions: 10\n")


def test_a_text_that_may_not_be_stored_stays_in_the_editor(page):
    page.get_by_role("link", name="Split").click()
    page.click(".CodeMirror-lines")
    page.keyboard.press("Control+A")
    page.keyboard.type("kind: KafkaTopic\nsecrets: {password: hunter2}\nspec:\n  partitions: 9\n")
    expect(page.locator("#saved-state")).to_contain_text("Not saved: secrets.password.")
    expect(page.locator("#problems")).to_contain_text("line 2")
    assert page.locator(".cm-line-wrong").count() == 1
    assert page.evaluate("document.getElementById('document-form').inert")
    assert "hunter2}\nspec:\n  partitions: 9\n" in yaml(page)
    page.keyboard.press("Control+A")
    page.keyboard.type("kind: KafkaTopic\nspec:\n  partitions: 9\n")
    expect(page.locator("#saved-state")).to_contain_text("Draft saved")
    expect(page.locator("[id='spec.partitions']")).to_have_value("9")
    assert not page.evaluate("document.getElementById('document-form').inert")


def test_a_page_left_at_once_loses_nothing(page):
    here = page.url
    page.fill("[id='spec.retention_hours']", "99")
    page.goto("/catalogue/")
    page.wait_for_timeout(500)
    page.goto(here)
    assert page.input_value("[id='spec.retention_hours']") == "99"


def test_rows_are_worked_by_keyboard(page):
    page.focus("[id='spec.settings.add']")
    page.keyboard.press("Enter")
    expect(page.locator("[id='spec.settings.0.key']")).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Tab")
    page.keyboard.type("zstd")
    saved(page)
    assert "compression.type: zstd" in yaml(page)
    page.focus("[id='spec.settings.0.remove']")
    page.keyboard.press("Enter")
    expect(page.locator("[id='spec.settings.add']")).to_be_focused()


def test_propose_waits_for_what_was_just_typed(page):
    page.fill("[id='spec.partitions']", "7")
    page.fill("#title", "A topic for refunds")
    page.click("#propose")
    page.wait_for_url("**/changes/*/")
    expect(page.locator("main")).to_contain_text("A topic for refunds")
    expect(page.locator("main")).to_contain_text("7")


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("view", ["form", "split"])
def test_it_is_accessible_and_fits(page, width, view, colours):
    page.emulate_media(color_scheme=colours)
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(f"{page.url}?view={view}")
    page.fill("[id='spec.partitions']", "none")
    expect(page.locator("[id='spec.partitions.error']")).to_be_visible()
    page.click("[id='spec.settings.add']")
    expect(page.locator("[id='spec.settings.0.key']")).to_be_focused()
    for summary in page.locator(".form-section > summary").all():
        summary.click()
    saved(page)
    assert [(each["id"], each["nodes"][0]["target"]) for each in Axe().run(page).response["violations"]] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
