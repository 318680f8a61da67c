"""What a JSON Schema means for a form: which widget a schema is, and which properties hold for a given value.

Knows the keywords; must not know HTML, POST data or where choices come from.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeAlias, cast

import jsonschema_rs

from changes.documents import Json

Schema: TypeAlias = Mapping[str, Json]


class Missing:
    """The type of MISSING: nothing is written at this place."""

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = Missing()
Value: TypeAlias = Json | Missing


@dataclass(frozen=True, slots=True)
class Property:
    schema: Schema
    required: bool


def as_schema(value: Json | Missing) -> Schema:
    return value if isinstance(value, dict) else {}


def resolve(schema: Schema, root: Schema) -> Schema:
    """The schema with local `$ref`s followed; keywords beside a `$ref` win over the ones behind it."""
    seen = 0
    while isinstance(schema.get("$ref"), str) and seen < 20:
        target: Json = cast("dict[str, Json]", root)
        for part in str(schema["$ref"]).removeprefix("#").strip("/").split("/"):
            if part:
                target = as_schema(target).get(part.replace("~1", "/").replace("~0", "~"), {})
        schema = {**as_schema(target), **{key: value for key, value in schema.items() if key != "$ref"}}
        seen += 1
    return schema


def type_of(schema: Schema) -> str:
    """The schema's type; of several the first that is not null."""
    given = schema.get("type")
    if isinstance(given, list):
        return next((str(name) for name in given if name != "null"), "")
    if isinstance(given, str):
        return given
    if "properties" in schema:
        return "object"
    return "array" if "items" in schema else ""


def enumeration(schema: Schema) -> list[tuple[Json, str, str]]:
    """(value, label, help) of a closed choice: `enum`, `const`, or `oneOf`/`anyOf` of titled constants; else empty."""
    values = schema.get("enum")
    if isinstance(values, list):
        return [(value, text_of(value), "") for value in values]
    if "const" in schema:
        return [(schema["const"], text_of(schema["const"]), "")]
    variants = schema.get("oneOf") or schema.get("anyOf")
    if isinstance(variants, list) and variants and all("const" in as_schema(variant) for variant in variants):
        pairs = [as_schema(variant) for variant in variants]
        return [
            (pair["const"], str(pair.get("title") or text_of(pair["const"])), str(pair.get("description", "")))
            for pair in pairs
        ]
    return []


def widget_of(schema: Schema) -> str:
    """text, multiline, number, integer, boolean, choice, reference, suggest, date, object, map, list or yaml.

    `yaml` is what a form does not show; it is edited in the YAML view and left alone by the form.
    """
    kind = type_of(schema)
    if enumeration(schema):
        return "choice"
    if kind in ("boolean", "integer", "number"):
        return kind
    if kind == "string":
        return _text_widget(schema)
    if kind == "array":
        return "list" if isinstance(schema.get("items"), dict) else "yaml"
    if kind == "object":
        if schema.get("properties") or schema.get("if"):
            return "object"
        return "map" if map_values(schema) is not None else "yaml"
    return "yaml"


def _text_widget(schema: Schema) -> str:
    if "x-reference" in schema:
        return "reference"
    if "x-choices" in schema:
        return "suggest"
    if schema.get("x-multiline"):
        return "multiline"
    return "date" if schema.get("format") == "date" else "text"


def map_values(schema: Schema) -> Schema | None:
    """The schema of a free map's values, if the object is one."""
    extra = schema.get("additionalProperties")
    if isinstance(extra, dict) and extra:
        return extra
    patterns = as_schema(schema.get("patternProperties"))
    return next((as_schema(each) for each in patterns.values()), None)


def properties(schema: Schema, value: Value, root: Schema) -> dict[str, Property]:
    """The properties that hold for `value`: conditions followed, forbidden ones left out."""
    written = value if isinstance(value, dict) else {}
    known: dict[str, Schema] = {}
    hidden: set[str] = set()
    required: set[str] = set()
    for part in _active(schema, {**_defaults(schema, root), **written}, root):
        for name, each in as_schema(part.get("properties")).items():
            if each is False:
                hidden.add(name)
            else:
                known[name] = {**known.get(name, {}), **resolve(as_schema(each), root)}
        required.update(_names(part.get("required")))
        for name, others in as_schema(part.get("dependentRequired")).items():
            if name in written:
                required.update(_names(others))
    return {name: Property(each, name in required) for name, each in known.items() if name not in hidden}


def _active(schema: Schema, value: dict[str, Json], root: Schema) -> Iterator[Schema]:
    schema = resolve(schema, root)
    yield schema
    parts = schema.get("allOf")
    for part in parts if isinstance(parts, list) else []:
        yield from _active(as_schema(part), value, root)
    if "if" in schema:
        branch = "then" if holds(as_schema(schema["if"]), value, root) else "else"
        if isinstance(schema.get(branch), dict):
            yield from _active(as_schema(schema[branch]), value, root)
    for name, part in as_schema(schema.get("dependentSchemas")).items():
        if name in value:
            yield from _active(as_schema(part), value, root)


def _defaults(schema: Schema, root: Schema) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for name, each in as_schema(resolve(schema, root).get("properties")).items():
        part = resolve(as_schema(each), root)
        if "default" in part:
            found[name] = part["default"]
    return found


def _names(value: Json | Missing) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list) else []


def holds(condition: Schema, value: Json, root: Schema) -> bool:
    whole = {**condition, "$defs": root["$defs"]} if "$defs" in root else condition
    return _validator(json.dumps(whole, sort_keys=True)).is_valid(value)


@lru_cache(maxsize=1000)
def _validator(schema: str) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(json.loads(schema))


def text_of(value: Value) -> str:
    """A scalar as a person types it."""
    if isinstance(value, Missing) or value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
