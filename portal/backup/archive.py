"""One file that holds a backup: a tar whose last member is the manifest.

Owns the format, what is whole, and that nothing of a file is believed before its digest was compared. A file that was
cut off has no manifest. Knows no database and no git.
"""

import hashlib
import io
import json
import os
import tarfile
import time
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Any

FORMAT = 1
MANIFEST = "manifest.json"
CHUNK = 1 << 20
MAX_MANIFEST_BYTES = 64 << 20


class NoBackup(Exception):
    """The file is no whole backup, or one of a format that this version does not know; the text says which."""


def write(file: Path, members: Mapping[str, Path], about: Mapping[str, Any]) -> None:
    """Member name to file. Only its owner may read it; on disk when this returns."""
    said: dict[str, Any] = {}
    with open(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as raw:
        with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for name, source in members.items():
                said[name] = _add(tar, name, source)
            text = json.dumps({"format": FORMAT, **about, "members": said}, indent=1).encode()
            _add_bytes(tar, MANIFEST, text)
        raw.flush()
        os.fsync(raw.fileno())


def read(file: Path, into: Path) -> dict[str, Any]:
    """Unpack it to the empty directory `into`; the manifest. Raises NoBackup if a byte is not as it was written."""
    try:
        with tarfile.open(file, mode="r:") as tar:
            entries = tar.getmembers()
            manifest = _manifest(file, tar, entries)
            for entry in entries[:-1]:
                _take(file, tar, entry, into=into, wanted=manifest["members"].get(entry.name))
    except tarfile.TarError as problem:
        raise NoBackup(f"{file} is no whole backup: {problem}.") from problem
    if {entry.name for entry in entries[:-1]} != manifest["members"].keys():
        raise NoBackup(f"{file} is no whole backup: it does not hold what its manifest lists.")
    return manifest


def _add(tar: tarfile.TarFile, name: str, source: Path) -> dict[str, Any]:
    with source.open("rb") as content:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode, entry.mtime = os.fstat(content.fileno()).st_size, 0o600, time.time()
        hashed = Hashing(content)
        tar.addfile(entry, hashed)
    return {"bytes": entry.size, "sha256": hashed.digest.hexdigest()}


def _add_bytes(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = len(content), 0o600, time.time()
    tar.addfile(entry, io.BytesIO(content))


class Hashing:
    """A file that is hashed as it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.digest = file, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self.file.read(size)
        self.digest.update(data)
        return data


def _manifest(file: Path, tar: tarfile.TarFile, entries: list[tarfile.TarInfo]) -> dict[str, Any]:
    last = tar.extractfile(entries[-1]) if entries and entries[-1].name == MANIFEST else None
    if last is None or entries[-1].size > MAX_MANIFEST_BYTES:
        raise NoBackup(f"{file} is no whole backup: its manifest, which is written last, is missing.")
    try:
        manifest = json.loads(last.read())
    except ValueError as problem:
        raise NoBackup(f"{file} is no whole backup: its manifest cannot be read.") from problem
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise NoBackup(f"{file} is a backup of another format than {FORMAT}: restore it with the version that made it.")
    return manifest


def _take(
    file: Path, tar: tarfile.TarFile, entry: tarfile.TarInfo, *, into: Path, wanted: dict[str, Any] | None
) -> None:
    content = tar.extractfile(entry) if entry.isreg() else None
    parts = PurePosixPath(entry.name).parts
    if content is None or wanted is None or ".." in parts or entry.name.startswith("/"):
        raise NoBackup(f"{file} is no whole backup: {entry.name} does not belong into it.")
    target = into.joinpath(*parts)
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    hashed = Hashing(content)
    with open(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as out:
        while chunk := hashed.read(CHUNK):
            out.write(chunk)
    if (entry.size, hashed.digest.hexdigest()) != (wanted["bytes"], wanted["sha256"]):
        raise NoBackup(f"{file} is damaged: {entry.name} is not what was written.")
