"""A secret of every provider goes through success, failure, kill and cancel on a real installation, and is nowhere."""

import base64
import contextlib
import json
import os
import re
import signal
import subprocess
import zlib
from functools import partial
from pathlib import Path

import httpx
import pytest
from ansible.parsing.vault import VaultLib, VaultSecret
from django.db import connection
from django.test import Client

from executors import actions
from executors.ansible.warm import sandboxes
from executors.models import ItemResource, Run, WorkItem
from executors.states import RUN_OPEN
from tests.executors.conftest import box, document
from tests.executors.test_claim import lose
from tests.executors.test_processes import machine, own_queue  # noqa: F401
from tests.executors.test_processes import until as until_within
from tests.vault_server import Bao, put_key

until = partial(until_within, within=120)  # several plays, and more than one wait of a busy host's
pytestmark = pytest.mark.stack

PREFIXES = "['file:payments/', 'vault:payments/', 'ansible-vault:pay.yml']"
TEAM = f"title: Payments\nmembers: [rita]\nsecret_prefixes: {PREFIXES}\n"
COLOURS = re.compile(rb"\x1b\[[0-9;]*m")


def value(name):
    return f"caNary-{name}-{os.urandom(6).hex()} \"d'q\\<&>/+=ä€{{}}:#{os.urandom(6).hex()}"


class Canaries:
    """Values that may be nowhere, and the search for them: both their ends, which no escaping changes, and encoded."""

    def __init__(self, **values):
        self.values = values
        self.needles = {}
        for name, canary in values.items():
            for end in (canary.split(" ")[0], canary[-12:]):
                raw = end.encode()
                middles = [base64.b64encode(bytes(offset) + raw)[4:-4] for offset in range(3)]
                for needle in (raw, raw.hex().encode(), raw.hex().upper().encode(), *middles):
                    self.needles[needle] = name

    def found(self, data):
        """The names of those that are in it; a queue packs what it keeps, and text wraps and has colours."""
        data = data if isinstance(data, bytes) else str(data).encode()
        views = [data, COLOURS.sub(b"", data).translate(None, b" \t\r\n")]
        with contextlib.suppress(zlib.error):
            views.append(zlib.decompress(data))
        return {name for needle, name in self.needles.items() for view in views if needle in view}


def rows():
    """Every column of every table, and the database's own files where it has some."""
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
            for row in cursor.fetchall():
                yield f"table {table}", repr(row)
                yield from ((f"table {table}", each) for each in row if each is not None)
    if connection.vendor == "sqlite":
        for file in Path(connection.settings_dict["NAME"]).parent.glob("tests.sqlite3*"):
            # By another process: a file that is closed takes all locks of this one along, SQLite's too.
            yield str(file), subprocess.run(["cat", file], capture_output=True, check=True).stdout


def keys(client):
    """Everything in the queue's server, streams and jobs too."""
    for key in client.scan_iter():
        yield f"key {key}", key
        read = {
            b"string": lambda key: [client.get(key)],
            b"hash": lambda key: [part for pair in client.hgetall(key).items() for part in pair],
            b"list": lambda key: client.lrange(key, 0, -1),
            b"set": client.smembers,
            b"zset": lambda key: client.zrange(key, 0, -1),
            b"stream": lambda key: [part for _, entry in client.xrange(key) for part in entry.values()],
        }[client.type(key)]
        yield from ((f"key {key}", each) for each in read(key))


def files(root, leave=()):
    for file in root.rglob("*"):
        if file.is_file() and not any(file.is_relative_to(root / each) for each in leave):
            yield str(file), file.read_bytes()
            yield "a name", str(file)


