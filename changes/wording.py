"""What a broken rule of a JSON Schema is called, in a sentence for the person who can mend it.

Owns the texts and their ids. Knows the validator's errors and nothing else.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TypeAlias, cast

import jsonschema_rs

from changes.reading import Json

MAX_SHOWN = 60
TYPES = {
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping of fields",
    "null": "empty",
}
FORMATS = {
    "ipv4": "an IPv4 address like 10.0.0.1",
    "ipv6": "an IPv6 address",
    "hostname": "a host name",
    "idn-hostname": "a host name",
    "email": "a mail address",
    "uri": "an address like https://example.org/",
    "date": "a day like 2027-01-31",
    "date-time": "a time like 2027-01-31T12:00:00Z",
    "time": "a time of day like 12:00:00Z",
    "duration": "a duration like P1D",
    "regex": "a regular expression",
    "uuid": "a UUID",
}


@dataclass(frozen=True, slots=True)
class Sentence:
    """`below` is the property the sentence is about, when the error stands at the object around it."""

    id: str
    text: str
    below: tuple[str, ...] = ()


Facts: TypeAlias = dict[str, Json]
Words: TypeAlias = Callable[[Facts, Json, str], str]


def shown(value: Json) -> str:
    """A value as a person would write it, shortened."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"


def amount(value: Json, unit: str) -> str:
    return f"{shown(value)} {unit}".strip()


def plural(number: Json, noun: str) -> str:
    return (
        f"{number} {noun}"
        if number == 1
        else f"{number} {noun.removesuffix('y') + 'ies' if noun[-1] == 'y' else noun + 's'}"
    )


def _type(facts: Facts, value: Json, unit: str) -> str:
    types = facts["types"]
    wanted = " or ".join(TYPES[str(name)] for name in types) if isinstance(types, list) else str(types)
    names = [str(name) for name in types] if isinstance(types, list) else [str(types)]
    hint = "; remove the quotes" if isinstance(value, str) and any(_is_bare(value, name) for name in names) else ""
    if isinstance(value, (int, float, bool)) and types == ["string"]:
        hint = "; put it in quotes"
    return f"Must be {wanted} (is {shown(value)}){hint}."


def _is_bare(value: str, type: str) -> bool:
    """Whether the text would be of the type if it stood there without quotes."""
    if type == "boolean":
        return value in ("true", "false")
    digits = value.removeprefix("-")
    return digits.isdecimal() if type == "integer" else type == "number" and digits.replace(".", "", 1).isdecimal()


def _enum(facts: Facts, value: Json, unit: str) -> str:
    options = facts["options"] if isinstance(facts["options"], list) else []
    listed = ", ".join(shown(option) for option in options)
    near = get_close_matches(str(value).lower(), [o for o in options if isinstance(o, str)], n=1) if value else []
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"Must be one of {listed} (is {shown(value)}).{hint}"


def _pattern(facts: Facts, value: Json, unit: str) -> str:
    if "pattern" not in facts:  # the validator gave up: too much to try
        return "Cannot be checked, it is too long or too repetitive: write it shorter."
    return f"{shown(value)} does not have the form {facts['pattern']}."


