"""A person's git client against the real server."""

import asyncio
import base64
import contextlib
import gzip
import http.client
import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from changes.models import User
from changes.repository import MAIN_REF, MirroredRepository, Person, Repository, RepositoryError
from portal import git_http
from tests.changes.conftest import CATALOG, FILES, REFUNDS, box

ROOT = Path(__file__).resolve().parents[2]
SETUP = """
import django, json, sys
django.setup()
from django.conf import settings
from django.core.management import call_command
call_command("migrate", verbosity=0, skip_checks=True)
from changes import setup, tokens
from changes.models import User
setup.initialise(settings.MERGEYARD_REPOSITORY, {path: text.encode() for path, text in json.load(sys.stdin).items()})
found = {}
for name in ("rita", "paul", "olga", "sam"):
    user = User.objects.create(username=name, first_name=name.title(), email=f"{name}@office.example")
    found[name] = tokens.create(user, title="git")[1]
print(json.dumps(found))
"""


class Server:
    scheme, serve_options, git_options = "http", (), ()

    def __init__(self, home):
        self.home = home
        self.environment = os.environ | {
            "DJANGO_SETTINGS_MODULE": "portal.settings",
            "MERGEYARD_HOME": str(home),
            "MERGEYARD_SECRET_KEY": "only-for-tests",
            "MERGEYARD_CATALOG": str(CATALOG),
            "MERGEYARD_DATABASE_URL": f"sqlite:///{home}/mergeyard.sqlite3",
        }
        made = subprocess.run(
            [sys.executable, "-c", SETUP],
            input=json.dumps(FILES), env=self.environment, cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
        self.tokens = json.loads(made.stdout)
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        self.log = (home / "uvicorn.log").open("w")
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "uvicorn", "portal.asgi:application", "--fd", str(listener.fileno())),
                *self.serve_options,
            ],
            env=self.environment, cwd=ROOT, pass_fds=[listener.fileno()], stdout=self.log, stderr=self.log,
        )  # fmt: skip
        listener.close()

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=20)
        self.log.close()

    def url(self, user):
        return f"{self.scheme}://{user}:{self.tokens[user]}@127.0.0.1:{self.port}/git/state.git"

    def rows(self, query, *values):
        with sqlite3.connect(f"file:{self.home}/mergeyard.sqlite3?mode=ro", uri=True) as database:
            return database.execute(query, values).fetchall()

    def request(self, method, path, headers=(), body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path, body=body, headers=dict(headers))
        response = connection.getresponse()
        found = response.status, dict(response.getheaders()), response.read()
        connection.close()
        return found

    def basic(self, user, secret=None):
        pair = f"{user}:{secret or self.tokens[user]}".encode()
        return {"Authorization": "Basic " + base64.b64encode(pair).decode()}


