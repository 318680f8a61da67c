"""Reads a posted form back into the document it was drawn from.

A field whose text is still what was drawn keeps the value it had, so a form changes only what a person changed:
defaults stay unwritten, and keys or shapes that a form cannot show stay as they are. Text that is no number where one
is wanted is kept as text. Must not know requests or templates.
"""

import json
import re
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias, cast

from changes.documents import Json
from portal.forms.shapes import (
    MISSING,
    Missing,
    Schema,
    Value,
    as_schema,
    enumeration,
    map_values,
    properties,
    resolve,
    text_of,
    type_of,
    widget_of,
)


class Posted(Protocol):
    def getlist(self, key: str) -> list[str]: ...
    def __contains__(self, key: object) -> bool: ...


class Blank(str):
    """An added row that nobody has filled in: drawn, but not part of the document."""

    __slots__ = ()


class Pairs(list[tuple[str, Json]]):
    """The rows of a map as typed: keys may be empty or there twice."""


Typed: TypeAlias = Json  # with Blank and Pairs inside
BLANK = Blank("")


@dataclass(frozen=True, slots=True)
class Action:
    """A button of a list: add, remove, up or down at one row of the field `name`."""

    verb: str
    name: str
    row: str = ""

    @classmethod
    def parse(cls, text: str) -> "Action | None":
        parts = text.split(" ")
        if len(parts) in (2, 3) and parts[0] in ("add", "remove", "up", "down"):
            return cls(*parts)
        return None


@dataclass(slots=True)
class Reader:
    """Walks a schema with the posted texts; collects what is wrong with the form itself and where focus belongs."""

    posted: Posted
    root: Schema
    action: Action | None = None
    problems: list[tuple[str, str]] = field(default_factory=list)  # (field name, sentence)
    focus: str = ""

    def read(self, schema: Schema, old: Value, name: str, *, required: bool = False) -> Value:
        schema = resolve(schema, self.root)
        widget = widget_of(schema)
        if not fits(widget, old):
            return self._scalar(schema, old, name) if widget in SCALARS else old
        if widget == "object":
            return self._object(schema, old, name, required=required)
        if widget == "list":
            return self._list(schema, old, name)
        if widget == "map":
            return self._map(schema, old, name)
        return old if widget == "yaml" else self._scalar(schema, old, name)

    def _scalar(self, schema: Schema, old: Value, name: str) -> Value:
        if name not in self.posted or isinstance(old, dict | list):
            return old
        typed = self.posted.getlist(name)[-1].replace("\r\n", "\n")
        if typed == shown(schema, old):
            return old
        if not schema.get("x-multiline"):
            typed = typed.strip()
        return MISSING if typed == "" else parse(schema, typed)

    def _object(self, schema: Schema, old: Value, name: str, *, required: bool) -> Value:
        before = old if isinstance(old, dict) else {}
        after = dict(before)
        drawn = properties(schema, before, self.root)
        for key, each in drawn.items():
            value = self.read(each.schema, before.get(key, MISSING), f"{name}.{key}", required=each.required)
            if isinstance(value, Missing):
                after.pop(key, None)
            else:
                after[key] = value
        remaining = properties(schema, plain(after), self.root)
        for key in drawn.keys() - remaining.keys():
            after.pop(key, None)
        if after or required or (not before and not isinstance(old, Missing)):
            return after
        return MISSING

    def _list(self, schema: Schema, old: Value, name: str) -> Value:
        if f"{name}.row" not in self.posted:
            return old
        before = old if isinstance(old, list) else []
        items = resolve(as_schema(schema["items"]), self.root)
        after: list[Json] = []
        for row in self._rows(name):
            value = self.read(items, before[int(row)] if int(row) < len(before) else MISSING, f"{name}.{row}")
            after.append(BLANK if isinstance(value, Missing) else value)
        if not after:
            return old if old == [] else MISSING
        return after

    def _map(self, schema: Schema, old: Value, name: str) -> Value:
        if f"{name}.row" not in self.posted:
            return old
        before = list(old.items()) if isinstance(old, dict) else []
        values = resolve(map_values(schema) or {}, self.root)
        rows = self._rows(name)
        if self.action == Action("add", name):
            self.focus += ".key"
        after = Pairs()
        for row in rows:
            stem = f"{name}.{row}"
            key = self.posted.getlist(f"{stem}.key")[-1].strip() if f"{stem}.key" in self.posted else ""
            was = before[int(row)][1] if int(row) < len(before) else MISSING
            value = self.read(values, was, f"{stem}.value", required=True)
            if isinstance(value, Missing):
                value = "" if key and type_of(values) == "string" else BLANK
            if not key and value != "":
                self.problems.append((f"{stem}.key", "Give this entry a name; until then it is not in the document."))
            elif key in [each for each, _ in after if each]:
                self.problems.append((f"{stem}.key", f"“{key}” is there twice; only the first one is in the document."))
            after.append((key, value))
        if not after:
            return old if old == {} else MISSING
        return cast(Json, after)

    def _rows(self, name: str) -> list[str]:
        rows = [row for row in dict.fromkeys(self.posted.getlist(f"{name}.row")) if re.fullmatch(r"\d{1,4}", row)]
        if self.action is None or self.action.name != name:
            return rows
        return self._act(rows, self.action)

    def _act(self, rows: list[str], action: Action) -> list[str]:
        if action.verb == "add":
            self.focus = f"{action.name}.{len(rows)}"
            return [*rows, "9999"]  # no row of the drawn form has this number; drawing numbers the rows anew
        if action.row not in rows:
            return rows
        at = rows.index(action.row)
        if action.verb == "remove":
            self.focus = f"{action.name}.add" if len(rows) == 1 else f"{action.name}.{min(at, len(rows) - 2)}.remove"
            return [row for row in rows if row != action.row]
        to = max(0, at - 1) if action.verb == "up" else min(len(rows) - 1, at + 1)
        rows.insert(to, rows.pop(at))
        self.focus = f"{action.name}.{to}.{action.verb}"
        return rows


