"""References become values in the worker, for one attempt, and are seen nowhere else."""

import json
import os
import re
import subprocess
import sys

import pytest
from ansible.parsing.vault import VaultLib, VaultSecret

from executors.ansible.sandbox import NotAllowed, local_paths
from executors.models import Event, ItemResource, MadeSecret, Run, WorkItem
from executors.secrets import CannotResolve, Resolver, draft, finish
from tests.executors.conftest import box, document
from tests.vault_server import put_key


@pytest.fixture
def directory(settings, tmp_path):
    settings.MERGEYARD_SECRETS_DIR = tmp_path / "secrets"
    (tmp_path / "secrets" / "payments").mkdir(parents=True)
    return tmp_path / "secrets"


def resolve(ref, **how):
    with Resolver() as values:
        return values.resolve(ref, **how)


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
    for name in ("HOME", "MERGEYARD_DATABASE_URL", "MERGEYARD_SECRET_KEY"):
        monkeypatch.setenv(name, "not for systems")
        with pytest.raises(CannotResolve, match="only variables that begin with MERGEYARD_SECRET_"):
            resolve(f"env:{name}")
    with pytest.raises(CannotResolve, match="no reference"):
        resolve("env:MERGEYARD_SECRET_KAFKA\n")


@pytest.mark.threat("values.paths")
@pytest.mark.parametrize("name", ["../outside", "payments/../../outside", "/etc/passwd", "", "payments/./x", ".hidden"])
def test_no_name_leads_out_of_the_directory(directory, name):
    put(directory.parent / "outside")
    with pytest.raises(CannotResolve, match=r"plain names|does not exist"):
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
    put(directory / "lines", "abc\ndef\nghi\n")
    with pytest.raises(CannotResolve, match="Every line of the secret file:lines is shorter than 4 characters"):
        resolve("file:lines")


def encrypted(text, password="the-password"):
    return VaultLib([("default", VaultSecret(password.encode()))]).encrypt(text.encode())


@pytest.fixture
def vaulted(directory, settings, tmp_path):
    """A file that ansible-vault encrypted, and the worker's file with its password."""
    settings.MERGEYARD_ANSIBLE_VAULT_DIR = directory
    settings.MERGEYARD_ANSIBLE_VAULT_PASSWORD_FILE = str(put_key(tmp_path / "vault-password", "the-password\n"))
    file = directory / "payments" / "secrets.yml"
    file.write_bytes(encrypted("orders: value of the key\npin: 4711\nshort: abc\ntext: |\n  several\n  lines\n"))
    return file


ORDERS = "ansible-vault:payments/secrets.yml#orders"


def test_a_key_of_an_encrypted_file_is_read(vaulted):
    assert resolve(ORDERS) == "value of the key"
    assert resolve(ORDERS.replace("orders", "text")) == "several\nlines"


def test_an_encrypted_file_is_what_ansible_vault_writes(vaulted, tmp_path):
    """The command that people use, and another id than ours."""
    vaulted.write_text("orders: from the command\n")
    password = f"production@{tmp_path}/vault-password"
    command = [sys.executable, "-m", "ansible", "vault", "encrypt", "--encrypt-vault-id", "production"]
    subprocess.run([*command, "--vault-id", password, vaulted], check=True, capture_output=True)
    assert vaulted.read_text().startswith("$ANSIBLE_VAULT;1.2;AES256;production\n")
    assert resolve(ORDERS) == "from the command"


def test_a_rotated_value_and_a_rotated_password_need_no_restart(vaulted, tmp_path):
    with Resolver() as attempt:
        assert attempt.resolve(ORDERS) == "value of the key"
        vaulted.write_bytes(encrypted("orders: another value", "another-password"))
        assert attempt.resolve(ORDERS) == "value of the key"
    with pytest.raises(CannotResolve, match="its password is another one"):
        resolve(ORDERS)
    put_key(tmp_path / "vault-password", "another-password")
    assert resolve(ORDERS) == "another value"


