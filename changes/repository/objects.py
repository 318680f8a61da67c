"""Git objects and refs of one bare repository: read, walk, write, compare-and-swap.

Owns every use of pygit2. Has no index and no work tree: a commit costs what it changes, not what the repository holds.
Knows no document, no person's rights and no change request.
"""

import os
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pygit2
from pygit2.enums import ConfigLevel, DiffOption, ObjectType, SortMode

from changes.repository import trees
from changes.repository.git_environment import GitFailed, run_git
from changes.repository.policy import MAX_FILE_BYTES
from changes.repository.trees import Change, RepositoryError

MAIN_REF = "refs/heads/main"
HEADS = "refs/heads/"
ZERO = "0" * 40
LATEST = int(datetime(9000, 1, 1, tzinfo=UTC).timestamp())

# No configuration of this machine takes part (the same rule as for git processes).
for _level in (ConfigLevel.SYSTEM, ConfigLevel.XDG, ConfigLevel.GLOBAL, ConfigLevel.PROGRAMDATA):
    pygit2.settings.search_path[_level] = ""
# The path is a setting, and workers only read what belongs to the web process's user; a git process asks no more.
pygit2.settings.owner_validation = False
# Rows name commits, and outlive a power cut: each object, each ref and its folder is on the disk before we go on.
pygit2.settings.enable_fsync_gitdir(True)


class RefMoved(Exception):
    """Somebody moved the ref between our look and our write; nothing was changed."""


class NotContent(RepositoryError):
    """What stands at a path is nothing that is read: no regular file, or too large; `id` and the text say which."""

    def __init__(self, id: str, message: str) -> None:
        super().__init__(message)
        self.id = id


@dataclass(frozen=True, slots=True)
class Person:
    name: str
    email: str


@dataclass(frozen=True, slots=True)
class CommitInfo:
    sha: str
    parents: tuple[str, ...]
    tree: str
    subject: str
    message: str
    author: Person
    committer: Person
    at: datetime


@dataclass(frozen=True, slots=True)
class Conflict:
    """Paths that both sides changed, to different content."""

    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Hunk:
    header: str
    lines: tuple[tuple[str, str], ...]  # (" " | "+" | "-", text without its line end)