SCALARS = frozenset({"text", "multiline", "number", "integer", "boolean", "choice", "reference", "suggest", "date"})


def fits(widget: str, value: Value) -> bool:
    """Whether a form can show this value with this widget."""
    if isinstance(value, Missing):
        return True
    if widget in ("object", "map"):
        return isinstance(value, dict | Pairs)
    if widget == "list":
        return isinstance(value, list) and not isinstance(value, Pairs)
    return widget == "yaml" or not isinstance(value, dict | list)


def shown(schema: Schema, value: Value) -> str:
    """The text a scalar's input holds when drawn; a closed choice and a switch show their default as chosen."""
    if not isinstance(value, Missing):
        return text_of(value)
    if type_of(schema) == "boolean":
        return text_of(schema.get("default", False))
    return text_of(schema["default"]) if "default" in schema and enumeration(schema) else ""


def parse(schema: Schema, typed: str) -> Json:
    """The typed text as the schema's type; the text itself where it is none."""
    for value, _, _ in enumeration(schema):
        if text_of(value) == typed:
            return value
    kind = type_of(schema)
    if kind == "boolean" and typed in ("true", "false"):
        return typed == "true"
    if kind in ("integer", "number") and re.fullmatch(r"-?(0|[1-9][0-9]{0,17})", typed):
        return int(typed)
    if kind == "number" and re.fullmatch(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,2})?", typed):
        return cast(float, json.loads(typed))
    return typed


def plain(value: Typed) -> Json:
    """The document's value of what was typed: without blank rows, maps with the first of equal keys."""
    if isinstance(value, Pairs):
        pairs: dict[str, Json] = {}
        for key, each in value:
            if key and not isinstance(each, Blank):
                pairs.setdefault(key, plain(each))
        return pairs
    if isinstance(value, list):
        return [plain(each) for each in value if not isinstance(each, Blank)]
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items() if not only_blank(each)}
    return value


def only_blank(value: Typed) -> bool:
    """Whether a list or map has rows, all of them not filled in."""
    if isinstance(value, Pairs):
        return bool(value) and all(not key and isinstance(each, Blank) for key, each in value)
    return isinstance(value, list) and bool(value) and all(isinstance(each, Blank) for each in value)
