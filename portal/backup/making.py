"""Makes a backup while everything goes on.

Database and repository fit together as of the moment of the database's copy:

1. refs, then the notes of pushes: a ref that is ahead of its row has its note here, so it stays known who pushed it;
2. the database;
3. main once more, cut back to the last commit that the database's copy knows of: one that was merged later has no
   intent in it and would count as approved by nobody;
4. every object there is, last of all: whatever a row or a ref names was written before it.

A merge that was under way is completed by the controller after the restore, or dropped if main does not have it.
"""

import json
import os
import shlex
import tempfile
from collections.abc import Mapping
from pathlib import Path

from django.conf import settings
from django.db import connection
from django.utils import timezone

from changes.forges.builtin import NOTES, ref_of
from changes.repository import MAIN_REF, Repository, RepositoryError, copies, state
from portal.backup import archive, database

DATABASE, PACK, REFS, SECRETS, KEYS = "database", "repository.pack", "repository.json", "secrets", "keys.environment"
KEY_NAMES = ("MERGEYARD_SECRET_KEY", "MERGEYARD_METRICS_TOKEN")
KNOWN = """SELECT sha FROM executors_commit UNION SELECT "commit" FROM changes_mergeintent WHERE state <> 'dropped'"""
HEADS = "SELECT branch, head FROM changes_changerequest WHERE state = 'open'"
CURSOR = "SELECT sha FROM executors_cursor"


class CannotBackUp(Exception):
    """Nothing was written; the text says why and what to do."""


def back_up(target: Path, *, with_secrets: bool, with_keys: bool) -> Path:
    """Write the backup to `target`, or into it if that is a directory; the file. A half one never has its name."""
    repository = state()
    if not repository.exists() or repository.head(MAIN_REF) is None:
        raise CannotBackUp("There is nothing to back up yet: run `manage.py init` first.")
    now = timezone.now()
    file = target / f"mergeyard-{now:%Y%m%dT%H%M%SZ}.tar" if target.is_dir() else target
    if file.exists():
        raise CannotBackUp(f"{file} is there already, and nothing was done to it: name another file.")
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=".mergeyard-backup-") as scratch:
        work = Path(scratch)
        about, members = _copy(repository, work)
        if with_secrets:
            members |= _secrets(settings.MERGEYARD_SECRETS_DIR)
        if with_keys:
            (work / KEYS).write_text(keys(os.environ))
            members[KEYS] = work / KEYS
        archive.write(work / "whole", members, {"made_at": now.isoformat(), **about})
        os.link(work / "whole", file)  # unlike a rename it replaces nothing
        _keep_name(file.parent)
    return file


def _copy(repository: Repository, work: Path) -> tuple[dict[str, object], dict[str, Path]]:
    before = copies.refs(repository)
    notes = copies.read_folder(repository.path / NOTES)
    with database.copied(work / DATABASE) as ask:
        known = {sha for (sha,) in ask(KNOWN)}
        heads = {ref_of(branch): head for branch, head in ask(HEADS) if branch and head}
        cursor = next((sha for (sha,) in ask(CURSOR)), None)
        migrations = database.migrations_of(ask)
    refs = fitting(repository, before, heads) | {MAIN_REF: last_known(repository, known | {before[MAIN_REF]})}
    copies.write_pack(repository, work / PACK)
    (work / REFS).write_text(json.dumps({"refs": refs, "notes": notes}))
    members = {PACK: work / PACK, REFS: work / REFS}
    members |= {f"{DATABASE}/{file.name}": file for file in sorted((work / DATABASE).iterdir())}
    return {"vendor": connection.vendor, "migrations": migrations, "discovered": cursor}, members


def fitting(repository: Repository, found: Mapping[str, str], heads: Mapping[str, str]) -> dict[str, str]:
    """The refs as they were found; a branch of an open request is never behind its row."""
    behind = {ref: head for ref, head in heads.items() if ref not in found or not repository.contains(found[ref], head)}
    return {**found, **behind}


def last_known(repository: Repository, known: set[str]) -> str:
    """The last commit on main that is known; main itself if none is (its history was rewritten: discovery says so)."""
    at: str | None = repository.main()
    while at is not None and at not in known:
        at = next(iter(repository.info(at).parents), None)
    return at or repository.main()


def _secrets(folder: Path) -> dict[str, Path]:
    """The regular files of the `file:` provider. Where one may not be read there is no backup."""
    found: dict[str, Path] = {}
    for file in sorted(folder.rglob("*")):
        if file.is_file() and not file.is_symlink():
            if not os.access(file, os.R_OK):
                raise CannotBackUp(
                    f"{file} cannot be read: --with-secrets needs the user who owns the secrets, or root."
                )
            found[f"{SECRETS}/{file.relative_to(folder)}"] = file
    if not found:
        raise CannotBackUp(f"There are no secrets in {folder}, or they cannot be read: leave --with-secrets out.")
    return found


def keys(environment: Mapping[str, str]) -> str:
    """The settings that are keys, as lines for a shell or for systemd's EnvironmentFile."""
    names = [n for n in environment if n in KEY_NAMES or n.startswith(settings.MERGEYARD_SECRET_ENV_PREFIX)]
    return "".join(f"{name}={shlex.quote(environment[name])}\n" for name in sorted(names))


def _keep_name(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


__all__ = ["CannotBackUp", "RepositoryError", "back_up"]
