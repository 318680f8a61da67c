"""Owns what an author of a system type is helped with: a folder to begin with, and a look over a folder.

Pure but for reading and writing the folders that it is given. It must not know the database, git or any kind by name.
"""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from changes.catalog import CatalogError, load
from changes.documents import KIND, NAME
from executors.ansible.idioms import plugin_problems, problems_of

BOOKS = ("apply.yml", "discover.yml")
PARTS = (*BOOKS, "system.yml", "testbed.py")
WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


class Refused(Exception):
    """The folder cannot be made; one sentence."""


def new_type(skeleton: Path, into: Path, type_name: str, kind: str) -> list[Path]:
    """A folder of a new system type with one kind, which passes `problems` and the conformance suite as it is.

    `skeleton` is a system type of its own, whose names are replaced. Returns the files. Raises Refused.
    """
    if not NAME.fullmatch(type_name) or "." in type_name:
        raise Refused(f"{type_name!r} cannot be the name of a system type: use small letters, digits and dashes.")
    if not KIND.fullmatch(kind):
        raise Refused(f"{kind!r} cannot be the name of a kind: begin with a capital letter, use letters and digits.")
    folder = into / type_name
    if folder.exists():
        raise Refused(
            f"{folder} is there already. Add a kind to it by hand: kinds/{kind}.yml, a module, its name in system.yml, "
            "its calls in apply.yml and discover.yml, its example in testbed.py; then run 'manage.py catalog check'."
        )
    module = snake(kind)
    names = {
        "SkeletonThing": kind,
        "skeleton_thing": module,
        "Skeleton thing": " ".join(WORD.split(kind)).capitalize(),
        "Skeleton": type_name.replace("-", " ").title().replace(" ", ""),
        "skeleton": type_name,
    }
    made = []
    for source in sorted(path for path in skeleton.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        target = folder / _renamed(source.relative_to(skeleton).as_posix(), names)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(_renamed(source.read_text(), names))
        shutil.copymode(source, target)
        made.append(target)
    return made


def snake(kind: str) -> str:
    return "_".join(WORD.split(kind)).lower()


def _renamed(text: str, names: dict[str, str]) -> str:
    return re.sub("|".join(map(re.escape, names)), lambda found: names[found[0]], text)


def problems(roots: list[Path]) -> Iterator[str]:
    """All that is wrong with the system types below some catalogue folders, each with its file."""
    try:
        types = load(roots).types.values()
    except CatalogError as error:
        yield from map(str, error.problems)
        return
    for system in types:
        folder = system.folder
        yield from (f"{folder / name}: This file is missing." for name in PARTS if not (folder / name).is_file())
        for book in (folder / name for name in BOOKS if (folder / name).is_file()):
            yield from (f"{book}: {problem}" for problem in problems_of(book.read_text()))
        for plugin in sorted((folder / "plugins").rglob("*.py")):
            yield from (f"{plugin}: {problem}" for problem in plugin_problems(plugin.read_text()))
