"""Reads the catalogue's folders once and refuses what is not whole, naming file and key.

Owns the format of `system.yml` and `kinds/*.yml`. No kind or system type is named here.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

from changes.documents import KIND, NAME, SECRET_NAME, Json, Problem, did_you_mean, join, read_yaml
from changes.kinds import Catalog, Kind, Reference, Risk, SecretField, SystemType
from changes.reading import InvalidFile
from changes.risks import OF_A_VALUE, ON, OPERATIONS
from changes.schema import Schema, as_dict, as_list
from changes.schema_rules import schema_problems

__all__ = [
    "Catalog",
    "CatalogError",
    "Kind",
    "Reference",
    "Risk",
    "SecretField",
    "SystemType",
    "catalog",
    "digest_of",
    "load",
]

SYSTEM_KEYS = ("title", "icon", "summary", "connection", "secrets", "kinds")
KIND_KEYS = (
    "title",
    "summary",
    "help",
    "keywords",
    "icon",
    "identity",
    "spec",
    "secrets",
    "immutable",
    "grows",
    "exclusive",
    "risky",
    "example",
)
RISK_KEYS = ("on", "field", "value", "unlimited", "where", "message")
SHARED_PLUGINS = Path(__file__).resolve().parents[1] / "playbooks" / "plugins"  # for catalogues of other folders too
NOT_A_TYPE = frozenset({"plugins", "__pycache__"})


class CatalogError(Exception):
    """The catalogue cannot be used; every problem names its file and key."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


@cache
def catalog() -> Catalog:
    """The catalogue of this installation's settings, read once per process."""
    from django.conf import settings  # the one door to Django and git, so that `load` needs none

    from changes.repository import RepositoryError
    from changes.repository.pinned import folder_of

    folders, problems = [], []
    for source in settings.MERGEYARD_CATALOG:
        try:
            folders.append(folder_of(source, settings.MERGEYARD_HOME))
        except RepositoryError as error:
            problems.append(Problem("catalog.path", f"{error}.", str(source)))
    if problems:
        raise CatalogError(*problems)
    return load([folder.path for folder in folders], origins={folder.path: folder.origin for folder in folders})


def load(paths: Iterable[Path], *, origins: Mapping[Path, str] | None = None) -> Catalog:
    """The system types of all folders of `paths`; `origins`: of those that come from git. Raises CatalogError."""
    types: dict[str, SystemType] = {}
    kinds: dict[str, Kind] = {}
    problems: list[Problem] = []
    for root in paths:
        if not root.is_absolute():
            problems.append(Problem("catalog.path", "Write a catalogue folder as an absolute path.", str(root)))
            continue
        if not root.is_dir():
            problems.append(Problem("catalog.path", "This catalogue folder does not exist.", str(root)))
            continue
        for folder in sorted(path for path in root.iterdir() if (path / "system.yml").is_file()):
            reader = _Folder(folder)
            system, offered = reader.read()
            problems += reader.problems
            if system and system.name in types:
                other = types[system.name].folder
                problems.append(Problem("catalog.twice", f"The system type is already in {other}.", str(folder)))
            for kind in offered:
                if kind.name in kinds:
                    message = f"The kind {kind.name} is already one of {kinds[kind.name].type}."
                    problems.append(Problem("catalog.twice", message, str(folder / "kinds" / f"{kind.name}.yml")))
                kinds[kind.name] = kind
            if system:
                types[system.name] = replace(system, origin=(origins or {}).get(root, ""))
    problems += _reference_problems(types, kinds)
    if problems:
        raise CatalogError(*problems)
    return Catalog(types, kinds)


def _reference_problems(types: dict[str, SystemType], kinds: dict[str, Kind]) -> Iterable[Problem]:
    for kind in kinds.values():
        file = str(types[kind.type].folder / "kinds" / f"{kind.name}.yml") if kind.type in types else kind.name
        for pattern, name in kind.reference_places:
            field, target = ".".join(("spec", *pattern)), kinds.get(name)
            if target is None or target.type != kind.type:
                message = f"x-reference names {name!r}, which is not a kind of {kind.type}."
                yield Problem("catalog.reference", message, file, None, field)
            elif len(target.identity) != 1:
                message = f"x-reference names {name}, whose identity has more than one field."
                yield Problem("catalog.reference", message, file, None, field)
        for pattern, choice in kind.schema.marked("x-choices"):
            wanted = as_dict(choice)
            offered = as_dict(types[kind.type].connection_schema.get("properties")) if kind.type in types else {}
            wrong = wanted.get("kind", next(iter(kinds))) not in kinds or wanted.get("systems", kind.type) not in types
            named = kinds.get(str(wanted.get("kind")))
            fields = as_dict(named.spec_schema.get("properties")) if named else {}
            if wrong or ("connection" in wanted and wanted["connection"] not in offered):
                message = f"x-choices names {next(iter(wanted.values()))!r}, which the catalogue does not have."
                yield Problem("catalog.reference", message, file, None, ".".join(("spec", *pattern)))
            elif (field := str(wanted.get("field", ""))) and field.partition(".")[0] not in fields:
                message = (
                    f"x-choices names {field!r}, which is not a field of {wanted['kind']}{did_you_mean(field, fields)}"
                )
                yield Problem("catalog.reference", message, file, None, ".".join(("spec", *pattern)))


