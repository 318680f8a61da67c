"""Owns the values that a worker has itself: in its environment and in files, and the files with its own keys.

`env:NAME` is read below one prefix only, `file:PATH` below one directory, of mode 0600, never through a symbolic link.
A key of the worker (for Vault, for encrypted files) can be read by no reference. It must not know other providers.
"""

import os
import re
import secrets
import stat
from contextlib import suppress
from pathlib import Path, PurePosixPath

from django.conf import settings

MAX_BYTES = 64_000
MAX_KEY_BYTES = 8_000
WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
OWN_VARIABLES = ("MERGEYARD_SECRET_KEY",)  # signs sessions, and has the prefix by chance
KEY_FILES = (
    "MERGEYARD_ANSIBLE_VAULT_PASSWORD_FILE",
    "MERGEYARD_VAULT_TOKEN_FILE",
    "MERGEYARD_VAULT_SECRET_ID_FILE",
)


class CannotResolve(Exception):
    """A secret cannot be had until a person mends something; its text is one sentence that never holds the value."""


class Missing(CannotResolve):
    """Nothing is at the place of a secret."""


class Unavailable(Exception):
    """The place of a secret cannot be reached now; nothing is wrong with the work. One sentence."""


def from_environment(name: str, *, ref: str) -> str:
    prefix = settings.MERGEYARD_SECRET_ENV_PREFIX
    if not name.startswith(prefix) or name in OWN_VARIABLES:
        raise CannotResolve(f"The secret {ref} may not be read: only variables that begin with {prefix} may.")
    value = os.environ.get(name)
    if value is None:
        raise CannotResolve(f"The secret {ref} is not set in the environment of this worker.")
    return value


def from_file(name: str, *, ref: str) -> str:
    directory = Path(settings.MERGEYARD_SECRETS_DIR)
    try:
        return _text(read_below(directory, PurePosixPath(name).parts, ref=ref), ref=ref)
    except FileNotFoundError:
        message = f"The secret {ref} does not exist on this worker; create it or let it be generated."
        raise Missing(message) from None
    except OSError as error:
        raise CannotResolve(f"The secret {ref} cannot be read: {error.strerror}.") from error


def _text(data: bytes, *, ref: str) -> str:
    try:
        return data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise CannotResolve(f"The secret {ref} is not text in UTF-8.") from None


def read_below(
    directory: Path, parts: tuple[str, ...], *, ref: str, others: int = 0o077, limit: int = MAX_BYTES
) -> bytes:
    """Each step opened relative to the last without following links, so no name can lead out of the directory.

    `others`: the bits of a file's mode that may not be set. Raises CannotResolve, or OSError.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in parts[:-1]:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        file = os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=descriptor)
    finally:
        os.close(descriptor)
    with os.fdopen(file, "rb") as stream:
        status = os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise CannotResolve(f"The secret {ref} is not a regular file.")
        if (status.st_dev, status.st_ino) in _own_keys():
            raise CannotResolve(f"The secret {ref} is a key of the worker itself; no system and no document gets it.")
        if status.st_mode & others:
            who = "read" if others & 0o044 else "written"
            raise CannotResolve(f"The secret {ref} may be {who} by others on this host; set its mode to 0600.")
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise CannotResolve(f"The secret {ref} is larger than {limit} bytes.")
    return data


def _own_keys() -> set[tuple[int, int]]:
    """Device and inode of each file that holds a key of the worker."""
    found = set()
    for setting in KEY_FILES:
        if path := getattr(settings, setting):
            with suppress(OSError):
                status = os.stat(path)
                found.add((status.st_dev, status.st_ino))
    return found


def key(setting: str, *, ref: str) -> str:
    """The content of the file that a setting names, read anew each time, so that a new key needs no restart."""
    path = getattr(settings, setting)
    if not path:
        raise CannotResolve(f"The secret {ref} cannot be read: {setting} is not set on this worker.")
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as stream:
            status = os.fstat(stream.fileno())
            data = stream.read(MAX_KEY_BYTES + 1) if stat.S_ISREG(status.st_mode) else b""
    except OSError as error:
        raise CannotResolve(f"The secret {ref} cannot be read: the file of {setting}: {error.strerror}.") from error
    if status.st_mode & 0o077:
        message = f"The secret {ref} is not read: others may read the file of {setting}; set its mode to 0600."
        raise CannotResolve(message)
    try:
        found = data.decode("ascii").strip()
    except UnicodeDecodeError:
        found = ""
    if not found or len(data) > MAX_KEY_BYTES or not found.isprintable():
        raise CannotResolve(f"The secret {ref} cannot be read: the file of {setting} holds no single line of text.")
    return found


def generated() -> str:
    return secrets.token_urlsafe(24)


def draft(ref: str) -> str:
    """A value for a `file:` reference, on the disk of this host, where no reference reads it; returns its mark.

    It becomes the value by `finish`, once it is on record that this draft is the one. Raises CannotResolve.
    """
    mark, target = secrets.token_hex(8), _target(ref)
    file = target.with_name(_draft(target, mark))
    try:
        _make_folder(target)
        with open(os.open(file, WRITE, 0o600), "w") as stream:
            stream.write(generated())
            stream.flush()
            os.fsync(stream.fileno())
        _sync(target.parent)
    except OSError as error:
        with suppress(OSError):
            file.unlink()
        raise CannotResolve(f"The secret {ref} cannot be created: {error.strerror}.") from error
    return mark


def finish(ref: str, mark: str) -> None:
    """The draft with this mark, if it is on this host, takes its place, unless a value is there. CannotResolve."""
    target = _target(ref)
    try:
        with suppress(FileExistsError):
            os.link(target.with_name(_draft(target, mark)), target, follow_symlinks=False)
        _sync(target.parent)
        for name in os.listdir(target.parent):  # of no more use, whoever made them
            if name.startswith(f".{target.name}.") and re.fullmatch("[0-9a-f]{16}", name[len(target.name) + 2 :]):
                target.with_name(name).unlink(missing_ok=True)
    except (FileNotFoundError, NotADirectoryError):  # no such draft
        return
    except OSError as error:
        raise CannotResolve(f"The secret {ref} cannot be created: {error.strerror}.") from error


def _target(ref: str) -> Path:
    return Path(settings.MERGEYARD_SECRETS_DIR, ref.removeprefix("file:"))


def _draft(target: Path, mark: str) -> str:
    return f".{target.name}.{mark}"


def _make_folder(target: Path) -> None:
    folder = Path(settings.MERGEYARD_SECRETS_DIR)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for part in target.parent.relative_to(folder).parts:
        outer, folder = folder, folder / part
        if folder.is_symlink():
            raise NotADirectoryError(20, "a directory on the way is a symbolic link")
        folder.mkdir(mode=0o700, exist_ok=True)
        _sync(outer)


def _sync(folder: Path) -> None:
    """The names in it survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
