"""The one place that says how git itself may run here: its environment, its configuration, our two hooks.

Owns the hardening (no configuration of the machine or of the repository decides anything, no other hooks, no
other protocols). Everything that starts a git process takes its environment from here. Knows no change request.
"""

import os
import subprocess
import sys
from pathlib import Path

HOOKS = Path(__file__).resolve().parent / "hooks"
NO_HOOKS = "/dev/null"
MAX_PUSH_BYTES = 512 * 1024 * 1024
GIT_TIMEOUT_SECONDS = 300

# Command-scope settings beat those of the repository's own config file.
_ALWAYS = {
    "safe.bareRepository": "explicit",
    "core.hooksPath": NO_HOOKS,
    "core.fsmonitor": "false",
    "core.symlinks": "false",
    "core.protectHFS": "true",
    "core.protectNTFS": "true",
    "protocol.allow": "never",
    "protocol.https.allow": "always",
    "protocol.http.allow": "always",
    "http.lowSpeedLimit": "100",  # bytes a second; a forge that goes silent is away
    "http.lowSpeedTime": "60",
    "gc.auto": "0",
    "core.fsync": "committed",  # objects and refs are on the disk before a row names them
    "fetch.fsckObjects": "true",
    "credential.helper": "",
}

# What a person's git client may do to the served repository.
SERVED = {
    "core.hooksPath": str(HOOKS),
    "http.uploadpack": "true",
    "http.receivepack": "true",
    "receive.fsckObjects": "true",
    "receive.denyNonFastForwards": "true",
    "receive.denyDeletes": "true",
    "receive.maxInputSize": str(MAX_PUSH_BYTES),
    "receive.autogc": "false",
    "receive.updateServerInfo": "false",
    "receive.certNonceSeed": "",
    "transfer.hideRefs": "refs/mergeyard",
    "receive.hideRefs": "refs/mergeyard",
    "uploadpack.allowAnySHA1InWant": "false",
    "core.bigFileThreshold": "256k",  # no search for deltas between large files: it would cost a clone minutes
}


class GitFailed(Exception):
    """A git process failed; the text says what we were doing and what git said."""


def environment(settings: dict[str, str] | None = None, *, protocols: str = "https:http") -> dict[str, str]:
    """The whole environment of a git process: nothing of ours leaks in but the path to the programs."""
    config = _ALWAYS | (settings or {})
    for protocol in protocols.split(":"):
        config[f"protocol.{protocol}.allow"] = "always"
    result = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": "/nonexistent",
        "LANG": "C.UTF-8",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_ALLOW_PROTOCOL": protocols,
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_CONFIG_COUNT": str(len(config)),
        "MERGEYARD_PYTHON": sys.executable,
    }
    for number, (key, value) in enumerate(config.items()):
        result[f"GIT_CONFIG_KEY_{number}"] = key
        result[f"GIT_CONFIG_VALUE_{number}"] = value
    return result


def run_git(repository: Path, *arguments: str, stdin: bytes = b"") -> bytes:
    """Run a plumbing command in a bare repository. Arguments that come from people stand after --end-of-options."""
    command = ["git", f"--git-dir={repository}", *arguments]
    try:
        done = subprocess.run(
            command, input=stdin, capture_output=True, env=environment(), timeout=GIT_TIMEOUT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise GitFailed(f"running git {arguments[0]}: {problem}") from problem
    if done.returncode:
        raise GitFailed(f"running git {arguments[0]}: {done.stderr.decode('utf-8', 'replace').strip()}")
    return done.stdout
