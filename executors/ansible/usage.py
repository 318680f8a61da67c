"""Owns how much of this host a play takes: its processes, and the memory that they and its files hold together.

Read from /proc, so it needs no control group and works on every host. Processes share the pages that they were
forked with, so the cheap sum is an upper bound; the exact one is taken only when that is over the limit. Not seen is
memory that no process maps: of memfd and of System V.
"""

import contextlib
import errno
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from executors.ansible.runner_process import below


class TooDeep(Exception):
    """What lies in a directory cannot be counted: the path to it is longer than the kernel takes."""


@dataclass(frozen=True, slots=True)
class Limits:
    """`memory` in bytes, of all processes of a play and of the files in its directory and in what is in memory."""

    memory: int
    processes: int


def beyond(limits: Limits, *, roots: Iterable[int], directory: Path) -> str:
    """Why what runs below these processes has to end, as a sentence; empty if it may go on. They count themselves."""
    pids = [pid for root in roots for pid in (root, *below(root))]
    if len(pids) > limits.processes:
        return f"It ran more than {limits.processes} processes at once and was ended."
    try:
        stored = _stored(directory) + _mounted(pids)
    except TooDeep:
        return "It nested directories deeper than anybody can look into, and was ended."
    if sum(map(_resident, pids)) + stored <= limits.memory:
        return ""
    if sum(map(_proportional, pids)) + stored <= limits.memory:
        return ""
    return f"It took more than {limits.memory // 1_000_000} MB of memory and was ended."


def _resident(pid: int) -> int:
    """All but what files on disk could give back."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()
    except OSError:
        return 0  # it has ended
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("RssAnon:", "RssShmem:")))


def _proportional(pid: int) -> int:
    """What it holds for itself, and its part of what it shares."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return _resident(pid)
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def _stored(directory: Path) -> int:
    total, folders = 0, [str(directory)]
    while folders:
        folder = folders.pop()
        try:
            with _opened(folder) as descriptor:
                for entry in list(os.scandir(descriptor)):
                    with contextlib.suppress(OSError):
                        total += entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(f"{folder}/{entry.name}")
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise TooDeep from error
            continue  # it is gone, or its play can read it no more than we can
    return total


@contextlib.contextmanager
def _opened(folder: str) -> Iterator[int]:
    """For reading, and only if no link is on the way: while we look, its play may put one in a directory's place."""
    place = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if os.readlink(f"/proc/self/fd/{place}") != folder:
            raise NotADirectoryError(folder)
        descriptor = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=place)
    finally:
        os.close(place)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _mounted(pids: Iterable[int]) -> int:
    """What lies in file systems in memory that these processes see and we do not, such as their /tmp and /dev/shm."""
    ours = {device for device, _ in _in_memory("self")}
    used: dict[int, int] = {}
    seen = set()
    for pid in pids:
        with contextlib.suppress(OSError):  # it has ended: another one may see the same
            if (namespace := os.readlink(f"/proc/{pid}/ns/mnt")) in seen:
                continue
            for device, place in _in_memory(pid):
                path = f"/proc/{pid}/root{place}"
                if device not in ours and os.stat(path).st_dev == device:  # else something else lies over it
                    found = os.statvfs(path)
                    used[device] = (found.f_blocks - found.f_bfree) * found.f_frsize
            seen.add(namespace)
    return sum(used.values())


def _in_memory(pid: int | str) -> Iterator[tuple[int, str]]:
    """Device and place of each tmpfs that a process sees."""
    for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines():
        fields, _, kind = line.partition(" - ")
        _, _, device, _, place, *_ = fields.split(" ")
        if kind.startswith("tmpfs "):
            major, _, minor = device.partition(":")
            yield os.makedev(int(major), int(minor)), re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), place)
