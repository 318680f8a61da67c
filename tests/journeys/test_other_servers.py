"""The main job with a PostgreSQL and a stand-alone Redis in place of the embedded defaults, by settings alone."""

import secrets
import shutil

import psycopg
import pytest
import redis

from playbooks.servers import Server, answers, free_port
from portal.demo.browser import Person
from portal.demo.home import Home
from tests.conftest import not_tested
from tests.journeys.conftest import start_stack
from tests.journeys.test_main_job import approve, change_retention, merge_and_watch, topic
from tests.servers import start_postgresql

TOPIC = "resources/payments/kafka-test/KafkaTopic/receipts.yml"
PAGE = "/resources/payments/kafka-test/KafkaTopic/receipts/"


def start_redis(directory):
    """Debian's redis-server on a loopback port with a password."""
    password, port = secrets.token_urlsafe(12), free_port()
    directory.mkdir()
    file = directory / "redis.conf"
    file.write_text(f'bind 127.0.0.1\nport {port}\nrequirepass {password}\ndir {directory}\nsave ""\n')
    server = Server("Redis", [shutil.which("redis-server"), str(file)], log=directory / "redis.log")
    server.wait_until(lambda: answers(port))
    return server, f"redis://:{password}@127.0.0.1:{port}/0"


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """The stack, and the addresses of the two servers."""
    if shutil.which("redis-server") is None:
        not_tested.append("not tested: a stand-alone Redis: redis-server is not installed")
        pytest.skip(not_tested[-1])
    directory = tmp_path_factory.mktemp("o")
    servers = []
    try:
        postgresql, database = start_postgresql(directory / "postgresql")
        servers.append(postgresql)
        queue_server, queue = start_redis(directory / "redis")
        servers.append(queue_server)
        stack = start_stack(directory / "home", MERGEYARD_DATABASE_URL=database, MERGEYARD_REDIS_URL=queue)
        try:
            yield stack, database, queue
        finally:
            stack.stop()
    finally:
        for server in reversed(servers):
            server.stop()


@pytest.fixture(scope="module")
def person(elsewhere):
    """Signs somebody in."""
    stack = elsewhere[0]
    home = Home(stack.home, stack.port, {"password": stack.password})
    return lambda username: Person(username, home)


def merge_one(person, text, *, title):
    """Over HTTP: ana asks, mia approves, ana merges; returns the request's path when it is applied."""
    ana, mia = person("ana"), person("mia")
    draft = ana.start_request()
    ana.write(draft, TOPIC, text)
    ana.propose(draft, title=title, reason="To see it work elsewhere.")
    assert ana.approve(draft) == 0
    assert mia.approve(draft) == 1
    ana.merge(draft)
    assert ana.wait_until_applied(draft) == "succeeded"
    return draft


def test_a_topic_is_asked_for_approved_merged_applied_and_found_in_the_history(elsewhere, person, sign_in_at):
    stack = elsewhere[0]
    created = merge_one(person, "kind: KafkaTopic\nspec:\n  partitions: 2\n", title="Receipts")
    assert topic(stack, "receipts") == (2, str(168 * 3_600_000))
    ana, mia = sign_in_at(stack, "ana"), sign_in_at(stack, "mia")
    number = change_retention(ana, PAGE.removeprefix("/resources/").strip("/"), 12, title="Receipts for half a day")
    approve(mia, number)
    merge_and_watch(ana, number)
    updated = f"/changes/{number}/"
    assert topic(stack, "receipts") == (2, str(12 * 3_600_000))

    sam = person("sam")
    for query in ("team=payments", "system=kafka-test", "kind=KafkaTopic", "by=ana", "state=merged", "q=Receipts"):
        sam.open(f"/history/?{query}")
        found = {link["href"] for link in sam.page.select("a[data-row]")}
        assert {created, updated} <= found, query
    for query in ("team=storefront", "system=pg-test", "by=pat", "state=open"):
        sam.open(f"/history/?{query}")
        assert not {created, updated} & {link["href"] for link in sam.page.select("a[data-row]")}, query
    sam.open(PAGE)
    shown = sam.page.get_text()
    assert "retention_hours: 12" in shown
    assert "Receipts for half a day" in shown
    for page in ("/systems/kafka-test/", "/resources/?q=receipts", f"{updated}?tab=discussion"):
        sam.open(page)
        assert "receipts" in sam.page.get_text().lower(), page
    ana = person("ana")
    ana.open(f"{updated}?tab=rollout")
    assert "PLAY RECAP" in ana.page.get_text()


def test_rows_are_in_postgresql_and_jobs_and_lines_in_redis_and_nothing_of_the_defaults_was_started(elsewhere):
    stack, database, queue = elsewhere
    said = stack.ask(
        "import json; from django.db import connection as c; c.ensure_connection();"
        "print(json.dumps([c.vendor, c.settings_dict['PORT']]))"
    )
    assert said == ["postgresql", int(database.rsplit(":", 1)[1].split("/")[0])]
    with psycopg.connect(database) as rows:
        assert rows.execute("select count(*) from executors_rollout").fetchone()[0] >= 1
        assert rows.execute("select count(*) from executors_event").fetchone()[0] > 100
    with redis.Redis.from_url(queue) as client:
        server = client.info("server")
        assert "redis_version" in server
        assert "valkey_version" not in server
        names = {name.decode() for name in client.scan_iter(count=1000)}
    assert "rq:workers" in names
    assert "mergeyard:hints" in names
    assert any(name.startswith("mergeyard:run:") for name in names)
    assert list(stack.home.rglob("*sqlite3*")) == []
    assert not (stack.home / "queue").exists()
