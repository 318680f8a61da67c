"""A folder of the catalogue that comes from a git repository, pinned to one commit.

Owns the form of such a setting and the files it becomes on this host: fetched once, laid out once, never changed. Knows
nothing of what the files say.
"""

import hashlib
import os
import re
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from changes.repository.mirror import Mirror
from changes.repository.objects import Repository
from changes.repository.trees import RepositoryError, is_no_file

SOURCE = re.compile(r"git\+(?P<url>(?:https|ssh|file)://[^@#\s]+)@(?P<commit>[0-9a-f]{40})(?:#(?P<folder>[\w./-]+))?")
EVERY_BRANCH_AND_TAG = "+refs/*:refs/*"


@dataclass(frozen=True, slots=True)
class Folder:
    """A catalogue folder on this host, and where it came from (empty: from this host itself)."""

    path: Path
    origin: str = ""


def folder_of(source: str | Path, home: Path) -> Folder:
    """The folder that a setting names: a path, or `git+URL@COMMIT#FOLDER` with the whole id of the commit.

    Raises RepositoryError when it is not of that form or cannot be had.
    """
    if not str(source).startswith("git+"):
        return Folder(Path(source))
    found = SOURCE.fullmatch(str(source))
    if found is None:
        raise RepositoryError(
            f"reading the catalogue {source}: write git+https://HOST/PATH@COMMIT, with all 40 digits of the commit, "
            "and #FOLDER if it is not the whole repository"
        )
    url, commit = found["url"], found["commit"]
    place = home / "catalogues" / commit
    if not place.exists():
        name = hashlib.sha256(url.encode()).hexdigest()[:16]
        mirror = Mirror(
            home / "catalogues" / f"{name}.git", url, protocols="https:ssh:file", refspec=EVERY_BRANCH_AND_TAG
        )
        _lay_out(mirror.ensure(commit), commit, place)
    inner = (place / (found["folder"] or "")).resolve()
    if not inner.is_relative_to(place.resolve()) or not inner.is_dir():
        raise RepositoryError(f"reading the catalogue {source}: that commit has no folder {found['folder']}")
    return Folder(inner, f"{url}@{commit}")


def _lay_out(repository: Repository, commit: str, place: Path) -> None:
    """Every regular file of a commit below `place`, which is there whole or not at all."""
    draft = place.with_name(f".{place.name}.{secrets.token_hex(6)}")
    try:
        for path, blob in repository.files(commit).items():
            if is_no_file(blob):
                continue
            file = draft / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(repository.read_blob(blob, limit=None))
        os.rename(draft, place)
    except OSError as error:
        if not place.exists():  # else another process was first
            raise RepositoryError(f"laying out the catalogue at {place}: {error}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
