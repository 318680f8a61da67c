"""A new system type's folder passes as it is made, and whatever an author breaks in it is named with its file."""

import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from django.core.management import CommandError, call_command

from changes.catalog import load
from changes.schema_rules import schema_problems
from executors import authoring, kind_rules
from executors.ansible import lint
from executors.ansible.sandbox import SHARED

SKELETON = SHARED / "skeleton"


@pytest.fixture
def made(tmp_path):
    authoring.new_type(SKELETON, tmp_path, "shop", "ShopShelf")
    return tmp_path / "shop"


@pytest.fixture(scope="module")
def thing():
    return load([SKELETON.parent]).kinds["SkeletonThing"]


def problems_after(made, file, old, new):
    """What is said when an author has put something else for a text of a file."""
    path = made / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    return list(authoring.problems([made.parent]))


def test_a_new_type_has_every_part_and_nothing_wrong(made):
    assert list(authoring.problems([made.parent])) == []
    files = {path.relative_to(made).as_posix() for path in made.rglob("*") if path.is_file()}
    assert {"system.yml", "apply.yml", "discover.yml", "testbed.py", "kinds/ShopShelf.yml"} < files
    assert "skeleton" not in "".join((made / name).read_text() for name in files).lower()


@pytest.mark.parametrize(
    ("type_name", "kind", "told"),
    [
        ("../shop", "Shelf", "'../shop' cannot be the name of a system type"),
        ("Shop", "Shelf", "'Shop' cannot be the name of a system type"),
        ("shop", "shelf", "'shelf' cannot be the name of a kind"),
        ("shop", "", "'' cannot be the name of a kind"),
    ],
)
def test_names_that_the_catalogue_would_refuse_make_nothing(tmp_path, type_name, kind, told):
    with pytest.raises(authoring.Refused, match=told.replace(".", r"\.")):
        authoring.new_type(SKELETON, tmp_path, type_name, kind)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_not_touched(made):
    before = (made / "apply.yml").read_text()
    with pytest.raises(authoring.Refused, match="is there already"):
        authoring.new_type(SKELETON, made.parent, "shop", "ShopTill")
    assert (made / "apply.yml").read_text() == before


@pytest.mark.parametrize(
    ("file", "old", "new", "told"),
    [
        ("kinds/ShopShelf.yml", "minimum: 1", "minimum: one", "kinds/ShopShelf.yml"),
        ("kinds/ShopShelf.yml", "size: 20", "size: 5000", "at most 1000"),
        ("system.yml", "[ShopShelf]", "[ShopShelf, ShopTill]", "There is no file kinds/ShopTill.yml"),
        ("apply.yml", "gather_facts: false", "gather_facts: true", "gather_facts is not false"),
        ("apply.yml", "state: replaced", "state: \"{{ lookup('pipe', 'x') }}\"", "a lookup other than"),
        ("plugins/modules/shop_shelf.py", "json.loads(", "eval(", "eval()"),
    ],
)
def test_what_an_author_breaks_is_named_with_its_file(made, file, old, new, told):
    found = problems_after(made, file, old, new)
    assert any(told in problem and file in problem for problem in found), found


@pytest.mark.parametrize(
    ("file", "old", "new", "told"),
    [
        ("kinds/ShopShelf.yml", "      minimum: 1\n", "", "spec.size: A number needs minimum and maximum."),
        ("plugins/action/shop_shelf.py", "class ActionModule", "class (", "line 16: invalid syntax."),
        ("testbed.py", "EXAMPLES = {", "EXAMPLES = {{", "line "),
        ("apply.yml", "  tasks:", " tasks:", "line "),
        ("plugins/action/shop_shelf.py", '"ShopShelf"', '"ShopShlf"', "0 action plugins say KIND = 'ShopShelf'"),
        ("plugins/action/shop_shelf.py", '("name",)', '("id",)', "IDENTITY of plugins/action/shop_shelf.py is ('id',)"),
        ("apply.yml", "ShopShelf.deleted }}", "ShopShelf.replaced }}", "ShopShelf is never deleted"),
        (
            "apply.yml",
            "state: replaced",
            'state: replaced\n        old: "{{ x.resources | default([]) }}"',
            "made or gone",
        ),
        ("discover.yml", "state: gathered", "state: replaced", "ShopShelf is never listed"),
        ("plugins/modules/shop_shelf.py", "\nRETURN = ", "\nRESULT = ", "modules/shop_shelf.py: It has no RETURN;"),
        (
            "plugins/modules/shop_shelf.py",
            "module: shop_shelf",
            "module: shop_till",
            "is of 'shop_till', the module is",
        ),
        (
            "plugins/modules/shop_shelf.py",
            'EXAMPLES = r"""',
            'EXAMPLES = "- x: 1"\nX = r"""',
            "None of its EXAMPLES calls",
        ),
        ("plugins/modules/shop_shelf.py", "description:", "description: [", "Its documentation is no YAML"),
        (
            "apply.yml",
            "        state: replaced",
            "        rows: []\n        state: replaced",
            "does not say what rows is",
        ),
        ("testbed.py", '"ShopShelf": Example', '"ShopTill": Example', "EXAMPLES has none of ShopShelf"),
    ],
)
def test_what_could_not_work_is_named_before_it_is_tried(made, file, old, new, told):
    found = problems_after(made, file, old, new)
    assert any(told in problem for problem in found), found


