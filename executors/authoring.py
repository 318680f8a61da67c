"""Owns what an author of a system type is helped with: a folder to begin with, and a look over a folder.

Pure but for reading and writing the folders that it is given. It must not know the database, git or any kind by name.
"""

import ast
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import yaml

from changes.catalog import CatalogError, load
from changes.documents import KIND, NAME
from changes.kinds import Kind, SystemType
from executors import kind_rules
from executors.ansible.idioms import plugin_problems, problems_of

BOOKS = ("apply.yml", "discover.yml")
PARTS = (*BOOKS, "system.yml", "testbed.py")
NO_MODULE = "This file is missing; where the action plugin does all the work it holds the documentation alone."
BESIDE_A_PLAYBOOK = re.compile(r"(group|host)_vars|roles|collections|library|module_utils|\w+_plugins")
UNSEEN = (
    "Ansible takes in what lies here, and nobody looks it over; put plugins below plugins/, and vars into the play."
)
WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


class Refused(Exception):
    """The folder cannot be made; one sentence."""


def new_type(skeleton: Path, into: Path, type_name: str, kind: str, beside: Iterable[Path] = ()) -> list[Path]:
    """A folder of a new system type with one kind, which passes `problems` and the conformance suite as it is.

    `skeleton` is a system type of its own, whose names are replaced; `beside` as for `problems`. Returns the files.
    Raises Refused.
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
    for root in beside:
        if (root / type_name / "system.yml").exists() or any(root.glob(f"*/kinds/{kind}.yml")):
            raise Refused(f"The catalogue has {type_name} or {kind} already, in {root}; take other names.")
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


def problems(roots: list[Path], beside: Iterable[Path] = ()) -> Iterator[str]:
    """All that is wrong with the system types below some catalogue folders, each with its file.

    `beside`: the folders that they will be used together with, whose types and kinds they may not name again.
    """
    for root in roots:
        if not any(root.glob("*/system.yml")):
            yield f"{root}: Below it lies no TYPE/system.yml; name the folder that holds the folders of system types."
    try:
        catalog = load([*(folder for folder in beside if folder not in roots), *roots])
    except CatalogError as error:
        yield from map(str, error.problems)
        return
    for system in catalog.types.values():
        if system.folder.parent in roots:
            yield from type_problems(system, catalog.kinds)


def type_problems(system: SystemType, kinds: Mapping[str, Kind]) -> Iterator[str]:
    folder = system.folder
    yield from (f"{folder / name}: This file is missing." for name in PARTS if not (folder / name).is_file())
    yield from (f"{path}: {UNSEEN}" for path in sorted(folder.iterdir()) if BESIDE_A_PLAYBOOK.fullmatch(path.name))
    plugins = sorted((folder / "plugins").rglob("*.py"))
    texts = {file: file.read_text() for file in [*plugins, *(folder / name for name in PARTS)] if file.is_file()}
    unreadable = dict(filter(None, map(unreadable_part, texts.items())))
    yield from (f"{file}: {why}" for file, why in unreadable.items())
    if unreadable or not all(folder / name in texts for name in PARTS):
        return
    own = {file.stem for file in plugins if file.parent == folder / "plugins" / "action"}
    for file, text in texts.items():
        found = plugin_problems(text) if file in plugins else problems_of(text, own) if file.name in BOOKS else []
        yield from (f"{file}: {problem}" for problem in found)
    for name in system.kinds:
        yield from kind_problems(folder, kinds[name], texts)


def unreadable_part(part: tuple[Path, str]) -> tuple[Path, str] | None:
    """A file whose text is no Python or no YAML, with where it ceases to be."""
    file, text = part
    try:
        ast.parse(text) if file.suffix == ".py" else yaml.safe_load(text)
    except SyntaxError as error:
        return file, f"line {error.lineno}: {error.msg}."
    except yaml.MarkedYAMLError as error:
        return file, f"line {error.problem_mark.line + 1 if error.problem_mark else 1}: {error.problem}."
    return None


def kind_problems(folder: Path, kind: Kind, texts: Mapping[Path, str]) -> Iterator[str]:
    yield from (f"{folder / 'kinds' / kind.name}.yml: {problem}" for problem in kind_rules.file_problems(kind))
    actions = folder / "plugins" / "action"
    plugins = {file.stem: text for file, text in texts.items() if file.parent == actions}
    module, found = kind_rules.plugin_of(kind, plugins)
    yield from (f"{actions}: {problem}" for problem in found)
    if module:
        file = folder / "plugins" / "modules" / f"{module}.py"
        books = [texts[folder / name] for name in BOOKS]
        told = kind_rules.documentation_problems(module, texts[file], books) if file in texts else [NO_MODULE]
        yield from (f"{file}: {problem}" for problem in told)
    parts = {name: texts[folder / name] for name in ("apply.yml", "discover.yml", "testbed.py")}
    wrong = {
        "apply.yml": kind_rules.apply_problems(kind.name, parts["apply.yml"]),
        "discover.yml": kind_rules.discover_problems(kind.name, module, parts["discover.yml"]) if module else (),
        "testbed.py": kind_rules.example_problems(kind.name, parts["testbed.py"]),
    }
    for name, sentences in wrong.items():
        yield from (f"{folder / name}: {sentence}" for sentence in sentences)