class Clone:
    """A work tree of a person with an ordinary git client."""

    def __init__(self, server, user, folder):
        self.server, self.user, self.folder = server, user, folder
        self.run("clone", "-q", "--single-branch", server.url(user), str(folder), cwd=folder.parent)
        self.run("config", "user.name", user.title())
        self.run("config", "user.email", f"{user}@office.example")

    def run(self, *arguments, cwd=None, check=True, stdin=None):
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder.parent),
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_CONFIG_NOSYSTEM": "1",
        }
        done = subprocess.run(
            ["git", *self.server.git_options, *arguments],
            cwd=cwd or self.folder, env=environment, input=stdin, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0 or not check, done.stderr
        return done

    def write(self, path, text):
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return file

    def commit(self, message="A change", **more):
        self.run("add", "-A")
        self.run("commit", "-q", "--allow-empty", "-m", message, **more)

    def push(self, ref, *, check=True, source="HEAD"):
        return self.run("push", "origin", f"{source}:{ref}", check=check)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = Server(tmp_path_factory.mktemp("home"))
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture
def clone(server, tmp_path):
    return lambda user: Clone(server, user, tmp_path / user)


@pytest.fixture
def branch(request):
    return "change/" + "".join(letter if letter.isalnum() else "-" for letter in request.node.name)[:60]


def request_of(server, branch):
    (row,) = server.rows(
        "select id, title, reason, state, head, requester_id from changes_changerequest where branch=?", branch
    )
    return dict(zip(["number", "title", "reason", "state", "head", "requester"], row, strict=True))


def test_a_push_of_a_branch_opens_a_change_request_of_the_pusher(server, clone, branch):
    rita = clone("rita")
    rita.write(REFUNDS, box(5))
    rita.commit("A box for refunds\n\nThey come back.")
    rita.push(branch)
    found = request_of(server, branch)
    assert (found["title"], found["reason"], found["state"]) == ("A box for refunds", "They come back.", "open")
    assert found["head"] == rita.run("rev-parse", "HEAD").stdout.strip()
    assert server.rows("select username from changes_user where id=?", found["requester"]) == [("rita",)]
    assert server.rows("select path, operation from changes_planrow where change_request_id=?", found["number"]) == [
        (REFUNDS, "create")
    ]


def test_a_second_push_updates_the_same_change_request(server, clone, branch):
    rita = clone("rita")
    rita.write(REFUNDS, box(5))
    rita.commit("First")
    rita.push(branch)
    number = request_of(server, branch)["number"]
    rita.write(REFUNDS, box(6))
    rita.commit("Second")
    rita.push(branch)
    found = request_of(server, branch)
    assert (found["number"], found["title"]) == (number, "First")
    assert found["head"] == rita.run("rev-parse", "HEAD").stdout.strip()


def test_a_member_of_the_team_who_pushes_becomes_an_editor(server, clone, branch):
    rita, paul = clone("rita"), clone("paul")
    rita.write(REFUNDS, box(5))
    rita.commit("First")
    rita.push(branch)
    paul.run("fetch", "-q", "origin", branch)
    paul.run("checkout", "-q", "FETCH_HEAD")
    paul.write(REFUNDS, box(7))
    paul.commit("Larger")
    paul.push(branch)
    editors = server.rows(
        "select username from changes_user join changes_editor on user_id = changes_user.id where change_request_id=?",
        request_of(server, branch)["number"],
    )
    assert set(editors) == {("rita",), ("paul",)}


def test_a_stranger_cannot_push_to_the_branch_of_a_change_request(server, clone, branch):
    rita, sam = clone("rita"), clone("sam")
    rita.write(REFUNDS, box(5))
    rita.commit("First")
    rita.push(branch)
    sam.run("fetch", "-q", "origin", branch)
    sam.run("checkout", "-q", "FETCH_HEAD")
    sam.commit("Mine now")
    refused = sam.push(branch, check=False)
    assert "remote: - " + branch + " is the branch of change request" in refused.stderr
    assert "by Rita: only they and members of the teams it touches can push to it" in refused.stderr


@pytest.mark.threat("git.push-to-main")
def test_a_push_to_main_is_refused_in_a_sentence_that_says_what_to_do(server, clone):
    rita = clone("rita")
    before = rita.run("rev-parse", "origin/main").stdout
    rita.write(REFUNDS, box(5))
    rita.commit()
    refused = rita.push("main", check=False)
    assert refused.returncode != 0
    assert "remote: - The main branch only moves when an approved change request is merged." in refused.stderr
    assert "git push origin HEAD:refs/heads/change/my-change" in refused.stderr
    assert rita.run("ls-remote", "origin", "refs/heads/main").stdout.split()[0] == before.strip()


@pytest.mark.threat("git.options", "git.tag")
@pytest.mark.parametrize(
    "ref",
    ["refs/heads/feature", "refs/tags/main", "refs/heads/change/a/b", "refs/notes/x", "refs/heads/--upload-pack=touch"],
)
def test_only_change_branches_are_taken(clone, ref):
    rita = clone("rita")
    rita.commit()
    refused = rita.push(ref, check=False)
    assert refused.returncode != 0
    assert "only branches named change/<name>" in refused.stderr


@pytest.mark.threat("git.forced-branch", "git.branch-again")
def test_a_branch_is_neither_deleted_nor_rewritten(server, clone, branch):
    rita = clone("rita")
    rita.write(REFUNDS, box(5))
    rita.commit("First")
    rita.push(branch)
    head = request_of(server, branch)["head"]
    assert rita.push(branch, source="", check=False).returncode != 0
    rita.run("commit", "-q", "--amend", "-m", "Rewritten")
    assert rita.run("push", "--force", "origin", f"HEAD:{branch}", check=False).returncode != 0
    assert request_of(server, branch)["head"] == head


def _symlink(clone):
    (clone.folder / "resources/payments/shelf-test/Box/link.yml").symlink_to("/etc/passwd")


def _executable(clone):
    clone.write(REFUNDS, box(5)).chmod(0o755)


def _submodule(clone):
    head = clone.run("rev-parse", "HEAD").stdout.strip()
    clone.run("update-index", "--add", "--cacheinfo", f"160000,{head},resources/payments/sub")
    clone.run("commit", "-q", "-m", "submodule")


BAD = {
    "a symbolic link": (_symlink, "is a symbolic link"),
    "an executable file": (_executable, "is an executable file"),
    "a submodule": (_submodule, "is a submodule"),
    "attributes": (lambda c: c.write(".gitattributes", "* -diff\n"), ".gitattributes: is not a path"),
    "capital letters": (
        lambda c: c.write("resources/payments/shelf-test/Box/Orders.yml", box(1)),
        "Orders.yml: is not a path",
    ),
    "hidden letters": (lambda c: c.write("teams/pay\u202ements.yml", "x"), "teams/pay\\xe2\\x80\\xaements.yml"),
    "a newline": (lambda c: c.write("teams/pay\nments.yml", "x"), "teams/pay\\x0aments.yml"),
    "a very long name": (lambda c: c.write(f"teams/{'x' * 200}.yml", "x"), "xxx.yml: is not a path"),
    "a very deep folder": (lambda c: c.write("a/" * 50 + "x.yml", "x"), "a/a/a/a/a: is a folder nested too deep"),
    "a large file": (lambda c: c.write(REFUNDS, b"#" * 1_000_001), "has 1,000,001 bytes, and 1,000,000 are allowed"),
}  # fmt: skip


@pytest.mark.threat("git.symlink", "git.submodule", "git.executable", "git.attributes", "git.case-twins", "git.bidi")
@pytest.mark.threat("git.newline", "git.long-path", "git.deep-path", "git.large-blob", "values.long")
@pytest.mark.parametrize("what", BAD)
def test_what_may_not_be_in_the_repository_is_refused_with_its_name(server, clone, what):
    rita = clone("rita")
    make, sentence = BAD[what]
    make(rita)
    if what != "a submodule":
        rita.commit()
    refused = rita.push("change/bad", check=False)
    assert refused.returncode != 0
    assert sentence in refused.stderr
    assert server.rows("select count(*) from changes_changerequest where branch='change/bad'") == [(0,)]


@pytest.mark.threat("git.symlink")
def test_what_a_later_commit_takes_away_again_is_refused_as_well(clone):
    rita = clone("rita")
    _symlink(rita)
    rita.commit()
    (rita.folder / "resources/payments/shelf-test/Box/link.yml").unlink()
    rita.commit()
    assert "is a symbolic link" in rita.push("change/bad", check=False).stderr


@pytest.mark.threat("git.symlink")
def test_merges_made_by_hand_are_taken_and_what_they_add_themselves_is_looked_at(server, clone, branch):
    rita = clone("rita")
    rita.run("checkout", "-q", "-b", "side")
    rita.write(REFUNDS, box(5))
    rita.commit("Side")
    rita.run("checkout", "-q", "main")
    rita.write("README.md", "Ours\n")
    rita.commit("Ours")
    rita.run("merge", "-q", "--no-ff", "-m", "Both", "side")
    rita.push(branch)
    assert request_of(server, branch)["title"] in ("Side", "Ours")
    rita.run("checkout", "-q", "side")
    rita.write("README.md", "Theirs\n")
    rita.commit("Theirs")
    rita.run("checkout", "-q", "main")
    rita.run("merge", "-q", "--no-commit", "side", check=False)
    (rita.folder / "README.md").unlink()
    (rita.folder / "README.md").symlink_to("/etc/passwd")
    rita.commit("An evil merge")
    assert "README.md: is a symbolic link" in rita.push(branch, check=False).stderr


@pytest.mark.threat("git.large-tree", "git.deep-path")
def test_a_tree_that_unfolds_to_a_billion_files_is_refused_at_once(clone):
    rita = clone("rita")
    blob = rita.run("hash-object", "-w", "mergeyard.yml").stdout.strip()
    entry, kind = blob, "100644 blob"
    for _ in range(9):
        lines = "".join(f"{kind} {entry}\tf{number}\n" for number in range(10))
        entry, kind = rita.run("mktree", stdin=lines).stdout.strip(), "040000 tree"
    commit = rita.run("commit-tree", entry, "-p", "HEAD", "-m", "Boom").stdout.strip()
    refused = rita.push("refs/heads/change/boom", source=commit, check=False)
    assert refused.returncode != 0
    assert "f0/f0/f0/f0/f0: is a folder nested too deep" in refused.stderr


@pytest.mark.threat("git.hooks")
def test_no_hook_or_setting_of_the_repository_itself_is_obeyed(server, clone, branch, tmp_path):
    marker = tmp_path / "marker"
    hook = server.home / "state.git" / "hooks" / "post-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {marker}\n")
    hook.chmod(0o755)
    rita = clone("rita")
    rita.write(REFUNDS, box(5))
    rita.commit()
    rita.push(branch)
    hook.unlink()
    assert request_of(server, branch)["state"] == "open"
    assert not marker.exists()


