"""Secrets in a real OpenBao over TLS: read, generated once, rotated without a restart, and every way it can fail."""

import contextlib
import json
import re
import socket
import threading
import time

import pytest

from executors.models import Run
from executors.secrets import CannotResolve, Resolver, Unavailable
from tests.executors.conftest import box, document
from tests.vault_server import ROOT, Bao, put_key

PASSWORD = "vault:payments/orders#password"
VALUE = "value-from-the-vault"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    bao = Bao(tmp_path_factory.mktemp("bao"))
    yield bao
    bao.stop()


@pytest.fixture
def vault(server, settings, tmp_path):
    """The worker's settings for it: a token that may read and write below payments/."""
    settings.MERGEYARD_VAULT_ADDRESS = server.url
    settings.MERGEYARD_VAULT_CA_FILE = str(server.ca)
    settings.MERGEYARD_VAULT_TOKEN_FILE = str(put_key(tmp_path / "token", server.token() + "\n"))
    settings.MERGEYARD_VAULT_TIMEOUT_SECONDS = 5
    server.put("payments/orders", password=VALUE, pin="4711-4711", port=5432, short="abc")
    yield server
    server.forget("payments/orders")


def resolve(ref=PASSWORD, **how):
    with Resolver() as values:
        return values.resolve(ref, **how)


def refused(ref=PASSWORD, error=CannotResolve, **how):
    """Why not, in a sentence that names the reference and holds neither the value nor a key."""
    with pytest.raises(error) as caught:
        resolve(ref, **how)
    said = str(caught.value)
    assert ref in said
    assert said.endswith(".")
    assert "\n" not in said
    assert not re.search(rf"{VALUE}|{ROOT}|\bs\.\w", said)
    return said


def test_a_field_of_an_entry_is_read(vault):
    with Resolver() as values:
        assert values.resolve(PASSWORD) == VALUE
        assert values.resolve("vault:payments/orders#pin") == "4711-4711"
        assert values.known == [VALUE, "4711-4711"]


def test_what_was_rotated_is_used_from_the_next_attempt_on(vault, tmp_path):
    with Resolver() as attempt:
        assert attempt.resolve(PASSWORD) == VALUE
        vault.put("payments/orders", password="rotated-value")
        assert attempt.resolve(PASSWORD) == VALUE  # one attempt sees one state of an entry
    assert resolve() == "rotated-value"
    vault.root.auth.token.revoke((tmp_path / "token").read_text().strip())
    assert "its token must be valid" in refused()
    put_key(tmp_path / "token", vault.token())
    assert resolve() == "rotated-value"


def test_a_value_is_generated_once_and_beside_others(vault):
    value = resolve("vault:payments/orders#fresh", generate=True)
    assert len(value) == 32
    assert resolve("vault:payments/orders#fresh", generate=True) == value
    assert vault.fields("payments/orders")["password"] == VALUE
    new = resolve("vault:payments/new/entry#password", generate=True)
    assert vault.fields("payments/new/entry") == {"password": new}
    vault.forget("payments/new/entry")


@pytest.mark.parametrize("path", ["payments/contested", "payments/orders"])
def test_of_workers_that_generate_at_once_the_first_wins_and_the_others_read_it(vault, path):
    found, start = [], threading.Barrier(6)

    def work():
        with Resolver() as values:
            start.wait()
            found.append(values.resolve(f"vault:{path}#made", generate=True))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [vault.fields(path)["made"]] * 6
    vault.forget(path)


