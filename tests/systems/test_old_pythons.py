"""What is sent to hosts runs with their own Python, 3.9 or newer; the one that tests run with takes more than that."""

import ast
import re

import pytest

from tests.systems.catalogue import PLAYBOOKS

IMPORT = re.compile(r"^from ansible\.module_utils\.([a-z0-9_.]+) import", re.MULTILINE)
NEWER_WORDS = {"zip": {"strict"}, "map": {"strict"}, "dataclass": {"slots", "kw_only", "match_args", "weakref_slot"}}
NEWER_NAMES = {"UTC", "StrEnum", "pairwise", "batched", "bit_count", "file_digest", "tomllib", "add_note", "TaskGroup"}
NEWER_NAMES |= {"ExceptionGroup", "BaseExceptionGroup", "Self", "TypeAlias", "TypeGuard", "ParamSpec", "Concatenate"}
NEWER_NAMES |= {"LiteralString", "NotRequired", "Never", "assert_never", "override", "aiter", "anext"}
TYPES = {"str", "int", "float", "bool", "bytes", "list", "dict", "set", "tuple", "type", "object", "Any", "None"}


def files_sent():
    """Every module of a kind, and what it takes along from its type or from all types; file -> text."""
    found = {}
    for folder in sorted(PLAYBOOKS.iterdir()):
        open_ones = sorted(folder.glob("plugins/modules/*.py"))
        while open_ones:
            file = open_ones.pop()
            if file in found:
                continue
            found[file] = file.read_text()
            for name in IMPORT.findall(found[file]):
                places = [root / "plugins/module_utils" / name.replace(".", "/") for root in (folder, PLAYBOOKS)]
                open_ones += [one for place in places if (one := place.with_suffix(".py")).exists()]
    return found


def newer(text):
    """What Python 3.9 does not take, with its line."""
    try:
        tree = ast.parse(text, feature_version=(3, 9))
    except SyntaxError as error:
        return [f"line {error.lineno}: {error.msg}"]
    later = "annotations" in {name.name for node in tree.body if future(node) for name in node.names}
    never_run = {id(inner) for node in ast.walk(tree) for inner in annotations(node)} if later else set()
    return [
        f"line {getattr(node, 'lineno', 0)}: {ast.unparse(node)}"
        for node in ast.walk(tree)
        if is_newer(node) and id(node) not in never_run
    ]


def future(node):
    return isinstance(node, ast.ImportFrom) and node.module == "__future__"


def annotations(node):
    for name in ("annotation", "returns"):
        if found := getattr(node, name, None):
            yield from ast.walk(found)


def is_newer(node):
    if isinstance(node, ast.Call):
        words = {word.arg for word in node.keywords}
        return bool(words & NEWER_WORDS.get(name_of(node.func), set()))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return bool({name_of(side) for side in (node.left, node.right)} & TYPES)
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return bool({name.name for name in node.names} & NEWER_NAMES)
    return isinstance(node, (ast.Name, ast.Attribute)) and name_of(node) in NEWER_NAMES


def name_of(node):
    """The last part of a name; of what is subscripted, like a type; None's own."""
    if isinstance(node, ast.Subscript):
        return name_of(node.value)
    if isinstance(node, ast.Constant):
        return str(node.value) if node.value is None else ""
    return getattr(node, "attr", getattr(node, "id", ""))


def test_what_runs_on_a_host_needs_no_newer_python_than_the_oldest_that_is_promised():
    sent = files_sent()
    assert {"remote.py", "checked_files.py", "nft_rules.py", "cron_files.py"} <= {file.name for file in sent}
    found = {str(file.relative_to(PLAYBOOKS)): newer(text) for file, text in sent.items()}
    assert {file: problems for file, problems in found.items() if problems} == {}


FUTURE = "from __future__ import annotations\n"


@pytest.mark.parametrize(
    "text",
    [
        "zip(a, b, strict=True)",
        "zip(a, b, strict=False)",
        "@dataclass(frozen=True, slots=True)\nclass A: ...",
        "@dataclasses.dataclass(kw_only=True)\nclass A: ...",
        "match a:\n    case 1: ...",
        "try: ...\nexcept* ValueError: ...",
        "def f(a: str | None): ...",
        "def f() -> list[str] | A: ...",
        "a: A | None = None",
        f"{FUTURE}isinstance(a, int | str)",
        f"{FUTURE}A = dict[str, int] | None",
        f"{FUTURE}datetime.UTC",
        f"{FUTURE}from enum import StrEnum",
        "import tomllib",
        "itertools.pairwise(a)",
    ],
)
def test_newer_words_are_found(text):
    assert newer(text) != []


def test_what_is_as_old_is_taken():
    assert (
        newer(f"{FUTURE}def f(a: str | None) -> int | None:\n    b: A | None = {{**a}} | {{}}\n    zip(a, b)\n") == []
    )
