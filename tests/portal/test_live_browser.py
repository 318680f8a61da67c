"""A change's page in a real browser while its rollout begins and ends: it follows without a reload."""

import pytest
from playwright.sync_api import expect

from changes.models import ChangeRequest
from executors.models import Commit, Rollout

pytestmark = pytest.mark.journeys
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
