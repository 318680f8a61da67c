"""Owns an OpenSSH server in namespaces of its own, for the test beds of systems that are reached by SSH.

It must not know any system type. Run as a script it listens on the host's loopback, then leaves for its own mounts
(and, if asked, its own network with a client's network beside it) and answers each connection with `sshd -i`. Without
root it is the same in a user namespace, where it stays who it is. With root there is a second user, SUDOER, who may do
as root by sudo what `sudoers` among the keys says.
"""

from __future__ import annotations

import ctypes
import json
import os
import pwd
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NEWNS, NEWUSER, NEWNET = 0x00020000, 0x10000000, 0x40000000
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
PR_SET_PDEATHSIG, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE = 1, 47, 2
CAP_NET_ADMIN = 12
CAPABILITY_VERSION = 0x20080522
SERVER_ADDRESSES = ("10.77.0.1/24", "fd77::1/64")
CLIENT_ADDRESSES = ("10.77.0.2/24", "10.77.0.3/24", "fd77::2/64")
SUDOER, SUDOER_UID, SUDOER_GID = "operator", 59_999, 65_534  # nogroup
SUDOERS = f"{SUDOER} ALL=(root) NOPASSWD: ALL\n"
AUTHORIZED = "/run/sshd/client.pub"  # where every user of the host can read it
CONFIGURATION = f"""\
HostKey {{keys}}/host
AuthorizedKeysFile {AUTHORIZED}
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
Subsystem sftp internal-sftp
PidFile none
PrintMotd no
PrintLastLog no
LogLevel ERROR
"""


@dataclass(frozen=True)
class SshServer:
    """A started server: how it is reached, and by whom."""

    server: Any
    connection: dict[str, Any]
    key: str

    @property
    def pid(self) -> int:
        return int(self.server.pid)


def start(directory: Path, *, title: str, network: bool = False, mounts: dict[str, str] | None = None) -> SshServer:
    """`mounts`: directories of this machine that are seen under another, existing path there."""
    from playbooks.servers import CannotStart, Server, kept_ports

    sshd = _program("sshd", "openssh-server")
    _program("ssh", "openssh-client")
    if network:
        _program("ip", "iproute2")
    _namespaces_work(network=network)
    [port] = kept_ports(directory, ["ssh"], title=title).values()
    keys = directory / "ssh"
    keys.mkdir(mode=0o700, exist_ok=True)
    for name in ("host", "client"):
        if not (keys / name).exists():
            argv = [_program("ssh-keygen", "openssh-client"), "-q", "-t", "ed25519", "-N", "", "-f", str(keys / name)]
            subprocess.run(argv, check=True)
    (keys / "sshd_config").write_text(CONFIGURATION.format(keys=keys))
    user = _user()
    files = {"passwd": _accounts(user, directory)}
    files["shadow"] = "".join(f"{name}:*:20000::::::\n" for name in (user, SUDOER))  # no password, and not locked
    if os.geteuid() == 0 and Path("/etc/sudoers").exists():
        files["sudoers"] = SUDOERS
    for name, content in files.items():
        (keys / name).write_text(content)
    order = {
        "sshd": [sshd, "-i", "-f", str(keys / "sshd_config"), "-E", str(directory / "sshd.log")],
        "port": port,
        "network": network,
        "authorized": str(keys / "client.pub"),
        "mounts": {f"/etc/{name}": str(keys / name) for name in files} | (mounts or {}),
    }
    server = Server(title, [sys.executable, "-I", __file__, json.dumps(order)], log=directory / "ssh_server.log")
    try:
        server.wait_until(lambda: _greets(port))
    except CannotStart:
        server.stop()
        raise
    connection = {
        "host": "127.0.0.1",
        "port": port,
        "user": user,
        "host_key": " ".join((keys / "host.pub").read_text().split()[:2]),
        "become": False,
    }
    return SshServer(server, connection, (keys / "client").read_text())


def inside(pid: int, argv: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    """A command in the namespaces of a process: the server's, or its client's."""
    command = entering(pid, argv)
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False, **options)


def entering(pid: int, argv: list[str]) -> list[str]:
    """The command that becomes another one in the namespaces of a process."""
    user = ["-U", "--preserve-credentials"] if os.geteuid() else []
    theirs, ours = (os.readlink(f"/proc/{process}/ns/net") for process in (pid, "self"))
    network = ["-n"] if theirs != ours else []  # one's own may not be entered again without being its root
    return [_program("nsenter", "util-linux"), "-t", str(pid), *user, "-m", *network, "--", *argv]


def signed_in(
    directory: Path, connection: dict[str, Any], argv: list[str], **options: Any
) -> subprocess.CompletedProcess[str]:
    """A command by SSH, with the key of a test bed's directory."""
    known = directory / "ssh" / "known_hosts"
    known.write_text(f"[{connection['host']}]:{connection['port']} {connection['host_key']}\n")
    command = ["ssh", "-F", "/dev/null", "-i", str(directory / "ssh" / "client"), "-p", str(connection["port"])]
    command += ["-o", f"UserKnownHostsFile={known}", f"{connection['user']}@{connection['host']}", shlex.join(argv)]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False, **options)