def processes(leave=()):
    """Arguments of every process of this host, and the environment of all but those that were given it."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                yield f"arguments of {entry.name}", (entry / "cmdline").read_bytes()
                if int(entry.name) not in leave:
                    yield f"environment of {entry.name}", (entry / "environ").read_bytes()


def search(canaries, *sources):
    """[(where, which)]; and how much was looked through, so that an empty source is no success."""
    looked, hits = 0, set()
    for source in sources:
        begun = looked
        for where, data in source:
            looked += 1
            hits |= {(where, name) for name in canaries.found(data)}
        assert looked > begun, f"there was nothing in {source.__name__}"
    return sorted(hits)


@pytest.fixture
def vault(tmp_path):
    server = Bao(tmp_path / "bao")
    yield server
    server.stop()


@pytest.fixture
def web(machine):  # noqa: F811
    return machine.serve()


def pages(address, user):
    """What somebody who may see everything sees of it, the live stream too."""
    browser = Client()
    browser.force_login(user)
    cookies = {"sessionid": browser.cookies["sessionid"].value}
    addresses = [
        "/",
        "/rollouts/",
        "/history/",
        "/systems/",
        "/systems/shelf-a/",
        "/resources/",
        "/health/",
        "/search/?q=box",
    ]
    for item in WorkItem.objects.all():
        addresses += [f"/rollouts/{item.rollout_id}/", f"/changes/{item.rollout.change_request_id}/"]
    for run in Run.objects.all():
        addresses += [f"/runs/{run.pk}/log/", f"/runs/{run.pk}/log.txt", f"/runs/{run.pk}/search/?q=system"]
    for path in ItemResource.objects.values_list("path", flat=True).distinct():
        addresses.append(f"/{path.removesuffix('.yml')}/")
    with httpx.Client(base_url=address, cookies=cookies, timeout=20, trust_env=False) as client:
        for each in dict.fromkeys(addresses):
            answer = client.get(each)
            assert answer.status_code in (200, 404), (each, answer.headers, answer.text[:300])
            yield f"page {each}", answer.text
            yield f"head of {each}", str(answer.headers)
        logs = [client.get(f"/runs/{run.pk}/log.txt").text for run in Run.objects.all()]
        assert any("the system said: ********" in text for text in logs)
        for run in Run.objects.exclude(state__in=RUN_OPEN).select_related("item"):
            last, read = f"id: {run.pk}:{run.events}", ""
            where = f"/events/?rollout={run.item.rollout_id}&after={run.pk}:0"
            with client.stream("GET", where) as stream:
                for text in stream.iter_text():
                    read += text
                    if last in read:
                        break
            yield f"events of {run.pk}", read


@pytest.fixture
def canaries(yard, vault, machine, tmp_path):  # noqa: F811
    """The worker's settings, and a value in each place that a secret can come from."""
    key = value("env")
    found = {"file": value("file"), "vault": value("vault"), "encrypted": value("encrypted"), "other": value("other")}
    (yard.directory / "secrets/payments").mkdir(parents=True)
    put_key(yard.directory / "secrets/payments/lock", found["file"])
    vault.put("payments/lock", password=found["vault"])
    vault.put("systems/shelf", key=found["other"])
    password = value("password")
    text = json.dumps({"lock": found["encrypted"]}).encode()
    sealed = VaultLib([("default", VaultSecret(password.encode("ascii", "ignore")))]).encrypt(text)
    (yard.directory / "secrets/pay.yml").write_bytes(sealed)
    token = vault.token()
    machine.environment |= {
        "MERGEYARD_SYSTEM_SECRETS": "env:MERGEYARD_SECRET_,vault:systems/",
        "MERGEYARD_LOG_LEVEL": "DEBUG",
    }
    machine.of_worker = {
        "MERGEYARD_SECRET_SHELF": key,
        "MERGEYARD_ANSIBLE_VAULT_PASSWORD_FILE": str(
            put_key(tmp_path / "p", password.encode("ascii", "ignore").decode())
        ),
        "MERGEYARD_VAULT_ADDRESS": vault.url,
        "MERGEYARD_VAULT_CA_FILE": str(vault.ca),
        "MERGEYARD_VAULT_TOKEN_FILE": str(put_key(tmp_path / "t", token)),
    }
    return Canaries(env=key, password=password.encode("ascii", "ignore").decode(), token=token, **found)


def start_worker(machine):  # noqa: F811
    """It alone is given the variable with a secret."""
    shared = machine.environment
    machine.environment = {**shared, **machine.of_worker}
    worker = machine.start("worker")
    machine.environment = shared
    return worker


