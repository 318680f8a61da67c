"""A small tree of the state repository for the tests of the pure core, with named people.

rita (payments) asks, olaf and ove (messaging) own the systems, paula and pit are the platform team, sam (shop) is a
stranger to payments.
"""

import hashlib
from pathlib import Path

from changes.approvals import People, requirements
from changes.catalog import Catalog, load
from changes.checks import nobody_left, run_checks
from changes.plan import Plan, make_plan
from changes.snapshot import Snapshot

EVERYBODY = frozenset({"rita", "rob", "olaf", "ove", "paula", "pit", "sam", "sue"})
CATALOGUE = Path(__file__).parent / "catalogue"
KINDS = load([CATALOGUE])

SITE = "format: 1\ntitle: Test\nplatform_team: platform\n"
QUEUE = "kind: Queue\nspec:\n  size: 5\n"
SYSTEM = """type: queueing
title: Queues
environment: test
connection: {host: queue.example.org}
secrets: {password: env:MERGEYARD_SECRET_QUEUE}
owners: [messaging]
"""
TREE = {
    "mergeyard.yml": SITE,
    "teams/platform.yml": "title: Platform\nmembers: [paula, pit]\n",
    "teams/messaging.yml": "title: Messaging\nmembers: [olaf, ove]\n",
    "teams/payments.yml": 'title: Payments\nmembers: [rita, rob]\nsecret_prefixes: ["file:payments/"]\n',
    "teams/shop.yml": "title: Shop\nmembers: [sam, sue]\n",
    "systems/queue-test.yml": SYSTEM,
    "systems/queue-prod.yml": SYSTEM.replace("environment: test", "environment: production"),
    "systems/people.yml": "type: directory\nowners: [platform]\n",
    "resources/payments/queue-test/Queue/orders.yml": QUEUE,
    "resources/payments/queue-test/Subscription/billing.yml": "kind: Subscription\nspec: {queue: orders}\n",
}


def queue(name: str, team: str = "payments", system: str = "queue-test") -> str:
    return f"resources/{team}/{system}/Queue/{name}.yml"


def blob(text: str) -> tuple[str, bytes]:
    return hashlib.sha1(text.encode()).hexdigest(), text.encode()


def changed(files: dict[str, str | None]) -> dict[str, tuple[str, bytes] | None]:
    return {path: None if text is None else blob(text) for path, text in files.items()}


def tree(files: dict[str, str | None] | None = None, catalog: Catalog = KINDS) -> Snapshot:
    """The tree above with changes."""
    return Snapshot.empty(catalog).with_changes(changed({**TREE, **(files or {})}))


def plan_of(files: dict[str, str | None], base: Snapshot | None = None) -> Plan:
    base = base or tree()
    return make_plan(base, base.with_changes(changed(files)), files, KINDS)


def violations(files: dict[str, str | None], base: Snapshot | None = None, requester: str = "rita"):
    """What stands against a change of the tree."""
    base = base or tree()
    return told(base, base.with_changes(changed(files)), files, requester)


def told(base: Snapshot, head: Snapshot, paths, requester: str):
    plan = make_plan(base, head, paths, KINDS)
    found = run_checks(plan, base=base, head=head, catalog=KINDS, requester=requester)
    people = People(requester, frozenset({requester}), EVERYBODY)
    return (*found, *nobody_left(requirements(plan, rules=base, people=people)))