@pytest.mark.threat("worker.idioms")
def test_what_ansible_would_take_in_unseen_is_named(made):
    folders = [made / name for name in ("filter_plugins", "group_vars", "host_vars", "library", "roles")]
    for folder in folders:
        folder.mkdir()
    assert list(authoring.problems([made.parent])) == [f"{folder}: {authoring.UNSEEN}" for folder in folders]


def test_a_kind_without_words_for_people_is_told_field_by_field(made):
    file = made / "kinds" / "ShopShelf.yml"
    kind = yaml.safe_load(file.read_text())
    for field in kind["spec"]["properties"].values():
        field.pop("title", None)
        field.pop("description", None)
    kind |= {"summary": "A shelf", "risky": [], "immutable": {"colour": "No"}}
    file.write_text(yaml.safe_dump(kind))
    found = [problem.partition(".yml: ")[2] for problem in authoring.problems([made.parent])]
    assert "spec.size: Give it a title; it is the field's name in the form." in found
    assert any(problem.startswith("spec.labels: Give it a description") for problem in found)
    assert "summary: Say it in a sentence that ends with a full stop." in found
    assert "immutable.colour: Say it in a sentence that ends with a full stop." in found
    assert any(problem.startswith("risky: Say what is lost") for problem in found)


PATTERN = "A text needs a pattern or an enum"
LIST = {"type": "array", "maxItems": 3}
MAP = {"type": "object", "maxProperties": 3}
KEYS = {"pattern": "^[a-z]{1,9}$"}
INNER = {"type": "object", "additionalProperties": False}
CODE = {"type": "string", "pattern": "^[a-z]{1,9}$"}


@pytest.mark.parametrize(
    ("field", "told"),
    [
        ({**LIST, "items": {"type": "string"}}, {"spec.new.*": PATTERN}),
        ({**LIST, "items": {"type": "integer"}}, {"spec.new.*": "A number needs minimum and maximum"}),
        ({**LIST, "items": {"$ref": "#/$defs/free"}}, {"spec.new.*": PATTERN}),
        ({"type": "array", "items": CODE}, {"spec.new": "A list needs maxItems"}),
        (LIST, {"spec.new": "A list needs items"}),
        ({**MAP, "propertyNames": KEYS, "additionalProperties": {"type": "string"}}, {"spec.new.*": PATTERN}),
        ({**MAP, "additionalProperties": CODE}, {"spec.new": "A map needs propertyNames"}),
        (
            {**MAP, "propertyNames": {"maxLength": 9}, "additionalProperties": CODE},
            {"spec.new.propertyNames": PATTERN},
        ),
        ({"type": "object", "propertyNames": KEYS, "additionalProperties": CODE}, {"spec.new": "A map needs maxProp"}),
        ({"type": "object"}, {"spec.new": "An object needs additionalProperties: false"}),
        ({"$ref": "#/$defs/free", "examples": ["a"]}, {"spec.new": PATTERN}),
        ({"type": ["string", "null"]}, {"spec.new": PATTERN}),
        ({}, {"spec.new": "Say its type"}),
        ({"oneOf": [CODE, {"type": "integer"}]}, {"spec.new": "A number needs minimum and maximum"}),
        ({**INNER, "if": {}, "then": {"properties": {"a": CODE}}}, {"spec.new.a": "It stands in a branch"}),
        ({**INNER, "if": {}, "else": {"properties": {"a": CODE}}}, {"spec.new.a": "It stands in a branch"}),
        ({**INNER, "allOf": [{"anyOf": [{"properties": {"a": CODE}}]}]}, {"spec.new.a": "It stands in a branch"}),
        (
            {**LIST, "items": CODE, "if": {}, "then": {"items": {"pattern": "^a"}}},
            {"spec.new.*": "The pattern must begin"},
        ),
        ({**LIST, "items": {"enum": ["a", "b"]}}, {}),
        ({"type": "array", "uniqueItems": True, "items": {"enum": ["a", "b"]}}, {}),
        ({"oneOf": [{"const": "a"}, {"const": "b"}]}, {}),
        ({**MAP, "propertyNames": KEYS, "additionalProperties": CODE, "allOf": [{"properties": {"a": {}}}]}, {}),
        ({**LIST, "items": CODE, "if": {}, "then": {"items": {"pattern": "^a{1,9}$"}}}, {}),
    ],
)
def test_whatever_would_take_anything_is_named_wherever_it_stands(thing, field, told):
    properties = {"new": {"title": "New", "description": "New.", **field}}
    schema = {**INNER, "$defs": {"free": {"type": "string"}}, "properties": properties}
    assert schema_problems(schema) == []
    found = dict(problem.split(": ", 1) for problem in kind_rules.file_problems(replace(thing, spec_schema=schema)))
    assert {*found} == {*told}
    assert all(found[place].startswith(sentence) for place, sentence in told.items()), found


