"""`bin/soak --seeds N`: an installation under load and faults for each seed, then what became of every merge.

The last line is `merges N, faults M, lost L, doubled D, out of order O, leaked K`; the exit status says whether all
of the last four are 0. A seed decides what the writers ask for and which faults come in which order; when a process
gets to run is the kernel's, so the same seed is the same test and not the same run.
"""

import argparse
import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.faults import history as histories
from tests.faults.checker import OPEN, judge, merged
from tests.faults.checker import line as summary
from tests.faults.cluster import ROOT, WORKERS, Cluster
from tests.faults.load import OWNER, PASSWORD, SYSTEMS, TEAMS

WRITERS = ("writer-verbs-1", "writer-verbs-2", "writer-pages-1")
LINE = re.compile(r"merges (\d+), faults (\d+), lost (\d+), doubled (\d+), out of order (\d+), leaked (\d+)")
SHOWN = 20


def say(text):
    print(text, flush=True)  # noqa: T201


class Seed:
    """One installation from its start to its verdict."""

    def __init__(self, home, options):
        self.home, self.seed, self.lease = home, options.seed, options.lease
        self.seconds, self.merges = options.seconds, options.merges
        self.calm, self.rounds = options.calm, options.rounds
        self.part = options.seed % options.parts, options.parts
        self.cluster = Cluster(home, lease=self.lease, renew=self.lease * 2 // 3)
        self.cluster.settings |= {
            "FAULTS_SEED": str(self.seed),
            "FAULTS_ADDRESS": self.cluster.address,
            "FAULTS_OPEN": str(options.open),
        }
        self.history = histories.History(home / "history.jsonl", "nemesis")

    def run(self):
        try:
            self.prepare()
            faults = self.torment()
            self.settle()
            return self.verdict(faults)
        finally:
            self.cluster.stop()
            self.cluster.proxy.stop()
            self.cluster.unmount()

    def prepare(self):
        self.cluster.start_servers()
        os.environ.update(self.cluster.settings)
        import django

        django.setup()
        from django.contrib.auth.hashers import make_password
        from django.core.management import call_command

        from changes import setup, tokens
        from changes.models import User
        from executors import discovery

        call_command("migrate", verbosity=0)
        word = make_password(PASSWORD)
        (self.home / "tokens").mkdir()
        people = [name for names in TEAMS.values() for name in names]
        for name in (*people, OWNER, "pia", "piet", "worker"):
            user = User.objects.create(username=name, password=word)
            token = self.home / "tokens" / name
            token.touch(mode=0o600)
            token.write_text(tokens.create(user, title="git")[1])
        word = (self.home / "tokens/worker").read_text()
        self.cluster.forge_url = f"http://worker:{word}@127.0.0.1:{self.cluster.proxy.port}/git/state.git"
        self.first = setup.initialise(Path(self.cluster.settings["MERGEYARD_REPOSITORY"]), self.files())
        discovery.initialise(self.first, applied=True)
        self.cluster.start_processes()

    def files(self):
        files = setup_files()
        for name in SYSTEMS:
            directory = self.home / "systems" / name
            directory.mkdir()
            declared = {"type": "ledger", "owners": ["ledgers"], "connection": {"directory": str(directory)}}
            files[f"systems/{name}.yml"] = json.dumps(declared).encode()
        return files

    def torment(self):
        from tests.faults.nemesis import Nemesis

        for name in WRITERS:
            self.cluster.start(name)
        chance = random.Random(self.seed)
        nemesis = Nemesis(self.cluster, self.history, chance, lease=self.lease, calm=self.calm, part=self.part)
        until = time.monotonic() + self.seconds
        try:
            for _ in range(self.rounds):
                if time.monotonic() > until or len(self.merged()) >= self.merges:
                    break
                nemesis.round(until)
                say(f"seed {self.seed}: {len(self.merged())} merges, {len(nemesis.tried)} faults")
        finally:
            nemesis.mend()
        say(f"seed {self.seed}: tried {', '.join(sorted(set(nemesis.tried)))}")
        self.cluster.stop(WRITERS)
        return len(nemesis.tried)

    def merged(self):
        return merged(histories.read(self.home / "history.jsonl"))

    def settle(self):
        """Wait until nothing is open, try again what ended badly, apply one system again."""
        from executors.discovery import reapply
        from executors.models import ItemResource

        self.wait_until_still()
        self.history.note("settled", "once", stopped=self.stopped().count())
        self.before_retries = self.gather()
        for _ in range(5):
            if not self.retry_all():
                break
            self.wait_until_still()
        again = reapply(SYSTEMS[0], "Once more.")
        self.wait_until_still()
        rows = ItemResource.objects.filter(item__rollout=again) if again else ItemResource.objects.none()
        self.changed_again = [row.path for row in rows if row.result != "unchanged"]
        self.wait_for_sweep()

    def stopped(self):
        from executors.models import WorkItem
        from executors.states import ITEM_RETRYABLE

        return WorkItem.objects.filter(state__in=ITEM_RETRYABLE)

    def retry_all(self):
        from changes.models import User
        from executors.actions import Refused, retry

        tried = False
        for item in self.stopped().order_by("position"):
            try:
                retry(item, User.objects.get(username=OWNER))
                tried = True
            except Refused:
                continue
        return tried

    def wait_until_still(self):
        """Work goes on as long as anything of it moves; nothing may stand still for two leases."""
        from django.db import close_old_connections
        from django.db.models import Max

        from changes.models import MergeIntent, Transition
        from changes.repository import state
        from executors.models import Cursor, WorkItem

        seen, moved = None, time.monotonic()
        while time.monotonic() - moved < max(60, self.lease * 2 + 60):
            close_old_connections()
            items = WorkItem.objects.filter(state__in=OPEN).count()
            behind = Cursor.objects.get(pk=1).sha != state().main()
            if not items and not behind and not MergeIntent.objects.filter(state="open").exists():
                return
            now = items, behind, Transition.objects.aggregate(last=Max("pk"))
            if now != seen:
                seen, moved = now, time.monotonic()
            time.sleep(0.2)

    def wait_for_sweep(self):
        """Workers end and wipe what is theirs; a controller wipes what dead ones left."""
        self.cluster.stop(WORKERS)
        limit = time.monotonic() + 20
        while time.monotonic() < limit and self.cluster.attempts.exists() and any(self.cluster.attempts.iterdir()):
            time.sleep(0.2)

    def gather(self):
        from tests.faults.facts import gather

        return gather(self.cluster, self.first)

    def verdict(self, faults):
        from tests.faults import facts

        history = histories.read(self.home / "history.jsonl")
        before = judge(self.before_retries, history)
        found = self.gather()
        found.canaries = list(facts.canaries(self.cluster))
        self.cluster.stop([name for name in self.cluster.servers if name not in ("database", "queue")])
        found.left = list(facts.left(self.cluster))
        verdict = judge(found, history)
        verdict.lost += [f"before the retries: {one}" for one in before.lost]
        verdict.lost += [f"work item {item.pk} stays {item.state}: {item.reason}" for item in self.stopped()]
        verdict.doubled += [f"{path} was changed by a second run of the same" for path in self.changed_again]
        return sum(not quarantined for _, _, quarantined in found.commits), faults, verdict


def setup_files():
    files = {"mergeyard.yml": "format: 1\ntitle: Office\nplatform_team: platform\n"}
    files["teams/platform.yml"] = "title: Platform\nmembers: [pia, piet]\n"
    files["teams/ledgers.yml"] = f"title: Ledgers\nmembers: [{OWNER}]\n"
    for team, members in TEAMS.items():
        prefixes = f"secret_prefixes: ['file:{team}/']\n"
        files[f"teams/{team}.yml"] = f"title: {team.title()}\nmembers: [{', '.join(members)}]\n{prefixes}"
    return {path: text.encode() for path, text in files.items()}


def run_seed(options):
    home = Path(tempfile.mkdtemp(prefix="faults-")).resolve()
    try:
        seed = Seed(home, options)
        if not seed.cluster.limited:
            say("No disk can be filled here: that takes root and a mount namespace.")
        merges, faults, verdict = seed.run()
    finally:
        with contextlib.ExitStack() as at_last:
            at_last.callback(shutil.rmtree, home, ignore_errors=True)
            if options.keep:
                keep(home, Path(options.keep) / f"seed-{options.seed}")
    for title, sentences in zip(("lost", "doubled", "out of order", "leaked"), verdict, strict=True):
        for sentence in sentences[:SHOWN]:
            say(f"seed {options.seed}: {title}: {sentence}")
    say(summary(merges, faults, *map(len, verdict)))
    return int(any(verdict))


def keep(home, place):
    for name in ("logs", "systems"):
        shutil.copytree(home / name, place / name, dirs_exist_ok=True)
    shutil.copy(home / "history.jsonl", place)
    say(f"logs, history and journals are in {place}")


def in_its_own_mounts(argv):
    """The command in a mount namespace of its own, where this host allows one: its disks go with it."""
    wanted = ["unshare", "--mount", "--propagation", "private"]
    allowed = os.geteuid() == 0 and subprocess.run([*wanted, "true"], capture_output=True).returncode == 0
    return [*wanted, *argv] if allowed else argv


def run_all(options):
    total, ended = [0] * 6, 0
    for seed in range(options.first, options.first + options.seeds):
        argv = [sys.executable, "-m", "tests.faults.soak", "--seed", str(seed), "--seconds", str(options.seconds)]
        argv += ["--merges", str(options.merges - total[0]), "--lease", str(options.lease), "--keep", options.keep]
        argv += ["--open", str(options.open), "--calm", str(options.calm), "--rounds", str(options.rounds)]
        argv += ["--parts", str(options.parts)]
        last = ""
        with subprocess.Popen(in_its_own_mounts(argv), cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            try:
                for line in process.stdout:
                    say(line.rstrip())
                    last = line
            except BaseException:
                process.send_signal(signal.SIGINT)  # it stops what it started
                raise
        found = LINE.fullmatch(last.strip())
        if found is None:
            say(f"seed {seed} broke with status {process.returncode}")
            return 1
        total = [one + int(other) for one, other in zip(total, found.groups(), strict=True)]
        ended = ended or process.returncode
        if total[0] >= options.merges:
            break
    say(summary(*total))
    return ended


def main():
    parser = argparse.ArgumentParser(prog="bin/soak", description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=1, help="installations, one after the other (1)")
    parser.add_argument("--first", type=int, default=1, help="the first one's seed (1)")
    parser.add_argument("--seconds", type=float, default=300, help="of faults for each seed (300)")
    parser.add_argument("--merges", type=int, default=10**9, help="enough are enough, over all seeds")
    parser.add_argument("--lease", type=int, default=9, help="seconds of a lease; the product has 30 (9)")
    parser.add_argument("--calm", type=float, default=3, help="seconds between two faults, on average (3)")
    parser.add_argument("--rounds", type=int, default=10**6, help="times that a seed tries every fault, at most")
    help = "each seed tries one of so many parts of the faults, threats first: so many seeds in a row try all (1)"
    parser.add_argument("--parts", type=int, default=1, help=help)
    parser.add_argument("--open", type=int, default=40, help="work items after which the writers wait (40)")
    parser.add_argument("--keep", default="", help="a directory for the logs, histories and journals of all seeds")
    parser.add_argument("--seed", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):  # also where it was started with SIGINT ignored
        signal.signal(number, signal.default_int_handler)
    sys.exit(run_all(options) if options.seed is None else run_seed(options))


if __name__ == "__main__":
    main()