@pytest.mark.parametrize(
    ("ref", "content", "said"),
    [
        (ORDERS.replace("orders", "none"), None, "its file has no key none"),
        (ORDERS.replace("orders", "pin"), None, "is not a text; put its value in quotes"),
        (ORDERS.replace("orders", "short"), None, "shorter than 4 characters"),
        (ORDERS.replace("secrets.yml", "none.yml"), None, "this worker has no such file"),
        (ORDERS, b"orders: hunter2hunter2\n", "it is not encrypted by ansible-vault"),
        (ORDERS, b"$ANSIBLE_VAULT;1.1;AES256\n616263", "it is damaged, or its password is another one"),
        (ORDERS, b"$ANSIBLE_VAULT;1.1;AES256\nhunter2hunter2", "it is damaged, or its password is another one"),
        (ORDERS, encrypted("- hunter2hunter2"), "is no mapping of names to values"),
        (ORDERS, encrypted("orders: !x hunter2hunter2\n"), r"is not plain YAML \(line 1\)"),
        (ORDERS, encrypted("hunter2hunter2"), "is no mapping of names to values"),
        (ORDERS, b"x" * 2_000_001, "larger than 2000000 bytes"),
    ],
    ids=range(11),
)
def test_what_is_wrong_with_an_encrypted_file_is_said_and_nothing_of_it_repeated(vaulted, ref, content, said):
    if content is not None:
        vaulted.write_bytes(content)
    with pytest.raises(CannotResolve, match=said) as refused:
        resolve(ref)
    assert "hunter2" not in str(refused.value)
    assert str(refused.value).count(ref) == 1


def test_an_encrypted_file_that_others_may_write_is_refused(vaulted):
    vaulted.chmod(0o666)
    with pytest.raises(CannotResolve, match="may be written by others"):
        resolve(ORDERS)


@pytest.mark.threat("worker.secret-store")
@pytest.mark.parametrize(
    "setting",
    ["MERGEYARD_ANSIBLE_VAULT_PASSWORD_FILE", "MERGEYARD_VAULT_TOKEN_FILE", "MERGEYARD_VAULT_SECRET_ID_FILE"],
)
def test_no_reference_reads_a_key_of_the_worker(directory, settings, setting):
    put(directory / "payments" / "token", "key of the worker")
    (directory / "payments" / "other-name").hardlink_to(directory / "payments" / "token")
    setattr(settings, setting, str(directory / "payments" / "token"))
    for name in ("token", "other-name"):
        with pytest.raises(CannotResolve, match="is a key of the worker itself"):
            resolve(f"file:payments/{name}")


def test_a_missing_file_is_generated_once(directory):
    marks = [draft("file:new/one") for _ in range(3)]
    with pytest.raises(CannotResolve, match="create it or let it be generated"):
        resolve("file:new/one")
    finish("file:new/one", "of another host")
    finish("file:new/one", marks[1])
    value = resolve("file:new/one")
    assert len(value) == 32
    finish("file:new/one", draft("file:new/one"))
    assert resolve("file:new/one") == value
    assert (directory / "new" / "one").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (directory / "new").iterdir()] == ["one"]
    with pytest.raises(CannotResolve, match="create it or let it be generated"):
        resolve("file:new/two")


@pytest.mark.threat("worker.secret-store")
@pytest.mark.parametrize(
    "setting",
    [
        *("MERGEYARD_SECRETS_DIR", "MERGEYARD_ANSIBLE_VAULT_PASSWORD_FILE", "MERGEYARD_VAULT_TOKEN_FILE"),
        *("MERGEYARD_ATTEMPTS_DIR", "MERGEYARD_SPOOL_DIR", "MERGEYARD_REPOSITORY"),
    ],
)
def test_no_play_is_given_a_directory_with_files_of_the_workers_own(settings, tmp_path, setting):
    for name in ("secrets/deeper", "systems/shelf"):
        (tmp_path / name).mkdir(parents=True)
    settings.MERGEYARD_LOCAL_PATHS = [tmp_path]
    setattr(settings, setting, tmp_path / "secrets")
    for path in (tmp_path, tmp_path / "secrets", tmp_path / "secrets" / "deeper"):
        with pytest.raises(NotAllowed, match="where this worker keeps files of its own"):
            local_paths([str(path)])
    assert local_paths([str(tmp_path / "systems" / "shelf")]) == (tmp_path / "systems" / "shelf",)


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


