"""The catalogue as data: system types, kinds, and what a kind says of a document.

Pure: knows no folder, no Django; `catalog` reads the folders. No kind or system type is named here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from changes.documents import Document, Json, Problem, canonical_json, digest
from changes.schema import Pattern, Schema, values_at

DOCUMENT_NAME = "name"
MAX_IDENTITY = 500  # characters of canonical JSON: the columns of the rows hold no more


@dataclass(frozen=True, slots=True)
class SecretField:
    """A secret that a system or a resource has; `generate`: the worker may create its value."""

    name: str
    title: str
    help: str = ""
    required: bool = True
    generate: bool = False


@dataclass(frozen=True, slots=True)
class Risk:
    """When (`on`), for which field of the spec, and what a person is told.

    `unlimited`: what stands for no limit. `where`: values that other fields must have (one, or a list of them).
    """

    on: str
    field: str
    value: Json
    message: str
    unlimited: Json = None
    where: tuple[tuple[str, Json], ...] = ()


@dataclass(frozen=True, slots=True)
class Reference:
    """A value of a document that names another one of the same system by its identity."""

    field: str
    kind: str
    value: str


@dataclass(frozen=True, slots=True)
class Kind:
    """A sort of resource that a system type offers."""

    name: str
    type: str
    title: str
    summary: str
    help: str
    keywords: tuple[str, ...]
    icon: str
    identity: tuple[str, ...]
    spec_schema: dict[str, Json]
    secrets: dict[str, SecretField]
    immutable: dict[str, str]
    grows: dict[str, str]  # field -> why its number cannot get smaller
    exclusive: dict[str, str]  # field -> why a value of it may stand in one document of a system only
    risky: tuple[Risk, ...]
    example: dict[str, Json]
    schema: Schema = field(repr=False, compare=False)
    reference_places: tuple[tuple[Pattern, str], ...] = ()

    def problems(
        self, spec: dict[str, Json], *, file: str = "", lines: Mapping[str, int] | None = None, name: str = ""
    ) -> tuple[Problem, ...]:
        """What the schema has against a spec; with the document's `name`, also against the name it lends."""
        filled = self.complete(spec, name)
        for key in [key for key in self._lent if key not in spec]:
            filled.pop(key, None)
        return self.schema.problems(filled, file=file, lines=lines or {})

    @property
    def _lent(self) -> list[str]:
        """Identity fields that only the document's name can give: the schema has no such field."""
        properties = self.spec_schema.get("properties")
        return [key for key in self.identity if not isinstance(properties, dict) or key not in properties]

    def with_defaults(self, spec: dict[str, Json]) -> dict[str, Json]:
        return self.schema.with_defaults(spec)

    def complete(self, spec: dict[str, Json], name: str) -> dict[str, Json]:
        """The spec with its defaults, and with the document's name where an identity field is absent."""
        filled = self.schema.with_defaults(spec)
        if not name:
            return filled
        lent: dict[str, Json] = {key: name for key in self.identity if key not in filled}
        return {**lent, **filled}

    def identity_of(self, document: Document) -> str:
        """The remote identity within system and kind: canonical JSON of the identity fields."""
        return _kept(self._identity(document))

    def longest_of_identity(self, document: Document) -> str:
        """The field that makes a document's identity longer than can be kept; empty if it is not."""
        identity = self._identity(document)
        if len(canonical_json(identity)) <= MAX_IDENTITY:
            return ""
        return max(identity, key=lambda name: len(canonical_json(identity[name])))

    def shown_identity(self, document: Document) -> str:
        return " ".join(str(value) for value in self._identity(document).values())

    def _identity(self, document: Document) -> dict[str, Json]:
        filled = document.spec
        if any(key not in filled and key in self.schema.may_default for key in self.identity):
            filled = self.schema.with_defaults(filled)
        return {key: filled.get(key, document.address.name) for key in self.identity}

    def claims(self, spec: dict[str, Json]) -> tuple[tuple[str, Json], ...]:
        """Field and value of everything that no other document of the system may have."""
        return self._values(self.exclusive, spec)

    def shares(self, spec: dict[str, Json]) -> tuple[tuple[str, Json], ...]:
        """Field and value of everything that is a risk if another team has it too."""
        return self._values([risk.field for risk in self.risky if risk.on == "shared"], spec)

    def _values(self, fields: Iterable[str], spec: dict[str, Json]) -> tuple[tuple[str, Json], ...]:
        """Field and value at each of these; of a list, every item."""
        filled = self.schema.with_defaults(spec) if fields else {}
        values = {field: filled.get(field) for field in fields}
        return tuple(
            (field, each)
            for field, value in values.items()
            if value is not None
            for each in (value if isinstance(value, list) else [value])
        )

    def references(self, spec: dict[str, Json]) -> tuple[Reference, ...]:
        """The documents of the same system that a spec names."""
        found = {}
        for pattern, kind in self.reference_places:
            for where, value in values_at(spec, pattern, "spec"):
                if isinstance(value, str):
                    found[where] = Reference(where, kind, value)
        return tuple(found.values())


@dataclass(frozen=True, slots=True)
class SystemType:
    """How systems of one sort are managed: a folder of the catalogue. `kinds` are in the order of their waves."""

    name: str
    title: str
    icon: str
    summary: str
    folder: Path
    connection_schema: dict[str, Json]
    secrets: dict[str, SecretField]
    kinds: tuple[str, ...]
    digest: str
    schema: Schema = field(repr=False, compare=False)
    origin: str = ""  # repository and commit, for a folder that comes from git

    def connection_problems(
        self, connection: dict[str, Json], *, file: str = "", lines: Mapping[str, int] | None = None
    ) -> tuple[Problem, ...]:
        return self.schema.problems(self.schema.with_defaults(connection), file=file, lines=lines or {})

    def full_connection(self, connection: dict[str, Json]) -> dict[str, Json]:
        return self.schema.with_defaults(connection)

    def local_paths(self, connection: dict[str, Json]) -> tuple[str, ...]:
        """Directories and sockets of the worker's host that the connection names."""
        filled = self.schema.with_defaults(connection)
        found = [
            value
            for pattern, mark in self.schema.marked("x-local-path")
            if mark is True
            for _, value in values_at(filled, pattern, "connection")
        ]
        return tuple(dict.fromkeys(value for value in found if isinstance(value, str)))


@dataclass(frozen=True, slots=True)
class Catalog:
    types: dict[str, SystemType]
    kinds: dict[str, Kind]

    def kind_of(self, document: Document) -> Kind | None:
        return self.kinds.get(document.address.kind)

    def reference_identity(self, reference: Reference) -> str:
        """The identity that a reference's value stands for: the target kind's one identity field."""
        kind = self.kinds.get(reference.kind)
        field_name = kind.identity[0] if kind else DOCUMENT_NAME
        return _kept({field_name: reference.value})


def _kept(identity: dict[str, Json]) -> str:
    """What the checks refuse may still lie on main, made by hand: then a digest stands for it."""
    text = canonical_json(identity)
    return text if len(text) <= MAX_IDENTITY else canonical_json({"sha256 of what is too long": digest(identity)})
