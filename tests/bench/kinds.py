"""How long a play with a thousand resources takes, against the system's client library doing the same in a loop.

Both are timed in turn in one run, each against the real server, and what they made is deleted between. The play is one
of Ansible kept warm, as a worker runs it but for its sandbox. Prints a line per kind and a table for the docs. With
--community also what the usual module in a loop takes.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import django

from playbooks.servers import CannotStart
from tests.bench.community import looped
from tests.bench.loops import LOOPS, Files
from tests.systems.catalogue import PROVEN, start_of

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()  # the stage knows by the product's own rule what is Mergeyard's

from tests.systems.conftest import Stage  # noqa: E402

FEWER = {"PostgresDatabase": 100, "RabbitVhost": 100, "PostgresGrant": 300}  # heavy on the server itself
PAGE = """# What a thousand cost

Made by `bin/bench kinds{how} --table docs/benchmarks-kinds.md`: a play with as many resources that all are
new, of an Ansible that is warm as a worker's is, against the system's client library in a bare loop that looks at
nothing and tells nothing, both on the real server; {rounds}, on {cores} processors. A host that is reached by SSH gets
its files from the loop by one session of `sftp`, and where a server reads files, it checks and loads them at the end.
Compare the ratio and not the seconds, which hold for one machine.
{community}
"""
COMMUNITY = """
The last column is a playbook with the usual module of a collection in a loop: plays of one and of 21 resources were
timed with ansible-core {version} and the collections of the package `ansible`, whose programs are in BIN, and the rest
is reckoned. It does less than the kind: no marker of an owner, no look at what others made, and of a PostgresGrant one
call of five. A dash: no module does it over the network.
"""
HEAD = (
    "| kind | server | resources | play, s | bare loop, s | play / loop | play of one, s | second play, s "
    "| module in a loop, s |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
)


def timed(what, *arguments, **options):
    began = time.monotonic()
    result = what(*arguments, **options)
    return time.monotonic() - began, result


def measure(stage, kind, count, rounds, binaries):
    """One row: medians over the rounds, in seconds."""
    loop = LOOPS[kind.type]
    seconds = {"play": [], "loop": [], "one": [], "again": []}

    def play(kept, resources):
        """As a worker's play begins, which signs in anew by SSH: the last one's connection is not found again."""
        for socket in stage.directory.glob(".ansible/cp/*"):
            socket.unlink()
        took, played = timed(stage.play, replaced=resources)
        assert played.failed == [], played.output[-3000:]
        seconds[kept].append(took)
        return played

    def clear(resources):
        adopted = stage.play(replaced=[{**resource, "adopt": True} for resource in resources])
        assert adopted.failed == [], adopted.output[-3000:]
        played = stage.play(deleted=resources)
        assert len(played.changed) == len(resources), played.output[-3000:]

    first = kind.resource()
    assert stage.play(replaced=[first]).failed == []  # from here on Ansible is warm
    clear([first])
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
    found = {name: statistics.median(times) for name, times in seconds.items()}
    return found | {"community": looped(stage, kind.name, kind.resource, count, binaries) if binaries else None}


def row(kind, title, count, found):
    ratio = found["play"] / found["loop"]
    times = [f"{found[name]:.2f}" for name in ("play", "loop")] + [f"{ratio:.2f}"]
    times += [f"{found[name]:.2f}" for name in ("one", "again")]
    times.append("–" if found["community"] is None else f"{found['community']:.0f}")
    return f"| {' | '.join([kind.name, title, str(count), *times])} |"


def page(rows, options):
    how, community = "", ""
    if options.community:
        how = " --community BIN"
        said = subprocess.run([options.community / "ansible", "--version"], capture_output=True, text=True, check=True)
        community = COMMUNITY.format(version=said.stdout.split("core ")[1].split("]")[0])
    rounds = "measured once" if options.rounds == 1 else f"medians of {options.rounds} rounds"
    text = PAGE.format(how=how, rounds=rounds, cores=len(os.sched_getaffinity(0)), community=community)
    return text + HEAD + "".join(f"{line}\n" for line in rows)


def main():
    parser = argparse.ArgumentParser(prog="bin/bench kinds", description=__doc__.split("\n")[0])
    parser.add_argument("types", nargs="*", help="system types or kinds; all when none is named")
    parser.add_argument("--count", type=int, default=1000, help="resources in one play")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--community", type=Path, metavar="BIN", help="programs with the collections of `ansible`")
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
            rows.append(
                row(kind, stage.testbed.title, count, measure(stage, kind, count, options.rounds, options.community))
            )
            print(rows[-1], flush=True)
    finally:
        for stage in stages.values():
            stage.stop()
            stage.testbed.stop()
        shutil.rmtree(scratch)
    if options.table:
        options.table.write_text(page(rows, options))


if __name__ == "__main__":
    main()
