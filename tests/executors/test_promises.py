"""Promises over the whole way, from a person's browser to the system and back to the page: real git, queue, Ansible."""

import base64
import html
import json
import subprocess
import urllib.parse
from pathlib import Path

import pytest
from django.apps import apps
from django.db import connection
from django.test import Client

from changes.models import ChangeRequest
from changes.repository import MAIN_REF
from executors import queues, rollouts
from executors.discovery import discover
from executors.models import Commit, Cursor, Resource, Rollout, Run, WorkItem
from tests.executors.conftest import box, document

CANARY = 'caNary/+"9 é%\\w'
FORMS = (
    CANARY,
    base64.b64encode(CANARY.encode()).decode().rstrip("="),
    base64.b64encode(f"user:{CANARY}".encode()).decode()[8:-4],
    urllib.parse.quote(CANARY),
    urllib.parse.quote_plus(CANARY),
    json.dumps(CANARY)[1:-1],
    json.dumps(CANARY, ensure_ascii=False)[1:-1],
    html.escape(CANARY),
)
HOSTILE = [
    "{{ lookup('pipe', 'touch MARKER') }}",
    "{% for x in lookup('pipe', 'touch MARKER') %}{% endfor %}",
    "{# comment #} $(touch MARKER) `touch MARKER` ; touch MARKER | touch MARKER",
    "!unsafe {{ 7 * 7 }} ${7*7} #{7*7} %7B%7B",
    "-oProxyCommand=touch MARKER",
    "--extra-vars=@/etc/passwd",
    "../../../../etc/passwd",
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "' OR 1=1; DROP TABLE executors_run; --",
    "{'ansible_connection': 'local', '__ansible_unsafe': 'x'}",
]


@pytest.fixture
def site(yard, settings, tmp_path):
    """The portal over the yard's repository: a signed-in browser for each person."""
    settings.STATIC_ROOT = tmp_path / "static"
    settings.STATIC_ROOT.mkdir()

    def browser(name):
        client = Client()
        client.force_login(yard.user(name))
        return client

    return browser


def pages(client, rollout):
    """Everything that the portal shows of a rollout to somebody who may see all of it."""
    paths = [f"/rollouts/{rollout.pk}/", "/", "/systems/", "/systems/shelf-a/", "/history/", "/resources/"]
    if ChangeRequest.objects.get(pk=rollout.commit.change_request_id).head:
        paths.append(f"/changes/{rollout.commit.change_request_id}/?tab=discussion")
    for run in Run.objects.filter(item__rollout=rollout):
        paths += [f"/rollouts/{rollout.pk}/?item={run.item_id}", f"/runs/{run.pk}/log/", f"/runs/{run.pk}/log.txt"]
    for row in Resource.objects.all():
        paths.append(f"/{row.path.removesuffix('.yml')}/")
    for path in paths:
        answer = client.get(path)
        assert answer.status_code == 200, path
        yield path, (b"".join(answer.streaming_content) if answer.streaming else answer.content).decode()


