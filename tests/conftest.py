"""What several test folders share: the browser, and the list of what this machine could not test."""

import shutil

import pytest

not_tested = []


def pytest_terminal_summary(terminalreporter):
    if not_tested:
        terminalreporter.section("not tested")
        for line in sorted(set(not_tested)):
            terminalreporter.write_line(line)


@pytest.fixture(scope="module")
def chromium():
    """A real browser. Its event loop runs in this thread until the module ends: two at once cannot be, and Django
    has to be told that the tests may still use the database."""
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium")
    assert path, "chromium is not installed"
    flags = [
        *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    ]
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        browser = playwright.chromium.launch(executable_path=path, args=flags)
        yield browser
        browser.close()