def test_a_folder_without_types_is_no_catalogue(made):
    [problem] = authoring.problems([made])
    assert "name the folder that holds the folders of system types" in problem


def test_what_the_catalogue_has_already_is_refused(made, tmp_path):
    other = tmp_path / "other"
    for names in (("shop", "ShopTill"), ("till", "ShopShelf")):
        with pytest.raises(authoring.Refused, match="take other names"):
            authoring.new_type(SKELETON, other, *names, beside=[made.parent])
    authoring.new_type(SKELETON, other, "shop", "ShopShelf")
    assert any("shop" in problem for problem in authoring.problems([other], beside=[made.parent]))


def test_a_module_is_documented_also_where_the_action_plugin_does_all_the_work(made):
    module = made / "plugins" / "modules" / "shop_shelf.py"
    module.unlink()
    [problem] = authoring.problems([made.parent])
    assert problem.startswith(f"{module}: This file is missing; where the action plugin does all the work")


def test_ansible_doc_shows_every_kind_with_all_that_it_takes_and_gives(made, tmp_path):
    roots = [SHARED.parent, made.parent]
    modules = {file.stem: file for root in roots for file in root.glob("*/plugins/modules/*.py")}
    actions = {file.stem for root in roots for file in root.glob("*/plugins/action/*.py")} - {"ssh_access"}
    assert {*modules} == actions
    environment = {
        "PATH": os.environ["PATH"],
        "ANSIBLE_HOME": str(tmp_path / "ansible"),
        "ANSIBLE_LIBRARY": ":".join({str(file.parent) for file in modules.values()}),
        "ANSIBLE_DOC_FRAGMENT_PLUGINS": str(SHARED / "doc_fragments"),
    }
    argv = [str(Path(sys.executable).with_name("ansible-doc")), "-t", "module", "-j", *modules]
    shown = json.loads(subprocess.run(argv, env=environment, capture_output=True, text=True, check=True).stdout)
    assert {*shown} == {*modules}
    for name, each in shown.items():
        assert {"config", "state", "system"} <= {*each["doc"]["options"]}, name
        assert name in each["examples"]
        assert "resources" in each["return"]


def test_a_part_that_is_missing_is_named(made):
    (made / "testbed.py").unlink()
    assert list(authoring.problems([made.parent])) == [f"{made / 'testbed.py'}: This file is missing."]


def test_the_command_makes_a_folder_and_checks_it_with_ansible_lint(tmp_path, settings, monkeypatch):
    settings.MERGEYARD_CATALOG = [SHARED.parent, str(tmp_path)]
    call_command("catalog", "new", "shop/ShopShelf", stdout=io.StringIO())
    said = io.StringIO()
    call_command("catalog", "check", str(tmp_path), stdout=said)
    assert said.getvalue() == "1 system type, nothing wrong.\n"
    book = tmp_path / "shop" / "apply.yml"
    book.write_text(book.read_text().replace("ignore_errors: true\n", "ignore_errors: yes\n", 1))
    with pytest.raises(CommandError, match=r"apply\.yml.*truthy"):
        call_command("catalog", "check", str(tmp_path), stdout=said)
    monkeypatch.setattr(lint, "PROGRAM", tmp_path / "nowhere")
    call_command("catalog", "check", str(tmp_path), stdout=said)
    last = said.getvalue().splitlines()[-1]
    assert last.startswith("1 system type, nothing wrong; the playbooks were not linted, as ansible-lint is not")


def test_a_new_type_goes_into_the_own_folder_of_the_settings_or_into_one_that_begins_here(
    tmp_path, settings, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own").mkdir()
    for own, there in (([], "catalogue"), (["own"], "own"), (["own", "other"], "catalogue")):
        settings.MERGEYARD_CATALOG = [SHARED.parent, *(str(tmp_path / name) for name in own)]
        (tmp_path / "other").mkdir(exist_ok=True)
        type_name, kind = f"shop{len(own)}", f"ShopShelf{len(own)}"
        call_command("catalog", "new", f"{type_name}/{kind}", stdout=io.StringIO())
        assert (tmp_path / there / type_name / "system.yml").is_file()
