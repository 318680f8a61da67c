"""The state repository: the one importer of git. Other packages ask `state()` for the configured one."""

from functools import lru_cache
from pathlib import Path

from django.conf import settings

from changes.repository.objects import (
    HEADS,
    MAIN_REF,
    CommitInfo,
    Conflict,
    Hunk,
    Person,
    RefMoved,
    Repository,
    RepositoryError,
)

main_ref = MAIN_REF

__all__ = [
    "HEADS",
    "MAIN_REF",
    "CommitInfo",
    "Conflict",
    "Hunk",
    "Person",
    "RefMoved",
    "Repository",
    "RepositoryError",
    "main_ref",
    "state",
]


@lru_cache(maxsize=32)
def _opened(path: Path) -> Repository:
    return Repository(path)


def state() -> Repository:
    """The configured state repository of this host."""
    return _opened(Path(settings.MERGEYARD_REPOSITORY))
