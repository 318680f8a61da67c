"""Puts a backup back into an empty installation.

Every byte is compared and the repository is whole before anything is put in place. Afterwards the rows are made true:
runs that went on at the backup's moment have no worker any more, and pages and queue keep nothing of rows whose numbers
will be given out again.
"""

import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.sessions.models import Session

from changes.forges.builtin import NOTES
from changes.repository import MAIN_REF, Repository, RepositoryError, copies
from executors import queues
from executors.reconcile import give_back
from portal.backup import archive, database
from portal.backup.making import DATABASE, KEYS, PACK, REFS, SECRETS


class CannotRestore(Exception):
    """The text says what is in the way and what to do."""


@dataclass(frozen=True)
class Restored:
    made_at: str
    given_back: int  # runs
    unknown: int  # commits on a kept main that the database knows nothing of
    discovered: str
    keys: Path | None


def restore(file: Path, *, keep_repository: bool) -> Restored:
    """Raises CannotRestore, NoBackup, CannotCopy, RepositoryError or QueueAway; then nothing was put in place, unless
    the text says so."""
    queues.lengths()  # is it there? It has to forget
    home = Path(settings.MERGEYARD_REPOSITORY).parent
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home, prefix=".mergeyard-restore-") as scratch:
        work = Path(scratch)
        manifest = archive.read(file, work / "read")
        migrations = [(app, name) for app, name in manifest["migrations"]]
        database.must_fit(manifest["vendor"], migrations)
        _must_be_empty(work / "read", keep_repository=keep_repository)
        unknown = _repository(work, manifest, keep=keep_repository)
        database.put_back(work / "read" / DATABASE, migrations)
        if not keep_repository:
            (work / "state.git").replace(settings.MERGEYARD_REPOSITORY)
        keys = _private_files(work / "read", home)
    Session.objects.all().delete()  # one that was ended after the backup would be alive again
    given_back = give_back("It was running when the backup was made that this installation was restored from.")
    queues.forget()
    return Restored(manifest["made_at"], given_back, unknown, manifest["discovered"] or "", keys)


def _must_be_empty(read: Path, *, keep_repository: bool) -> None:
    repository, secrets = Path(settings.MERGEYARD_REPOSITORY), Path(settings.MERGEYARD_SECRETS_DIR)
    if not keep_repository and repository.exists() and any(repository.iterdir()):
        raise CannotRestore(
            f"{repository} is not empty, and nothing was done to it. Move it away; or, if it is this installation's "
            "and newer than the backup, keep it with --keep-repository."
        )
    if (read / SECRETS).exists() and secrets.exists() and any(secrets.iterdir()):
        raise CannotRestore(f"{secrets} is not empty, and nothing was done to it: move it away, then restore.")


def _repository(work: Path, manifest: dict[str, Any], *, keep: bool) -> int:
    """Make it, or look at the one that stays; how many commits of its main the database will not know."""
    kept = json.loads((work / "read" / REFS).read_text())
    if keep:
        repository = Repository(Path(settings.MERGEYARD_REPOSITORY))
        lost = [sha for sha in kept["refs"].values() if not repository.exists() or not repository.has(sha)]
        if lost:
            raise CannotRestore(
                f"{repository.path} does not have the commit {lost[0][:10]}, which the backup knows: it is not this "
                "installation's repository or older than the backup. Restore without --keep-repository."
            )
    else:
        repository = copies.from_pack(work / "state.git", work / "read" / PACK, kept["refs"])
        copies.write_folder(repository.path / NOTES, kept["notes"])
    later = repository.first_parents(kept["refs"][MAIN_REF], repository.main())
    if manifest["discovered"]:
        repository.first_parents(manifest["discovered"], repository.main())  # raises where main was rewritten
    return len(later)


def _private_files(read: Path, home: Path) -> Path | None:
    if (read / SECRETS).exists():
        shutil.copytree(read / SECRETS, settings.MERGEYARD_SECRETS_DIR, dirs_exist_ok=True)
        Path(settings.MERGEYARD_SECRETS_DIR).chmod(0o700)
    if not (read / KEYS).exists():
        return None
    target = home / KEYS
    with open(os.open(target, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "wb") as out:
        out.write((read / KEYS).read_bytes())
    return target


__all__ = ["CannotRestore", "RepositoryError", "Restored", "restore"]
