"""How long a play with a thousand resources takes, against the system's client library doing the same in a loop.

Both are timed in turn in one run, each against the real server, and what they made is deleted between. The play is an
ansible-playbook with a process of its own, as a worker runs it. Prints a line per kind and a table for the docs.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from playbooks.servers import CannotStart
from tests.bench.loops import LOOPS, Files
from tests.systems.catalogue import PROVEN, start_of
from tests.systems.conftest import Stage

FEWER = {"PostgresDatabase": 100, "RabbitVhost": 100, "PostgresGrant": 300}  # heavy on the server itself
COLD = ["--forks", "1"]  # any option: it makes the play have a process of its own
HEAD = (
    "| kind | server | resources | play, s | bare loop, s | play / loop | play of one, s | second play, s |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- |\n"
)


def timed(what, *arguments, **options):
    began = time.monotonic()
    result = what(*arguments, **options)
    return time.monotonic() - began, result


def measure(stage, kind, count, rounds):
    """One row: medians over the rounds, in seconds."""
    loop = LOOPS[kind.type]
    seconds = {"play": [], "loop": [], "one": [], "again": []}

    def play(kept, resources):
        took, played = timed(stage.play, replaced=resources, cold=COLD)
        assert played.failed == [], played.output[-3000:]
        seconds[kept].append(took)
        return played

    def clear(resources):
        adopted = stage.play(replaced=[{**resource, "adopt": True} for resource in resources])
        assert adopted.failed == [], adopted.output[-3000:]
        played = stage.play(deleted=resources)
        assert len(played.changed) == len(resources), played.output[-3000:]

    for _ in range(rounds):
        resources = [kind.resource() for _ in range(count)]
        before = loop.contents(stage) if isinstance(loop, Files) else {}
        assert len(play("play", resources).changed) == count
        if isinstance(loop, Files):
            loop.learn(stage, before)
        assert play("again", resources).changed == []
        clear(resources)
        took, _ = timed(loop, stage, kind.name, resources)
        seconds["loop"].append(took)
        clear(resources)
        one = kind.resource()
        play("one", [one])
        clear([one])
    return {name: statistics.median(times) for name, times in seconds.items()}


def row(kind, title, count, found):
    ratio = found["play"] / found["loop"]
    times = [f"{found[name]:.2f}" for name in ("play", "loop")] + [f"{ratio:.2f}"]
    times += [f"{found[name]:.2f}" for name in ("one", "again")]
    return f"| {' | '.join([kind.name, title, str(count), *times])} |"


def main():
    parser = argparse.ArgumentParser(prog="bin/bench kinds", description=__doc__.split("\n")[0])
    parser.add_argument("types", nargs="*", help="system types or kinds; all when none is named")
    parser.add_argument("--count", type=int, default=1000, help="resources in one play")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--table", type=Path, help="a file that gets the table")
    options = parser.parse_args()
    wanted = [
        kind
        for kind in PROVEN
        if not kind.server and (not options.types or {kind.type, kind.name} & set(options.types))
    ]
    if not wanted:
        sys.exit(f"No kind and no system type is called {' or '.join(options.types)}.")
    scratch = Path(tempfile.mkdtemp(prefix="bench-"))
    rows, stages = [], {}
    print(HEAD, end="")
    try:
        for kind in wanted:
            if kind.type not in stages:
                try:
                    testbed = start_of(kind.type)(scratch / kind.type / "server")
                except CannotStart as error:
                    print(f"{kind.type}: {error}", file=sys.stderr)
                    continue
                stages[kind.type] = Stage(kind.type, scratch / kind.type, testbed)
            stage = stages[kind.type]
            stage.prepare(kind)
            count = min(options.count, FEWER.get(kind.name, options.count))
            rows.append(row(kind, stage.testbed.title, count, measure(stage, kind, count, options.rounds)))
            print(rows[-1], flush=True)
    finally:
        for stage in stages.values():
            stage.stop()
            stage.testbed.stop()
        shutil.rmtree(scratch)
    if options.table:
        options.table.write_text(HEAD + "".join(f"{line}\n" for line in rows))


if __name__ == "__main__":
    main()
