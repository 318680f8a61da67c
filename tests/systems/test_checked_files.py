"""Files that a server reads as a whole: checked, put, taken, put back. The server is a pretended one."""

import errno
import os
import re
import shutil
import time
from pathlib import Path

import ansible.module_utils
import pytest

from tests.systems.catalogue import PLAYBOOKS

ansible.module_utils.__path__.append(str(PLAYBOOKS / "plugins" / "module_utils"))

from ansible.module_utils.mergeyard import checked_files  # noqa: E402
from ansible.module_utils.mergeyard.checked_files import CheckedFiles, Complaint, NotTried, parse, render  # noqa: E402
from ansible.module_utils.mergeyard.pairing import Outcome, Refused, Resource, pair  # noqa: E402


class Words:
    """One word per file; a word in capitals is none."""

    def name_of(self, spec):
        return spec["name"]

    def is_name(self, name):
        return name.isalnum()

    def valid(self, spec):
        if spec["word"].isupper():
            raise Refused("word: is in capitals.")
        return spec

    def lines(self, spec):
        yield f"say {spec['word']}"

    def read(self, name, lines):
        words = [line.removeprefix("say ") for line in lines if line.startswith("say ")]
        return {"name": name, "word": words[0] if words else ""}, [line for line in lines if line[:4] != "say "]


class Server:
    """Dislikes words; loads the directory when it is told, unless it is stubborn."""

    title, suffix = "The server", ".txt"

    def __init__(self, directory):
        self.directory = directory
        self.dislikes, self.names_files, self.stubborn = set(), True, 0
        self.checks, self.loaded, self.whole = 0, {}, []

    def check(self, staged):
        self.checks += 1
        said = {file.stem: re.findall("say (.*)", file.read_text())[0] for file in sorted(staged.glob("*.txt"))}
        wrong = [name for name, word in said.items() if word in self.dislikes]
        return [Complaint("a bad word.", name if self.names_files else None) for name in wrong[:1]]

    def placed(self):
        """Nothing follows."""

    def take(self, before, files, *, whole):
        self.whole.append(whole)
        if self.stubborn:
            self.stubborn -= 1
            return "not today."
        self.loaded = {file.stem: file.read_text(errors="replace") for file in self.directory.glob("*.txt")}
        return ""


@pytest.fixture
def server(tmp_path):
    return Server(tmp_path)


def settle(server, words, *, leaving=(), state="replaced", check=False):
    """Brings files of these names and words there; returns what became of each."""
    files = CheckedFiles(server, Words())
    outcomes = [Outcome(Resource(f"team/{name}", {"name": name, "word": word})) for name, word in words.items()]
    outcomes += [Outcome(Resource(f"team/{name}", {"name": name}, leaving=True)) for name in leaving]
    for outcome in outcomes:
        resource = outcome.resource
        found = files.find(resource)
        pair(outcome, found, state, after=lambda resource=resource, found=found: files.after(resource, found))
    files.write(outcomes, check=check)
    return {outcome.resource.spec["name"]: outcome.failure or outcome.changed for outcome in outcomes}


def written(server):
    return {file.name: file.read_text().splitlines()[-1] for file in server.directory.glob("*.*")}


def test_files_are_written_with_their_mark_taken_and_not_written_again(server):
    assert settle(server, {"a": "yes", "b": "no"}) == {"a": True, "b": True}
    assert written(server) == {"a.txt": "say yes", "b.txt": "say no"}
    assert server.loaded["a"].startswith("# mergeyard: team/a\n")
    assert settle(server, {"a": "yes", "b": "no"}) == {"a": False, "b": False}
    assert server.whole == [False]
    assert settle(server, {"a": "yes"}, state="deleted") == {"a": True}
    assert [*server.loaded] == ["b"]


def test_in_check_mode_nothing_is_touched_and_what_would_be_refused_is_failed(server):
    server.dislikes = {"bad"}
    assert settle(server, {"a": "bad", "b": "fine"}, check=True) == {
        "a": "The server refuses it: a bad word.",
        "b": True,
    }
    assert written(server) == {}
    assert server.whole == []