def test_a_role_signs_in_and_out_again(vault, settings, tmp_path):
    root = vault.root
    with contextlib.suppress(Exception):
        root.sys.enable_auth_method("approle", path="workers")
    root.auth.approle.create_or_update_approle("yard", token_policies=["reader"], mount_point="workers")
    settings.MERGEYARD_VAULT_ROLE_ID = root.auth.approle.read_role_id("yard", mount_point="workers")["data"]["role_id"]
    settings.MERGEYARD_VAULT_APPROLE_MOUNT = "workers"
    settings.MERGEYARD_VAULT_TOKEN_FILE = ""
    secret_id = root.auth.approle.generate_secret_id("yard", mount_point="workers")["data"]["secret_id"]
    settings.MERGEYARD_VAULT_SECRET_ID_FILE = str(put_key(tmp_path / "secret-id", secret_id))
    before = len(root.list("auth/token/accessors")["data"]["keys"])
    with Resolver() as values:
        assert values.resolve(PASSWORD) == VALUE
        assert len(root.list("auth/token/accessors")["data"]["keys"]) == before + 1
    assert len(root.list("auth/token/accessors")["data"]["keys"]) == before
    put_key(tmp_path / "secret-id", "another-one")
    assert "refuses this worker's AppRole" in refused()


def test_a_namespace_and_a_mount_are_settings(vault, settings, tmp_path):
    vault.root.adapter.put("/v1/sys/namespaces/team")
    vault.root.adapter.namespace = "team"
    try:
        vault.root.sys.enable_secrets_engine("kv", path="ours", options={"version": "2"})
        vault.until(lambda: vault.root.secrets.kv.v2.read_configuration(mount_point="ours"))
        entry = {"secret": {"password": "inside-the-namespace"}, "mount_point": "ours"}
        vault.until(lambda: vault.root.secrets.kv.v2.create_or_update_secret("payments/orders", **entry))
    finally:
        vault.root.adapter.namespace = None
    put_key(tmp_path / "token", ROOT)
    settings.MERGEYARD_VAULT_MOUNT = "ours"
    refused()
    settings.MERGEYARD_VAULT_NAMESPACE = "team"
    assert resolve() == "inside-the-namespace"


@pytest.mark.parametrize(
    ("ref", "said"),
    [
        ("vault:payments/none#password", "nothing is there"),
        ("vault:payments/orders#none", "its entry has no field none"),
        ("vault:payments/orders#port", "is not a text"),
        ("vault:payments/orders#short", "shorter than 4 characters"),
        ("vault:shop/orders#password", "have a policy for secret/data/shop/orders"),
    ],
)
def test_what_a_person_has_to_mend_is_said(vault, ref, said):
    vault.put("shop/orders", password=VALUE)
    assert said in refused(ref)


def test_it_writes_only_where_its_policy_lets_it(vault):
    assert "have a policy for" in refused("vault:systems/queue#password", generate=True)


@pytest.mark.parametrize("how", ["delete_latest_version_of_secret", "destroy_secret_versions"])
@pytest.mark.parametrize("generate", [False, True])
def test_a_deleted_version_is_not_made_anew_behind_a_persons_back(vault, how, generate):
    given = {"versions": [1]} if "destroy" in how else {}
    getattr(vault.root.secrets.kv.v2, how)("payments/orders", **given)
    assert "was deleted in Vault" in refused(generate=generate)


