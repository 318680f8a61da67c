"""What a kind must have beyond what the product needs to load it: words, bounds, a plugin, calls, an example.

Pure: text in, sentences out. It must not know any kind by name.
"""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import yaml

from changes.documents import Json
from changes.kinds import Kind
from changes.schema import Pattern, as_dict, as_list, matches, resolve
from executors.ansible.idioms import tasks_in


@dataclass(frozen=True, slots=True)
class Place:
    """A place of a value, and one schema that speaks of it."""

    at: Pattern  # names from outside to inside; `*` is any entry of a list or a map, `propertyNames` any name in a map
    schema: dict[str, Json]
    named: bool = False  # a field, which people know by its title
    branch: bool = False  # the schema narrows what another one says of the place, or holds at times only

    def __str__(self) -> str:
        return ".".join(("spec", *self.at))


def places_of(root: dict[str, Json], node: Json = None, at: Pattern = (), *, branch: bool = False) -> Iterator[Place]:
    """Every place within a schema's value, at every depth and in every branch; `$ref` followed."""
    schema = whole(root, root if node is None else node)
    for name, inner in as_dict(schema.get("properties")).items():
        yield from _place(root, inner, Place((*at, name), {}, named=True, branch=branch))
    for key in ("items", "additionalProperties"):
        yield from _place(root, schema.get(key, False), Place((*at, "*"), {}, branch=branch))
    if isinstance(names := schema.get("propertyNames"), dict):
        yield Place((*at, "propertyNames"), {"type": "string", **whole(root, names)}, branch=branch)
    for key in ("oneOf", "anyOf"):
        for part in as_list(schema.get(key)):
            yield from _place(root, part, Place(at, {}, branch=branch or says_what(schema)))
    parts = [*as_list(schema.get("allOf")), *as_dict(schema.get("dependentSchemas")).values()]
    for part in (*parts, schema.get("then", False), schema.get("else", False)):
        yield from _place(root, part, Place(at, {}, branch=True))


def _place(root: dict[str, Json], node: Json, place: Place) -> Iterator[Place]:
    if node is not False:
        schema = whole(root, node)
        yield replace(place, schema=schema)
        yield from places_of(root, schema, place.at, branch=place.branch)


def whole(root: dict[str, Json], node: Json) -> dict[str, Json]:
    """A schema with what its `$ref` names; {} for `true`."""
    schema = as_dict(node)
    while isinstance(reference := schema.get("$ref"), str):
        schema = {**as_dict(resolve(root, reference)), **{key: schema[key] for key in schema if key != "$ref"}}
    return schema


def says_what(schema: Mapping[str, Json]) -> bool:
    return bool({"type", "enum", "const"} & {*schema})


def file_problems(kind: Kind) -> Iterator[str]:
    """What the kind's file leaves unsaid."""
    places = list(places_of(kind.spec_schema))
    always = [(), *(place.at for place in places if not place.branch)]
    for place in places:
        yield from (f"{place}: {problem}" for problem in place_problems(place, always))
    sentences = {"summary": kind.summary, "help": kind.help}
    sentences |= {f"risky.{number}": risk.message for number, risk in enumerate(kind.risky)}
    sentences |= {f"immutable.{field}": reason for field, reason in kind.immutable.items()}
    sentences |= {f"grows.{field}": reason for field, reason in kind.grows.items()}
    for where, sentence in sentences.items():
        if not sentence.strip().endswith("."):
            yield f"{where}: Say it in a sentence that ends with a full stop."
    if not any(risk.on == "delete" for risk in kind.risky):
        yield "risky: Say what is lost when it is deleted: {on: delete, message: ...}."


def place_problems(place: Place, always: Iterable[Pattern]) -> Iterator[str]:
    """`always`: the places that a schema speaks of outside of all branches."""
    if not place.branch:
        yield from word_problems(place.schema) if place.named else ()
        yield from bound_problems(place.schema)
    elif not any(matches(other, place.at) or matches(place.at, other) for other in always):
        yield (
            "It stands in a branch (as then, else, allOf) only, so a document that has it is refused: name it "
            "among the properties outside of the branch too, with its title and its bounds."
        )
    pattern = place.schema.get("pattern")
    if isinstance(pattern, str) and not (pattern.startswith("^") and pattern.endswith("$")):
        yield "The pattern must begin with ^ and end with $; else it holds for a part of the text only."


def word_problems(field: Mapping[str, Json]) -> Iterator[str]:
    if not field.get("title"):
        yield "Give it a title; it is the field's name in the form."
    if not str(field.get("description", "")).strip().endswith("."):
        yield "Give it a description, a sentence that ends with a full stop; it stands under the field."
    if field.get("type") == "string" and not {"default", "examples"} & {*field}:
        yield "A text needs a default or examples, so that a person sees what is meant."


def bound_problems(schema: Mapping[str, Json]) -> Iterator[str]:
    """What would let anything through, or any number of it."""
    if {"enum", "const"} & {*schema}:
        return
    said = schema.get("type")
    types = {*said} if isinstance(said, list) else {said}
    if not says_what(schema) and not {"oneOf", "anyOf"} & {*schema}:
        yield "Say its type; without one anything fits."
    if {"integer", "number"} & types and not {"minimum", "maximum"} <= {*schema}:
        yield "A number needs minimum and maximum."
    if "string" in types and "pattern" not in schema:
        yield "A text needs a pattern or an enum, so that only what the system understands gets there."
    if "array" in types:
        yield from list_problems(schema)
    if "object" in types:
        yield from object_problems(schema)


