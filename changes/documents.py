"""What a file of the state repository says: addresses, documents, problems.

Owns what a document is and how a file's problem is told. Knows no schema, no git, no Django, no clock; a file's bytes
become plain data in `reading`.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from difflib import get_close_matches

from changes.reading import MAX_DEPTH, MAX_FILE_BYTES, MAX_NODES, InvalidFile, Json, Problem, Tree, join, read_yaml
from changes.secret_refs import is_secret_ref

__all__ = [
    "MAX_DEPTH",
    "MAX_FILE_BYTES",
    "MAX_NODES",
    "NO_MAPPING",
    "Address",
    "Document",
    "InvalidFile",
    "Json",
    "Problem",
    "SecretRef",
    "Tree",
    "as_data",
    "canonical_json",
    "did_you_mean",
    "digest",
    "join",
    "parse_document",
    "read_yaml",
]

NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}", re.ASCII)
KIND = re.compile(r"[A-Z][A-Za-z0-9]{0,62}", re.ASCII)
SECRET_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}", re.ASCII)
SECRET_LETTERS = "use lower-case letters, digits and underscores"
DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
KEYS = ("kind", "spec", "depends_on", "expires", "secrets", "adopt")
CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
NO_MAPPING = "A document is a mapping of keys: begin it with 'kind:', then 'spec:'."
SHAPE = "resources/<team>/<system>/<Kind>/<name>.yml"


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """Where a document lives: its path names it."""

    team: str
    system: str
    kind: str
    name: str

    @property
    def path(self) -> str:
        return f"resources/{self.team}/{self.system}/{self.kind}/{self.name}.yml"

    @property
    def short(self) -> str:
        return f"{self.team}/{self.system}/{self.kind}/{self.name}"

    def __str__(self) -> str:
        return self.short

    @classmethod
    def parse(cls, path: str) -> "Address":
        parts = path.split("/")
        if len(parts) != 5 or parts[0] != "resources" or not parts[4].endswith(".yml"):
            message = f"The path {path!r} does not have the form {SHAPE}."
            raise InvalidFile(Problem("path.shape", message, path))
        return cls._checked((*parts[1:4], parts[4].removesuffix(".yml")), path)

    @classmethod
    def from_short(cls, short: str) -> "Address":
        parts = short.split("/")
        if len(parts) != 4:
            message = f"{short!r} does not have the form <team>/<system>/<Kind>/<name>."
            raise InvalidFile(Problem("path.shape", message))
        return cls._checked(tuple(parts), "")

    @classmethod
    def _checked(cls, parts: tuple[str, ...], file: str) -> "Address":
        team, system, kind, name = parts
        problems = []
        for noun, value in (("team", team), ("system", system), ("document", name)):
            if not NAME.fullmatch(value):
                problems.append(Problem(f"path.{noun}", name_message(noun, value), file))
        if not KIND.fullmatch(kind):
            message = f"{kind!r} is not a kind: a kind begins with a capital letter and has only letters and digits."
            problems.append(Problem("path.kind", message, file))
        if problems:
            raise InvalidFile(*problems)
        return cls(team, system, kind, name)


def name_message(noun: str, value: str) -> str:
    return (
        f"{value!r} cannot be the name of a {noun}: use up to 63 lower-case letters, digits, dots and dashes, "
        "and begin with a letter or digit."
    )


@dataclass(frozen=True, slots=True)
class SecretRef:
    """Where a secret's value is; `generate` lets the worker create it there."""

    ref: str
    generate: bool = False


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML file as written: no defaults applied. `lines` tells the line of each field."""

    address: Address
    spec: dict[str, Json]
    depends_on: tuple[Address, ...] = ()
    expires: date | None = None
    secrets: dict[str, SecretRef] = field(default_factory=dict)
    adopt: bool = False  # it may take over what others made on the system
    lines: dict[str, int] = field(default_factory=dict, compare=False)


def parse_document(path: str, data: bytes) -> Document:
    """The document of one file. Raises InvalidFile with everything that is wrong."""
    address = Address.parse(path)
    tree = read_yaml(data, path)
    if not isinstance(tree.value, dict):
        raise InvalidFile(Problem("document.shape", NO_MAPPING, path, 1))
    return _Parse(path, tree.value, tree.lines).document(address)


class _Parse:
    """One pass over a document's keys that collects every problem before it gives up."""

    def __init__(self, path: str, value: dict[str, Json], lines: dict[str, int]) -> None:
        self.path, self.value, self.lines = path, value, lines
        self.problems: list[Problem] = []

    def document(self, address: Address) -> Document:
        for key in self.value:
            if key not in KEYS:
                message = f"{key!r} is not a key of a document{did_you_mean(key, KEYS)}"
                self.bad("document.unknown-key", message, key)
        self.kind(address)
        spec, depends_on, expires = self.spec(), self.depends_on(), self.expires()
        result = Document(address, spec, depends_on, expires, self.secrets(), self.adopt(), self.lines)
        if self.problems:
            raise InvalidFile(*self.problems)
        return result

    def bad(self, id: str, message: str, where: str) -> None:
        self.problems.append(Problem(id, message, self.path, self.line(where), where))

    def line(self, where: str) -> int:
        while where and where not in self.lines:
            where = where.rpartition(".")[0]
        return self.lines.get(where, 1)

    def kind(self, address: Address) -> None:
        kind = self.value.get("kind")
        if kind is None:
            self.bad("document.kind", f"The key kind is missing: write 'kind: {address.kind}'.", "kind")
        elif kind != address.kind:
            message = f"kind is {kind!r}, but the path says {address.kind!r}: make both the same."
            self.bad("document.kind", message, "kind")

    def spec(self) -> dict[str, Json]:
        spec = self.value.get("spec")
        if isinstance(spec, dict):
            return spec
        if "spec" not in self.value:
            self.bad("document.spec", "The key spec is missing: it holds the fields of the resource.", "spec")
        else:
            self.bad("document.spec", "spec must be a mapping of fields; write 'spec: {}' if there are none.", "spec")
        return {}

    def depends_on(self) -> tuple[Address, ...]:
        items = self.value.get("depends_on", [])
        if not isinstance(items, list):
            self.bad("document.depends-on", "depends_on must be a list of <team>/<system>/<Kind>/<name>.", "depends_on")
            return ()
        found: dict[Address, None] = {}
        for index, item in enumerate(items):
            where = join("depends_on", index)
            try:
                address = Address.from_short(item if isinstance(item, str) else json.dumps(item))
            except InvalidFile as error:
                self.bad("document.depends-on", error.problems[0].message, where)
                continue
            if address in found:
                self.bad("document.depends-on", f"{item} is there twice: remove one of them.", where)
            found[address] = None
        return tuple(found)

    def expires(self) -> date | None:
        value = self.value.get("expires")
        if value is None:
            return None
        try:
            if not isinstance(value, str) or not DATE.fullmatch(value):
                raise ValueError
            return date.fromisoformat(value)
        except ValueError:
            message = f"expires must be a day like 2027-01-31, and {value!r} is not one."
            self.bad("document.expires", message, "expires")
            return None

    def adopt(self) -> bool:
        value = self.value.get("adopt", False)
        if not isinstance(value, bool):
            self.bad("document.adopt", "adopt must be true or false.", "adopt")
        return value is True

    def secrets(self) -> dict[str, SecretRef]:
        value = self.value.get("secrets", {})
        if not isinstance(value, dict):
            self.bad("document.secrets", "secrets must be a mapping like 'password: file:payments/orders'.", "secrets")
            return {}
        found = {}
        for name, item in value.items():
            where = join("secrets", name)
            if not SECRET_NAME.fullmatch(name):
                self.bad("document.secrets", f"{name!r} is not the name of a secret: {SECRET_LETTERS}.", where)
                continue
            secret = self.secret(item, where)
            if secret:
                found[name] = secret
        return found

    def secret(self, item: Json, where: str) -> SecretRef | None:
        """`file:team/name`, or `{ref: file:team/name, generate: true}`. The value is never repeated in a message."""
        ref, generate = item, False
        if isinstance(item, dict):
            for key in item:
                if key not in ("ref", "generate"):
                    message = f"{key!r} is not a key of a secret{did_you_mean(key, ('ref', 'generate'))}"
                    self.bad("document.secrets", message, join(where, key))
            ref, wanted = item.get("ref"), item.get("generate", False)
            if not isinstance(wanted, bool):
                self.bad("document.secrets", "generate must be true or false.", join(where, "generate"))
            generate = wanted is True
        if not isinstance(ref, str) or not is_secret_ref(ref):
            message = "A secret is a reference like file:payments/orders that says where the value is, never a value."
            self.bad("document.secret-reference", message, where)
            return None
        return SecretRef(ref, generate)


def as_data(document: Document) -> dict[str, Json]:
    """A document as the plain data that stands in its file."""
    data: dict[str, Json] = {"kind": document.address.kind, "spec": document.spec}
    if document.depends_on:
        data["depends_on"] = [address.short for address in document.depends_on]
    if document.expires:
        data["expires"] = document.expires.isoformat()
    if document.adopt:
        data["adopt"] = True
    if document.secrets:
        data["secrets"] = {
            name: {"ref": secret.ref, "generate": True} if secret.generate else secret.ref
            for name, secret in document.secrets.items()
        }
    return data


def canonical_json(value: object) -> str:
    """The one text of a JSON value: keys sorted, no space, ASCII."""
    return CANONICAL.encode(value)


def digest(value: object) -> str:
    """SHA-256 over the canonical JSON, in hex."""
    return hashlib.sha256(canonical_json(value).encode("ascii")).hexdigest()


def did_you_mean(word: str, known: Iterable[str] | Mapping[str, object]) -> str:
    """The end of a sentence about an unknown word: the nearest known one, or all of them."""
    words = list(known)
    near = get_close_matches(word.lower(), words, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known are {', '.join(words)}." if words else "."