def test_a_sealed_one_is_away_and_then_there_again(vault, settings):
    settings.MERGEYARD_VAULT_TIMEOUT_SECONDS = 1
    vault.root.sys.seal()
    assert "Vault is sealed" in refused(error=Unavailable)
    settings.MERGEYARD_VAULT_TIMEOUT_SECONDS = 10
    timer = threading.Timer(0.3, lambda: vault.root.sys.submit_unseal_key(vault.unseal_key))
    timer.start()
    assert resolve() == VALUE  # asked again while there is time
    timer.join()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("ADDRESS", "", "MERGEYARD_VAULT_ADDRESS is not set"),
        ("ADDRESS", "http://vault.example.com", "must begin with https://"),
        ("ADDRESS", "vault.example.com:8200", "must begin with https://"),
        ("CA_FILE", "", "certificate is not trusted"),
        ("CA_FILE", "/nonexistent", "MERGEYARD_VAULT_CA_FILE cannot be read"),
        ("MOUNT", "none", "policy for none/data/payments/orders"),
        ("TOKEN_FILE", "", "MERGEYARD_VAULT_TOKEN_FILE is not set"),
        ("TOKEN_FILE", "/nonexistent", "the file of MERGEYARD_VAULT_TOKEN_FILE: No such file"),
    ],
)
def test_a_setting_that_is_wrong_is_named(vault, settings, name, value, said):
    setattr(settings, f"MERGEYARD_VAULT_{name}", value)
    assert said in refused()


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        ("", 0o600, "holds no single line of text"),
        ("two\nlines", 0o600, "holds no single line of text"),
        ("täken", 0o600, "holds no single line of text"),
        ("x" * 10_000, 0o600, "holds no single line of text"),
        ("token", 0o640, "set its mode to 0600"),
    ],
)
def test_a_token_is_one_line_in_a_file_that_is_ours_alone(vault, tmp_path, text, mode, said):
    put_key(tmp_path / "token", text).chmod(mode)
    assert said in refused()


class Answering:
    """A server that is no Vault: it takes a request and answers with these bytes, or slowly, or not at all."""

    def __init__(self, pieces, pause=0.0):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.asked = []
        self.pieces, self.pause = pieces, pause
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                threading.Thread(target=self.answer, args=(connection,), daemon=True).start()

    def answer(self, connection):
        with contextlib.suppress(OSError), connection:
            self.asked.append(connection.recv(65536))
            for piece in self.pieces:
                connection.sendall(piece)
                time.sleep(self.pause)


def answer(status="200 OK", body=b"{}", head="Content-Type: application/json"):
    return [f"HTTP/1.1 {status}\r\n{head}\r\nContent-Length: {len(body)}\r\n\r\n".encode(), body]


BIG = b'{"data": {"data": {"password": "' + b"x" * 2_000_000 + b'"}, "metadata": {"version": 1}}}'


