"""What modules that work on a host do there, called as Ansible calls them, without a host between."""

import fcntl
import importlib.util
import json
import os
import pwd
import threading
from pathlib import Path

import ansible.module_utils
import pytest

from tests.systems.catalogue import PLAYBOOKS

for folder in (PLAYBOOKS / "plugins", PLAYBOOKS / "linux" / "plugins"):
    ansible.module_utils.__path__.append(str(folder / "module_utils"))

from ansible.module_utils.mergeyard import remote  # noqa: E402
from ansible.module_utils.testing import patch_module_args  # noqa: E402


class ManagedFiles:
    """The module managed_file, and a directory that it may write to."""

    def __init__(self, directory):
        self.directory, self.register = directory / "files", directory / "state" / "files.json"
        self.directory.mkdir()
        self.system = {"host": "a", "port": 22, "directories": [str(self.directory)]}
        self.system["state_directory"] = str(self.register.parent)
        path = PLAYBOOKS / "linux" / "plugins" / "modules" / "managed_file.py"
        spec = importlib.util.spec_from_file_location("managed_file", path)
        self.module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.module)

    def document(self, name, content="text\n"):
        owner = {"owner": pwd.getpwuid(os.geteuid()).pw_name, "group": self.module.group_of(os.getegid())}
        spec = {"path": str(self.directory / name), "content": content, "mode": "0644", **owner}
        return {"path": f"shop/{name}", "spec": spec}

    def call(self, state, *documents, check=False):
        arguments = {"state": state, "config": documents, "system": self.system, "_ansible_check_mode": check}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            self.module.run("ManagedFile", self.module.Files)

    def registered(self):
        return [Path(path).name for path in json.loads(self.register.read_text())]


@pytest.fixture
def files(tmp_path):
    made = ManagedFiles(tmp_path)
    yield made
    Path(remote.lock_of(made.system)).unlink(missing_ok=True)


@pytest.fixture
def told(capsys):
    """What the last call of a module answered: its sentence, or how each document ended."""

    def last():
        answer = json.loads(capsys.readouterr().out.splitlines()[-1])
        resources = json.loads(answer.get("resources", "[]"))
        return answer.get("msg") or [(one["message"] or one["status"], one["changed"]) for one in resources]

    return last


def test_a_file_that_is_away_for_a_while_is_still_ours(files, told):
    """As one on a file system that is not mounted for an hour, while others go on with their files."""
    mounted = files.directory / "mounted"
    mounted.mkdir()
    files.call("replaced", files.document("mounted/kept"), files.document("mounted/going"))
    mounted.rename(files.directory / "away")
    files.call("replaced", files.document("other"))
    (files.directory / "away").rename(mounted)
    told()
    files.call("replaced", files.document("mounted/kept", "after the hour\n"))
    assert told() == [("ok", True)]
    files.call("deleted", files.document("mounted/going"))
    assert told() == [("ok", True)]
    assert files.registered() == ["kept", "other"]


def test_a_document_that_is_removed_after_its_file_leaves_no_claim_to_what_others_put_there(files, told):
    files.call("replaced", files.document("a"), files.document("b"))
    for name in ("a", "b"):
        (files.directory / name).unlink()
    told()
    files.call("deleted", files.document("a"), check=True)
    assert (told(), files.registered()) == ([("ok", False)], ["a", "b"])
    files.call("deleted", files.document("a"), {**files.document("b"), "path": "shop/once-b"})
    assert (told(), files.registered()) == ([("ok", False)] * 2, ["b"])


@pytest.fixture
def held(files):
    """The lock of a module that a killed run left at work: a call ends it."""
    path = Path(remote.lock_of(files.system))
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock.close


@pytest.mark.threat("worker.left-module")
def test_a_module_waits_for_one_that_an_earlier_run_left_at_work_and_then_sees_what_that_did(files, told, held):
    def end():
        (files.directory / "a").write_text("by the other one, late\n")
        held()

    threading.Timer(0.3, end).start()
    files.call("replaced", files.document("a"))
    assert told()[0][0].startswith("It exists on the system already and is not managed here")
    assert (files.directory / "a").read_text() == "by the other one, late\n"


@pytest.mark.threat("worker.left-module")
def test_a_module_that_waited_in_vain_changes_nothing_and_says_so_and_reading_goes_on(files, told, held, monkeypatch):
    monkeypatch.setattr(remote, "PATIENCE", 0.2)
    files.call("replaced", files.document("a"), check=True)
    assert told() == [("ok", True)]
    files.call("replaced", files.document("a"))
    assert told().startswith("A module of an earlier run still works on this system, so nothing was changed; try again")
    assert not (files.directory / "a").exists()
    held()
    files.call("replaced", files.document("a"))
    assert told() == [("ok", True)]


def test_who_has_no_place_for_a_lock_works_without_it(files, told, monkeypatch):
    monkeypatch.setattr(remote, "lock_of", lambda system: "/nowhere/.mergeyard.lock")
    files.call("replaced", files.document("a"))
    assert told() == [("ok", True)]