def list_problems(schema: Mapping[str, Json]) -> Iterator[str]:
    items = schema.get("items")
    if not isinstance(items, dict):
        yield "A list needs items, the schema of its entries; without it they may be anything."
    elif "maxItems" not in schema and not (schema.get("uniqueItems") and "enum" in items):
        yield "A list needs maxItems."


def object_problems(schema: Mapping[str, Json]) -> Iterator[str]:
    more = schema.get("additionalProperties", True)
    if more is True:
        yield "An object needs additionalProperties: false or, as a map, its values' schema; else it takes anything."
    if isinstance(more, dict) and "propertyNames" not in schema:
        yield "A map needs propertyNames with a pattern or an enum; without it a name in it may be any text."
    if isinstance(more, dict) and "maxProperties" not in schema:
        yield "A map needs maxProperties."


def apply_problems(kind: str, text: str) -> Iterator[str]:
    if re.search(r"\{\{[^}]*(\.resources\b|\[['\"]resources['\"]\])", text):
        yield "A task's result holds no resources in a worker: name fields in TOLD and read made or gone of the result."
    for state in ("replaced", "deleted"):
        if f"mergeyard.kinds.{kind}.{state}" not in text:
            yield f"{kind} is never {state}: call its module with mergeyard.kinds.{kind}.{state}."


def discover_problems(kind: str, module: str, text: str) -> Iterator[str]:
    gathered = (task.get(module) for task in tasks_in(text))
    if not any(isinstance(call, dict) and call.get("state") == "gathered" for call in gathered):
        yield f"{kind} is never listed: call {module} with state: gathered."


def plugin_of(kind: Kind, plugins: Mapping[str, str]) -> tuple[str, list[str]]:
    """The name of the action plugin (name -> text) that says it is the kind's, and what is wrong with it."""
    said = {name: constants_of(text) for name, text in plugins.items()}
    found = [name for name, constants in said.items() if constants.get("KIND") == kind.name]
    if len(found) != 1:
        return "", [f"{len(found)} action plugins say KIND = {kind.name!r}, and one must."]
    identity = said[found[0]].get("IDENTITY", ("name",))
    if identity != kind.identity:
        return found[0], [f"IDENTITY of plugins/action/{found[0]}.py is {identity!r}, the kind's is {kind.identity!r}."]
    return found[0], []


DOCUMENTED = ("DOCUMENTATION", "EXAMPLES", "RETURN")
OPTIONS_OF_ALL = {"config", "state", "system"}  # those of the fragment `mergeyard`


def documentation_problems(module: str, text: str, books: Iterable[str]) -> Iterator[str]:
    """What the text of a module leaves unsaid to ansible-doc, or says of another one. `books` call it."""
    try:
        said = {name: yaml.safe_load(value) for name, value in texts_of(text).items() if name in DOCUMENTED}
    except yaml.YAMLError as error:
        yield f"Its documentation is no YAML: {' '.join(str(error).split())}."
        return
    if missing := [name for name in DOCUMENTED if not said.get(name)]:
        yield f"It has no {' and no '.join(missing)}; ansible-doc shows these."
        return
    documentation, examples = as_dict(said["DOCUMENTATION"]), said["EXAMPLES"]
    if documentation.get("module") != module:
        yield f"Its DOCUMENTATION is of {documentation.get('module')!r}, the module is {module!r}."
    if not any(isinstance(task, dict) and module in task for task in (examples if isinstance(examples, list) else [])):
        yield f"None of its EXAMPLES calls {module}."
    options = {*as_dict(documentation.get("options", {}))}
    if "mergeyard" in str(documentation.get("extends_documentation_fragment")):
        options |= OPTIONS_OF_ALL
    tasks = [task for book in books for task in tasks_in(book)]
    used = {name for task in tasks for name in as_dict(task.get(module, {}))}
    if unsaid := sorted(used - options):
        yield f"Its DOCUMENTATION does not say what {' and '.join(unsaid)} is, which a playbook gives it."


def texts_of(module: str) -> dict[str, str]:
    """The texts that a module assigns to names."""
    return {
        target.id: node.value.value
        for node in ast.parse(module).body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def constants_of(text: str) -> dict[str, object]:
    """The literals that classes of a module assign to names; {} for what is no Python."""
    try:
        classes = [node for node in ast.parse(text).body if isinstance(node, ast.ClassDef)]
    except SyntaxError:
        return {}
    found: dict[str, object] = {}
    for node in (statement for each in classes for statement in each.body if isinstance(statement, ast.Assign)):
        try:
            found |= {
                target.id: ast.literal_eval(node.value) for target in node.targets if isinstance(target, ast.Name)
            }
        except ValueError:
            continue
    return found


def example_problems(kind: str, text: str) -> Iterator[str]:
    """Whether a test bed's EXAMPLES, written out as a mapping, have the kind."""
    for node in ast.walk(ast.parse(text)):
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        named = any(isinstance(target, ast.Name) and target.id == "EXAMPLES" for target in targets)
        if named and isinstance(value := getattr(node, "value", None), ast.Dict):
            if kind not in [key.value for key in value.keys if isinstance(key, ast.Constant)]:
                yield f"EXAMPLES has none of {kind}, so nothing of it would be proven."
            return
