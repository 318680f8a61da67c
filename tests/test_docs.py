"""What a person can set, call or add is documented."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCS = "\n".join(
    file.read_text() for file in [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")]
)

AREAS = (
    "approval|catalog|choice|declaration|document|exclusive|grows|identity|immutable|kind|limits|ownership|path|reference|schema"
    "|secrets|site|suspicious|system|team|type|yaml"
)
ID = re.compile(rf"({AREAS})\.[a-z][a-z-]*")


def ids_in_code():
    """The stable ids of problems and violations, as they stand in the code; of computed ones, their form."""
    found = set()
    for file in (ROOT / "changes").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and ID.fullmatch(node.value):
                found.add(node.value)
            elif isinstance(node, ast.JoinedStr) and isinstance(node.values[0], ast.Constant):
                beginning = node.values[0].value
                if beginning in ("immutable.", "schema."):
                    found.add(beginning + {"immutable.": "<field>", "schema.": "<keyword>"}[beginning])
                elif beginning == "path.":  # over the nouns of an address
                    found |= {"path.team", "path.system", "path.document"}
    return {id for id in found if not id.endswith(".yml")}


def test_every_error_id_is_documented_and_none_else():
    text = (ROOT / "docs" / "errors.md").read_text()
    listed = re.findall(r"^\| `([a-z.<>-]+)` \|", text, re.MULTILINE)
    assert sorted(set(listed)) == sorted(listed)
    assert sorted(ids_in_code() - set(listed)) == []
    assert sorted(set(listed) - ids_in_code()) == []


def test_every_setting_is_documented():
    settings = set(re.findall(r'"(MERGEYARD_[A-Z_]+[A-Z])"', (ROOT / "portal" / "settings.py").read_text()))
    assert len(settings) > 10
    text = (ROOT / "docs" / "settings.md").read_text()
    assert sorted(name for name in settings if f"`{name}`" not in text) == []


def test_every_system_type_and_kind_is_documented():
    names = [f.parent.name for f in ROOT.glob("playbooks/*/system.yml")]
    names += [f.stem for f in ROOT.glob("playbooks/*/kinds/*.yml")]
    assert [name for name in names if name not in DOCS] == []


def test_every_command_is_documented():
    commands = [f.stem for f in ROOT.glob("portal/management/commands/*.py") if f.stem != "__init__"]
    assert commands
    assert [name for name in commands if f"manage.py {name}" not in DOCS] == []


def test_adding_a_kind_takes_at_most_eight_steps():
    steps = re.findall(r"^(\d+)\. ", (ROOT / "docs" / "add-a-kind.md").read_text(), re.MULTILINE)
    assert 3 <= len(steps) <= 8


def test_links_between_the_documents_lead_somewhere():
    broken = []
    for file in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", file.read_text()):
            if not target.startswith("http") and not (file.parent / target).exists():
                broken.append(f"{file.name}: {target}")
    assert broken == []
