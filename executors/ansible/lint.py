"""Owns ansible-lint over a system type's playbooks, where it is installed: it is an author's tool, not the worker's."""

import os
import subprocess
import sys
from pathlib import Path

from executors.ansible.sandbox import SHARED

PROGRAM = Path(sys.prefix) / "bin" / "ansible-lint"


def is_installed() -> bool:
    return PROGRAM.exists()


def findings(folder: Path) -> list[str]:
    """What ansible-lint's strictest profile says of a system type's playbooks, line by line."""
    plugins = {
        "ANSIBLE_ACTION_PLUGINS": f"{folder / 'plugins/action'}:{SHARED / 'action'}",
        "ANSIBLE_LIBRARY": str(folder / "plugins/modules"),
    }
    books = [str(folder / name) for name in ("apply.yml", "discover.yml")]
    done = subprocess.run(
        [str(PROGRAM), "-q", "--offline", "--nocolor", "--profile", "production", "--parseable", *books],
        env={**os.environ, **plugins, "PATH": f"{PROGRAM.parent}:{os.environ.get('PATH', '')}"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return []
    return [line for line in done.stdout.splitlines() if line.strip()] or done.stderr.splitlines()[-3:]