def locked(name, trouble):
    ref = {
        "file": "file:payments/lock",
        "vault": "vault:payments/lock#password",
        "encrypted": "ansible-vault:pay.yml#lock",
    }
    return document("Box", trouble=trouble, secrets={"lock": ref[name]})


def states():
    return [item.state for item in WorkItem.objects.order_by("pk")]


def declared(yard, shelf, key):
    where = {"type": "shelf", "owners": ["shelves"], "connection": {"directory": str(yard.directory / shelf)}}
    return {f"systems/{shelf}.yml": json.dumps({**where, "secrets": {"key": key}})}


@pytest.mark.threat("worker.secrets")
def test_no_canary_is_anywhere_after_success_failure_kill_and_cancel(yard, canaries, machine, web, own_queue):  # noqa: F811
    sandboxes.end()  # of tests before, in the same directory
    worker = start_worker(machine)
    kept = ("secrets", "shelf-a", "shelf-b", "queue")  # where secrets live, and the systems that got them

    def everywhere():
        return search(
            canaries,
            rows(),
            keys(own_queue.client()),
            files(yard.directory, leave=kept),
            processes(leave=[os.getpid()]),
        )

    # Success on one system, failure in every ugly way on the other.
    yard.merge(
        {
            "teams/payments.yml": TEAM,
            **declared(yard, "shelf-a", "env:MERGEYARD_SECRET_SHELF"),
            **declared(yard, "shelf-b", "vault:systems/shelf#key"),
            **{box(name): locked(name, "leak") for name in ("file", "vault", "encrypted")},
            box("bad", "shelf-b"): locked("vault", "confess"),
        }
    )
    until(lambda: states() == ["succeeded", "failed"] or "parked" in states())
    assert states() == ["succeeded", "failed"], [item.reason for item in WorkItem.objects.all()]
    for name in ("file", "vault", "encrypted"):
        assert yard.stored(name)["note"] == canaries.values[name]

    # In the middle of a run; a person cancels it.
    yard.merge({box("slow"): locked("vault", "slow 60")})
    until(yard.sleepers)
    inside = search(canaries, files(yard.directory / "attempts"))
    assert {name for _, name in inside} == {"env", "vault"}  # what its system and document need, and no key of ours
    assert {Path(where).name for where, _ in inside} == {"secrets.json"}
    assert search(canaries, processes(leave=[worker.pid, os.getpid()])) == []
    for pid in [worker.pid, *map(int, yard.sleepers())]:
        assert re.search(r"Max core file size +0 +0 ", Path(f"/proc/{pid}/limits").read_text())
    actions.cancel(WorkItem.objects.latest("pk"), yard.user("pia"))
    until(lambda: states() == ["succeeded", "failed", "cancelled"])

    # A worker that is killed in the middle.
    yard.merge({box("slow"): locked("encrypted", "slow 61")})
    until(yard.sleepers)
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    until(lambda: not yard.sleepers())
    lose(WorkItem.objects.latest("pk"))
    until(lambda: states()[3] in ("waiting", "queued"))
    until(lambda: not list((yard.directory / "attempts").iterdir()))  # the controller sweeps
    assert everywhere() == []
    assert search(canaries, pages(web, yard.user("pia"))) == []

    # The search finds what it looks for.
    run = Run.objects.latest("pk")
    Run.objects.filter(pk=run.pk).update(error=f"it said {json.dumps(canaries.values['vault'])}")
    own_queue.client().hset("rq:job:planted", "data", zlib.compress(repr(canaries.values["file"]).encode()))
    own_queue.client().xadd("mergeyard:run:planted", {"e": base64.b64encode(f"a:{canaries.values['env']}".encode())})
    (yard.directory / "planted").write_bytes(canaries.values["encrypted"].encode())
    planted = {"PATH": os.environ["PATH"], "X": canaries.values["token"]}
    sleeper = subprocess.Popen(["sleep", "60"], env=planted)
    until(lambda: b"sleep" in Path(f"/proc/{sleeper.pid}/cmdline").read_bytes())
    names = {name for _, name in everywhere()}
    sleeper.kill()
    sleeper.wait()
    assert names == {"vault", "file", "env", "encrypted", "token"}
