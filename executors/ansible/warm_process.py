"""The process inside a warm sandbox: imports Ansible once, then forks a play for each order.

Run as a script by bubblewrap, `python -I warm_process.py ORDER`, ORDER being JSON: {listen: descriptor of a listening
socket, attempts: the directory of all attempts, keep: paths that a play sees, limits: {name: number}}. Each order that
comes is one JSON message {argv, play: the attempt's directory, environment} with four descriptors: the play's stdin,
stdout and stderr, and one that is held open until nothing of the play lives. The answer is its exit status.

For each play there are three processes. The keeper waits for its end or for the client's, whichever comes first, and
answers. The first process of new user, mount, process and IPC namespaces makes the play's own view: new /tmp, /dev/shm
and /proc, and of all attempts its own alone. Its child becomes the play. When the first one ends, or is killed by the
keeper, the kernel ends whatever the play has left. This process holds no secret. It must not import Mergeyard.
"""

import array
import ctypes
import gc
import json
import os
import random
import resource
import secrets
import select
import signal
import socket
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID = 0x20000, 0x08000000, 0x10000000, 0x20000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 1, 24, 38, 47, 4
CAPABILITY_VERSION_3 = 0x20080522
SCRATCH = ("/tmp", "/dev/shm")
DESCRIPTORS = 4
MAX_ORDER = 200_000
KILLED = 137
libc = ctypes.CDLL(None, use_errno=True)


def check(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    packed = [text.encode() if text else None for text in (source, target, kind)]
    check(libc.mount(*packed, ctypes.c_ulong(flags), options.encode() or None), f"mounting {target}")


def prctl(option: int, value: int) -> int:
    return int(libc.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)))


class Sandbox:
    """What all plays of this process have in common."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.listener = socket.socket(fileno=order["listen"])
        self.attempts: str = order["attempts"]
        self.keep: list[str] = order["keep"]
        self.limits: dict[str, int] = order["limits"]
        self.ansible = Ansible()

    def try_out(self) -> str:
        """Why no play can be contained here; empty if one can."""
        child = os.fork()
        if child == 0:
            try:
                new_namespaces()
                inner = os.fork()
                if inner == 0:
                    self.make_view("")
                    os._exit(0)
                os._exit(os.waitstatus_to_exitcode(os.waitpid(inner, 0)[1]))
            except OSError as error:
                os.write(2, f"{error}\n".encode())
            os._exit(1)
        return "" if os.waitpid(child, 0)[1] == 0 else "namespaces cannot be nested here"

    def serve(self) -> None:
        while True:
            client, _ = self.listener.accept()
            if os.fork() == 0:
                try:
                    self.listener.close()
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    self.keep_play(client)
                finally:
                    os._exit(0)
            client.close()

    def keep_play(self, client: socket.socket) -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        message, ancillary, _, _ = client.recvmsg(MAX_ORDER, socket.CMSG_SPACE(DESCRIPTORS * 4))
        descriptors = array.array("i")
        for _, _, data in ancillary:
            descriptors.frombytes(data)
        order = json.loads(message)
        *standard, alive = descriptors
        try:
            new_namespaces()
        except OSError as error:
            os.write(standard[2], f"{error}\n".encode())
            client.send(b"%d" % KILLED)
            return
        first = os.fork()
        if first == 0:
            client.close()
            os.close(alive)
            self.first_process(order, standard)
        for descriptor in standard:
            os.close(descriptor)
        ended = os.pidfd_open(first)
        poll = select.poll()
        poll.register(ended, select.POLLIN)
        poll.register(client, select.POLLIN)
        if ended not in {ready for ready, _ in poll.poll()}:
            os.kill(first, signal.SIGKILL)  # the client is gone, so nobody wants the play any more
        code = os.waitstatus_to_exitcode(os.waitpid(first, 0)[1])
        client.send(b"%d" % (code if code >= 0 else KILLED))

    def first_process(self, order: dict[str, Any], standard: list[int]) -> None:
        """Process 1 of the play's own world. Does not return."""
        code = 1
        try:
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            self.make_view(order["play"])
            child = os.fork()
            if child == 0:
                self.ansible.play(order, standard, self.limits)
            for descriptor in standard:
                os.close(descriptor)
            while True:
                pid, status = os.wait()
                if pid == child:
                    code = os.waitstatus_to_exitcode(status)
                    break
        except BaseException:
            os.write(standard[2], traceback.format_exc().encode())
        finally:
            os._exit(code if 0 <= code < 256 else KILLED)

    def make_view(self, play: str) -> None:
        """New /tmp, /dev/shm and /proc; what the sandbox gives, and of the attempts this one. No way back from it."""
        paths = [*self.keep, *([play] if play else [])]
        held = {path: os.open(path, os.O_PATH) for path in paths}
        mount("none", "/", "", MS_REC | MS_PRIVATE)
        covered = [place for place in (*SCRATCH, self.attempts) if os.path.isdir(place)]
        for place in covered:
            if os.path.isdir(place):  # it may lie in one that was covered before
                mount("tmpfs", place, "tmpfs", MS_NODEV | MS_NOSUID, f"mode=0700,size={self.limits['fsize']}")
        for path, descriptor in held.items():
            if any(path.startswith(f"{place}/") for place in covered):
                os.makedirs(path, mode=0o755, exist_ok=True)
                mount(f"/proc/self/fd/{descriptor}", path, "", MS_BIND | MS_REC)
            os.close(descriptor)
        mount("proc", "/proc", "proc", MS_NODEV | MS_NOSUID | MS_NOEXEC)
        drop_capabilities()


