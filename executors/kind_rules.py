"""What a kind must have beyond what the product needs to load it: words, bounds, a plugin, calls, an example.

Pure: text in, sentences out. It must not know any kind by name.
"""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping

import yaml

from changes.documents import Json
from changes.kinds import Kind
from changes.schema import as_dict
from executors.ansible.idioms import tasks_in


def fields_of(schema: Mapping[str, Json], place: str = "spec") -> Iterator[tuple[str, dict[str, Json]]]:
    """Every field of a schema, at every depth, with where it stands."""
    for name, inner in as_dict(schema.get("properties", {})).items():
        if isinstance(inner, dict):
            yield f"{place}.{name}", inner
            yield from fields_of(inner, f"{place}.{name}")
    for key in ("items", "additionalProperties"):
        inner = schema.get(key)
        if isinstance(inner, dict):
            yield from fields_of(inner, f"{place}.*")


def file_problems(kind: Kind) -> Iterator[str]:
    """What the kind's file leaves unsaid."""
    for place, field in fields_of(kind.spec_schema):
        yield from (f"{place}: {problem}" for problem in field_problems(field))
    sentences = {"summary": kind.summary, "help": kind.help}
    sentences |= {f"risky.{number}": risk.message for number, risk in enumerate(kind.risky)}
    sentences |= {f"immutable.{field}": reason for field, reason in kind.immutable.items()}
    sentences |= {f"grows.{field}": reason for field, reason in kind.grows.items()}
    for place, sentence in sentences.items():
        if not sentence.strip().endswith("."):
            yield f"{place}: Say it in a sentence that ends with a full stop."
    if not any(risk.on == "delete" for risk in kind.risky):
        yield "risky: Say what is lost when it is deleted: {on: delete, message: ...}."


def field_problems(field: Mapping[str, Json]) -> Iterator[str]:
    if not field.get("title"):
        yield "Give it a title; it is the field's name in the form."
    if not str(field.get("description", "")).strip().endswith("."):
        yield "Give it a description, a sentence that ends with a full stop; it stands under the field."
    kind, pattern = field.get("type"), field.get("pattern")
    if kind in ("integer", "number") and not {"minimum", "maximum"} <= {*field}:
        yield "A number needs minimum and maximum."
    if kind == "string" and not {"pattern", "enum"} & {*field}:
        yield "A text needs a pattern or an enum, so that only what the system understands gets there."
    if kind == "string" and not {"default", "examples"} & {*field}:
        yield "A text needs a default or examples, so that a person sees what is meant."
    if isinstance(pattern, str) and not (pattern.startswith("^") and pattern.endswith("$")):
        yield "The pattern must begin with ^ and end with $; else it holds for a part of the text only."


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
