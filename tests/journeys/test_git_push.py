"""The main job with an ordinary git client: a token from its page, a file written by hand, a push, a merge."""

import os
import re
import shlex
import subprocess

import pytest
from playwright.sync_api import expect

from tests.journeys.test_main_job import approve, databases, merge_and_watch, topic

TOPIC = "resources/payments/kafka-test/KafkaTopic/journal.yml"
DATABASE = "resources/payments/pg-test/PostgresDatabase/journal.yml"
TOPIC_TEXT = """\
kind: KafkaTopic
# Written by hand: one entry per booking.
spec:
  partitions: 2
  retention_hours: 24
"""
DATABASE_TEXT = """\
kind: PostgresDatabase
spec:
  owner: ledger
  connection_limit: 7
"""


class Git:
    """An ordinary git client of a person who types the token as the password."""

    def __init__(self, folder, token):
        folder.mkdir()
        self.folder, self.asked = folder, folder / "asked"
        answer = folder / "password"
        answer.write_text(f'#!/bin/sh\necho "$1" >>{self.asked}\necho {token}\n')
        answer.chmod(0o700)
        (folder / ".gitconfig").write_text("[user]\nname = Ana Alvarez\nemail = ana@harbour.example\n")
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_ASKPASS": str(answer)}
        self.environment |= {"GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}
        self.tree = folder / "state"

    def __call__(self, *argv, check=True):
        where = self.tree if self.tree.exists() else self.folder
        done = subprocess.run(["git", *argv], cwd=where, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0 or not check, done.stderr
        return done

    def branch(self, name):
        self("fetch", "-q", "origin")
        self("switch", "-q", "-c", name, "origin/main")

    def commit(self, message, **files):
        for path, text in files.items():
            file = self.tree / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        self("add", "-A")
        self("commit", "-q", "-m", message)

    def push(self, *argv):
        """What git shows to the person, and whether it went through."""
        done = self("push", *(argv or ("-u", "origin", "HEAD")), check=False)
        return done.returncode == 0, done.stderr


@pytest.fixture
def git(stack, sign_in, tmp_path):
    """Ana's clone, made as the token page says."""
    page = sign_in("ana").go("/tokens/")
    page.get_by_label("Where you will use it").fill("laptop")
    page.get_by_role("button", name="Make the token").click()
    expect(page.get_by_text("never shown again")).to_be_visible()
    client = Git(tmp_path / "ana", page.locator(".token-made code").inner_text())
    command = shlex.split(page.get_by_text(re.compile("^git clone ")).inner_text())
    assert command[:2] == ["git", "clone"]
    client(*command[1:])
    assert "Password for" in client.asked.read_text()
    return client


def request_called(desk, title):
    """Find a change request by its title; it is open now, and the number comes back."""
    page = desk.go("/history/")
    page.get_by_role("link", name=title).click()
    expect(page.get_by_role("heading", name=title)).to_be_visible()
    return int(re.search(r"/changes/(\d+)/", page.url)[1])


def test_a_file_written_by_hand_and_pushed_is_approved_merged_and_applied(stack, sign_in, git):
    ana, mia, pat = (sign_in(name) for name in ("ana", "mia", "pat"))
    git.branch("change/journal")
    git.commit("A journal of all bookings\n\nThe auditors ask for it.", **{TOPIC: TOPIC_TEXT, DATABASE: DATABASE_TEXT})
    went, said = git.push()
    assert went, said

    number = request_called(ana, "A journal of all bookings")
    page = ana.page
    expect(page.get_by_text(re.compile(r"Ana Alvarez\s+asked"))).to_be_visible()
    expect(page.get_by_text("The auditors ask for it.")).to_be_visible()
    expect(page.locator(".plan-item")).to_have_count(2)
    expect(page.get_by_role("button", name="Approve the chosen")).to_have_count(0)
    approve(mia, number)
    approve(pat, number)
    ready = "Ready to merge."
    expect(ana.go(f"/changes/{number}/").get_by_text(ready)).to_be_visible()

    git.commit("Six partitions after all", **{TOPIC: TOPIC_TEXT.replace("partitions: 2", "partitions: 6")})
    went, said = git.push()
    assert went, said
    page = ana.go(f"/changes/{number}/?tab=checks")
    expect(page.get_by_text("1 of 2 given")).to_be_visible()
    expect(page.get_by_text("approved by Pat Petrov")).to_be_visible()
    expect(page.get_by_text("approved by Mia Moreau")).to_have_count(0)
    expect(page.get_by_text(ready)).to_have_count(0)
    approve(mia, number)
    merge_and_watch(ana, number)

    assert topic(stack, "journal") == (6, str(24 * 3_600_000))
    assert databases(stack)["journal"] == "ledger"
    git("fetch", "-q", "origin", "main")
    assert git("show", f"origin/main:{TOPIC}").stdout == TOPIC_TEXT.replace("partitions: 2", "partitions: 6")
    merged = git("log", "-1", "--format=%B", "origin/main").stdout
    said = "Requested-by: Ana Alvarez", "Approved-by: Mia Moreau", "Approved-by: Pat Petrov"
    assert [line.split(" <")[0] for line in merged.splitlines() if "-by: " in line] == list(said)


def test_a_push_to_main_is_refused_in_a_sentence_that_git_shows(git):
    main = git("rev-parse", "origin/main").stdout
    git.branch("in-a-hurry")
    git.commit("In a hurry", **{TOPIC: TOPIC_TEXT})
    went, said = git.push("origin", "HEAD:main")
    assert not went
    assert "remote: - The main branch only moves when an approved change request is merged." in said
    assert "git push origin HEAD:refs/heads/change/my-change" in said
    assert git("ls-remote", "origin", "refs/heads/main").stdout.split()[0] == main.strip()


def test_a_file_that_may_not_be_there_is_refused_by_its_name(stack, git):
    git.branch("change/a-script")
    git.commit("A script as well", **{"scripts/migrate.sh": "#!/bin/sh\n", TOPIC: TOPIC_TEXT})
    went, said = git.push()
    assert not went
    assert "remote: - scripts/migrate.sh: is not a path of the state repository." in said
    assert "resources/<team>/<system>/<Kind>/<name>.yml" in said
    assert "change/a-script" not in stack.git("branch", "--list", "change/*")


def test_a_mistake_in_the_yaml_opens_a_request_that_says_where_and_cannot_be_merged(sign_in, git):
    ana, mia = sign_in("ana"), sign_in("mia")
    path = TOPIC.replace("journal", "mistaken")
    git.branch("change/mistaken")
    git.commit("A topic with a mistake", **{path: "kind: KafkaTopic\n# none at all\nspec:\n  partitions: 0\n"})
    went, said = git.push()
    assert went, said

    number = request_called(ana, "A topic with a mistake")
    page = ana.go(f"/changes/{number}/?tab=checks")
    expect(page.get_by_text("It cannot be merged yet.")).to_be_visible()
    found = page.locator(".violations li")
    expect(found).to_have_count(1)
    expect(found).to_contain_text("Must be at least 1")
    expect(found).to_contain_text(f"{path}:4")
    expect(found).to_contain_text("spec.partitions")
    for desk in (ana, mia):
        expect(desk.go(f"/changes/{number}/").get_by_role("button", name="Merge and apply")).to_have_count(0)

    git.commit("Mended", **{path: "kind: KafkaTopic\nspec:\n  partitions: 1\n"})
    went, said = git.push()
    assert went, said
    expect(ana.go(f"/changes/{number}/?tab=checks").locator(".violations li")).to_have_count(0)
