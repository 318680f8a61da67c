"""The state repository: the one importer of git. Other packages ask `state()` for the configured one."""

from functools import lru_cache
from pathlib import Path

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from changes.repository.locks import LOCK_SECONDS, left_locks
from changes.repository.mirror import MirroredRepository
from changes.repository.objects import (
    HEADS,
    MAIN_REF,
    CommitInfo,
    Conflict,
    Hunk,
    NotContent,
    Person,
    RefMoved,
    Repository,
)
from changes.repository.trees import RepositoryError

main_ref = MAIN_REF

__all__ = [
    "HEADS",
    "LOCK_SECONDS",
    "MAIN_REF",
    "CommitInfo",
    "Conflict",
    "Hunk",
    "MirroredRepository",
    "NotContent",
    "Person",
    "RefMoved",
    "Repository",
    "RepositoryError",
    "left_locks",
    "main_ref",
    "must_be_the_forge",
    "state",
    "trouble",
]


@lru_cache(maxsize=32)
def _opened(path: Path, forge: str) -> Repository:
    return MirroredRepository(path, forge) if forge else Repository(path)


def state() -> Repository:
    """The configured state repository of this host: the forge's own, or a mirror of it."""
    return _opened(Path(settings.MERGEYARD_REPOSITORY), settings.MERGEYARD_FORGE_URL)


def trouble() -> str:
    """Why this host's mirror is behind, as a sentence; empty if it is not, or if this is the forge's host."""
    repository = state()
    return repository.trouble if isinstance(repository, MirroredRepository) else ""


def must_be_the_forge() -> None:
    """Raises ImproperlyConfigured on a host that only has a mirror: what moves refs there would move nothing at all."""
    if settings.MERGEYARD_FORGE_URL:
        raise ImproperlyConfigured(
            "MERGEYARD_FORGE_URL is set, so this host has a mirror of the state repository: only workers run here. "
            "Start web and controller on the forge's host, without it."
        )
