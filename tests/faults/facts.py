"""Reads what is left of an installation into the checker's facts. Run in a process that is set up for it."""

import contextlib
import json
import os
from pathlib import Path

import psycopg

from changes.models import ChangeRequest, MergeIntent, Transition
from changes.repository import state
from executors.models import Commit, Event, ItemResource, Rollout, Run, WorkItem
from tests.faults.checker import Facts
from tests.faults.load import value_in

KINDS = "resources/"


def gather(cluster, first):
    """`first` is the commit that the installation began with."""
    facts = Facts(
        main=list(commits_of_main(first)),
        commits=list(Commit.objects.exclude(sha=first).values_list("position", "sha", "quarantined")),
        rollouts=list(Rollout.objects.values_list("pk", "commit__sha", "cause")),
        items=[
            {"id": one.pk, "rollout": one.rollout_id, "position": one.position, "system": one.system}
            | {"state": one.state, "lease": one.lease_until is not None}
            for one in WorkItem.objects.order_by("pk")
        ],
        results=[
            {"item": item, "path": path, "result": result}
            for item, path, result in ItemResource.objects.order_by("pk").values_list("item_id", "path", "result")
        ],
        moves=list(Transition.objects.filter(noun="workitem").order_by("pk").values_list("noun_id", "before", "after")),
        intents=[
            (commit, "first" if commit == first else its)
            for commit, its in MergeIntent.objects.values_list("commit", "state")
        ],
        requests=list(ChangeRequest.objects.values_list("pk", "state", "merge_commit")),
        runs=list(runs()),
    )
    facts.moves = [move for move in facts.moves if move[1] != move[2]]  # a wish to cancel is a row too
    for ledger in sorted((cluster.home / "systems").iterdir()):
        facts.journals[ledger.name] = journal(ledger)
        for file in ledger.glob("*.json"):
            team, _, name = file.stem.partition("--")
            path = f"resources/{team}/{ledger.name}/Entry/{name}.yml"
            facts.systems[path] = json.loads(file.read_text())["value"]
    return facts


def commits_of_main(first):
    repository = state()
    before = first
    for sha in repository.first_parents(first, repository.main()):
        changes = repository.diff(before, sha)
        yield sha, {path: tuple(map(document, blobs)) for path, blobs in changes.items() if path.startswith(KINDS)}
        before = sha


def document(blob):
    return None if blob is None else value_in(state().read_blob(blob).decode())


def runs():
    numbers = {}
    for run, number in Event.objects.order_by("run_id", "number").values_list("run_id", "number").iterator():
        numbers.setdefault(run, []).append(number)
    for run in Run.objects.order_by("pk"):
        found = numbers.get(run.pk, [])
        yield {"id": run.pk, "item": run.item_id, "state": run.state, "events": found, "counted": run.events}


def journal(ledger):
    file = ledger / "journal"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def canaries(cluster):
    """Where the secret stands: rows, queue, logs, repository, what plays left."""
    needle = cluster.canary
    with psycopg.connect(cluster.database_url) as rows:
        tables = rows.execute("select tablename from pg_tables where schemaname = 'public'").fetchall()
        for (table,) in tables:
            count = rows.execute(f'select count(*) from "{table}" t where t::text like %s', [f"%{needle}%"]).fetchone()[
                0
            ]
            if count:
                yield f"the secret stands in {count} rows of {table}"
    with cluster.queue() as queue:
        for key in queue.scan_iter(count=1000):
            if needle.encode() in (queue.dump(key) or b""):
                yield f"the secret stands in {key} of the queue"
    for folder in ("logs", "clones", "volumes/attempts", "history.jsonl", "spool", "mirror-spool"):
        for file in [cluster.home / folder, *(cluster.home / folder).rglob("*")]:
            with contextlib.suppress(OSError):
                if file.is_file() and needle.encode() in file.read_bytes():
                    yield f"the secret stands in {file}"


def left(cluster):
    """Attempts, lines and processes of plays, when no worker runs any more."""
    for spool in ("spool", "mirror-spool"):
        yield from (f"{path} was never stored" for path in (cluster.home / spool).glob("*"))
    if cluster.attempts.exists():
        yield from (f"{path} was left by an attempt" for path in cluster.attempts.iterdir())
    needle = str(cluster.attempts).encode()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if int(process.name) != os.getpid() and needle in (process / "cmdline").read_bytes():
                yield f"process {process.name} was left by an attempt"