def client_of(server: SshServer) -> int:
    """The process that holds the client's network."""
    return int(Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()[0])


def _program(name: str, package: str) -> str:
    from playbooks.servers import MissingTool

    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if not found:
        raise MissingTool(f"{name} is not installed; install the Debian package {package}.")
    return found


def _namespaces_work(*, network: bool) -> None:
    from playbooks.servers import MissingTool

    kinds = [*(["-U"] if os.geteuid() else []), "-m", *(["-n"] if network else [])]
    if subprocess.run([_program("unshare", "util-linux"), *kinds, "true"], capture_output=True).returncode:
        raise MissingTool("This machine allows no namespaces of one's own; run it where user namespaces are allowed.")


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return "mergeyard"


def _accounts(user: str, home: Path) -> str:
    """/etc/passwd with a shell for whom we are, which service accounts do not have."""
    others = [line for line in Path("/etc/passwd").read_text().splitlines() if line.split(":")[0] not in (user, SUDOER)]
    ours = [
        f"{user}:x:{os.geteuid()}:{os.getegid()}::{home}:/bin/sh",
        f"{SUDOER}:x:{SUDOER_UID}:{SUDOER_GID}::/:/bin/sh",
    ]
    return "\n".join([*ours, *others, ""])


def _greets(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as asked:
            asked.settimeout(2)
            return asked.recv(4) == b"SSH-"
    except OSError:
        return False


# The script: everything below runs in the server's process.

libc = ctypes.CDLL(None, use_errno=True)


def _done(returned: int, what: str) -> None:
    if returned:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def _mount(source: str, target: str, kind: str | None = None, flags: int = 0) -> None:
    encoded = [value.encode() if value else None for value in (source, target, kind)]
    _done(libc.mount(*encoded, flags, None), f"mount {target}")


def _leave(*, network: bool) -> None:
    uid, gid = os.geteuid(), os.getegid()
    _done(libc.unshare(NEWNS | (NEWNET if network else 0) | (NEWUSER if uid else 0)), "unshare")
    if uid:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        # Of all that the namespace gives, what is started may keep the right to set up its network.
        capable = 1 << CAP_NET_ADMIN
        every = (1 << 32) - 1
        header, data = struct.pack("=Ii", CAPABILITY_VERSION, 0), struct.pack("=6I", every, every, capable, 255, 255, 0)
        libc.capset(header, data)
        libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_ADMIN, 0, 0)


def _change_mounts(mounts: dict[str, str], authorized: str) -> None:
    key = Path(authorized).read_text()
    _mount("none", "/", None, MS_REC | MS_PRIVATE)
    for target, source in mounts.items():
        _mount(source, target, None, MS_BIND)
    _mount("none", "/run", "tmpfs")
    os.mkdir("/run/sshd", 0o755)
    Path(AUTHORIZED).write_text(key)


def _ip(*argv: str) -> None:
    program = shutil.which("ip", path="/usr/sbin:/sbin:/usr/bin:/bin") or "/usr/sbin/ip"
    subprocess.run([program, *argv], check=True, stdin=subprocess.DEVNULL)


def _set_up(device: str, addresses: tuple[str, ...]) -> None:
    for address in addresses:
        _ip("address", "add", address, "dev", device, *(["nodad"] if ":" in address else []))
    for each in ("lo", device):
        _ip("link", "set", each, "up")


def _join_networks() -> None:
    """A client's network, held by a child that does nothing else, joined to ours by a cable."""
    away, left = os.pipe()
    joined, join = os.pipe()
    pid = os.fork()
    if pid == 0:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        _done(libc.unshare(NEWNET), "unshare")
        os.write(left, b".")
        os.read(joined, 1)
        _set_up("client", CLIENT_ADDRESSES)
        os.write(left, b".")
        while True:
            signal.pause()
    os.read(away, 1)
    _ip("link", "add", "server", "type", "veth", "peer", "name", "client", "netns", str(pid))
    _set_up("server", SERVER_ADDRESSES)
    os.write(join, b".")
    os.read(away, 1)


def _answer(connection: socket.socket, argv: list[str]) -> None:
    if os.fork() == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        for number in (0, 1):
            os.dup2(connection.fileno(), number)
        os.execv(argv[0], argv)
    connection.close()


def serve(order: dict[str, Any]) -> None:
    os.umask(0o022)  # what is made here is for every user of the host
    with socket.create_server(("127.0.0.1", order["port"]), backlog=64) as listening:
        _leave(network=order["network"])
        _change_mounts(order["mounts"], order["authorized"])
        if order["network"]:
            _join_networks()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while True:
            _answer(listening.accept()[0], order["sshd"])


if __name__ == "__main__":
    serve(json.loads(sys.argv[1]))
