"""Draws a schema and a value as a tree of fields, all that a template needs and nothing to be asked of a database.

Names: a field's `name` is the posted name and the element's id (`spec.pools.0.port`); its `path` is the place in the
document, which differs where blank rows were added. Must not know HTML or where choices come from.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from changes.documents import Json
from portal.forms.posted import BLANK, SCALARS, Blank, Pairs, Typed, fits, plain, shown
from portal.forms.shapes import (
    MISSING,
    Missing,
    Schema,
    as_schema,
    enumeration,
    map_values,
    properties,
    resolve,
    text_of,
    type_of,
    widget_of,
)

PICKER = 8
RADIOS = 4  # a closed choice of at most this many is drawn as radio buttons


@dataclass(frozen=True, slots=True)
class Option:
    value: str
    label: str
    help: str = ""


Choices = Callable[[Schema], tuple[Option, ...]]


def no_choices(schema: Schema) -> tuple[Option, ...]:
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    name: str
    path: str
    widget: str
    title: str
    help: str = ""
    unit: str = ""
    required: bool = False
    text: str = ""
    placeholder: str = ""
    default: str = ""
    hint: str = ""  # bounds, length, pattern in words
    examples: tuple[str, ...] = ()
    options: tuple[Option, ...] = ()
    children: tuple["Field", ...] = ()
    errors: tuple[str, ...] = ()
    fixed: str = ""  # why it cannot be changed any more
    changed: bool = False
    was: str = ""
    row: str = ""  # number of the row this field stands in, for fields that are rows
    key: str = ""  # a map row's key as typed
    key_options: tuple[str, ...] = ()  # the names a map's rows may have, if they are listed
    key_errors: tuple[str, ...] = ()
    schema_type: str = ""

    @property
    def template(self) -> str:
        if self.widget == "secret":
            return "compose/fields/secret.html"
        return "compose/fields/group.html" if self.is_group else "compose/fields/field.html"

    @property
    def is_group(self) -> bool:
        return self.widget in ("object", "list", "map", "yaml")

    @property
    def is_picker(self) -> bool:
        """Whether a select has so many options that searching them helps."""
        return len(self.options) > PICKER

    @property
    def row_stem(self) -> str:
        """What the names of this row's buttons and key begin with."""
        return self.name.removesuffix(".value")

    @property
    def structure(self) -> tuple[object, ...]:
        """What makes it necessary to draw the form anew, values and errors left out."""
        return (self.name, self.widget, self.required, self.options, *(child.structure for child in self.children))

    def walk(self) -> "list[Field]":
        return [self, *(each for child in self.children for each in child.walk())]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a field stands, and as what."""

    name: str
    path: str
    widget: str
    required: bool


@dataclass(frozen=True, slots=True)
class Drawing:
    """One drawing of one document: where choices come from, and what is to be said at which place."""

    root: Schema
    choices: Choices = no_choices
    errors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # by document path or by field name
    fixed: Mapping[str, str] = field(default_factory=dict)  # by document path; only for what exists already
    lent: Mapping[str, str] = field(default_factory=dict)  # by document path: what an absent value is taken from
    base: Mapping[str, str] | None = None  # flat values of the document on main, None: a new document

    def draw(
        self, schema: Schema, value: Typed | Missing, *, name: str, path: str = "", required: bool = False
    ) -> Field:
        schema = resolve(schema, self.root)
        path = path or name
        widget = widget_of(schema)
        if not fits(widget, value):
            widget = "yaml"
        place = Place(name, path, widget, required)
        if widget in SCALARS:
            return self._scalar(schema, value, place)
        if widget == "object":
            return self._group(schema, place, self._properties(schema, value, place))
        if widget == "list":
            return self._group(schema, place, self._items(schema, value, place))
        return self._group(schema, place, self._entries(schema, value, place) if widget == "map" else ())

    def _properties(self, schema: Schema, value: Typed | Missing, place: Place) -> tuple[Field, ...]:
        given = value if isinstance(value, dict) else {}
        return tuple(
            self.draw(
                each.schema,
                given.get(key, MISSING),
                name=f"{place.name}.{key}",
                path=f"{place.path}.{key}",
                required=each.required,
            )
            for key, each in properties(schema, plain(given), self.root).items()
        )

    def _items(self, schema: Schema, value: Typed | Missing, place: Place) -> tuple[Field, ...]:
        rows: list[Json] = list(value) if isinstance(value, list) else []
        if not rows and schema.get("minItems"):
            rows = [BLANK]
        items = as_schema(schema["items"])
        drawn: list[Field] = []
        at = 0
        for number, each in enumerate(rows):
            blank = isinstance(each, Blank)
            name, path = f"{place.name}.{number}", f"{place.path}.{'' if blank else at}"
            row = self.draw(items, MISSING if blank else each, name=name, path=path)
            drawn.append(as_row(row, number))
            at += not blank
        return tuple(drawn)

    def _entries(self, schema: Schema, value: Typed | Missing, place: Place) -> tuple[Field, ...]:
        values = map_values(schema) or {}
        pairs = value if isinstance(value, Pairs) else list(value.items()) if isinstance(value, dict) else []
        if not pairs and schema.get("minProperties"):
            pairs = [("", BLANK)]
        drawn: list[Field] = []
        for number, (key, each) in enumerate(pairs):
            stem = f"{place.name}.{number}"
            typed = MISSING if isinstance(each, Blank) else each
            row = as_row(self.draw(values, typed, name=f"{stem}.value", path=f"{place.path}.{key}"), number)
            drawn.append(replace(row, key=key, key_errors=self.errors.get(f"{stem}.key", ())))
        return tuple(drawn)

    def _group(self, schema: Schema, place: Place, children: tuple[Field, ...]) -> Field:
        return Field(
            name=place.name,
            path=place.path,
            widget=place.widget,
            title=str(schema.get("title") or titled(place.name)),
            help=str(schema.get("description", "")),
            required=place.required,
            default=_listed(schema.get("default")),
            children=children,
            errors=self.errors.get(place.path, ()),
            fixed=self.fixed.get(place.path, ""),
            hint=count_hint(schema),
            key_options=_key_options(schema) if place.widget == "map" else (),
        )

    def _scalar(self, schema: Schema, value: Typed | Missing, place: Place) -> Field:
        path, widget = place.path, place.widget
        text = shown(schema, value)
        default = text_of(schema["default"]) if "default" in schema else self.lent.get(path, "")
        required = place.required and not default
        options = self._options(schema, text, widget, required=required, default=default)
        if widget == "choice":
            widget = "radio" if len(options) <= RADIOS else "select"
        examples = _examples(schema)
        was = self.base.get(path, "") if self.base is not None else ""
        return Field(
            name=place.name,
            path=path,
            widget=widget,
            title=str(schema.get("title") or titled(place.name)),
            help=str(schema.get("description", "")),
            unit=str(schema.get("x-unit", "")),
            required=required,
            text=text,
            placeholder=default or (f"for example {examples[0]}" if examples else ""),
            default=default,
            hint=hint(schema),
            examples=examples,
            options=options,
            errors=self.errors.get(path, ()),
            fixed=self.fixed.get(path, ""),
            changed=self.base is not None and (text or default) != (was or default),
            was=(was or default) if self.base is not None else "",
            schema_type=type_of(schema),
        )

    def _options(self, schema: Schema, text: str, widget: str, *, required: bool, default: str) -> tuple[Option, ...]:
        if widget == "choice":
            found = [Option(text_of(value), label, note) for value, label, note in enumeration(schema)]
            if not required and not default:
                found.insert(0, Option("", "Not set"))
        elif widget in ("reference", "suggest"):
            found = list(self.choices(schema))
            if widget == "reference":
                found.insert(0, Option("", "Choose…" if required else "None"))
        else:
            return ()
        if text and widget != "suggest" and text not in [option.value for option in found]:
            found.append(Option(text, text, "not one of the choices"))
        return tuple(found)


def as_row(drawn: Field, number: int) -> Field:
    return replace(drawn, row=str(number), title=drawn.title or f"Entry {number + 1}")


def titled(name: str) -> str:
    """A title for a property without one: `max_connections` -> Max connections; a row's is its parent's business."""
    last = name.rsplit(".", 1)[-1]
    return "" if last.isdigit() or last == "value" else last.replace("_", " ").replace("-", " ").capitalize()


def hint(schema: Schema) -> str:
    """Bounds and lengths in words; a pattern only where no example shows it."""
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f"{text_of(low)} to {text_of(high)}"
    if low is not None:
        return f"at least {text_of(low)}"
    if high is not None:
        return f"at most {text_of(high)}"
    longest = schema.get("maxLength")
    return f"at most {longest} characters" if isinstance(longest, int) and longest <= 250 else ""


def count_hint(schema: Schema) -> str:
    low = schema.get("minItems") or schema.get("minProperties")
    high = schema.get("maxItems") or schema.get("maxProperties")
    if low and high:
        return f"{low} to {high} entries"
    if low:
        return f"at least {low} {'entry' if low == 1 else 'entries'}"
    return f"at most {high} entries" if high else ""


def _key_options(schema: Schema) -> tuple[str, ...]:
    names = as_schema(schema.get("propertyNames")).get("enum")
    return tuple(str(name) for name in names) if isinstance(names, list) else ()


def _examples(schema: Schema) -> tuple[str, ...]:
    given = schema.get("examples")
    return (
        tuple(text_of(each) for each in given if not isinstance(each, dict | list)) if isinstance(given, list) else ()
    )


def _listed(value: Json) -> str:
    if isinstance(value, list):
        return ", ".join(text_of(each) for each in value)
    return ", ".join(f"{key}: {text_of(each)}" for key, each in value.items()) if isinstance(value, dict) else ""


def flat(value: Json, path: str) -> dict[str, str]:
    """Every scalar under `value` as text by its dotted path."""
    if isinstance(value, dict):
        return {where: text for key, each in value.items() for where, text in flat(each, f"{path}.{key}").items()}
    if isinstance(value, list):
        return {where: text for at, each in enumerate(value) for where, text in flat(each, f"{path}.{at}").items()}
    return {path: text_of(value)}