class Repository:
    """A bare repository. Safe to share between threads: each thread opens its own handle."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._handles = threading.local()

    @classmethod
    def create(cls, path: Path) -> "Repository":
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        pygit2.init_repository(str(path), bare=True, initial_head="main")
        return cls(path)

    def exists(self) -> bool:
        return (self.path / "objects").is_dir() and (self.path / "HEAD").is_file()

    @property
    def _git(self) -> pygit2.Repository:
        handle = getattr(self._handles, "git", None)
        if handle is None:
            try:
                handle = pygit2.Repository(str(self.path))
            except pygit2.GitError as problem:
                raise RepositoryError(f"opening the repository {self.path}: {problem}") from problem
            if not handle.is_bare:
                raise RepositoryError(f"opening the repository {self.path}: it is not a bare repository")
            self._handles.git = handle
        return handle

    def head(self, ref: str = MAIN_REF) -> str | None:
        reference = self._git.references.get(ref)
        return str(reference.resolve().target) if reference is not None else None

    def main(self) -> str:
        sha = self.head(MAIN_REF)
        if sha is None:
            raise RepositoryError(f"The repository {self.path} has no main branch yet: run `manage.py init`.")
        return sha

    def branches(self) -> dict[str, str]:
        """Branch name (without refs/heads/) to commit."""
        git = self._git
        return {name: str(git.references[HEADS + name].target) for name in git.branches.local}

    def swap_ref(self, ref: str, new: str, old: str | None) -> None:
        """Point `ref` at `new` only if it still is at `old` (None: it must not exist). Raises RefMoved."""
        if old is None:
            try:
                run_git(self.path, "update-ref", "--end-of-options", ref, new, ZERO)
            except GitFailed as problem:
                raise RefMoved(f"creating {ref}: {problem}") from problem
            self.sync_ref(ref)
            return
        reference = self._git.references.get(ref)
        if reference is None or str(reference.target) != old:
            raise RefMoved(f"{ref} is no longer at {old[:10]}")
        try:
            # libgit2 compares with the value read above, under the ref's lock.
            reference.set_target(pygit2.Oid(hex=new))
        except (pygit2.GitError, OSError, ValueError) as problem:
            raise RefMoved(f"moving {ref}: {problem}") from problem

    def sync_ref(self, ref: str) -> None:
        """Have on the disk that a git process moved a ref: git syncs its file, and not the folder that names it."""
        try:
            folder = os.open((self.path / ref).parent, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            return  # it is among the packed ones
        try:
            os.fsync(folder)
        except OSError as problem:
            raise RepositoryError(f"syncing {ref}: {problem}") from problem
        finally:
            os.close(folder)

    def has(self, sha: str) -> bool:
        return pygit2.Oid(hex=sha) in self._git

    def read_blob(self, blob: str, *, limit: int | None = MAX_FILE_BYTES) -> bytes:
        """A file's content; its size is looked at first. Raises NotContent."""
        if what := trees.is_no_file(blob):
            raise NotContent("path.unknown", f"Here is {what}; only regular files are read.")
        oid = pygit2.Oid(hex=blob)
        if oid not in self._git:
            raise RepositoryError(f"reading blob {blob}: the repository {self.path} has no such file content")
        sort, size = self._git.odb.read_header(oid)
        if sort != ObjectType.BLOB:
            raise RepositoryError(f"reading blob {blob}: in the repository {self.path} it is no file content")
        if limit is not None and size > limit:
            raise NotContent("yaml.size", f"The file has {size:,} bytes, and {limit:,} are allowed: split it.")
        return self._git.odb.read(oid)[1]

    def text(self, blob: str | None) -> str:
        """A file's content for a page or a draft; empty if there is none, or none that is read.

        What neither can hold, NUL and bytes that are not UTF-8, becomes a replacement character.
        """
        try:
            return self.read_blob(blob).decode("utf-8", "replace").replace("\0", "\ufffd") if blob else ""
        except NotContent:
            return ""

    def blob_at(self, commit: str | None, path: str) -> str | None:
        """The id of the file at `path` in a commit."""
        tree = self._tree_id(commit)
        return trees.blob_at(self._git, tree, path)

    def read(self, commit: str | None, path: str) -> bytes | None:
        blob = self.blob_at(commit, path)
        return self.read_blob(blob) if blob is not None else None

    def info(self, sha: str) -> CommitInfo:
        """Whoever made the commit wrote its headers: an encoding is not believed, a date is one that can be shown."""
        commit = self._commit(sha)
        message = commit.raw_message.decode("utf-8", "replace")
        return CommitInfo(
            sha=str(commit.id),
            parents=tuple(str(parent) for parent in commit.parent_ids),
            tree=str(commit.tree_id),
            subject=message.split("\n", 1)[0].strip(),
            message=message,
            author=_person(commit.author),
            committer=_person(commit.committer),
            at=datetime.fromtimestamp(min(max(commit.commit_time, 0), LATEST), UTC),
        )

    def files(self, commit: str) -> dict[str, str]:
        """Every file of a commit: path to blob id."""
        return {path: new for path, (_, new) in self.diff(None, commit).items() if new is not None}

    def diff(self, base: str | None, head: str | None) -> dict[str, Change]:
        """Paths that differ between two commits or trees, with (old blob, new blob).

        What is no regular file is there too, with an id that `read_blob` refuses.
        """
        old, new = self._tree_id(base), self._tree_id(head)  # first: a mirror fetches them, and begins to exist
        return trees.compare(self._git, old, new)

    def text_diff(self, old: str | None, new: str | None) -> tuple[Hunk, ...]:
        """The hunks between two blobs, as text; bytes that are not UTF-8 are shown as replacement characters."""
        # The patch points into its buffers: both stay referenced until the lines are copied.
        before, after = self.read_blob(old) if old else b"", self.read_blob(new) if new else b""
        patch = pygit2.Patch.create_from(before, after, flag=DiffOption.FORCE_TEXT)
        return tuple(
            Hunk(
                header=hunk.header.strip(),
                lines=tuple(
                    (line.origin, line.raw_content.decode("utf-8", "replace").rstrip("\n"))
                    for line in hunk.lines
                    if line.origin in " +-"
                ),
            )
            for hunk in patch.hunks
        )

    def merge_base(self, one: str, other: str) -> str | None:
        base = self._git.merge_base(pygit2.Oid(hex=one), pygit2.Oid(hex=other))
        return str(base) if base is not None else None

    def contains(self, head: str, sha: str) -> bool:
        """Is `sha` the head or one of its ancestors?"""
        return head == sha or (self.has(sha) and self._git.descendant_of(pygit2.Oid(hex=head), pygit2.Oid(hex=sha)))

    def resolve(self, name: str) -> str:
        """The commit that a branch's name or an (abbreviated) id means."""
        if (head := self.head(HEADS + name)) is not None:
            return head
        try:
            return str(self._git[name].peel(pygit2.Commit).id)
        except (KeyError, ValueError, pygit2.GitError) as problem:
            raise RepositoryError(f"{name} is no branch and no commit of {self.path}") from problem

    def first_parents(self, since: str | None, until: str) -> list[str]:
        """First-parent commits after `since` up to `until`, oldest first. Raises when `since` is not among them."""
        found: list[str] = []
        at: str | None = until
        while at is not None and at != since:
            found.append(at)
            parents = self._commit(at).parent_ids
            at = str(parents[0]) if parents else None
        if at != since:
            raise RepositoryError(
                f"walking from {until[:10]} back to {(since or '')[:10]}: it is not on that line of history"
            )
        return found[::-1]

    def new_commits(self, head: str, known: Iterable[str]) -> list[CommitInfo]:
        """Commits reachable from `head` and from none of `known`, oldest first."""
        walker = self._git.walk(pygit2.Oid(hex=head), SortMode.TOPOLOGICAL | SortMode.REVERSE)
        for sha in known:
            walker.hide(pygit2.Oid(hex=sha))
        return [self.info(str(commit.id)) for commit in walker]

    def commits_touching(self, path: str, *, limit: int, until: str | None = None) -> list[CommitInfo]:
        """The newest first-parent commits that changed the file at `path`."""
        found: list[CommitInfo] = []
        at: str | None = until or self.head(MAIN_REF)
        blob = self.blob_at(at, path) if at else None
        while at is not None and len(found) < limit:
            parents = self._commit(at).parent_ids
            parent = str(parents[0]) if parents else None
            before = self.blob_at(parent, path)
            if before != blob:
                found.append(self.info(at))
            at, blob = parent, before
        return found

    @staticmethod
    def hash_blob(data: bytes) -> str:
        """The id that this content would have; nothing is written."""
        return str(pygit2.hash(data))

    def write_blob(self, data: bytes) -> str:
        return str(self._git.create_blob(data))

    def commit(
        self,
        *,
        parents: Iterable[str],
        base_tree_of: str | None,
        changes: Mapping[str, bytes | str | None],
        message: str,
        author: Person,
        committer: Person,
        when: datetime,
    ) -> str:
        """Write the tree of `base_tree_of` with `changes` (content, an existing blob's id, or None: delete).

        Writes objects only; no ref moves.
        """
        moment = int(when.timestamp())
        try:
            blobs = {path: self._blob_id(content) for path, content in changes.items()}
            tree = trees.write(self._git, self._tree_id(base_tree_of), blobs)
            oid = self._git.create_commit(
                None,
                _signature(author, moment),
                _signature(committer, moment),
                message,
                tree or self._git.TreeBuilder().write(),
                [pygit2.Oid(hex=sha) for sha in parents],
            )
        except OSError as problem:
            raise RepositoryError(f"writing a commit: {problem}") from problem
        return str(oid)

    def merge_trees(self, base: str | None, ours: str, theirs: str) -> dict[str, Change] | Conflict:
        """What `theirs` changed since `base`, put on `ours`: path -> (our blob, their blob), or the paths that clash.

        Costs what `theirs` changed, however far `ours` has gone.
        """
        changes: dict[str, Change] = {}
        clashes: list[str] = []
        for path, (before, after) in self.diff(base, theirs).items():
            mine = self.blob_at(ours, path)
            if mine == after:
                continue
            if mine != before:
                clashes.append(path)
            changes[path] = (mine, after)
        return Conflict(tuple(clashes)) if clashes else changes

    def _blob_id(self, content: bytes | str | None) -> pygit2.Oid | None:
        if content is None:
            return None
        return self._git.create_blob(content) if isinstance(content, bytes) else pygit2.Oid(hex=content)

    def _commit(self, sha: str) -> pygit2.Commit:
        found = self._git.get(pygit2.Oid(hex=sha))
        if not isinstance(found, pygit2.Commit):
            raise RepositoryError(f"reading commit {sha}: the repository {self.path} has no such commit")
        return found

    def _tree_id(self, revision: str | None) -> pygit2.Oid | None:
        if revision is None:
            return None
        found = self._git.get(pygit2.Oid(hex=revision))
        if isinstance(found, pygit2.Commit):
            return found.tree_id
        if isinstance(found, pygit2.Tree):
            return found.id
        raise RepositoryError(f"reading {revision}: the repository {self.path} has no such commit")


def _person(signature: pygit2.Signature) -> Person:
    return Person(signature.raw_name.decode("utf-8", "replace"), signature.raw_email.decode("utf-8", "replace"))


def _signature(person: Person, moment: int) -> pygit2.Signature:
    return pygit2.Signature(_name(person.name), _name(person.email), moment, 0)


def _name(text: str) -> str:
    """Git's signature lines end at these characters."""
    return "".join(character for character in text if character not in "<>\n\r\0").strip() or "unknown"