@pytest.mark.threat("git.unrelated")
def test_a_history_without_main_is_refused(clone):
    rita = clone("rita")
    rita.run("checkout", "-q", "--orphan", "other")
    rita.commit("Unrelated")
    assert "has no commit in common with main" in rita.push("change/bad", check=False).stderr


def test_a_document_that_makes_no_sense_is_taken_and_shown_later(server, clone, branch):
    rita = clone("rita")
    rita.write(REFUNDS, "kind: Box\nspec: {size: many}\n")
    rita.commit("Nonsense")
    rita.push(branch)
    assert request_of(server, branch)["state"] == "open"


@pytest.mark.threat("values.pasted-secret")
def test_a_plain_secret_is_refused_with_file_and_line_and_never_comes_in(server, clone):
    rita = clone("rita")
    rita.write(REFUNDS, box(5) + "secrets:\n  password: hunter2hunter2\n")
    rita.commit("With a password")
    sha = rita.run("rev-parse", "HEAD").stdout.strip()
    rita.write(REFUNDS, box(5) + "secrets:\n  password: file:payments/refunds\n")
    rita.write("README.md", box(5) + "secrets:\n  password: hunter2hunter2\n")  # the same bytes where they mean nothing
    rita.commit("Without")
    refused = rita.push("change/plain", check=False)
    assert refused.returncode != 0
    assert f"remote: - {REFUNDS}:5: secrets.password: A secret is a reference like" in refused.stderr
    assert "Take it out of every commit that has it" in refused.stderr
    assert "hunter2" not in refused.stderr
    missing = subprocess.run(["git", f"--git-dir={server.home}/state.git", "cat-file", "-e", sha], capture_output=True)
    assert missing.returncode != 0
    rita.run("reset", "-q", "--soft", "origin/main")
    rita.write("README.md", "Hello\n")
    rita.commit("Only the reference")
    rita.push("change/plain")


