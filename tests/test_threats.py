"""Every threat is proven by a test that names it; docs/threats.md is the table of both."""

import ast
from pathlib import Path

from tests.threats import GROUPS, OPEN, THREATS

TESTS = Path(__file__).parent
TABLE = TESTS.parent / "docs" / "threats.md"
HEAD = """# Threats and their tests

Made by `python -m tests.test_threats` from the list in `tests/threats.py` and from the markers
`@pytest.mark.threat(...)` on the tests that prove an entry. What is trusted and why is in the
[threat model](threat-model.md).
"""


def marked():
    """(Threat, test) for each marker. Read and not run: most tests need servers."""
    for file in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            for decorator in getattr(node, "decorator_list", ()):
                if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.threat":
                    for argument in decorator.args:
                        yield ast.literal_eval(argument), f"{file.relative_to(TESTS.parent)}::{node.name}"


def table():
    tests = {}
    for id, test in marked():
        tests.setdefault(id, []).append(f"`{test}`")
    lines = [HEAD]
    for title, threats in GROUPS.items():
        lines += [f"## {title}\n", "| threat | control | tests |", "| --- | --- | --- |"]
        for id, threat in threats.items():
            proof = "<br>".join(tests.get(id, ())) or threat.later or "**not tested yet**"
            lines.append(f"| {threat.what} (`{id}`) | {threat.control or '–'} | {proof} |")
        lines.append("")
    return "\n".join(lines)


def test_every_marker_names_a_threat():
    assert sorted({(id, test) for id, test in marked() if id not in THREATS}) == []


def test_what_is_not_tested_is_known_and_only_that():
    proven = {id for id, _ in marked()}
    assert {id for id, threat in THREATS.items() if not threat.later} - proven == OPEN
    assert {id for id, threat in THREATS.items() if threat.later} & proven == set()


def test_the_table_of_the_docs_is_what_the_markers_say():
    assert TABLE.read_text() == table(), "make it anew: .venv/bin/python -m tests.test_threats"


if __name__ == "__main__":
    TABLE.write_text(table())
