"""Owns a host that is reached by SSH, for tests and the demo: this machine, its directories and network apart."""

from __future__ import annotations

import grp
import os
import pwd
import re
import subprocess
from pathlib import Path
from typing import Any

from playbooks import ssh_server
from playbooks.servers import Example, Testbed

MEMORY_ONLY = False
FILES = "/srv"  # where the host sees the test bed's own directory of files


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


USER = _name(os.geteuid())
GROUP = grp.getgrgid(os.getegid()).gr_name
ONLY_ROOT = {} if os.geteuid() == 0 else {"owner": "only root gives files away", "group": "only root gives files away"}

EXAMPLES = {
    "ManagedFile": Example(
        spec={
            "path": f"{FILES}/conformance.conf",
            "content": "# {{ this }} stays as it is\nmax_orders = 100\n",
            "owner": USER,
            "group": GROUP,
            "mode": "0640",
        },
        updates={
            "content": "max_orders = 200 # 'quoted' \"twice\" $HOME `id` \\n é 漢\n\n",
            "owner": "nobody",
            "group": "nogroup",
            "mode": "0755",
        },
        not_here=ONLY_ROOT,
        refused={"owner": "no-such-user"},
    ),
    "CronJob": Example(
        spec={
            "name": "conformance",
            "user": USER,
            "schedule": {"minute": "*/15", "hour": "8-18", "day_of_week": "1-5"},
            "command": "test -d '/srv' && date +%F {{ now }} >/dev/null",
            "mail_to": "orders@example.com",
            "enabled": False,
        },
        updates={
            "user": "nobody" if USER != "nobody" else "root",
            "schedule": {"special": "daily"},
            "schedule.minute": "5,35",
            "schedule.hour": "7",
            "schedule.day_of_month": "1,15",
            "schedule.month": "1-6",
            "schedule.day_of_week": "0",
            "command": "echo 100% \\$HOME",
            "mail_to": "payments@example.com",
            "enabled": True,
        },
        refused={"user": "no-such-user"},
        literal=frozenset({"command"}),
    ),
}


def start(directory: Path) -> Testbed:
    directory = directory.absolute()
    for name in ("files", "cron.d", "state"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    host = ssh_server.start(directory, title="The Linux host", network=True, mounts={FILES: str(directory / "files")})
    connection = {
        **host.connection,
        "directories": [FILES],
        "cron_directory": str(directory / "cron.d"),
        "state_directory": str(directory / "state"),
    }
    reach = f"ssh -p {connection['port']} -i {directory / 'ssh' / 'client'} {connection['user']}@127.0.0.1"
    return Testbed(
        title=_version(),
        connection=connection,
        secrets={"ssh_key": host.key},
        servers=[host.server],
        clients={"ManagedFile": f"{reach} cat <path>", "CronJob": f"{reach} cat {directory / 'cron.d'}/<name>"},
        extra={"host": host.pid, "directory": str(directory)},
    )


def _version() -> str:
    said = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=False).stderr
    return said.split(" ")[0].rstrip(",").replace("_", " ")


def place(testbed: Testbed, kind: str, spec: dict[str, Any]) -> Path:
    """Where a resource's file really lies on this machine."""
    directory = Path(testbed.extra["directory"])
    if kind == "CronJob":
        return directory / "cron.d" / spec["name"]
    return directory / "files" / spec["path"].removeprefix(f"{FILES}/")


def read(testbed: Testbed, kind: str, spec: dict[str, Any]) -> dict[str, Any] | None:
    file = place(testbed, kind, spec)
    if not file.exists():
        return None
    content = file.read_bytes().decode()
    if kind == "CronJob":
        return _job(spec["name"], content)
    status = file.stat()
    return {
        "path": spec["path"],
        "content": content,
        "owner": _name(status.st_uid),
        "group": grp.getgrgid(status.st_gid).gr_name,
        "mode": oct(status.st_mode & 0o7777).replace("o", "")[-4:].zfill(4),
    }


def _job(name: str, content: str) -> dict[str, Any]:
    """As cron reads it: its environment, then five fields or a word, the user, and the rest of the line."""
    result: dict[str, Any] = {"name": name, "enabled": False}
    for line in content.split("\n"):
        if mail := re.match(r"MAILTO=(.*)", line):
            result["mail_to"] = mail[1]
        elif line and (not line.startswith("#") or line.startswith("# not active: ")):
            result["enabled"] = not line.startswith("#")
            line = line.removeprefix("# not active: ")
            count = 1 if line.startswith("@") else 5
            *when, user, command = line.split(" ", count + 1)
            names = ("minute", "hour", "day_of_month", "month", "day_of_week")
            times = {key: value for key, value in zip(names, when, strict=False) if value != "*" or key in names[:2]}
            result["schedule"] = {"special": when[0][1:]} if count == 1 else times
            result |= {"user": user, "command": command.replace("\\%", "%")}
    return result


def make(testbed: Testbed, kind: str, spec: dict[str, Any]) -> None:
    text = "made by others\n" if kind == "ManagedFile" else f"5 4 * * * {USER} /bin/true\n"
    place(testbed, kind, spec).write_text(text)


def tamper(testbed: Testbed, kind: str, spec: dict[str, Any]) -> None:
    file = place(testbed, kind, spec)
    if kind == "ManagedFile":  # as an editor does it: another file under the same name
        changed = file.with_name("edited")
        changed.write_text(file.read_text() + "by hand\n")
        changed.replace(file)
    else:
        file.write_text(file.read_text().replace("*/15", "*/20"))


def remove(testbed: Testbed, kind: str, spec: dict[str, Any]) -> None:
    place(testbed, kind, spec).unlink()