def locked(ref, size, **spec):
    return document("Box", size=size, secrets={"lock": {"ref": f"file:payments/{ref}", "generate": True}}, **spec)


NOT_TWICE = (
    r"The secret file:payments/{} was made or used before{}, and this worker does not find it; it makes no other "
    r"value\. Bring that one here, or name a reference that was never used\."
)


@pytest.mark.threat("worker.secrets-once")
def test_a_value_is_made_once_whatever_became_of_what_it_was_made_for(yard, settings):
    boxes = {"works": "one", "fails": "two", "goes": "three"}
    trouble = {"fails": "fail"}
    yard.roll_out({box(name): locked(ref, 1, trouble=trouble.get(name, "")) for name, ref in boxes.items()})
    assert [yard.result(box(name)).result for name in boxes] == ["changed", "failed", "changed"]
    yard.roll_out({box("goes"): None})
    here = settings.MERGEYARD_SECRETS_DIR
    settings.MERGEYARD_SECRETS_DIR = yard.directory / "elsewhere"
    boxes |= {"shares": "one"}
    yard.roll_out({box(name): locked(ref, 2) for name, ref in {**boxes, "new": "four"}.items()})
    for name, ref in boxes.items():
        assert re.fullmatch(NOT_TWICE.format(ref, r"( by worker \S+:\d+)?"), yard.result(box(name)).message)
    assert yard.result(box("new")).result == "changed"
    assert os.listdir(yard.directory / "elsewhere" / "payments") == ["four"]
    settings.MERGEYARD_SECRETS_DIR = here
    yard.roll_out({box(name): locked(ref, 3) for name, ref in {**boxes, "works": "five"}.items()})
    assert {yard.result(box(name)).result for name in boxes} == {"changed"}
    assert sorted(os.listdir(here / "payments")) == ["five", "one", "three", "two"]


def test_a_value_that_a_system_has_is_not_made_although_nobody_knows_who_made_it(yard, settings):
    yard.roll_out({box("orders"): locked("one", 1)})
    MadeSecret.objects.all().delete()
    settings.MERGEYARD_SECRETS_DIR = yard.directory / "elsewhere"
    yard.roll_out({box("orders"): locked("one", 2)})
    assert re.fullmatch(NOT_TWICE.format("one", ""), yard.result(box("orders")).message)
    assert not (yard.directory / "elsewhere").exists()


def test_what_could_not_be_made_is_made_later(yard):
    (yard.directory / "secrets").mkdir(mode=0o500)
    (yard.directory / "secrets" / "payments").write_text("no directory")
    yard.roll_out({box("orders"): locked("one", 1)})
    assert "cannot be" in yard.result(box("orders")).message
    (yard.directory / "secrets" / "payments").unlink()
    yard.roll_out({box("orders"): locked("one", 2)})
    assert yard.result(box("orders")).result == "changed"


@pytest.mark.threat("values.foreign-secret")
def test_a_team_may_only_use_its_own_prefix(yard):
    (yard.directory / "secrets").mkdir()
    put(yard.directory / "secrets" / "others")
    yard.roll_out({box("orders"): document("Box", secrets={"lock": "file:others"})})
    assert yard.items()[0].reason == (
        "payments may not use file:others: it is under none of the team's secret_prefixes."
    )
    assert os.listdir(yard.directory / "shelf-a") == []
