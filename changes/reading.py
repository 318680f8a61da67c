"""The one reader of YAML: bytes become plain JSON data, or problems that name file, line and field.

Owns what YAML may contain here: the scalars of YAML 1.2's core schema (https://yaml.org/spec/1.2.2/#103-core-schema)
and nothing that refers, merges, tags or repeats. Limits are held while libyaml's events arrive, before anything is
built. Knows nothing of documents, schemas, git or Django.
"""

import math
import re
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

from yaml import CBaseLoader, YAMLError, events

Event: TypeAlias = Any  # libyaml's; its type stubs know neither anchors nor values
Json: TypeAlias = dict[str, "Json"] | list["Json"] | str | int | float | bool | None

MAX_FILE_BYTES = 1_000_000
MAX_DEPTH = 30
MAX_NODES = 100_000
MAX_KEY_LENGTH = 256
MAX_PROBLEMS = 20
MAX_INTEGER = 2**63 - 1
EXACT_INTEGER = 2**53

NULL = frozenset({"", "~", "null", "Null", "NULL"})
BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
NUMBER_START = frozenset("0123456789+-.")
INTEGER = re.compile(r"[-+]?[0-9]+", re.ASCII)
OCTAL = re.compile(r"0o[0-7]+", re.ASCII)
HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+", re.ASCII)
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", re.ASCII)

# C0 and C1 controls but tab and newline; a carriage return only as part of CRLF; noncharacters.
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff\ud800-\udfff]|\r(?!\n)")
# What hides or reorders text for a reader: bidi controls, zero-width and filler characters, line separators, tags.
HIDDEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0"
    "\ufff9-\ufffb\U000e0000-\U000e0fff]"
)


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a file: a stable id, a sentence, and where."""

    id: str
    message: str
    file: str = ""
    line: int | None = None
    field: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.file and self.line else self.file
        return ": ".join(part for part in (place, self.field, self.message) if part)


class InvalidFile(Exception):
    """A file that cannot be accepted, with everything that is wrong with it."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Tree:
    """A file's plain data and the line of each field, dotted (`spec.servers.0.port`)."""

    value: Json
    lines: dict[str, int]


def one_number(value: Json) -> Json:
    """The same data with numbers as the reader gives them: equal numbers are one value, 6.0 is 6."""
    if isinstance(value, float):
        return _integer_if_whole(value)
    if isinstance(value, list):
        return [one_number(item) for item in value]
    return {key: one_number(item) for key, item in value.items()} if isinstance(value, dict) else value


def _integer_if_whole(value: float) -> int | float:
    whole = math.isfinite(value) and value.is_integer() and abs(value) <= EXACT_INTEGER
    return int(value) if whole else value


def join(parent: str, key: str | int) -> str:
    return f"{parent}.{key}" if parent else str(key)


def read_yaml(data: bytes, file: str) -> Tree:
    """The plain data of one YAML document. Raises InvalidFile and nothing else, whatever the bytes are."""
    text = _text(data, file)
    try:
        return _Reader(text, file).tree()
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        said = getattr(error, "problem", None) or "it cannot be read"
        message = f"This is not valid YAML: {said}. Check the indentation, colons and quotes near this line."
        raise InvalidFile(Problem("yaml.syntax", message, file, mark.line + 1 if mark else None)) from error


def _text(data: bytes, file: str) -> str:
    if len(data) > MAX_FILE_BYTES:
        message = f"The file has {len(data):,} bytes, and {MAX_FILE_BYTES:,} are allowed: split it."
        raise InvalidFile(Problem("yaml.size", message, file))
    if data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")) or b"\x00" in data[:4]:
        message = "The file must be UTF-8 without a byte order mark: save it as plain UTF-8."
        raise InvalidFile(Problem("yaml.encoding", message, file, 1))
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidFile(
            Problem("yaml.encoding", "This line is not UTF-8: save the file as UTF-8.", file, line)
        ) from error
    problem = suspicious(text)
    if problem:
        line = text.count("\n", 0, problem.position) + 1
        raise InvalidFile(Problem(problem.id, problem.message, file, line))
    return text


@dataclass(frozen=True, slots=True)
class Suspicion:
    id: str
    message: str
    position: int


def suspicious(text: str) -> Suspicion | None:
    """The first character of a text that cannot be seen for what it is."""
    found = CONTROL.search(text)
    if found:
        message = f"There is a control character (U+{ord(found[0]):04X}): remove it."
        return Suspicion("yaml.control-character", message, found.start())
    found = HIDDEN.search(text)
    if found:
        message = f"There is a character that readers cannot see (U+{ord(found[0]):04X}): remove it."
        return Suspicion("suspicious.characters", message, found.start())
    return None


def _line(event: Event) -> int:
    return int(event.start_mark.line) + 1


