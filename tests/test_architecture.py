"""The rules of the structure that no linter knows."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = [
    ROOT / name
    for name in subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()
    if (ROOT / name).exists()
]  # fmt: skip
PRODUCT = [file for file in FILES if file.relative_to(ROOT).parts[0] in ("changes", "executors", "portal", "manage.py")]
CODE = [file for file in FILES if "migrations" not in file.parts and file.relative_to(ROOT).parts[0] != "tests"]
VAGUE = {"utils", "util", "helpers", "helper", "common", "services", "service", "managers", "manager", "misc", "base"}


def named(file: Path) -> str:
    return str(file.relative_to(ROOT))


def catalogue_names() -> list[str]:
    kinds = [file.stem for file in ROOT.glob("playbooks/*/kinds/*.yml")]
    types = [file.parent.name for file in ROOT.glob("playbooks/*/system.yml")]
    assert len(kinds) >= 4
    assert len(types) >= 3
    return kinds + types


COMMON_WORDS = {"bind"}  # of sockets and sandboxes; as a system type it stands in quotes or in a path


def test_no_python_of_the_product_names_a_kind_or_a_system_type():
    names = {*catalogue_names()} - COMMON_WORDS
    whole, quoted = ("|".join(map(re.escape, sorted(each))) for each in (names, COMMON_WORDS))
    pattern = re.compile(rf"\b({whole})\b|(?<=[\"'/])({quoted})(?=[\"'/])", re.IGNORECASE)
    found = [
        f"{named(file)}:{number}: {line.strip()}"
        for file in PRODUCT
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if pattern.search(line)
    ]
    assert found == []


def test_no_module_is_longer_than_400_lines():
    assert {named(f): n for f in CODE if (n := len(f.read_text().splitlines())) > 400} == {}


def test_no_function_is_longer_than_50_lines():
    long = [
        f"{named(file)}:{node.lineno} {node.name}: {node.end_lineno - node.lineno + 1}"
        for file in CODE
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno - node.lineno + 1 > 50
    ]
    assert long == []


def test_every_module_says_what_it_owns():
    silent = [
        named(file)
        for file in CODE
        if file.name != "__init__.py"
        and file.read_text().strip()
        and not ast.get_docstring(ast.parse(file.read_text()))
    ]
    assert silent == []


def test_no_module_has_a_name_that_says_nothing():
    assert [named(file) for file in CODE if file.stem in VAGUE] == []


@pytest.mark.threat("web.xss")
@pytest.mark.parametrize("name", ["mark_safe", "|safe", "autoescape off"])
def test_nothing_is_marked_as_safe_html(name):
    templates = list((ROOT / "templates").rglob("*.html"))
    assert templates
    assert [named(file) for file in [*PRODUCT, *templates] if name in file.read_text()] == []


SINKS = re.compile(
    r"""innerHTML|outerHTML|insertAdjacentHTML|HTMLUnsafe|setHTML|createContextualFragment|DOMParser|srcdoc|document\.write
    |\beval\b|\bFunction\(|\bimport\(|javascript:|set(Timeout|Interval)\(\s*["'`]
    |setAttribute\(\s*["'`](on|style)|\.on[a-z]+\s*=[^=>]|["'`]<[a-z/!]""",
    re.VERBOSE,
)
ANSWER = 'new DOMParser().parseFromString(await answer.text(), "text/html")'  # of ours, so it is escaped
FORBIDDEN = (  # so that a pattern which finds nothing is noticed
    "a.innerHTML = text", "a.outerHTML = text", 'a.insertAdjacentHTML("beforeend", text)', "document.write(text)",
    "eval(text)", "new Function(text)", "setTimeout('text', 1)", "setInterval(`${text}`, 1)", "a.onclick = text",
    'a.setAttribute("onclick", text)', 'new DOMParser().parseFromString(text, "text/html")', "a.srcdoc = text",
    "render = `<b>${text}</b>`",
)  # fmt: skip


@pytest.mark.threat("web.xss")
def test_no_script_of_ours_makes_markup_or_code_of_a_text():
    scripts = sorted((ROOT / "portal" / "static" / "mergeyard").rglob("*.js"))
    assert len(scripts) >= 3
    assert [one for one in FORBIDDEN if not SINKS.search(one.replace(ANSWER, ""))] == []
    found = [
        f"{named(file)}:{number}: {line.strip()}"
        for file in scripts
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if SINKS.search(line.replace(ANSWER, ""))
    ]
    assert found == []


@pytest.mark.parametrize("name", ["python", "templates"])
def test_every_rule_of_what_is_forbidden_has_an_example_that_it_must_find(name):
    """`bin/test lint` runs them; without one, a rule that finds nothing would not be noticed."""
    folder = ROOT / "tests" / "semgrep"
    rules = re.findall(r"^  - id: (\S+)$", (folder / f"{name}.yml").read_text(), re.MULTILINE)
    examples = next(folder.glob(f"{name}.[!y]*")).read_text()
    assert len(rules) > 5
    assert set(rules) == set(re.findall(r"(?:#|<!--) ruleid: (\S+)", examples))
