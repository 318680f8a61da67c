"""`manage.py init`: set up the state repository and say where discovery begins."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from changes import setup
from changes.repository import RepositoryError
from executors import discovery
from executors.models import Cursor


class Command(BaseCommand):
    help = "Set up an empty or an existing state repository."

    def add_arguments(self, parser: ArgumentParser) -> None:
        begin = parser.add_mutually_exclusive_group()
        begin.add_argument("--all", action="store_true", help="everything in the repository is work to be applied")
        begin.add_argument("--from", metavar="COMMIT", dest="since", help="what this commit holds is applied already")
        begin.add_argument(
            "--vouch", action="store_true", help="after a restore: what the database does not know of main was approved"
        )
        parser.add_argument("--title", default="Mergeyard", help="of a new repository")
        parser.add_argument("--platform-team", default="platform", help="of a new repository")
        parser.add_argument("--member", action="append", default=[], help="a user of the platform team; repeatable")

    def handle(self, *args: Any, **options: Any) -> None:
        path = Path(settings.MERGEYARD_REPOSITORY)
        try:
            cursor = Cursor.objects.first()
            self.stdout.write(self._again(path, cursor, options) if cursor else self._first(path, options))
        except (setup.SetupRefused, RepositoryError) as refusal:
            raise CommandError(str(refusal)) from refusal

    def _first(self, path: Path, options: dict[str, Any]) -> str:
        commit, applied = self._begin(path, options)
        discovery.initialise(commit, applied=applied)
        what = "is applied already" if applied else "is work for the workers"
        return f"{path} is set up at {commit[:10]}: what it holds {what}."

    def _again(self, path: Path, cursor: Cursor, options: dict[str, Any]) -> str:
        if not options["vouch"]:
            return f"{path} is set up already; discovery stands at {cursor.sha[:10]}. Nothing was changed."
        setup.adopt(path, since=cursor.sha)
        return f"What main of {path} got after {cursor.sha[:10]} counts as approved: the controller makes work of it."

    def _begin(self, path: Path, options: dict[str, Any]) -> tuple[str, bool]:
        """The commit to begin at, and whether what it holds is on the systems already."""
        if setup.is_empty(path):
            if options["since"]:
                raise CommandError(f"{path} has no commits yet, so there is nothing to begin from: leave --from out.")
            if not options["member"]:
                raise CommandError(
                    "A new repository needs somebody who can approve: name the first member of the platform team with "
                    "--member USERNAME."
                )
            files = setup.first_files(
                title=options["title"], platform_team=options["platform_team"], members=options["member"]
            )
            return setup.initialise(path, files), False
        if not options["all"] and not options["since"]:
            raise CommandError(
                f"{path} has documents already. Say --all if they are work to be applied, or --from COMMIT if what "
                "that commit holds is on the systems already (--from main: everything is)."
            )
        return setup.adopt(path, since=options["since"]), bool(options["since"])
