"""What a schema of the catalogue may say: JSON Schema 2020-12 without what a form or a default cannot follow.

Pure; `schema` rests on it, so a typo in a keyword is an error at load and not a rule that never holds.
"""

from collections.abc import Iterator
from difflib import get_close_matches

import jsonschema_rs

from changes.reading import Json
from changes.schema import as_dict, as_list, resolve

CORE = ("$schema", "$comment", "$defs", "$ref", "type", "enum", "const", "title", "description", "default", "examples")
OBJECTS = ("properties", "required", "additionalProperties", "propertyNames", "minProperties", "maxProperties")
CONDITIONS = ("dependentRequired", "dependentSchemas", "allOf", "anyOf", "oneOf", "not", "if", "then", "else")
LISTS = ("items", "minItems", "maxItems", "uniqueItems", "contains", "minContains", "maxContains")
TEXTS = ("minLength", "maxLength", "pattern", "format")
NUMBERS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
HINTS = ("readOnly", "deprecated", "x-unit", "x-reference", "x-choices", "x-multiline", "x-local-path")
KEYWORDS = frozenset((*CORE, *OBJECTS, *CONDITIONS, *LISTS, *TEXTS, *NUMBERS, *HINTS))
LOOP = "leads back to itself, which no form can show."


def schema_problems(data: dict[str, Json]) -> list[tuple[str, str]]:
    """(dotted place in the schema, sentence) for everything that is wrong with it."""
    found = list(_walk(data, data, "", ()))
    if found:
        return found
    try:
        jsonschema_rs.meta.validate(data)
        jsonschema_rs.Draft202012Validator(data, validate_formats=True, offline=True)
    except ValueError as error:
        where = ".".join(map(str, getattr(error, "instance_path", ())))
        return [(where, f"This is not a JSON Schema: {getattr(error, 'message', error)}.")]
    if data.get("type") != "object" or data.get("additionalProperties") is not False:
        return [("", "The schema must have 'type: object' and 'additionalProperties: false'.")]
    return list(_wrong_defaults(data))


def _walk(data: dict[str, Json], node: Json, where: str, through: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    if isinstance(node, bool):
        return
    if not isinstance(node, dict):
        yield where, "A schema is a mapping, or true or false."
        return
    for key, value in node.items():
        place = f"{where}.{key}" if where else key
        if key not in KEYWORDS:
            near = get_close_matches(key, KEYWORDS, n=1)
            yield place, f"{key!r} is not a known keyword" + (f"; did you mean {near[0]!r}?" if near else ".")
        elif key in ("properties", "$defs", "dependentSchemas"):
            for name, part in as_dict(value).items():
                yield from _walk(data, part, f"{place}.{name}", through)
        elif key in ("allOf", "anyOf", "oneOf"):
            for index, part in enumerate(as_list(value)):
                yield from _walk(data, part, f"{place}.{index}", through)
        elif key in ("items", "additionalProperties", "propertyNames", "contains", "not", "if", "then", "else"):
            yield from _walk(data, value, place, through)
        elif key == "$ref":
            yield from _reference(data, value, place, through)
        else:
            yield from _extension(key, value, place)


def _reference(data: dict[str, Json], value: Json, where: str, through: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    if not isinstance(value, str) or not value.startswith("#/"):
        yield where, "$ref must name a part of this file, like '#/$defs/name'."
    elif value in through:
        yield where, f"$ref {value} {LOOP}"
    else:
        try:
            target = resolve(data, value)
        except KeyError:
            yield where, f"$ref {value} names nothing in this file."
            return
        # What else is wrong with the target is told at the target.
        found = _walk(data, target, where, (*through, value))
        yield from (problem for problem in found if problem[1].endswith(LOOP))


def _extension(key: str, value: Json, where: str) -> Iterator[tuple[str, str]]:
    if key == "x-unit" and not (isinstance(value, str) and value):
        yield where, "x-unit is a text like hours."
    elif key in ("x-multiline", "x-local-path") and not isinstance(value, bool):
        yield where, f"{key} is true or false."
    elif key == "x-reference":
        target = as_dict(value)
        if set(target) - {"kind", "system"} or not isinstance(target.get("kind"), str):
            yield where, "x-reference has the form {kind: <Kind>, system: same}."
        elif target.get("system", "same") != "same":
            yield where, "x-reference reaches documents of the same system only: write 'system: same'."
    elif key == "x-choices" and value not in ("teams", "systems"):
        target = as_dict(value)
        named = target.get("systems", target.get("kind", target.get("connection")))
        more = set(target) - {"field"} if "kind" in target else target
        if len(more) != 1 or not isinstance(named, str) or not isinstance(target.get("field", ""), str):
            forms = "teams, systems, {systems: <type>}, {kind: <Kind>, field: <field>} or {connection: <field>}"
            yield where, f"x-choices is {forms}."


def _wrong_defaults(data: dict[str, Json]) -> Iterator[tuple[str, str]]:
    """Defaults that their own field's schema would refuse."""
    compiled = jsonschema_rs.validator_map_for(data, offline=True)
    for name, part in as_dict(data.get("properties")).items():
        pointer = name.replace("~", "~0").replace("/", "~1")
        validator = compiled.get(f"#/properties/{pointer}")
        if isinstance(part, dict) and part.get("default") is not None and validator:
            error = next(iter(validator.iter_errors(part["default"])), None)
            # An object's default may be filled by the defaults within it.
            if error and not isinstance(part["default"], dict):
                yield f"properties.{name}.default", f"The default is refused by its own field: {error.message}."