@pytest.mark.threat("worker.secret-store")
@pytest.mark.parametrize(
    ("pieces", "pause", "error", "said"),
    [
        ([], 0, Unavailable, "cannot be reached (no connection)"),
        ([b""] * 100, 0.1, Unavailable, "in time"),
        ([b"HTTP/1.1 200 OK\r\n", *[b"X: y\r\n"] * 100], 0.1, Unavailable, "did not answer in time"),
        (
            [b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", *[b"x"] * 100],
            0.1,
            Unavailable,
            "did not answer in time",
        ),
        (answer("500 Oh", b'{"errors": ["value-from-the-vault"]}'), 0, Unavailable, "cannot answer"),
        (answer("502 Oh", b"<html>"), 0, Unavailable, "cannot answer"),
        (answer("429 Oh"), 0, Unavailable, "cannot answer"),
        (answer("400 Oh", b'{"errors": ["value-from-the-vault"]}'), 0, CannotResolve, "Vault refuses the request"),
        (answer("302 Found", b"", "Location: http://127.0.0.1:1/"), 0, CannotResolve, "sends us to another address"),
        (answer(body=b"<html>"), 0, CannotResolve, "what answers is no KV engine of version 2"),
        (answer(body=b"[]"), 0, CannotResolve, "what answers is no KV engine of version 2"),
        (answer(body=b'{"data": {"password": "value-from-the-vault"}}'), 0, CannotResolve, "no KV engine of version 2"),
        (answer(body=BIG), 0, CannotResolve, "larger than 1000000 bytes"),
    ],
    ids=range(13),
)
def test_whatever_answers_it_ends_in_time_with_a_sentence(vault, settings, pieces, pause, error, said):
    other = Answering(pieces, pause)
    settings.MERGEYARD_VAULT_ADDRESS = other.url
    settings.MERGEYARD_VAULT_TIMEOUT_SECONDS = 1
    begun = time.monotonic()
    assert said in refused(error=error)
    assert time.monotonic() - begun < 3
    other.listener.close()


@pytest.mark.threat("worker.secret-store")
def test_the_token_is_not_carried_to_another_address(vault, settings):
    thief = Answering(answer())
    settings.MERGEYARD_VAULT_ADDRESS = Answering(answer("307 Moved", b"", f"Location: {thief.url}/v1/x")).url
    refused()
    assert thief.asked == []


def test_what_the_environment_says_of_a_vault_counts_for_nothing(vault, monkeypatch, settings):
    for name in ("VAULT_ADDR", "VAULT_TOKEN", "VAULT_CACERT", "HTTPS_PROXY", "REQUESTS_CA_BUNDLE"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert resolve() == VALUE
    settings.MERGEYARD_VAULT_TOKEN_FILE = ""
    monkeypatch.setenv("VAULT_TOKEN", ROOT)
    assert "MERGEYARD_VAULT_TOKEN_FILE is not set" in refused()


LOCK = {"lock": "vault:payments/lock#password"}


@pytest.fixture
def shelf(vault, yard):
    """A yard whose team payments may use Vault."""
    prefixes = 'secret_prefixes: ["file:payments/", "vault:payments/"]\n'
    yard.merge({"teams/payments.yml": f"title: Payments\nmembers: [rita, paul]\n{prefixes}"})
    vault.put("payments/lock", password="first-password")
    return yard


def test_a_run_gets_the_value_and_the_next_run_the_rotated_one(vault, shelf):
    shelf.roll_out({box("orders"): document("Box", trouble="leak", secrets=LOCK)})
    assert shelf.stored("orders")["note"] == "first-password"
    vault.put("payments/lock", password="second-password")
    shelf.roll_out({box("orders"): document("Box", trouble="leak", size=4, secrets=LOCK)})
    assert shelf.stored("orders")["note"] == "second-password"
    assert [event.text for event in shelf.events() if "the lock is" in event.text] == ["the lock is ********"]


def test_a_vault_that_is_away_is_no_failure_of_the_work(vault, shelf, settings):
    settings.MERGEYARD_VAULT_ADDRESS, settings.MERGEYARD_VAULT_TIMEOUT_SECONDS = "https://127.0.0.1:1", 0.2
    shelf.roll_out({box("orders"): document("Box", secrets=LOCK)})
    [item] = shelf.items()
    assert (item.state, item.attempts) == ("parked", 3), item.reason
    assert "vault:payments/lock#password was not read. Nothing is wrong with the work." in item.reason
    assert [run.state for run in Run.objects.all()] == ["errored"] * 3


def test_what_vault_does_not_have_is_a_failure_of_the_work(vault, shelf):
    secrets = {"lock": "vault:payments/none#password"}
    shelf.roll_out({box("orders"): document("Box", secrets=secrets), box("good"): document("Box")})
    [item] = shelf.items()
    assert (item.state, item.attempts) == ("failed", 1)
    assert shelf.result(box("orders")).message.startswith("The secret vault:payments/none#password does not exist")
    assert shelf.result(box("good")).result == "changed"


@pytest.mark.threat("values.foreign-secret")
def test_neither_a_team_nor_a_system_uses_a_vault_that_nobody_gave_it(vault, yard):
    yard.roll_out({box("orders"): document("Box", secrets=LOCK)})
    assert yard.items()[0].reason.startswith("payments may not use vault:payments/lock#password")
    system = {"type": "shelf", "owners": ["shelves"], "connection": {"directory": str(yard.directory / "shelf-a")}}
    secrets = {"key": "vault:systems/shelf#key"}
    yard.merge({"systems/shelf-a.yml": json.dumps({**system, "secrets": secrets})})
    yard.roll_out({box("later"): document("Box")})
    reason = yard.items()[-1].reason
    assert reason.startswith("shelf-a may not use vault:systems/shelf#key: MERGEYARD_SYSTEM_SECRETS of this worker")
