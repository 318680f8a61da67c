"""`manage.py backup`: database and repository, and what is secret if asked for, in one file while everything runs."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from changes.repository import RepositoryError, must_be_the_forge
from portal.backup.database import CannotCopy
from portal.backup.making import CannotBackUp, back_up


class Command(BaseCommand):
    help = "Write a backup of the whole installation to one file that only you may read. Nothing has to be stopped."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("target", type=Path, metavar="FILE_OR_DIRECTORY", help="a new file, or where to put one")
        parser.add_argument("--with-secrets", action="store_true", help="the files of MERGEYARD_SECRETS_DIR too")
        parser.add_argument("--with-keys", action="store_true", help="MERGEYARD_SECRET_KEY and MERGEYARD_SECRET_* too")

    def handle(self, *args: Any, **options: Any) -> None:
        must_be_the_forge()
        with_secrets, with_keys = options["with_secrets"], options["with_keys"]
        try:
            file = back_up(options["target"].absolute(), with_secrets=with_secrets, with_keys=with_keys)
        except (CannotBackUp, CannotCopy, RepositoryError, DatabaseError, OSError) as error:
            raise CommandError(f"No backup was made. {error}") from error
        left = [what for what, there in (("secrets", with_secrets), ("keys", with_keys)) if not there]
        without = f" Without {' and '.join(left)}." if left else ""
        self.stdout.write(f"{file} holds database and repository, {file.stat().st_size:,} bytes.{without}")
