"""References become values in the worker, for one attempt, and are seen nowhere else."""

import json
import os
import subprocess

import pytest

from executors.models import Event, ItemResource, Run, WorkItem
from executors.secrets import CannotResolve, resolve
from tests.executors.conftest import box, document


@pytest.fixture
def directory(settings, tmp_path):
    settings.MERGEYARD_SECRETS_DIR = tmp_path / "secrets"
    (tmp_path / "secrets" / "payments").mkdir(parents=True)
    return tmp_path / "secrets"


def put(path, text="value of the file\n", mode=0o600):
    path.write_text(text)
    path.chmod(mode)


def test_a_file_is_read_without_its_last_newline(directory):
    put(directory / "payments" / "orders")
    assert resolve("file:payments/orders") == "value of the file"


@pytest.mark.threat("values.foreign-secret")
def test_a_variable_is_read_only_under_the_prefix(monkeypatch):
    monkeypatch.setenv("MERGEYARD_SECRET_KAFKA", "from the environment")
    assert resolve("env:MERGEYARD_SECRET_KAFKA") == "from the environment"
    for name in ("HOME", "MERGEYARD_DATABASE_URL", "MERGEYARD_SECRET_KAFKA\n"):
        with pytest.raises(CannotResolve, match="only variables that begin with MERGEYARD_SECRET_"):
            resolve(f"env:{name}")


@pytest.mark.threat("values.paths")
@pytest.mark.parametrize("name", ["../outside", "payments/../../outside", "/etc/passwd", "", "payments/./x", ".hidden"])
def test_no_name_leads_out_of_the_directory(directory, name):
    put(directory.parent / "outside")
    with pytest.raises(CannotResolve, match=r"plain names below|does not exist"):
        resolve(f"file:{name}")


@pytest.mark.threat("values.paths")
def test_links_are_not_followed(directory):
    put(directory.parent / "outside")
    (directory / "link").symlink_to(directory.parent / "outside")
    (directory / "folder").symlink_to(directory.parent)
    for name in ("link", "folder/outside"):
        with pytest.raises(CannotResolve, match="cannot be read"):
            resolve(f"file:{name}")


def test_a_file_that_others_may_read_is_refused(directory):
    put(directory / "open", mode=0o644)
    with pytest.raises(CannotResolve, match="set its mode to 0600"):
        resolve("file:open")


def test_a_value_that_could_not_be_masked_is_refused(directory):
    put(directory / "short", "abc")
    with pytest.raises(CannotResolve, match="shorter than 4 characters"):
        resolve("file:short")


def test_a_missing_file_is_generated_once(directory):
    value = resolve("file:new/one", generate=True)
    assert len(value) == 32
    assert resolve("file:new/one", generate=True) == value
    assert (directory / "new" / "one").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (directory / "new").iterdir()] == ["one"]
    with pytest.raises(CannotResolve, match="create it or let it be generated"):
        resolve("file:new/two")


@pytest.mark.threat("worker.secrets")
def test_a_secret_is_nowhere_but_in_the_play(yard):
    secrets = {"lock": {"ref": "file:payments/lock", "generate": True}}
    yard.roll_out({box("orders"): document("Box", trouble="leak", secrets=secrets)})
    [item] = yard.items()
    assert item.state == "succeeded", item.reason
    value = (yard.directory / "secrets" / "payments" / "lock").read_text()
    assert yard.stored("orders")["note"] == value
    rows = [*Event.objects.values(), *ItemResource.objects.values(), *Run.objects.values(), *WorkItem.objects.values()]
    assert value not in json.dumps(rows, default=str)
    assert "the lock is ********" in [event.text for event in yard.events(sort="line")]
    found = subprocess.run(["grep", "-rl", value, yard.directory], capture_output=True, text=True).stdout.split()
    assert found == [f"{yard.directory}/secrets/payments/lock", f"{yard.directory}/shelf-a/Box-orders.json"] or (
        sorted(found)
        == sorted([f"{yard.directory}/secrets/payments/lock", f"{yard.directory}/shelf-a/Box-orders.json"])
    )


@pytest.mark.threat("values.foreign-secret")
def test_a_team_may_only_use_its_own_prefix(yard):
    (yard.directory / "secrets").mkdir()
    put(yard.directory / "secrets" / "others")
    yard.roll_out({box("orders"): document("Box", secrets={"lock": "file:others"})})
    assert yard.items()[0].reason == (
        "payments may not use file:others: it is under none of the team's secret_prefixes."
    )
    assert os.listdir(yard.directory / "shelf-a") == []