def test_a_text_that_cannot_be_read_and_has_secrets_is_refused(clone):
    rita = clone("rita")
    rita.write(REFUNDS, box(5) + "secrets: {password: hunter2hunter2\n")
    rita.commit()
    refused = rita.push("change/unreadable", check=False)
    assert f"remote: - {REFUNDS}:5: The text cannot be read and has secrets" in refused.stderr
    assert "hunter2" not in refused.stderr


def test_a_worker_on_another_host_fetches_its_mirror_with_a_token(server, clone, tmp_path):
    main = clone("rita").run("rev-parse", "origin/main").stdout.strip()
    mirror = MirroredRepository(tmp_path / "mirror.git", server.url("sam"))
    assert "mergeyard.yml" in mirror.files(main)
    wrong = MirroredRepository(tmp_path / "other.git", server.url("sam").replace(server.tokens["sam"], "my_wrong"))
    with pytest.raises(RepositoryError, match="fetching main from http://127") as refused:
        wrong.info(main)
    assert "my_wrong" not in str(refused.value)


@pytest.mark.threat("web.nobody")
def test_without_a_good_token_git_is_asked_to_sign_in(server):
    path = "/git/state.git/info/refs?service=git-upload-pack"
    for headers in (
        {},
        server.basic("rita", "wrong"),
        server.basic("olga", server.tokens["rita"]),
        {"Authorization": "Basic %%%"},
    ):
        status, answered, body = server.request("GET", path, headers)
        assert (status, answered["www-authenticate"]) == (401, 'Basic realm="Mergeyard", charset="UTF-8"')
        assert b"a token that you make on the page Tokens" in body
    assert server.request("GET", path, server.basic("rita"))[0] == 200


