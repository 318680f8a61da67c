"""A JSON Schema (2020-12) as the catalogue uses it: checks, defaults, references.

Owns the subset of keywords and our `x-` extensions, and what a broken rule is called in a sentence. Compiled once and
kept. Knows no file, no kind, no Django.
"""

from collections.abc import Iterator, Mapping
from typing import TypeAlias

import jsonschema_rs

from changes.reading import Json, Problem, join
from changes.wording import sentences, shown

Pattern: TypeAlias = tuple[str, ...]  # property names; "*" for any item of a list or any key of a map
Found: TypeAlias = tuple[str, Json]  # dotted field, value

SUBSCHEMAS = ("if", "then", "else", "not")
SUBSCHEMA_LISTS = ("allOf", "anyOf", "oneOf")


class Schema:
    """One compiled schema. `name` is the dotted field its value stands under (`spec`, `connection`)."""

    def __init__(self, data: dict[str, Json], name: str) -> None:
        self.data, self.name = data, name
        self._validator = jsonschema_rs.Draft202012Validator(data, validate_formats=True, offline=True)
        self._places = tuple(places(data, data))
        self._conditions = dict(self._compiled_conditions())
        self.may_default = frozenset(at[0] for at, node in self._places if len(at) == 1 and "default" in node)
        self._units = {pattern: str(node["x-unit"]) for pattern, node in self._places if "x-unit" in node}
        self._multiline = {pattern for pattern, node in self._places if node.get("x-multiline") is True}

    def problems(self, value: Json, *, file: str, lines: Mapping[str, int]) -> tuple[Problem, ...]:
        """Everything wrong with a value, in the order of the file's lines."""
        found: list[Problem] = []
        for error in self._validator.iter_errors(value):
            path = error.instance_path
            for sentence in sentences(error, unit=self._unit(path), known=self._known(path)):
                field = dotted(self.name, [*path, *sentence.below])
                text = sentence.text + (self._like(path) if sentence.id == "schema.pattern" else "")
                found.append(Problem(sentence.id, text, file, line_of(field, lines), field))
        for field, _ in self._strings(value, (), self.name):
            message = "Must be one line: remove the line break."
            found.append(Problem("schema.one-line", message, file, line_of(field, lines), field))
        return tuple(sorted(dict.fromkeys(found), key=lambda problem: problem.line or 0))

    def with_defaults(self, value: dict[str, Json]) -> dict[str, Json]:
        """A copy with every default applied, deeply; an absent object without a default stays absent."""
        result = self._fill(self.data, value, branch=False)
        assert isinstance(result, dict)
        return result

    def marked(self, keyword: str) -> tuple[tuple[Pattern, Json], ...]:
        """The places whose schema carries an extension keyword, with its value."""
        return tuple((pattern, node[keyword]) for pattern, node in self._places if keyword in node)

    def _unit(self, path: list[str | int]) -> str:
        return next((unit for pattern, unit in self._units.items() if matches(pattern, path)), "")

    def _like(self, path: list[str | int]) -> str:
        """Good values beside a pattern, which few people read."""
        nodes = [node for pattern, node in self._places if matches(pattern, path)]
        examples = [value for node in nodes for value in as_list(node.get("examples"))[:2]]
        return f" Write it like {' or '.join(dict.fromkeys(map(shown, examples)))}." if examples else ""

    def _known(self, path: list[str | int]) -> list[str]:
        nodes = [node for pattern, node in self._places if matches(pattern, path)]
        return list(dict.fromkeys(name for node in nodes for name in as_dict(node.get("properties"))))

    def _strings(self, value: Json, path: Pattern, field: str) -> Iterator[tuple[str, str]]:
        """Texts of more than one line where the schema does not say `x-multiline`."""
        if isinstance(value, str):
            if "\n" in value and not any(matches(pattern, path) for pattern in self._multiline):
                yield field, value
        elif isinstance(value, list):
            for index, item in enumerate(value):
                yield from self._strings(item, (*path, str(index)), join(field, index))
        elif isinstance(value, dict):
            for key, item in value.items():
                yield from self._strings(item, (*path, key), join(field, key))

    def _compiled_conditions(self) -> Iterator[tuple[int, jsonschema_rs.Validator]]:
        compiled = jsonschema_rs.validator_map_for(self.data, offline=True)
        for pointer, node in pointers(self.data, "#"):
            if "if" in node:
                validator = compiled.get(f"{pointer}/if")
                assert validator is not None
                yield id(node), validator

    def _fill(self, schema: Json, value: Json, *, branch: bool) -> Json:
        if not isinstance(schema, dict):
            return value
        if isinstance(reference := schema.get("$ref"), str):
            value = self._fill(resolve(self.data, reference), value, branch=branch)
        if isinstance(value, list):
            return [self._fill(schema.get("items"), item, branch=False) for item in value]
        if not isinstance(value, dict):
            return value
        result = self._filled_properties(schema, value, branch=branch)
        for part in as_list(schema.get("allOf")):
            result = self._fill(part, result, branch=True)
        if "if" in schema:
            chosen = "then" if self._conditions[id(schema)].is_valid(result) else "else"
            result = self._fill(schema.get(chosen), result, branch=True)
        return result

    def _filled_properties(self, schema: dict[str, Json], value: dict[str, Json], *, branch: bool) -> Json:
        """Fields in the schema's order, then the rest; a branch of the schema only adds at the end."""
        properties = as_dict(schema.get("properties"))
        result: dict[str, Json] = dict(value) if branch else {}
        for name, part in properties.items():
            if name in value:
                result[name] = self._fill(part, value[name], branch=branch)
            elif (default := self._default(part)) is not None:
                result[name] = self._fill(part, default, branch=False)
        other = schema.get("additionalProperties")
        for name, item in value.items():
            if name not in properties:
                result[name] = self._fill(other, item, branch=False) if isinstance(other, dict) else item
        return result

    def _default(self, schema: Json) -> Json:
        while isinstance(schema, dict):
            if "default" in schema:
                return schema["default"]
            schema = resolve(self.data, str(schema["$ref"])) if "$ref" in schema else None
        return None


