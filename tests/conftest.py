"""What several test folders share: the browser, and the list of what this machine could not test."""

import os
import shutil
from pathlib import Path

import pytest

not_tested = []

for name in ("http_proxy", "https_proxy", "all_proxy"):  # tests speak to loopback only
    os.environ.pop(name, None)
    os.environ.pop(name.upper(), None)


def pytest_configure():
    """Nothing of a test outlives a power cut. Processes that it starts sync, as real ones do."""
    if shutil.which("git") is None:
        return
    import pygit2

    from changes.repository import git_environment

    pygit2.settings.enable_fsync_gitdir(False)
    git_environment._ALWAYS["core.fsync"] = "none"


def pytest_terminal_summary(terminalreporter):
    """Also into the file that bin/test names, for its last line; whatever was skipped counts."""
    reasons = [report.longrepr[2] for report in terminalreporter.getreports("skipped")]
    lines = sorted({line.removeprefix("Skipped: ").removeprefix("not tested: ") for line in [*not_tested, *reasons]})
    if lines:
        terminalreporter.section("not tested")
        terminalreporter.write_line("\n".join(lines))
    if lines and (file := os.environ.get("MERGEYARD_NOT_TESTED")):
        with Path(file).open("a") as list_of_all:
            list_of_all.write("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def chromium():
    """A real browser. Its event loop runs in this thread until the module ends: two at once cannot be, and Django
    has to be told that the tests may still use the database."""
    from playwright.sync_api import expect, sync_playwright

    path = shutil.which("chromium")
    if path is None:
        pytest.skip("not tested: the pages in a browser: chromium is not installed")
    flags = [
        *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    ]
    expect.set_options(timeout=20_000)  # a busy machine is no failure
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        browser = playwright.chromium.launch(executable_path=path, args=flags)
        yield browser
        browser.close()