@pytest.mark.threat("values.paths")
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/git/other.git/info/refs?service=git-upload-pack", 404),
        ("GET", "/git/state.git/HEAD", 404),
        ("GET", "/git/state.git/objects/info/packs", 404),
        ("GET", "/git/state.git/../../etc/passwd", 404),
        ("GET", "/git/state.git/info/refs", 403),
        ("GET", "/git/state.git/info/refs?service=git-upload-archive", 403),
        ("GET", "/git/state.git/git-upload-pack", 405),
        ("POST", "/git/state.git/info/refs?service=git-upload-pack", 405),
    ],
)
def test_other_addresses_are_answered_with_a_sentence(server, method, path, status):
    found, headers, body = server.request(method, path, server.basic("rita"))
    assert found == status
    assert headers["content-type"].startswith("text/plain")
    assert body.endswith(b".\n")


def test_a_compressed_request_is_understood(server):
    body = gzip.compress(b"0014command=ls-refs\n00010014ref-prefix HEAD\n0000")
    headers = server.basic("rita") | {
        "Content-Type": "application/x-git-upload-pack-request",
        "Content-Encoding": "gzip",
        "Git-Protocol": "version=2",
    }
    status, _, answer = server.request("POST", "/git/state.git/git-upload-pack", headers, body)
    assert status == 200
    assert b" HEAD" in answer


def test_fifty_megabytes_go_in_and_out_without_being_collected(server, clone, branch, tmp_path):
    rita = clone("rita")
    for number in range(60):
        rita.write(f"resources/payments/shelf-test/Box/large-{number}.yml", os.urandom(860_000))
    rita.commit("Much")
    process = psutil.Process(server.process.pid)
    before = process.memory_info().rss
    rita.push(branch)
    assert request_of(server, branch)["head"] == rita.run("rev-parse", "HEAD").stdout.strip()
    other = Clone(server, "olga", tmp_path / "again")
    other.run("fetch", "-q", "origin", branch)
    files = other.run("ls-tree", "-r", "--name-only", "FETCH_HEAD").stdout.split()
    assert sum(name.endswith(".yml") and "large-" in name for name in files) == 60
    assert process.memory_info().rss - before < 150_000_000