class _Reader:
    """Walks libyaml's events of one document by hand; recursion is bounded by MAX_DEPTH."""

    def __init__(self, text: str, file: str) -> None:
        self.file = file
        self.text = text if text.endswith("\n") else text + "\n"  # else libyaml loses the last line's end
        self.parser = CBaseLoader(self.text)  # its events only: nothing is resolved or built
        self.lines: dict[str, int] = {}
        self.problems: list[Problem] = []
        self.nodes = 0

    def tree(self) -> Tree:
        self.next()
        start = self.next()
        if isinstance(start, events.StreamEndEvent):
            self.refuse("yaml.empty", "The file is empty: write its content or delete it.", 1)
        if start.version or start.tags:
            self.refuse("yaml.directive", "YAML directives (%...) are not allowed: remove them.", 1)
        value = self.node(self.next(), "", 0)
        self.next()
        end = self.next()
        if not isinstance(end, events.StreamEndEvent):
            line = _line(end)
            self.refuse("yaml.documents", "The file holds more than one YAML document: keep one.", line)
        if self.problems:
            raise InvalidFile(*self.problems)
        return Tree(value, self.lines)

    def next(self) -> Event:
        return self.parser.get_event()

    def refuse(self, id: str, message: str, line: int, field: str = "") -> NoReturn:
        raise InvalidFile(*self.problems, Problem(id, message, self.file, line, field))

    def note(self, id: str, message: str, line: int, field: str) -> None:
        """Something wrong that does not hide what follows."""
        self.problems.append(Problem(id, message, self.file, line, field))
        if len(self.problems) >= MAX_PROBLEMS:
            raise InvalidFile(*self.problems)

    def node(self, event: Event, field: str, depth: int) -> Json:
        line = _line(event)
        if field:
            self.lines[field] = line
        return self.value(event, field, depth)

    def value(self, event: Event, field: str, depth: int) -> Json:
        line = _line(event)
        self.nodes += 1
        if self.nodes > MAX_NODES:
            self.refuse("yaml.nodes", f"The file has more than {MAX_NODES:,} values: split it.", line, field)
        if isinstance(event, events.AliasEvent) or event.anchor:
            message = "YAML anchors and aliases (&name, *name) are not allowed: write the value out, or quote it."
            self.refuse("yaml.alias", message, line, field)
        if event.tag:
            self.refuse(
                "yaml.tag", "YAML tags (!name) are not allowed: remove the tag, or quote the value.", line, field
            )
        if isinstance(event, events.ScalarEvent):
            return self.scalar(event, field)
        if depth >= MAX_DEPTH:
            self.refuse(
                "yaml.depth", f"The file is nested more than {MAX_DEPTH} levels deep: make it flatter.", line, field
            )
        if isinstance(event, events.SequenceStartEvent):
            return self.sequence(field, depth + 1)
        return self.mapping(field, depth + 1)

    def sequence(self, field: str, depth: int) -> list[Json]:
        items: list[Json] = []
        while not isinstance(event := self.next(), events.SequenceEndEvent):
            items.append(self.node(event, join(field, len(items)), depth))
        return items

    def mapping(self, field: str, depth: int) -> dict[str, Json]:
        result: dict[str, Json] = {}
        while not isinstance(event := self.next(), events.MappingEndEvent):
            key = self.key(event, field, depth)
            line = _line(event)
            where = join(field, key)
            if key in result:
                message = f"The key {key!r} is there twice, first in line {self.lines[where]}: remove one."
                self.note("yaml.duplicate-key", message, line, where)
            else:
                self.lines[where] = line
            result[key] = self.value(self.next(), where, depth)
        return result

    def key(self, event: Event, field: str, depth: int) -> str:
        line = _line(event)
        if isinstance(event, events.ScalarEvent) and event.value == "<<":
            self.refuse("yaml.merge-key", "Merge keys (<<) are not allowed: write the fields out.", line, field)
        if isinstance(event, events.AliasEvent):
            self.value(event, field, depth)
        if not isinstance(event, events.ScalarEvent):
            self.refuse("yaml.key", "A key must be a text, not a list or a mapping.", line, field)
        start = event.start_mark.index if event.start_mark else 0
        if self.text[start - 1 : start] == "?":  # libyaml leaves it out within brackets
            self.refuse("yaml.key", f"The key '?{event.value}' begins with '?': put it in quotes.", line, field)
        key = self.value(event, field, depth)
        if not isinstance(key, str):
            message = f"The key {event.value!r} is not a text: put it in quotes."
            self.note("yaml.key", message, line, field)
            return str(event.value)
        if not 0 < len(key) <= MAX_KEY_LENGTH or "\n" in key or "\t" in key:
            self.refuse("yaml.key", f"A key is one line of 1 to {MAX_KEY_LENGTH} characters.", line, field)
        if key.startswith("__ansible"):
            self.note(
                "yaml.reserved-key", f"Keys that begin with '__ansible' are reserved: rename {key!r}.", line, field
            )
        return key

    def scalar(self, event: Event, field: str) -> Json:
        text: str = event.value
        if event.style:
            # Only a quoted scalar can hold what the text of the file does not show: an escape.
            problem = suspicious(text) if event.style == '"' else None
            if problem:
                self.note(problem.id, problem.message, _line(event), field)
            return text
        if text in NULL:
            return None
        if text[0] in NUMBER_START:
            return self.number(text, event, field)
        return BOOLEANS.get(text, text)

    def number(self, text: str, event: Event, field: str) -> Json:
        """A plain scalar that may be a number. 6.0 reads as 6."""
        line = _line(event)
        value: int | float
        if INTEGER.fullmatch(text):
            value = int(text) if len(text) <= 20 else MAX_INTEGER + 1
        elif OCTAL.fullmatch(text) or HEXADECIMAL.fullmatch(text):
            value = int(text, 0) if len(text) <= 24 else MAX_INTEGER + 1
        elif FLOAT.fullmatch(text):
            value = _integer_if_whole(float(text))
        elif NOT_FINITE.fullmatch(text):
            value = math.inf
        else:
            return text
        if isinstance(value, float) and not math.isfinite(value):
            self.note("yaml.number", f"{text} is not a finite number: give a number, or quote it.", line, field)
        elif isinstance(value, int) and abs(value) > MAX_INTEGER:
            self.note("yaml.number", "This number does not fit in 64 bits: quote it if it is a text.", line, field)
        return value