@pytest.mark.parametrize("names_files", [True, False])
def test_what_is_refused_is_left_out_and_the_rest_goes_on(server, names_files):
    server.dislikes, server.names_files = {"bad"}, names_files
    words = {f"n{number}": "bad" if number in (3, 17, 18) else "fine" for number in range(40)}
    result = settle(server, words)
    assert {name for name, what in result.items() if what is not True} == {"n3", "n17", "n18"}
    assert result["n3"] == "The server refuses it: a bad word."
    assert len(server.loaded) == 37
    assert server.checks < 30


def test_who_goes_makes_room_even_where_another_one_is_refused(server, monkeypatch):
    def check(staged):
        said = [file.read_text().splitlines()[-1] for file in staged.glob("*.txt")]
        return [Complaint("twice.")] if len(said) > len({*said}) else []

    monkeypatch.setattr(server, "check", check)
    settle(server, {"old": "yes"})
    assert settle(server, {"new": "yes", "other": "no", "again": "no"}, leaving={"old"}) == {
        "new": True,
        "other": True,
        "again": "The server refuses it: twice.",
        "old": True,
    }


def test_when_the_configuration_is_refused_as_it_is_nothing_is_written(server):
    settle(server, {"a": "fine"})
    server.dislikes = {"fine"}
    said = "The server's configuration is not valid even without this, because of team/a: a bad word."
    assert settle(server, {"b": "good", "c": "good"}) == {"b": said, "c": said}
    assert [*written(server)] == ["a.txt"]
    assert settle(server, {"a": "good", "b": "good"}) == {"a": True, "b": True}  # the change mends it


def test_what_the_server_does_not_take_is_put_back_and_the_next_run_makes_it_take_everything(server):
    settle(server, {"a": "old"})
    server.stubborn = 2
    said = "The server did not take the new configuration, the old one still serves: not today."
    assert settle(server, {"a": "new", "b": "new"}) == {"a": said, "b": said}
    assert written(server)["a.txt"] == "say old"
    assert "b.txt" not in written(server)
    assert server.whole == [False, False, True]
    assert (server.directory / "reload-pending").exists()
    assert settle(server, {"a": "old"}) == {"a": False}
    assert server.whole[3:] == [True]
    assert not (server.directory / "reload-pending").exists()


def test_what_the_server_was_not_even_told_is_put_back_and_leaves_nothing_to_do(server, monkeypatch):
    settle(server, {"a": "old"})
    with monkeypatch.context() as patched:
        patched.setattr(server, "take", lambda *_, **how: NotTried("not now."))
        said = "The server did not take the new configuration, the old one still serves: not now."
        assert settle(server, {"a": "new", "b": "new"}) == {"a": said, "b": said}
    assert written(server) == {"a.txt": "say old"}
    assert not (server.directory / "reload-pending").exists()
    (server.directory / "reload-pending").touch()
    with monkeypatch.context() as patched:
        patched.setattr(server, "take", lambda *_, **how: NotTried("not now."))
        settle(server, {"a": "new"})
    assert (server.directory / "reload-pending").exists()  # of a crash, which nothing has mended yet