WORDS: dict[str, tuple[str, Words]] = {
    "type": ("schema.type", _type),
    "enum": ("schema.choice", _enum),
    "const": ("schema.constant", lambda f, v, u: f"Must be {shown(f['expected_value'])} (is {shown(v)})."),
    "minimum": ("schema.minimum", lambda f, v, u: f"Must be at least {amount(f['limit'], u)} (is {shown(v)})."),
    "maximum": ("schema.maximum", lambda f, v, u: f"Must be at most {amount(f['limit'], u)} (is {shown(v)})."),
    "exclusiveMinimum": (
        "schema.minimum",
        lambda f, v, u: f"Must be more than {amount(f['limit'], u)} (is {shown(v)}).",
    ),
    "exclusiveMaximum": (
        "schema.maximum",
        lambda f, v, u: f"Must be less than {amount(f['limit'], u)} (is {shown(v)}).",
    ),
    "multipleOf": (
        "schema.multiple",
        lambda f, v, u: f"Must be a multiple of {amount(f['multiple_of'], u)} (is {shown(v)}).",
    ),
    "minLength": (
        "schema.length",
        lambda f, v, u: (
            "Must not be empty." if f["limit"] == 1 else f"Must have at least {plural(f['limit'], 'character')}."
        ),
    ),
    "maxLength": (
        "schema.length",
        lambda f, v, u: f"Must have at most {plural(f['limit'], 'character')} (has {len(str(v))}).",
    ),
    "pattern": ("schema.pattern", _pattern),
    "format": (
        "schema.format",
        lambda f, v, u: f"{shown(v)} is not {FORMATS.get(str(f['format']), 'of the format ' + str(f['format']))}.",
    ),
    "minItems": ("schema.items", lambda f, v, u: f"Must have at least {plural(f['limit'], 'entry')}."),
    "maxItems": ("schema.items", lambda f, v, u: f"Must have at most {plural(f['limit'], 'entry')}."),
    "uniqueItems": ("schema.unique", lambda f, v, u: "An entry is there twice: remove one of them."),
    "contains": ("schema.contains", lambda f, v, u: "None of the entries is of the sort that must be there: add one."),
    "minProperties": ("schema.items", lambda f, v, u: f"Must have at least {plural(f['limit'], 'field')}."),
    "maxProperties": ("schema.items", lambda f, v, u: f"Must have at most {plural(f['limit'], 'field')}."),
    "falseSchema": ("schema.not-allowed", lambda f, v, u: "Is not allowed here: remove it."),
    "not": ("schema.combination", lambda f, v, u: "This combination of values is not allowed: change one of them."),
}


def sentences(error: jsonschema_rs.ValidationError, *, unit: str = "", known: Sequence[str] = ()) -> Iterator[Sentence]:
    """The sentences for one error; `unit` of the value, and the `known` fields where it is an object."""
    facts, value = error.kind.as_dict(), cast(Json, error.instance)
    match error.kind.name:
        case "required":
            yield _required(error, str(facts["property"]))
        case "additionalProperties" | "unevaluatedProperties":
            for name in facts["unexpected"]:
                yield Sentence("schema.unknown-field", _unknown(name, known), (name,))
        case "propertyNames":
            inner = next(sentences(facts["error"]))
            yield Sentence("schema.key", f"The key is not allowed: {inner.text}")
        case "anyOf" | "oneOf":
            yield Sentence("schema.alternatives", _alternatives(facts.get("context") or []))
        case name if name in WORDS:
            id, words = WORDS[name]
            yield Sentence(id, words(facts, value, unit))
        case name:
            yield Sentence(f"schema.{name}", f"Is not accepted: {error.message}.")


def _required(error: jsonschema_rs.ValidationError, name: str) -> Sentence:
    path = [str(part) for part in error.schema_path]
    why = ""
    if "dependentRequired" in path or "dependentSchemas" in path:
        why = " because of another field that is set"
    elif "then" in path or "else" in path:
        why = " with these values"
    return Sentence("schema.required", f"{name} is required{why}: add it.", (name,))


def _unknown(name: str, known: Sequence[str]) -> str:
    near = get_close_matches(name.lower(), known, n=1)
    if near:
        return f"There is no field {name!r}; did you mean {near[0]!r}?"
    return f"There is no field {name!r}" + (f"; known are {', '.join(known)}." if known else ": remove it.")


def _alternatives(context: list[list[jsonschema_rs.ValidationError]]) -> str:
    texts = [next(sentences(errors[0])).text for errors in context if errors]
    joined = " Or: ".join(dict.fromkeys(texts))
    if not joined:
        return "More than one of the alternatives fits: say which one you mean."
    return f"None of the alternatives fits. {joined}"
