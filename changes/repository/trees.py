"""The trees of a repository: what differs between two, what stands at a path, and the next one.

Owns which entries are files: regular ones, not nested deeper than anybody could mean. Any other entry has an id here
that names no object, so that nobody takes it for content. Knows no commits and no refs.
"""

import re
from collections.abc import Mapping

import pygit2
from pygit2.enums import FileMode

MAX_DEPTH = 16

Change = tuple[str | None, str | None]
_Nested = dict[str, "_Nested | pygit2.Oid | None"]

_NO_FILE = re.compile("([0-7]{6}) [0-9a-f]{33}")  # as long as an id
_WHAT = {"120000": "a symbolic link", "160000": "a submodule", "040000": f"more than {MAX_DEPTH} folders in each other"}


class RepositoryError(Exception):
    """The repository cannot be used as asked; the text says what we were doing and why it failed."""


def is_no_file(blob: str) -> str:
    """What an id from `compare` or `blob_at` stands for instead of a file, in words; empty for a file."""
    found = _NO_FILE.fullmatch(blob)
    return _WHAT.get(found[1], f"an entry of mode {found[1]}") if found else ""


def compare(git: pygit2.Repository, old: pygit2.Oid | None, new: pygit2.Oid | None) -> dict[str, Change]:
    """Paths that differ, with the ids of what stood and stands there. Descends only where ids differ."""
    found: dict[str, Change] = {}
    _compare(git, old, new, "", found)
    return dict(sorted(found.items()))


def blob_at(git: pygit2.Repository, tree: pygit2.Oid | None, path: str) -> str | None:
    """What stands for the entry at a path of a tree; None for nothing and for a folder."""
    found: pygit2.Oid | str | None = tree
    for depth, name in enumerate(path.split("/")):
        folder = git[found] if isinstance(found, pygit2.Oid) else None
        if not isinstance(folder, pygit2.Tree) or name not in folder:
            return None
        found = _entry(folder[name], depth)
    return found if isinstance(found, str) else None


def write(git: pygit2.Repository, base: pygit2.Oid | None, blobs: Mapping[str, pygit2.Oid | None]) -> pygit2.Oid | None:
    """The id of the base tree with files set or removed (None); None when nothing is left in it."""
    return _write(git, base, _nested(blobs))


def _entries(git: pygit2.Repository, tree: pygit2.Oid | None, depth: int) -> dict[str, pygit2.Oid | str]:
    """Name to the id of a folder, or to what stands for a file or for no file."""
    found = git[tree] if tree is not None else None
    if not isinstance(found, pygit2.Tree):
        return {}
    return {(entry.raw_name or b"").decode("utf-8", "backslashreplace"): _entry(entry, depth) for entry in found}


def _entry(entry: pygit2.Object, depth: int) -> pygit2.Oid | str:
    if entry.filemode == FileMode.TREE and depth < MAX_DEPTH:
        return entry.id
    if entry.filemode in (FileMode.BLOB, FileMode.BLOB_EXECUTABLE):
        return str(entry.id)
    return f"{entry.filemode:06o} {str(entry.id)[:33]}"


def _compare(
    git: pygit2.Repository, old: pygit2.Oid | None, new: pygit2.Oid | None, prefix: str, found: dict[str, Change]
) -> None:
    if old == new:
        return
    depth = prefix.count("/")
    before, after = _entries(git, old, depth), _entries(git, new, depth)
    for name in before.keys() | after.keys():
        was, now = before.get(name), after.get(name)
        if was == now:
            continue
        was_tree, now_tree = (one if isinstance(one, pygit2.Oid) else None for one in (was, now))
        if was_tree is not None or now_tree is not None:
            _compare(git, was_tree, now_tree, f"{prefix}{name}/", found)
        was_blob, now_blob = (one if isinstance(one, str) else None for one in (was, now))
        if was_blob != now_blob:
            found[prefix + name] = (was_blob, now_blob)


def _write(git: pygit2.Repository, base: pygit2.Oid | None, changes: _Nested) -> pygit2.Oid | None:
    builder = git.TreeBuilder(base) if base is not None else git.TreeBuilder()
    for name, change in changes.items():
        if isinstance(change, dict):
            entry = builder.get(name)
            inside = entry.id if entry is not None and entry.filemode == FileMode.TREE else None
            written, mode = _write(git, inside, change), FileMode.TREE
        else:
            written, mode = change, FileMode.BLOB
        if written is not None:
            builder.insert(name, written, mode)
        elif builder.get(name) is not None:
            builder.remove(name)
    return builder.write() if len(builder) else None


def _nested(blobs: Mapping[str, pygit2.Oid | None]) -> _Nested:
    root: _Nested = {}
    for path, blob in blobs.items():
        *folders, name = path.split("/")
        level = root
        for folder in folders:
            inside = level.setdefault(folder, {})
            if not isinstance(inside, dict):
                raise RepositoryError(f"writing {path}: {folder} is a file and a folder at once")
            level = inside
        level[name] = blob
    return root
