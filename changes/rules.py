"""The rules in force: what main's declarations say, as far as a merge of ours or `manage.py init` brought them there.

Owns which declarations (teams, systems, policies, mergeyard.yml) nobody approved. The rows of merges say which commits
are ours. A later merge of ours that changes such a file covers it, and so does taking it back to what was approved.

The walk goes back from a commit of main to where everything was approved. That is no further than the last change
request that changed a document: its merge is refused while a declaration is unapproved (`changes.review`).
"""

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from changes.catalog import catalog
from changes.models import MergeIntent
from changes.repository import Repository
from changes.repository.snapshots import changed, snapshot
from changes.snapshot import UNREAD, Snapshot
from changes.states import IntentState

KEPT = 1000


@dataclass(frozen=True, slots=True)
class Unapproved:
    """A declaration that a commit changed on main by itself, and its blob as approved last (None: no such file)."""

    commit: str
    approved: str | None


@dataclass(frozen=True, slots=True)
class Rules:
    """A commit of main: what its files say, and the same with unapproved declarations as they were approved last."""

    main: Snapshot
    in_force: Snapshot
    unapproved: Mapping[str, Unapproved]

    @property
    def unreadable(self) -> dict[str, str]:
        """Declarations that cannot be read, each with the first reason."""
        found = self.main.problems.items()
        return {path: problems[0].message for path, problems in found if is_declaration(path)}


_settled: OrderedDict[tuple[str, str], None] = OrderedDict()
_lock = threading.Lock()


def is_declaration(path: str) -> bool:
    return not path.startswith("resources/") and path not in UNREAD


def rules_at(repository: Repository, commit: str) -> Rules:
    """The rules at a commit of main."""
    folders = catalog()
    main, found = snapshot(repository, commit, folders), _unapproved(repository, commit)
    approved = {path: each.approved for path, each in found.items()}
    return Rules(main, changed(repository, main, approved, catalog=folders), found)


def _unapproved(repository: Repository, main: str) -> dict[str, Unapproved]:
    found: dict[str, Unapproved] = {}
    approved: set[str] = set()
    at: str | None = main
    while at is not None and not _is_settled(repository, at):
        parent = next(iter(repository.info(at).parents), None)
        merge = MergeIntent.objects.filter(commit=at).exclude(state=IntentState.DROPPED).first()
        if merge is not None and not merge.base:
            break  # where `init` began
        changes = repository.diff(parent, at)
        declared = {path: old for path, (old, _) in changes.items() if is_declaration(path)}
        if merge is not None and merge.change_request_id and len(declared) < len(changes):
            break
        if merge is not None:
            approved |= declared.keys()
        for path in declared.keys() - approved:
            found[path] = Unapproved(found[path].commit if path in found else at, declared[path])
        at = parent
    left = {path: each for path, each in found.items() if repository.blob_at(main, path) != each.approved}
    if not left:
        _settle(repository, main)
    return left


def _is_settled(repository: Repository, commit: str) -> bool:
    with _lock:
        return (str(repository.path), commit) in _settled


def _settle(repository: Repository, commit: str) -> None:
    with _lock:
        _settled[str(repository.path), commit] = None
        _settled.move_to_end((str(repository.path), commit))
        while len(_settled) > KEPT:
            _settled.popitem(last=False)