def as_dict(value: Json) -> dict[str, Json]:
    return value if isinstance(value, dict) else {}


def as_list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


def resolve(data: dict[str, Json], reference: str) -> Json:
    """The part of a schema that a local `$ref` names. Raises KeyError when there is none."""
    node: Json = data
    for part in reference.removeprefix("#").strip("/").split("/") if reference != "#" else ():
        if not isinstance(node, dict):
            raise KeyError(reference)
        node = node[part.replace("~1", "/").replace("~0", "~")]
    return node


def places(data: dict[str, Json], node: Json, path: Pattern = ()) -> Iterator[tuple[Pattern, dict[str, Json]]]:
    """Every place of a value that the schema speaks of, with each subschema that does; `$ref` followed."""
    if not isinstance(node, dict):
        return
    yield path, node
    if isinstance(reference := node.get("$ref"), str):
        yield from places(data, resolve(data, reference), path)
    for name, part in as_dict(node.get("properties")).items():
        yield from places(data, part, (*path, name))
    for keyword in ("items", "additionalProperties"):
        yield from places(data, node.get(keyword), (*path, "*"))
    for keyword in SUBSCHEMAS:
        yield from places(data, node.get(keyword), path)
    for part in as_dict(node.get("dependentSchemas")).values():
        yield from places(data, part, path)
    for keyword in SUBSCHEMA_LISTS:
        for part in as_list(node.get(keyword)):
            yield from places(data, part, path)


def pointers(node: Json, pointer: str) -> Iterator[tuple[str, dict[str, Json]]]:
    """Every object in the schema's own text with its JSON pointer, subschema or not."""
    if isinstance(node, dict):
        yield pointer, node
        for key, part in node.items():
            yield from pointers(part, f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}")
    elif isinstance(node, list):
        for index, part in enumerate(node):
            yield from pointers(part, f"{pointer}/{index}")


def matches(pattern: Pattern, path: list[str | int] | Pattern) -> bool:
    return len(pattern) == len(path) and all(p in ("*", str(q)) for p, q in zip(pattern, path, strict=True))


def values_at(value: Json, pattern: Pattern, field: str) -> Iterator[Found]:
    """The values that stand at a pattern, with their dotted fields."""
    if not pattern:
        yield field, value
        return
    head, rest = pattern[0], pattern[1:]
    if isinstance(value, dict):
        for key in [key for key in value if head in ("*", key)]:
            yield from values_at(value[key], rest, join(field, key))
    elif isinstance(value, list) and head == "*":
        for index, item in enumerate(value):
            yield from values_at(item, rest, join(field, index))


def dotted(name: str, path: list[str | int]) -> str:
    return ".".join([name, *map(str, path)])


def line_of(field: str, lines: Mapping[str, int]) -> int | None:
    """The line of a field, or of the nearest field around it."""
    while field and field not in lines:
        field = field.rpartition(".")[0]
    return lines.get(field)
