"""Owns small text files on a host: read with a limit, and put in place whole or not at all.

No step follows a symbolic link below the directory it begins at: who may write there must not lead root elsewhere. It
must not know kinds.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ansible.module_utils.mergeyard.pairing import Refused, shown  # type: ignore[import-not-found]

LARGEST = 2_000_000  # bytes that are read
LONGEST = 4_000  # characters that are shown
BEGINNING = 3_000
NOT_SHOWN = "(not shown: not every user of the host may read it)"


@dataclass(frozen=True)
class Held:
    """A file as it is. `for_all`: whether every user of the host may read it."""

    content: str
    uid: int
    gid: int
    mode: int
    for_all: bool = True


def bounded(content: str) -> str:
    """A text as it is shown: whole, or its beginning with what tells it from every other one."""
    if len(content) <= LONGEST:
        return content
    data = content.encode(errors="surrogateescape")
    digest = hashlib.sha256(data).hexdigest()
    return f"{content[:BEGINNING]}\n... (the beginning of {len(data)} bytes, SHA-256 {digest})\n"


@contextlib.contextmanager
def directory_of(path: str, root: str) -> Iterator[int]:
    """A descriptor of the directory in which `path`, below `root`, lies; raises FileNotFoundError or Refused."""
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in os.path.relpath(os.path.dirname(path), root).split("/"):
            if name == ".":
                continue
            try:
                below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=descriptor)
            except NotADirectoryError as error:
                raise Refused(f"{shown(name)} on the way to {shown(path)} is no directory of its own.") from error
            os.close(descriptor)
            descriptor = below
        yield descriptor
    finally:
        os.close(descriptor)


def may_be_written(directory: str) -> bool:
    """Whether this user may put files there, or make it where it is not there yet."""
    there = next(each for each in (Path(directory), *Path(directory).parents) if each.exists())
    return os.access(there, os.W_OK | os.X_OK)


def read(path: str, root: str) -> Held | None:
    """What is there, or None; raises Refused for what is no regular file."""
    try:
        with directory_of(path, root) as directory:
            name = os.path.basename(path)
            found = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if not stat.S_ISREG(found.st_mode):
                raise Refused(f"{shown(path)} exists and is no regular file, so it is left alone.")
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
            with os.fdopen(descriptor, "rb") as file:
                found = os.fstat(descriptor)
                data = file.read(LARGEST + 1)
            for_all = every_user_may_read(path, found.st_mode)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Refused(f"{shown(path)} cannot be read: {(error.strerror or str(error)).lower()}.") from error
    if len(data) > LARGEST:
        data = f"(a file of {found.st_size} bytes, changed {found.st_mtime_ns})".encode()
    content, mode = data.decode(errors="surrogateescape"), stat.S_IMODE(found.st_mode)
    return Held(content, found.st_uid, found.st_gid, mode, for_all)


def every_user_may_read(path: str, mode: int) -> bool:
    """What a file's permissions, and those of every directory above it, allow to all."""
    return bool(mode & stat.S_IROTH) and all(os.stat(above).st_mode & stat.S_IXOTH for above in Path(path).parents)


def write(path: str, root: str, held: Held) -> None:
    """The file, whole and at once, with its owner and permissions from its first moment on. Raises OSError."""
    name = os.path.basename(path)
    new = f".{name[:200]}.mergeyard-new"
    with directory_of(path, root) as directory:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new, dir_fd=directory)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(new, flags, 0o600, dir_fd=directory)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(held.content.encode())
                file.flush()
                status = os.fstat(descriptor)
                if (status.st_uid, status.st_gid) != (held.uid, held.gid):
                    os.fchown(descriptor, held.uid, held.gid)
                os.fchmod(descriptor, held.mode)
                os.fsync(descriptor)
            os.replace(new, name, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(new, dir_fd=directory)
            raise
        os.fsync(directory)


def delete(path: str, root: str) -> None:
    with directory_of(path, root) as directory, contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.basename(path), dir_fd=directory)
        os.fsync(directory)