def test_a_client_that_goes_away_ends_the_process(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.putrequest("POST", "/git/state.git/git-receive-pack")
    for name, value in server.basic("rita").items():
        connection.putheader(name, value)
    connection.putheader("Content-Type", "application/x-git-receive-pack-request")
    connection.putheader("Content-Length", "1000000")
    connection.endheaders()
    connection.send(b"0000")
    wait_until(lambda: gits(server))
    connection.sock.close()
    wait_until(lambda: gits(server) == [])


def gits(server, *, recursive=True):
    """The processes that serve git's requests; without those below them, one for each."""
    with contextlib.suppress(psutil.NoSuchProcess):
        children = psutil.Process(server.process.pid).children(recursive=recursive)
        return [child for child in children if "git" in child.name()]
    return None


ASKS = {"Content-Type": "application/x-git-upload-pack-request"}


@pytest.mark.threat("web.git-hoard")
def test_one_person_cannot_hold_every_slot(server):
    """With one request more than there are slots, each of which sends nothing."""
    held = []
    with contextlib.ExitStack() as stack:
        for _ in range(git_http.AT_ONCE + 1):
            held.append(stack.enter_context(socket.create_connection(("127.0.0.1", server.port))))
            lines = ["POST /git/state.git/git-upload-pack HTTP/1.1", "Host: 127.0.0.1", "Content-Length: 1000"]
            lines += [f"{name}: {value}" for name, value in {**server.basic("rita"), **ASKS}.items()]
            held[-1].sendall("\r\n".join([*lines, "", ""]).encode())
        wait_until(lambda: len(gits(server, recursive=False)) == git_http.AT_ONCE_OF_ONE)
        path = "/git/state.git/info/refs?service=git-upload-pack"
        assert server.request("GET", path, server.basic("paul"))[0] == 200
        assert len(gits(server, recursive=False)) == git_http.AT_ONCE_OF_ONE
    wait_until(lambda: gits(server) == [])


@pytest.fixture
def served(settings, tmp_path, monkeypatch):
    """Answers a request, half a second long at most, for the given ends of a client; what was sent to it."""
    repository = Repository.create(tmp_path / "state.git")
    settings.MERGEYARD_REPOSITORY = repository.path
    rita = Person("Rita", "rita@office.example")
    one = repository.commit(
        parents=[], base_tree_of=None, changes={"a.yml": b"a"}, message="One", author=rita, committer=rita,
        when=datetime.now(UTC),
    )  # fmt: skip
    repository.swap_ref(MAIN_REF, one, None)
    monkeypatch.setattr(git_http, "REQUEST_SECONDS", 0.5)
    monkeypatch.setattr(git_http, "_person", lambda _: User(username="rita"))

    async def never(*_):
        await asyncio.Event().wait()

    def serve(method, below, *, receive=never, send=None):
        sent = []

        async def keep(message):
            sent.append(message)
            await (send or asyncio.sleep)(0)

        service, path = b"service=git-upload-pack", f"/git/state.git{below}"
        scope = {"type": "http", "path": path, "method": method, "query_string": service}
        scope["headers"] = [(name.lower().encode(), value.encode()) for name, value in ASKS.items()]
        asyncio.run(asyncio.wait_for(git_http.application(scope, receive, keep), 15))
        assert [child for child in psutil.Process().children() if "git" in child.name()] == []
        assert not git_http._slots.locked()
        return sent

    return serve, never


@pytest.mark.threat("web.git-hoard")
def test_who_reads_nothing_holds_a_slot_no_longer_than_a_request_may_take(served):
    serve, never = served
    [start] = serve("GET", "/info/refs", send=never)
    assert start["status"] == 200


@pytest.mark.threat("web.git-hoard")
def test_who_sends_byte_by_byte_holds_a_slot_no_longer_than_a_request_may_take(served):
    async def slowly():
        await asyncio.sleep(0.05)
        return {"type": "http.request", "body": b"0", "more_body": True}

    serve, _ = served
    [start] = serve("POST", "/git-upload-pack", receive=slowly)
    assert start["status"] == 200


def test_who_finds_no_slot_is_told_so(served, monkeypatch):
    serve, _ = served
    monkeypatch.setitem(git_http._own_slots, "rita", asyncio.Semaphore(0))
    start, body = serve("GET", "/info/refs")
    assert (start["status"], body["body"][:20]) == (503, b"This took too long, ")


def wait_until(holds):
    limit = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < limit
        time.sleep(0.05)
