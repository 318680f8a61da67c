"""Owns how references become secret values, and how those values are kept out of everything we store.

Providers: `env:NAME` reads the worker's own environment, only below the configured prefix; `file:path` reads a file
below the configured directory, 0600, never through a symbolic link. It must not know documents, runs or pages.
"""

import base64
import json
import os
import re
import secrets
import stat
import urllib.parse
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from django.conf import settings

MASK = "********"
MIN_LENGTH = 4  # a shorter value could not be masked without making every line unreadable
MAX_BYTES = 64_000


class CannotResolve(Exception):
    """A secret cannot be had; its text is one sentence that never holds the value."""


def resolve(ref: str, *, generate: bool = False) -> str:
    """The value behind a reference. With `generate` a missing file is created, once, with 32 random characters."""
    provider, _, name = ref.partition(":")
    if provider == "env":
        value = _from_environment(name, ref=ref)
    elif provider == "file":
        value = _from_file(name, ref=ref, generate=generate)
    else:
        raise CannotResolve(f"The secret {ref} has no known provider; begin it with env: or file:.")
    if len(value) < MIN_LENGTH:
        raise CannotResolve(f"The secret {ref} is shorter than {MIN_LENGTH} characters; use a longer value.")
    return value


def _from_environment(name: str, *, ref: str) -> str:
    prefix = settings.MERGEYARD_SECRET_ENV_PREFIX
    if not name.startswith(prefix) or not re.fullmatch(r"[A-Z0-9_]+", name):
        raise CannotResolve(f"The secret {ref} may not be read: only variables that begin with {prefix} may.")
    value = os.environ.get(name)
    if value is None:
        raise CannotResolve(f"The secret {ref} is not set in the environment of this worker.")
    return value


def _from_file(name: str, *, ref: str, generate: bool) -> str:
    parts = PurePosixPath(name).parts
    if not parts or any(not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", part) for part in parts):
        raise CannotResolve(f"The secret {ref} is not a path of plain names below the directory of secrets.")
    try:
        return _read(parts, ref=ref)
    except FileNotFoundError:
        if not generate:
            message = f"The secret {ref} does not exist on this worker; create it or let it be generated."
            raise CannotResolve(message) from None
    except OSError as error:
        raise CannotResolve(f"The secret {ref} cannot be read: {error.strerror}.") from error
    try:
        _create(parts)
        return _read(parts, ref=ref)
    except OSError as error:
        raise CannotResolve(f"The secret {ref} cannot be created: {error.strerror}.") from error


def _read(parts: tuple[str, ...], *, ref: str) -> str:
    """Each step opened relative to the last without following links, so no name can lead out of the directory."""
    descriptor = os.open(settings.MERGEYARD_SECRETS_DIR, os.O_RDONLY | os.O_DIRECTORY)
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
        if status.st_mode & 0o077:
            raise CannotResolve(f"The secret {ref} may be read by others on this host; set its mode to 0600.")
        data = stream.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise CannotResolve(f"The secret {ref} is larger than {MAX_BYTES} bytes.")
    try:
        return data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise CannotResolve(f"The secret {ref} is not text in UTF-8.") from None


def _create(parts: tuple[str, ...]) -> None:
    """The whole file appears at once or not at all; of two workers the first wins and the second reads it."""
    target = Path(settings.MERGEYARD_SECRETS_DIR).joinpath(*parts)
    folder = Path(settings.MERGEYARD_SECRETS_DIR)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for part in parts[:-1]:
        folder /= part
        if folder.is_symlink():
            raise NotADirectoryError(20, "a directory on the way is a symbolic link")
        folder.mkdir(mode=0o700, exist_ok=True)
    draft = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "w") as stream:
            stream.write(secrets.token_urlsafe(24))
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(draft, target, follow_symlinks=False)
        except FileExistsError:
            return
    finally:
        draft.unlink()


class Masker:
    """Replaces every form in which a known secret may appear: plain, base64, URL-quoted, JSON-escaped, line by line."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        forms = {form for value in values for form in _forms(value)}
        longest_first = sorted(forms, key=lambda form: (-len(form), form))
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if forms else None

    def text(self, text: str) -> str:
        return self._pattern.sub(MASK, text) if self._pattern else text

    def data(self, value: object) -> object:
        if self._pattern is None:
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(str(key)): self.data(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.data(inner) for inner in value]
        if isinstance(value, (int, float)) and not isinstance(value, bool) and self._pattern.search(str(value)):
            return MASK
        return value


def _forms(value: str) -> set[str]:
    whole = [value, *(line.strip() for line in value.splitlines() if len(line.strip()) >= 2 * MIN_LENGTH)]
    forms: set[str] = set()
    for part in whole:
        escaped = json.dumps(part)[1:-1]
        forms |= {part, escaped, escaped.replace("/", "\\/"), json.dumps(part, ensure_ascii=False)[1:-1]}
        quoted = urllib.parse.quote
        forms |= {repr(part)[1:-1], quoted(part), quoted(part, safe=""), urllib.parse.quote_plus(part)}
        forms |= _base64_forms(part.encode())
    return {form for form in forms if len(form) >= MIN_LENGTH}


def _base64_forms(data: bytes) -> set[str]:
    """Base64 of the value alone, and of the value somewhere within more text: its middle at each of three offsets."""
    forms: set[str] = set()
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        forms |= {encode(data).decode(), encode(data).decode().rstrip("=")}
        for offset in range(3):
            text = encode(bytes(offset) + data).decode()
            middle = text[-(-offset * 8 // 6) : (offset + len(data)) * 8 // 6]
            if len(middle) >= 2 * MIN_LENGTH:
                forms.add(middle)
    return forms