@pytest.mark.threat("worker.secrets")
@pytest.mark.parametrize(("trouble", "state"), [("leak", "succeeded"), ("shout", "failed")])
def test_a_secret_is_in_no_row_no_file_no_stream_no_log_and_on_no_page(yard, site, caplog, trouble, state):
    (yard.directory / "secrets" / "payments").mkdir(parents=True)
    place = yard.directory / "secrets" / "payments" / "lock"
    place.write_text(CANARY)
    place.chmod(0o600)
    rollout = yard.roll_out(
        {
            box("orders"): document("Box", trouble=trouble, secrets={"lock": "file:payments/lock"}),
            box("b"): document("Box"),
        }
    )
    assert [item.state for item in yard.items()] == [state]
    told = "\n".join(event.text for event in yard.events())
    assert told.count("********") >= (1 if trouble == "leak" else 5)

    tables = connection.introspection.table_names()
    models = [model for model in apps.get_models() if model._meta.db_table in tables]
    assert len(models) > 15
    rows = "\n".join(json.dumps(list(model.objects.values()), default=str, ensure_ascii=False) for model in models)
    redis = queues.redis()
    entries = [entry for key in redis.scan_iter("mergeyard:run:*") for _, entry in redis.xrange(key)]
    streams = "\n".join(value.decode() for entry in entries for value in entry.values())
    assert streams
    shown = "\n".join(text for _, text in pages(site("olga"), rollout))
    for form in FORMS:
        for where, text in (("rows", rows), ("streams", streams), ("log", caplog.text), ("pages", shown)):
            assert form not in text, where
            assert json.dumps(form)[1:-1] not in text, where
    files = subprocess.run(
        ["grep", "-rlF", "--exclude-dir=secrets", "--exclude-dir=shelf-a", CANARY, str(yard.directory)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert files.stdout == ""
    if connection.vendor == "sqlite":
        database = Path(connection.settings_dict["NAME"])
        for file in (database, database.with_name(database.name + "-wal")):
            assert not file.exists() or CANARY.encode() not in file.read_bytes()


@pytest.mark.threat("values.jinja", "values.shell", "values.options", "values.paths", "web.xss")
def test_a_hostile_value_goes_from_the_editor_to_the_system_and_back_as_a_value(yard, site):
    marker = yard.directory / "shelf-a" / "marker"
    values = {f"h{number}": one.replace("MARKER", str(marker)) for number, one in enumerate(HOSTILE)}
    rita, olga = site("rita"), site("olga")
    rita.post("/compose/", follow=True)
    draft = ChangeRequest.objects.get()
    base = f"/changes/{draft.pk}"
    for name, value in values.items():
        rita.post(f"{base}/compose/add/", {"kind": "Box", "team": "payments", "system": "shelf-a", "name": name})
        edit = draft.edits.get(path=box(name))
        seen = rita.get(f"{base}/compose/{edit.pk}/").context["desk"].seen
        text = json.dumps({"kind": "Box", "spec": {"note": value}}, ensure_ascii=False)
        rita.post(f"{base}/compose/{edit.pk}/save/", {"source": "yaml", "text": text, "seen": seen})
    rita.post(f"{base}/compose/propose/", {"title": "{{ 7 * 7 }}<script>alert(1)</script>", "reason": HOSTILE[0]})
    page = olga.get(f"{base}/")
    assert "<script>alert" not in page.content.decode()
    review = page.context["review"]
    assert review.violations == ()
    given = {"head": review.head, "items": [item.digest for item in review.plan.items], "decision": "yes"}
    olga.post(f"{base}/approve/", given)
    rita.post(f"{base}/merge/", {"head": review.head})
    yard.work()
    assert [item.state for item in yard.items()] == ["succeeded"]
    assert {name: yard.stored(name)["note"] for name in values} == values
    assert not marker.exists()
    rollout = Rollout.objects.latest("pk")
    for path, text in pages(olga, rollout):
        if not path.endswith(".txt"):
            assert "<script>alert" not in text, path
            assert "<img src=x" not in text, path
    assert yard.repository.info(yard.repository.head(MAIN_REF)).subject.endswith("<script>alert(1)</script>")


@pytest.mark.threat("faults.kill-controller")
def test_a_controller_that_dies_while_it_records_a_commit_records_it_whole_the_next_time(yard, monkeypatch):
    yard.merge({box("orders"): document("Box"), box("other", "shelf-b"): document("Box")})
    cursor = Cursor.objects.get().sha

    class Killed(BaseException):
        pass

    def killed(*_, **__):
        raise Killed

    for step in ("want", "record", "_items", "_record_needs"):
        with monkeypatch.context() as patched:
            patched.setattr(rollouts, step, killed)
            with pytest.raises(Killed):
                discover()
        assert Cursor.objects.get().sha == cursor
        assert not Rollout.objects.exists()
        assert Commit.objects.count() == 1
    yard.work()
    assert Rollout.objects.count() == 1
    assert sorted((item.system, item.state) for item in WorkItem.objects.all()) == [
        ("shelf-a", "succeeded"),
        ("shelf-b", "succeeded"),
    ]