def test_a_crash_between_the_files_and_the_server_is_finished_by_the_next_run(server, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(server, "take", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            settle(server, {"a": "word"})
    assert server.loaded == {}
    assert settle(server, {"a": "word"}, check=True) == {"a": False}
    assert server.loaded == {}
    assert settle(server, {"a": "word"}) == {"a": False}
    assert [*server.loaded] == ["a"]


def test_what_others_made_is_read_as_it_is_and_put_back_byte_by_byte(server):
    file = server.directory / "a.txt"
    file.write_bytes(b"say caf\xe9\n")
    refusal = settle(server, {"a": "mine"})["a"]
    assert "adopt" in refusal
    server.stubborn = 1
    outcome = Outcome(Resource("team/a", {"name": "a", "word": "mine"}, adopt=True))
    files = CheckedFiles(server, Words())
    found = files.find(outcome.resource)
    assert found.marker is None
    pair(outcome, found, "replaced", after=lambda: files.after(outcome.resource, found))
    files.write([outcome], check=False)
    assert outcome.failure
    assert file.read_bytes() == b"say caf\xe9\n"


def test_what_was_added_or_changed_by_hand_is_named():
    words, spec = Words(), {"name": "a", "word": "yes"}
    good = render(words, spec, "team/a")
    assert parse(words, "a", good).remarks == ()
    assert parse(words, "a", f"{good}and more\n").remarks == ("this was added by hand: and more",)
    assert parse(words, "a", f"{good}say no\n").remarks == ("its file is not as it would be written now",)
    with pytest.raises(Refused):
        render(words, spec, "team/a\nsay no")


def test_a_copy_for_which_memory_has_no_room_is_made_on_disk(server, tmp_path, monkeypatch):
    memory = tmp_path / "memory"
    memory.mkdir()
    monkeypatch.setattr(checked_files, "MEMORY", str(memory))
    copy, full = shutil.copyfile, []

    def copied(source, target):
        if memory in Path(target).parents:
            full.append(target)
            raise OSError(errno.ENOSPC, "No space left on device")
        return copy(source, target)

    assert settle(server, {"a": "yes"}) == {"a": True}
    monkeypatch.setattr(shutil, "copyfile", copied)
    server.dislikes = {"bad"}
    assert settle(server, {"b": "yes", "c": "bad"}) == {"b": True, "c": "The server refuses it: a bad word."}
    assert full
    assert [*memory.iterdir()] == []
    assert written(server) == {"a.txt": "say yes", "b.txt": "say yes"}


def test_a_power_cut_finds_whole_files_and_hardly_ever_half_a_change(server, monkeypatch):
    """Every new file is on disk before the first one takes its place; the directory is synced before a reload."""
    assert settle(server, {"old": "yes"}) == {"old": True}
    done = []

    def seen(what):
        original = getattr(Path, what)
        monkeypatch.setattr(Path, what, lambda path, *to, **how: done.append(what) or original(path, *to, **how))

    def synced(descriptor):
        done.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        assert [*server.loaded] == ["old"]

    monkeypatch.setattr(os, "fsync", synced)
    seen("replace")
    seen("unlink")
    assert settle(server, {"a": "yes", "b": "no"}, leaving=["old"]) == {"a": True, "b": True, "old": True}
    new = [".a.txt.new", ".b.txt.new"]
    assert done == [*new, "replace", "replace", "unlink", server.directory.name, "unlink"]  # at last the mark
    assert {*server.loaded} == {"a", "b"}


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_full_disk_changes_nothing_and_is_said(server, monkeypatch, at):
    """Whenever it fills up: at one of the files, or at what follows from them, when they are put back."""
    assert settle(server, {"old": "yes", "a": "first"}) == {"old": True, "a": True}
    calls, sync = [], os.fsync

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) == at:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    failures = settle(server, {"a": "second", "b": "new"}, leaving=["old"])
    how = "did not take" if at == 3 else "cannot be written, so nothing was changed"
    assert all(how in failure and "No space left on device" in failure for failure in failures.values())
    assert len(failures) == 3
    assert written(server).keys() - {"reload-pending"} == {"old.txt", "a.txt"}
    assert written(server)["a.txt"] == "say first"
    assert server.loaded["a"].endswith("say first\n")
    assert settle(server, {"a": "second", "b": "new"}, leaving=["old"]) == {"a": True, "b": True, "old": True}
    assert {name: text.splitlines()[-1] for name, text in server.loaded.items()} == {"a": "say second", "b": "say new"}


def test_copies_in_memory_that_a_killed_module_left_are_taken_away(server, tmp_path, monkeypatch):
    memory = tmp_path / "memory"
    for name, age in (("mergeyard-check-old", 3700), ("mergeyard-check-now", 0), ("others", 3700)):
        (memory / name / "inside").mkdir(parents=True)
        os.utime(memory / name, (time.time() - age,) * 2)
    monkeypatch.setattr(checked_files, "MEMORY", str(memory))
    assert settle(server, {"a": "yes"}) == {"a": True}
    assert sorted(path.name for path in memory.iterdir()) == ["mergeyard-check-now", "others"]
