"""Snapshots of commits, kept in memory: a new one is derived from a kept one by the difference of their trees.

Owns the cache. What a snapshot says is `changes.snapshot`'s; the objects are `changes.repository.objects`'s.
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Mapping

from changes.documents import Problem
from changes.kinds import Catalog
from changes.repository.objects import NotContent, Repository
from changes.snapshot import ParsedFile, Snapshot

KEPT = 8

_Key = tuple[str, str, str]
_kept: OrderedDict[_Key, Snapshot] = OrderedDict()
_lock = threading.RLock()


def catalog_digest(catalog: Catalog) -> str:
    """What the catalogue's folders say, as one SHA-256: a cache key of everything that depends on it."""
    text = "\n".join(f"{name} {catalog.types[name].digest}" for name in sorted(catalog.types))
    return hashlib.sha256(text.encode()).hexdigest()


def snapshot(repository: Repository, commit: str | None, catalog: Catalog) -> Snapshot:
    """What the state repository says at a commit (None: the empty tree)."""
    if commit is None:
        return Snapshot.empty(catalog)
    place, version = str(repository.path), catalog_digest(catalog)
    key = (place, version, commit)
    with _lock:
        found = _kept.get(key)
        if found is None:
            nearest = next((k for k in reversed(_kept) if k[:2] == (place, version)), None)
            start = _kept[nearest] if nearest else Snapshot.empty(catalog)
            changes = {path: new for path, (_, new) in repository.diff(nearest and nearest[2], commit).items()}
            found = changed(repository, start, changes, catalog=catalog)
            _kept[key] = found
            while len(_kept) > KEPT:
                _kept.popitem(last=False)
        _kept.move_to_end(key)
        return found


def changed(
    repository: Repository, base: Snapshot, changes: Mapping[str, str | bytes | None], *, catalog: Catalog
) -> Snapshot:
    """A snapshot with files replaced by blobs (ids), by content that no commit has yet, or removed (None)."""
    if not changes:
        return base
    files: dict[str, tuple[str, bytes] | None] = {}
    refused: dict[tuple[str, str], ParsedFile] = {}
    for path, content in changes.items():
        if content is None:
            files[path] = None
        elif isinstance(content, bytes):
            files[path] = (repository.hash_blob(content), content)
        else:
            try:
                files[path] = (content, repository.read_blob(content))
            except NotContent as what:
                files[path] = (content, b"")
                refused[path, content] = (None, (Problem(what.id, str(what), path),))
    return base.with_changes(files, catalog, parsed=refused)
