"""What goes wrong: each fault has a name, begins, lasts, and ends by being mended. Seeded.

A round tries every fault once, or a part of them, in an order of the seed's. The database and the queue are servers of
our own, so a fault is the real thing: a signal, a command of theirs, a disk without room, a connection that is cut.
"""

import contextlib
import signal
import time

import psycopg
import redis
from django.utils import timezone

from changes.repository import MAIN_REF, Person, Repository
from tests.faults.cluster import CONTROLLERS, FAKETIME, VOLUMES, WORKERS, signalled
from tests.faults.load import path_of, text_of

HOUR = 3600
THREATS = {  # of tests/threats.py: the fault that is this threat
    "faults.kill-web": "kill web",
    "faults.kill-worker": "kill worker",
    "faults.kill-controller": "kill controller",
    "faults.controllers": "end controller",
    "faults.kill-play": "kill play",
    "faults.stopped-worker": "freeze worker past its lease",
    "faults.redis-killed": "kill queue",
    "faults.redis-emptied": "empty queue",
    "faults.redis-full": "full queue",
    "faults.redis-slow": "slow queue",
    "faults.database-gone": "database away past a lease",
    "faults.database-commit": "cut connections to the database",
    "faults.database-conflict": "deadlock in the database",
    "faults.database-restarted": "crash database",
    "faults.git-gone": "git away",
    "faults.git-slow": "git slow",
    "faults.clock": "clock +1 h",
    "faults.disk-repository": "full disk below the repository",
    "faults.disk-attempts": "full disk below the attempts",
    "faults.disk-database": "full disk below the database",
    "git.commit-on-main": "commit on main that nobody approved",
}
HELD = """
select i.id from executors_resource r join executors_itemresource f using (kind, identity)
join executors_workitem i on i.id = f.item_id and i.system = r.system
where i.state = 'running' limit 1 for update of r skip locked
"""
WAITED_FOR = "select 1 from pg_locks where not granted and pg_backend_pid() = any(pg_blocking_pids(pid))"
INTRUDER = Person("Intruder", "intruder@office.example")


def plays_begun(ledger):
    journal = ledger / "journal"
    return journal.read_text().count('"begin"') if journal.exists() else 0