def new_namespaces() -> None:
    uid, gid = os.getuid(), os.getgid()
    check(libc.unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC), "making namespaces")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")


def drop_capabilities() -> None:
    for capability in range(64):
        prctl(PR_CAPBSET_DROP, capability)  # an unknown one is refused, which ends the list
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    header, nothing = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0), (ctypes.c_uint32 * 6)()
    check(libc.capset(header, nothing), "dropping capabilities")
    check(prctl(PR_SET_NO_NEW_PRIVS, 1), "forbidding new privileges")


class Ansible:
    """Ansible, imported and with its plugins found; nothing of a system type's folder is loaded before the fork."""

    def __init__(self) -> None:
        os.environ["AWX_ISOLATED_DATA_DIR"] = "/nonexistent"  # the callback wants one when it is imported
        import ansible.cli.playbook
        import ansible.utils.vars
        from ansible import constants
        from ansible.plugins import loader
        from ansible.utils.display import Display

        self.cli = ansible.cli.playbook.PlaybookCLI
        self.vars, self.constants, self.display = ansible.utils.vars, constants, Display
        warnings.filterwarnings("ignore", message="AnsibleCollectionFinder has already")
        loader.init_plugin_loader([])
        for name in ("connection", "shell", "become", "inventory", "cache", "strategy", "callback"):
            list(getattr(loader, f"{name}_loader").all(class_only=True))
        for name in ("vars", "filter", "test"):
            list(getattr(loader, f"{name}_loader").all())
        for name in ("debug", "fail", "assert", "set_fact", "command", "copy", "template", "gather_facts"):
            loader.action_loader.get(name, class_only=True)
        callbacks = [module for name, module in sys.modules.items() if name.endswith("awx_display")]
        self.callbacks = [module for module in callbacks if hasattr(module, "IsolatedFileWrite")]

    def play(self, order: dict[str, Any], standard: list[int], limits: dict[str, int]) -> None:
        """As if ansible-playbook had been started with a tty. Does not return."""
        os.setsid()
        for number, descriptor in enumerate(standard):
            os.dup2(descriptor, number)
        os.closerange(3, 65536)
        for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        for name, value in limits.items():
            resource.setrlimit(getattr(resource, f"RLIMIT_{name.upper()}"), (value, value))
        os.umask(0o077)
        streams = {"stdin": os.fdopen(0), "stdout": os.fdopen(1, "w"), "stderr": os.fdopen(2, "w", 1)}
        for name, stream in streams.items():
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
        os.environ.update(order["environment"])
        for folder in (os.environ["HOME"], self.constants.DEFAULT_LOCAL_TMP):
            os.makedirs(folder, 0o700, exist_ok=True)
        os.chdir(order["play"])
        self.vars.random_int = (
            f"{secrets.randbelow(2**32):08x}"  # else every play numbers its tasks as the last one did
        )
        random.seed()
        for module in self.callbacks:
            module.event_context.cache = module.IsolatedFileWrite()
        self.display()._set_column_width()
        code = 250
        try:
            self.cli.cli_executor(["ansible-playbook", *order["argv"]])
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)


def main() -> None:
    sandbox = Sandbox(json.loads(sys.argv[1]))
    trouble = sandbox.try_out()
    os.write(1, json.dumps({"trouble": trouble}).encode() + b"\n")
    if trouble:
        return
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # keepers are reaped by the kernel
    gc.collect()
    gc.freeze()
    sandbox.serve()


if __name__ == "__main__":
    main()