class _Folder:
    """One system type's folder, read with every problem collected."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.name = folder, folder.name
        self.problems: list[Problem] = []

    def read(self) -> tuple[SystemType | None, list[Kind]]:
        if not NAME.fullmatch(self.name):
            self.problems.append(
                Problem("catalog.name", f"{self.name!r} cannot be the name of a type.", str(self.folder))
            )
        system = self.system()
        kinds = [kind for path in sorted((self.folder / "kinds").glob("*.yml")) if (kind := self.kind(path))]
        if system:
            file = _File(self.folder / "system.yml", self.problems)
            names = {path.stem for path in (self.folder / "kinds").glob("*.yml")}
            for name in system.kinds:
                if name not in names:
                    file.bad("kinds", f"There is no file kinds/{name}.yml{did_you_mean(name, names)}")
            for name in sorted(names - set(system.kinds)):
                file.bad("kinds", f"{name} has a file and is not listed: say where it stands in the order.")
        return system, kinds

    def system(self) -> SystemType | None:
        file = _File(self.folder / "system.yml", self.problems)
        if not file.load(SYSTEM_KEYS):
            return None
        connection = file.mapping("connection")
        schema = file.schema("connection", connection)
        title, icon, summary = file.text("title"), file.text("icon", "server"), file.text("summary", "")
        secrets, kinds = file.secrets(), file.names("kinds")
        if schema is None:
            return None
        return SystemType(
            name=self.name,
            title=title,
            icon=icon,
            summary=summary,
            folder=self.folder,
            connection_schema=connection,
            secrets=secrets,
            kinds=kinds,
            digest=digest_of(self.folder),
            schema=schema,
        )

    def kind(self, path: Path) -> Kind | None:
        file = _File(path, self.problems)
        if not KIND.fullmatch(path.stem):
            file.bad("", "The name of a kind begins with a capital letter and has only letters and digits.")
        if not file.load(KIND_KEYS):
            return None
        spec = file.mapping("spec")
        fields, schema = as_dict(spec.get("properties")), file.schema("spec", spec)
        identity = file.identity(fields)
        if schema is None:
            return None
        made = Kind(
            name=path.stem,
            type=self.name,
            title=file.text("title"),
            summary=file.text("summary", ""),
            help=file.text("help", ""),
            keywords=file.names("keywords", ()),
            icon=file.text("icon", ""),
            identity=identity,
            spec_schema=spec,
            secrets=file.secrets(),
            immutable=file.sentences("immutable", fields),
            grows=file.sentences("grows", fields),
            exclusive=file.sentences("exclusive", fields),
            risky=file.risks(fields),
            example=as_dict(file.value.get("example")),
            schema=schema,
            reference_places=tuple((at, str(as_dict(mark).get("kind"))) for at, mark in schema.marked("x-reference")),
        )
        file.example(made)
        return made


class _File:
    """One file of the catalogue: its keys, and problems that name them."""

    def __init__(self, path: Path, problems: list[Problem]) -> None:
        self.path, self.problems = path, problems
        self.value: dict[str, Json] = {}
        self.lines: dict[str, int] = {}

    def bad(self, field: str, message: str, id: str = "catalog.key") -> None:
        where = field
        while where and where not in self.lines:
            where = where.rpartition(".")[0]
        self.problems.append(Problem(id, message, str(self.path), self.lines.get(where), field))

    def load(self, keys: tuple[str, ...]) -> bool:
        try:
            tree = read_yaml(self.path.read_bytes(), str(self.path))
        except InvalidFile as error:
            self.problems += error.problems
            return False
        if not isinstance(tree.value, dict):
            self.bad("", "The file must be a mapping of keys.")
            return False
        self.value, self.lines = tree.value, tree.lines
        for key in self.value:
            if key not in keys:
                self.bad(key, f"{key!r} is not a key of this file{did_you_mean(key, keys)}")
        return True

    def text(self, key: str, default: str | None = None) -> str:
        value = self.value.get(key, default)
        if isinstance(value, str) and (value or default is not None):
            return value
        self.bad(key, f"{key} must be a text.")
        return ""

    def mapping(self, key: str) -> dict[str, Json]:
        value = self.value.get(key)
        if not isinstance(value, dict):
            self.bad(key, f"{key} must be a JSON Schema of an object.")
            return {}
        return value

    def names(self, key: str, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        value = self.value.get(key)
        if value is None and default is not None:
            return default
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self.bad(key, f"{key} must be a list of texts.")
            return ()
        return tuple(str(item) for item in value)

    def identity(self, fields: dict[str, Json]) -> tuple[str, ...]:
        """The fields that name the thing; a kind whose spec has none of them is named by the document."""
        names = self.names("identity", ("name",))
        for name in names:
            if name not in fields and name != "name":
                self.bad("identity", f"{name!r} is not a field of spec{did_you_mean(name, fields)}")
        if not names:
            self.bad("identity", "identity must list at least one field.")
        return names or ("name",)

    def schema(self, key: str, data: dict[str, Json]) -> Schema | None:
        problems = [(join(key, where) if where else key, message) for where, message in schema_problems(data)]
        for where, message in problems:
            self.bad(where, message, "catalog.schema")
        return None if problems else Schema(data, key)

    def secrets(self) -> dict[str, SecretField]:
        value = self.value.get("secrets", {})
        if not isinstance(value, dict):
            self.bad("secrets", "secrets must be a mapping of names to {title, help, required, generate}.")
            return {}
        return {name: self.secret(name, as_dict(item)) for name, item in value.items()}

    def secret(self, name: str, item: dict[str, Json]) -> SecretField:
        where = join("secrets", name)
        if not SECRET_NAME.fullmatch(name):
            self.bad(where, f"{name!r} cannot be the name of a secret: use lower-case letters, digits and underscores.")
        keys = ("title", "help", "required", "generate")
        for key in item:
            if key not in keys:
                self.bad(join(where, key), f"{key!r} is not a key of a secret{did_you_mean(key, keys)}")
        for key in ("required", "generate"):
            if not isinstance(item.get(key, False), bool):
                self.bad(join(where, key), f"{key} must be true or false.")
        title, help = str(item.get("title", name)), str(item.get("help", ""))
        return SecretField(name, title, help, item.get("required", True) is True, item.get("generate") is True)

    def sentences(self, key: str, fields: dict[str, Json]) -> dict[str, str]:
        value = self.value.get(key, {})
        if not isinstance(value, dict):
            self.bad(key, f"{key} must be a mapping of fields to sentences.")
            return {}
        for name in value:
            if name.partition(".")[0] not in fields:
                self.bad(join(key, name), f"{name!r} is not a field of spec{did_you_mean(name, fields)}")
        return {name: str(sentence) for name, sentence in value.items()}

    def risks(self, fields: dict[str, Json]) -> tuple[Risk, ...]:
        risks = []
        for index, item in enumerate(as_list(self.value.get("risky", []))):
            where, risk = join("risky", index), as_dict(item)
            for key in risk:
                if key not in RISK_KEYS:
                    self.bad(join(where, key), f"{key!r} is not a key of a risk{did_you_mean(key, RISK_KEYS)}")
            on, field, message = (str(risk.get(key, "")) for key in ("on", "field", "message"))
            if on not in ON:
                self.bad(join(where, "on"), f"on is {on!r} and must be one of {', '.join(ON)}.")
            elif (on in OPERATIONS) == bool(field):
                message_ = f"on: {on} takes no field." if field else f"on: {on} needs a field."
                self.bad(join(where, "field"), message_)
            if field and field.partition(".")[0] not in fields:
                self.bad(join(where, "field"), f"{field!r} is not a field of spec{did_you_mean(field, fields)}")
            if ("value" in risk) != (on in OF_A_VALUE):
                message_ = f"on: {on} needs a value." if on in OF_A_VALUE else f"on: {on} takes no value."
                self.bad(join(where, "value"), message_)
            elif on == "matches" and not _is_pattern(risk["value"]):
                self.bad(join(where, "value"), f"{risk['value']!r} is not a regular expression.")
            if "unlimited" in risk and on not in ("decrease", "increase"):
                self.bad(join(where, "unlimited"), f"on: {on} takes no unlimited.")
            others = risk.get("where", {})
            if "where" in risk and (not field or on == "shared" or not isinstance(others, dict) or not others):
                self.bad(join(where, "where"), "where is a mapping of fields to values, for a risk of a field.")
            for other in as_dict(others):
                if other.partition(".")[0] not in fields:
                    self.bad(join(where, "where"), f"{other!r} is not a field of spec{did_you_mean(other, fields)}")
            if not message:
                self.bad(where, "A risk needs a message.")
            risks.append(
                Risk(on, field, risk.get("value"), message, risk.get("unlimited"), tuple(as_dict(others).items()))
            )
        return tuple(risks)

    def example(self, kind: Kind) -> None:
        lines = {
            f"spec{field.removeprefix('example')}": line
            for field, line in self.lines.items()
            if field.partition(".")[0] == "example"
        }
        if "example" not in self.value:
            self.bad("example", "The key example is missing: give a spec that is valid.")
            return
        for problem in kind.problems(kind.example, lines=lines, name="example"):
            self.bad("example" + problem.field.removeprefix("spec"), problem.message, "catalog.example")


def _is_pattern(value: Json) -> bool:
    try:
        return bool(isinstance(value, str) and re.compile(value))
    except re.error:
        return False


def digest_of(folder: Path) -> str:
    """SHA-256 over names and content of all files that a run may use, so that a changed playbook or plugin is seen."""
    total = hashlib.sha256()
    for root in (folder, SHARED_PLUGINS):
        files = sorted(path for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        total.update(b"%d." % len(files))
        for path in files:
            name = path.relative_to(root).as_posix().encode()
            total.update(b"%d:%s%s" % (len(name), name, hashlib.sha256(path.read_bytes()).digest()))
    return total.hexdigest()