class Nemesis:
    def __init__(self, cluster, history, random, *, lease, calm, part=(0, 1)):
        self.cluster, self.history, self.random = cluster, history, random
        self.lease, self.calm, self.part = lease, calm, part
        self.tried = []

    def faults(self):
        """Name -> what does it and mends it. Those that this host does not allow are not there."""
        found = {}
        writers = self.cluster.names("writer")
        for name in ("web", CONTROLLERS, WORKERS, writers):
            sort = name if isinstance(name, str) else name[0].split("-")[0]
            found |= {f"kill {sort}": (self.kill, name), f"stop {sort}": (self.freeze, name)}
            found |= {f"end {sort}": (self.end, name)}
        found |= {
            "kill worker again": (self.kill, WORKERS),
            "freeze worker past its lease": (self.freeze_long, WORKERS),
            "end worker twice": (self.end_twice, WORKERS),
            "kill play": (self.kill_play,),
            "kill sandbox": (self.kill_sandbox,),
            "kill queue": (self.kill_queue,),
            "empty queue": (self.empty_queue,),
            "full queue": (self.full_queue,),
            "slow queue": (self.slow_queue,),
            "queue gone": (self.freeze, "queue"),
            "restart database": (self.restart_database, signal.SIGINT),
            "crash database": (self.restart_database, signal.SIGKILL),
            "database away past a lease": (self.database_away,),
            "cut connections to the database": (self.cut_database,),
            "slow database": (self.slow_database,),
            "deadlock in the database": (self.deadlock,),
            "git away": (self.git_away,),
            "git cut": (self.git_cut,),
            "git slow": (self.git_slow,),
            "commit on main that nobody approved": (self.intrude,),
        }
        if self.cluster.limited:
            found |= {f"full disk below the {name}": (self.full_disk, name) for name in VOLUMES}
        if FAKETIME.exists():
            found |= {f"clock {hours:+d} h": (self.clock, hours * HOUR) for hours in (-1, 1)}
        return found

    def own(self, names):
        """Those of our part, in the seed's order."""
        number, parts = self.part
        own = sorted(names)[number::parts]
        return self.random.sample(own, len(own))

    def round(self, until):
        """Every fault of our part once, as far as there is time. Of parts the threats come first, and all of them."""
        faults = self.faults()
        first = faults.keys() & THREATS.values() if self.part[1] > 1 else set()
        for name in [*self.own(first), *self.own(faults.keys() - first)]:
            if name not in first and time.monotonic() > until:
                return
            verb, *what = faults[name]
            self.history.note(name, "begins")
            happened = verb(*what)
            self.history.note(name, "ends")
            if happened is not False:
                self.tried.append(name)
            self.pause(0, 2 * self.calm)

    def pause(self, least, most):
        time.sleep(self.random.uniform(least, most))

    def one_of(self, names):
        return names if isinstance(names, str) else self.random.choice(names)

    # Processes

    def kill(self, names):
        name = self.one_of(names)
        self.cluster.kill(name)
        self.pause(0, 1)
        self.cluster.start(name)

    def freeze(self, names):
        name = self.one_of(names)
        self.cluster.signal(name, signal.SIGSTOP)
        self.pause(0.3, 1.5)
        self.cluster.signal(name, signal.SIGCONT)

    def freeze_long(self, names):
        """One whose play takes long: another one takes over, and must not begin beside that play."""
        ledger = self.random.choice(sorted((self.cluster.home / "systems").iterdir()))
        (ledger / "slow").touch()
        player = self.player_of(ledger)
        name = player or names[0]
        self.cluster.signal(name, signal.SIGSTOP)
        (ledger / "slow").unlink()
        begun, limit = plays_begun(ledger), time.monotonic() + 3 * self.lease
        time.sleep(self.lease)
        while plays_begun(ledger) == begun and time.monotonic() < limit:
            time.sleep(0.2)
        self.cluster.signal(name, signal.SIGCONT)
        return bool(player) and plays_begun(ledger) > begun

    def player_of(self, ledger):
        """The worker that plays something long on a ledger; none if none does for a while."""
        journal, limit = ledger / "journal", time.monotonic() + 2 * self.lease
        asked = "select worker from executors_run r join executors_workitem i on i.id = item_id "
        asked += "where i.system = %s and r.state = 'running'"
        while time.monotonic() < limit:
            time.sleep(0.3)
            if not journal.exists() or '"begin"' not in journal.read_text().splitlines()[-1]:
                continue
            found = {row[0].split(":")[-1] for row in self.ask(asked, [ledger.name])}
            for name in WORKERS:
                if str(self.cluster.servers[name].pid) in found:
                    return name
        return None

    def end(self, names):
        self.restart([self.one_of(names)])

    def end_twice(self, names):
        name = self.one_of(names)
        self.cluster.signal(name, signal.SIGTERM)
        time.sleep(1.1)
        self.end(name)

    def kill_play(self):
        """One of the processes that a play of ours has: the runner's, its client, a cold sandbox."""
        return self.kill_one(self.cluster.plays_of)

    def kill_sandbox(self):
        """Anything below a worker: mostly a warm sandbox, idle or in a play."""
        return self.kill_one(self.cluster.below)

    def kill_one(self, processes_of):
        limit = time.monotonic() + self.lease
        while time.monotonic() < limit:
            if found := [pid for name in WORKERS for pid in processes_of(name)]:
                signalled(self.random.choice(found), signal.SIGKILL)
                return True
            time.sleep(0.02)
        return False

    # The queue

    def kill_queue(self):
        self.cluster.kill("queue")
        self.pause(0, 1)
        self.cluster.start("queue")
        self.cluster.wait_for_queue()

    def empty_queue(self):
        with self.queue() as queue:
            queue.flushall()

    def full_queue(self):
        with self.queue() as queue:
            queue.config_set("maxmemory", 1)
            self.pause(0.5, 1.5)
            queue.config_set("maxmemory", 0)

    def slow_queue(self):
        with self.queue() as queue:
            queue.client_pause(1500)
        time.sleep(1.2)

    @contextlib.contextmanager
    def queue(self):
        with contextlib.suppress(redis.RedisError), self.cluster.queue() as queue:
            yield queue

    # The database

    def restart_database(self, number):
        self.cluster.signal("database", number)
        self.cluster.wait("database", 15)
        self.cluster.kill("database")
        self.pause(0, 1)
        self.cluster.start("database")
        self.cluster.wait_for_database()

    def database_away(self):
        """Runs that go on meanwhile lose their lease: they end interrupted and are tried again."""
        limit = time.monotonic() + self.lease
        while not (runs := self.ask("select id from executors_run where state = 'running'")):
            if time.monotonic() > limit:
                return False
            time.sleep(0.05)
        self.cluster.kill("database")
        time.sleep(self.lease + 1)
        self.cluster.start("database")
        self.cluster.wait_for_database()
        limit = time.monotonic() + 3 * self.lease
        over = "select 1 from executors_run where id = any(%s) and state = 'interrupted'"
        while not self.ask(over, [[id for (id,) in runs]]):
            if time.monotonic() > limit:
                return False
            time.sleep(0.2)
        return True

    def ask(self, question, values=()):
        with psycopg.connect(self.cluster.database_url) as rows:
            return rows.execute(question, values).fetchall()

    def cut_database(self):
        """Again and again for a while, so that some are cut around their COMMIT."""
        limit = time.monotonic() + self.random.uniform(1, 2)
        with contextlib.suppress(psycopg.Error), psycopg.connect(self.cluster.database_url, autocommit=True) as rows:
            while time.monotonic() < limit:
                rows.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() "
                    "and backend_type = 'client backend' order by state = 'idle', random() limit 2"
                )
                time.sleep(0.02)

    def slow_database(self):
        for _ in range(6):
            backends = self.cluster.below("database")
            for number in (signal.SIGSTOP, signal.SIGCONT):
                [signalled(pid, number) for pid in backends]
                self.pause(0.1, 0.4)

    def deadlock(self):
        """The end of a run takes its item's row and then its resources'; we hold one of those and ask for the item's.

        Who waits longer than its `deadlock_timeout` is broken off: not us. Some that wait for us hold no item yet.
        """
        limit, before = time.monotonic() + 5 * self.lease, self.deadlocks()
        with psycopg.connect(self.cluster.database_url) as rows:
            while time.monotonic() < limit and self.deadlocks() == before:
                rows.execute("set local deadlock_timeout = '60s'")
                item, until = rows.execute(HELD).fetchone(), time.monotonic() + self.lease / 3
                while item and time.monotonic() < until and not rows.execute(WAITED_FOR).fetchone():
                    time.sleep(0.02)
                rows.execute("select from executors_workitem where id = %s for update", item or [0])
                rows.rollback()
        return self.deadlocks() > before

    def deadlocks(self):
        return (self.cluster.home / "logs/database.log").read_text().count("deadlock detected")

    # Git

    def git_away(self):
        self.cluster.proxy.mode = "closed"
        self.cluster.proxy.cut()
        self.pause(0.7, 2)
        self.cluster.proxy.mode = "open"

    def git_cut(self):
        for _ in range(20):
            self.cluster.proxy.cut()
            time.sleep(0.05)

    def git_slow(self):
        self.cluster.proxy.mode = "slow"
        self.pause(0.7, 2)
        self.cluster.proxy.mode = "open"

    def intrude(self):
        repository = Repository(self.cluster.home / "volumes/repository/state.git")
        value = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000 * 100 + 99
        path = path_of("orders", "ledger-1", f"intruder-{value}")
        main = repository.head(MAIN_REF)
        sha = repository.commit(
            parents=[main],
            base_tree_of=main,
            changes={path: text_of(value).encode()},
            message="Nobody asked\n",
            author=INTRUDER,
            committer=INTRUDER,
            when=timezone.now(),
        )
        self.history.note("intrude", "invoked", commit=sha, documents={path: value})
        repository.swap_ref(MAIN_REF, sha, main)

    # Disks and clocks

    def full_disk(self, name):
        self.cluster.fill(name)
        self.pause(0.7, 2)
        self.cluster.make_room(name)
        if name == "database" and not self.cluster.servers["database"].running:
            self.cluster.start("database")
        if name == "database":
            self.cluster.wait_for_database()

    def clock(self, seconds):
        """Set while they run. Only for that are they under libfaketime: every wait for a lock is dear there."""
        names = self.cluster.names(self.random.choice(("web", "worker", "writer")))
        self.set_clocks(names, 0)
        self.cluster.faked.update(names)
        self.restart(names)
        for offset in (seconds, 0):
            self.pause(2, 4)
            self.set_clocks(names, offset)
        self.cluster.faked.clear()
        self.restart(names)

    def set_clocks(self, names, seconds):
        for name in names:
            self.cluster.set_clock(name, seconds)

    def restart(self, names):
        for name in names:
            self.cluster.signal(name, signal.SIGTERM)
        for name in names:
            if not self.cluster.wait(name, self.lease):
                self.cluster.kill(name)
            self.cluster.start(name)

    def mend(self):
        """Nothing is wrong afterwards, and everybody is there."""
        self.cluster.proxy.mode = "open"
        self.set_clocks(self.cluster.faked, 0)
        for name, server in self.cluster.servers.items():
            self.cluster.signal(name, signal.SIGCONT)
            if not server.running:
                self.cluster.start(name)
        self.cluster.wait_for_database()
        self.cluster.wait_for_queue()
        self.cluster.wait_for_web()
