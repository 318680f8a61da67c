"""`manage.py catalog`: make the folder of a new system type, and look over the catalogue's folders."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from changes.repository.pinned import folder_of
from executors import authoring
from executors.ansible import lint
from executors.ansible.sandbox import SHARED


class Command(BaseCommand):
    help = "Make the folder of a new system type, or check the catalogue's folders."
    requires_system_checks: list[str] = []  # a broken catalogue is what it is for

    def add_arguments(self, parser: ArgumentParser) -> None:
        commands = parser.add_subparsers(dest="command", required=True)
        new = commands.add_parser("new", help="a folder with one kind, which passes every check as it is")
        new.add_argument("name", metavar="TYPE/KIND", help="like shop/ShopShelf")
        new.add_argument("--into", type=Path, help="the catalogue folder to make it in (default: your own one)")
        check = commands.add_parser("check", help="schemas, references, playbooks, plugins")
        check.add_argument("folders", nargs="*", type=Path, help="catalogue folders (default: those of the settings)")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["command"] == "new":
            self.new(options["name"], options["into"])
        else:
            self.check_all([folder.resolve() for folder in options["folders"]])

    def new(self, name: str, into: Path | None) -> None:
        type_name, _, kind = name.partition("/")
        known = folders_of_settings()
        into = (into or own_folder(known)).resolve()
        beside = [root for root in known if root != into]
        try:
            made = authoring.new_type(SHARED / "skeleton", into, type_name, kind, beside)
        except authoring.Refused as refusal:
            raise CommandError(str(refusal)) from refusal
        for file in made:
            self.stdout.write(str(file))
        self.stdout.write(
            f"\nIt works as it is, on files in a directory. Put your system in their place: docs/add-a-kind.md.\n"
            f"Check it with 'manage.py catalog check {into}', "
            f"prove it with 'MERGEYARD_CATALOG={into} bin/test systems/{type_name}'."
        )

    def check_all(self, folders: list[Path]) -> None:
        known = folders_of_settings()
        roots = folders or known
        found = list(authoring.problems(roots, beside=known))
        types = [] if found else [path.parent for root in roots for path in sorted(root.glob("*/system.yml"))]
        linted = lint.is_installed()
        if types and linted:
            found = [f"{folder}: {line}" for folder in types for line in lint.findings(folder)]
        if found:
            raise CommandError("\n".join(found))
        said = f"{len(types)} system type{'' if len(types) == 1 else 's'}, nothing wrong"
        if not linted:
            said += "; the playbooks were not linted, as ansible-lint is not installed here (bin/test installs it)"
        self.stdout.write(f"{said}.")


def own_folder(known: list[Path]) -> Path:
    """Where a new type goes if nobody says where: the installation's own catalogue folder, or one that begins here."""
    own = [root for root in known if root != SHARED.parent.resolve()]
    return own[0] if len(own) == 1 else Path("catalogue")


def folders_of_settings() -> list[Path]:
    """The catalogue folders of the product and those that MERGEYARD_CATALOG names."""
    return [folder_of(source, settings.MERGEYARD_HOME).path.resolve() for source in settings.MERGEYARD_CATALOG]
