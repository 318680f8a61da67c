"""The built-in forge: branches of the bare repository on this host, and what is written down before they move.

Owns branch names, the merge lock, the notes of pushes, the text diff, and how `git http-backend` is started. A merge
request is the change request's row; this module knows no row.
"""

import fcntl
import json
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from changes.repository import HEADS, Hunk, Repository
from changes.repository import policy as policy_script
from changes.repository.git_environment import SERVED, environment

NOTES = "mergeyard-pushes"
NOTE_LIFETIME_SECONDS = 3600
BRANCH_PREFIX = "change/"


@dataclass(frozen=True, slots=True)
class FileDiff:
    """One file's text difference."""

    path: str
    old_blob: str | None
    new_blob: str | None
    hunks: tuple[Hunk, ...]


@dataclass(frozen=True, slots=True)
class Push:
    """What a person's git client was about to move, as the hook wrote it down."""

    note: Path
    pusher: str
    refs: tuple[tuple[str, str, str], ...]  # (ref, old, new)

    @property
    def is_old(self) -> bool:
        return time.time() - self.note.stat().st_mtime > NOTE_LIFETIME_SECONDS


def ref_of(branch: str) -> str:
    return HEADS + branch


def text_diff(repository: Repository, base: str | None, head: str) -> tuple[FileDiff, ...]:
    """The text difference of every changed file between two commits."""
    return tuple(
        FileDiff(path, old, new, repository.text_diff(old, new))
        for path, (old, new) in repository.diff(base, head).items()
    )


@contextmanager
def merge_lock(repository: Repository, *, wait: bool = True) -> Iterator[bool]:
    """Held from the intent's row to its closing; the kernel frees it when its holder dies. Yields whether it is ours.

    So whoever holds it knows that an open intent belongs to nobody alive.
    """
    with (repository.path / "mergeyard-merge.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def read_note(note: Path) -> Push | None:
    try:
        data = json.loads(note.read_bytes())
    except FileNotFoundError:
        return None
    return Push(note, data["pusher"], tuple((ref, old, new) for ref, old, new in data["refs"]))


def notes(repository: Repository) -> list[Path]:
    """Of pushes that are under way, or whose web process died before it recorded them; oldest first."""
    return sorted((repository.path / NOTES).glob("*.json"), key=lambda note: note.name)


@contextmanager
def push_by(
    repository: Repository, pusher: str, *, heads: Mapping[str, str], refused: Mapping[str, str]
) -> Iterator[tuple[Path, dict[str, str]]]:
    """The environment of `git http-backend` for one person, and where the note of a push will be.

    `heads` are the refs that they may move, as they were when `refused` was found out: refs that this person may not
    push, each with the sentence that says why. The note stays where it is: whoever has recorded the push removes it.
    """
    folder = repository.path / NOTES
    folder.mkdir(mode=0o700, exist_ok=True)
    note = folder / f"{time.time_ns():020d}-{uuid.uuid4().hex}.json"
    limits = note.with_suffix(".limits")
    limits.write_text(json.dumps({"heads": dict(heads), "refused": dict(refused)}), encoding="utf-8")
    variables = environment(SERVED) | {
        "GIT_PROJECT_ROOT": str(repository.path),
        "GIT_HTTP_EXPORT_ALL": "1",
        "REMOTE_USER": pusher,
        "MERGEYARD_POLICY": str(Path(policy_script.__file__).resolve()),
        "MERGEYARD_PUSH_NOTE": str(note),
        "MERGEYARD_PUSHER": pusher,
        "MERGEYARD_PUSH_LIMITS": str(limits),
    }
    try:
        yield note, variables
    finally:
        limits.unlink(missing_ok=True)
