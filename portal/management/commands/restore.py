"""`manage.py restore`: a backup into an empty installation, which then goes on."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from changes.repository import RepositoryError, must_be_the_forge
from executors.queues import QueueAway
from portal.backup.archive import NoBackup
from portal.backup.database import CannotCopy
from portal.backup.restoring import CannotRestore, Restored, restore


class Command(BaseCommand):
    help = "Put a backup back: into an empty database, and where there is no repository yet. Stop everything before."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE", help="what `manage.py backup` wrote")
        parser.add_argument(
            "--keep-repository", action="store_true", help="the repository survived and is newer: restore the rest"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        must_be_the_forge()
        try:
            done = restore(options["file"].absolute(), keep_repository=options["keep_repository"])
        except (CannotRestore, CannotCopy, NoBackup, RepositoryError, QueueAway, DatabaseError, OSError) as error:
            raise CommandError(f"Nothing can be used yet. {error}") from error
        self.stdout.write(
            f"Restored as of {done.made_at}; {done.given_back} "
            f"run{' that was' if done.given_back == 1 else 's that were'} going on then will be tried again."
        )
        for sentence in hints(done):
            self.stdout.write(sentence)


def hints(done: Restored) -> list[str]:
    """What is left for a person to do."""
    found = ["Everybody has to sign in again. Start web, controller and workers now."]
    if done.keys is not None:
        found.append(f"The keys are in {done.keys}: move them to the files of settings, then delete it.")
    if done.unknown:
        found[0] = (
            f"Main has {done.unknown} commits that the database knows nothing of, not even that they were approved. "
            "Before anything is started, look at them and vouch for them:\n"
            f"  git --git-dir={settings.MERGEYARD_REPOSITORY} log --first-parent {done.discovered}..main\n"
            "  manage.py init --vouch"
        )
    return found
