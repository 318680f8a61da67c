"""The catalogue's folders follow their own rules, and hold no Ansible idiom through which data becomes code."""

from pathlib import Path

import jsonschema_rs
import pytest
import yaml

from executors import authoring
from executors.ansible.idioms import plugin_problems, problems_of
from tests.systems.catalogue import (
    FOLDERS,
    KINDS,
    PLAYBOOKS,
    ROOT,
    ROOTS,
    TYPES,
    Kind,
    load,
    server_of,
    system_of,
    with_defaults,
)

SYSTEM_KEYS = {"title", "icon", "summary", "connection", "secrets", "kinds"}
KIND_KEYS = {
    "title",
    "summary",
    "help",
    "keywords",
    "icon",
    "identity",
    "spec",
    "secrets",
    "immutable",
    "grows",
    "exclusive",
    "risky",
    "example",
}
EXTENSIONS = {"x-unit", "x-reference", "x-choices", "x-multiline", "x-local-path"}
RISKS = {"create", "update", "delete", "change", "decrease", "increase", "equals", "contains", "matches"}
RISKS |= {"absent", "widen", "narrow", "shared"}
every_kind = pytest.mark.parametrize("kind", [Kind(*names) for names in KINDS], ids=repr)
every_type = pytest.mark.parametrize("type_name", TYPES)


PLAY = "- hosts: system\n  gather_facts: false\n  tasks:\n    - name: x\n"


@pytest.mark.threat("worker.idioms")
@pytest.mark.parametrize(
    "text",
    [
        "      ansible.builtin.shell: echo {{ mergeyard.system.name }}\n",
        "      command: echo {{ x }}\n",
        "      ansible.builtin.command: {argv: [echo, '{{ x }}']}\n",
        "      ansible.builtin.debug: {msg: \"{{ lookup('pipe', x) }}\"}\n",
        "      ansible.builtin.debug: {msg: \"{{ lookup('vars', x) }}\"}\n",
        "      ansible.builtin.debug: {msg: \"{{ lookup('ansible.builtin.file', x) }}\"}\n",
        "      ansible.builtin.include_tasks: '{{ x }}'\n",
        "      ansible.builtin.include_vars: x.yml\n",
        "      ansible.builtin.set_fact: {'{{ x }}': 1}\n",
        "      ansible.builtin.add_host: {name: '{{ x }}'}\n",
        "      ansible.builtin.template: {src: x, dest: y}\n",
        "      kafka: {}\n      environment: {A: '{{ x }}'}\n",
        "      kafka: {}\n      delegate_to: '{{ x }}'\n",
        '      kafka: {}\n      when: "{{ x }}"\n',
        "      kafka: {}\n      check_mode: false\n",
    ],
)
def test_the_lint_finds_each_idiom(text):
    assert problems_of(PLAY + text) != []


@pytest.mark.parametrize(
    "module", sorted((PLAYBOOKS / "plugins").glob("**/*.py")), ids=lambda file: str(file.relative_to(PLAYBOOKS))
)
def test_a_shared_plugin_runs_no_shell_and_evaluates_no_text(module):
    assert plugin_problems(module.read_text()) == []


@pytest.mark.threat("worker.idioms")
@pytest.mark.parametrize("text", ["eval(x)", "os.system(x)", "run(x, shell=True)", "self._templar.template(x)"])
def test_the_lint_finds_each_call(text):
    assert plugin_problems(text) != []


@pytest.mark.parametrize("variable", ["ansible_host: '{{ x }}'", "ansible_connection: local", "ansible_ssh_args: -v"])
def test_the_lint_knows_one_way_to_reach_a_system_by_ssh(variable):
    assert problems_of(f"- hosts: system\n  gather_facts: false\n  vars:\n    {variable}\n") != []


@pytest.mark.threat("worker.idioms")
def test_the_catalogue_passes_what_its_authors_are_told():
    assert [*authoring.problems(ROOTS)] == []


def walk(schema, place=""):
    """Every schema of a field, with where it stands."""
    for name, inner in (schema.get("properties") or {}).items():
        if isinstance(inner, dict):
            yield f"{place}{name}", inner
            yield from walk(inner, f"{place}{name}.")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from walk(schema[key], f"{place}{key}.")


@every_kind
def test_a_kinds_file_is_complete_and_its_schema_valid(kind):
    assert {*kind.file} <= KIND_KEYS
    assert {*KIND_KEYS} - {*kind.file} <= {"icon", "grows", "exclusive"}
    jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **kind.schema})
    assert kind.schema["additionalProperties"] is False
    assert set(kind.identity) <= {*kind.schema["properties"]}
    assert {risk["on"] for risk in kind.file["risky"]} <= RISKS
    fields = dict(walk(kind.schema))
    for place in kind.file["immutable"]:
        assert place in fields
    for secret in kind.file["secrets"].values():
        assert {*secret} <= {"title", "help", "required", "generate"}


@every_kind
def test_a_field_says_nothing_that_no_form_knows(kind):
    for place, field in walk(kind.schema):
        assert {key for key in field if key.startswith("x-")} <= EXTENSIONS, place


@every_kind
def test_examples_are_valid_with_and_without_defaults(kind):
    validator = jsonschema_rs.validator_for(kind.schema)
    identity = {name: "x" for name in kind.identity if name not in kind.file["example"]}
    for spec in (kind.file["example"], kind.resource()["spec"], with_defaults(kind.schema, kind.file["example"])):
        assert [error.message for error in validator.iter_errors({**spec, **identity})] == []
    for place, value in kind.updates.items():
        spec = kind.changed_at(kind.resource_with(place[0]), place, value)["spec"]
        assert [error.message for error in validator.iter_errors(spec)] == []
    for field, value in {**kind.example.refused, **kind.example.frozen}.items():
        spec = kind.resource_with(field)["spec"]
        assert [error.message for error in validator.iter_errors({**spec, field: value})] == []


@pytest.mark.threat("values.lines", "values.options", "values.paths")
@every_kind
def test_no_hostile_text_fits_a_schema(kind):
    validator = jsonschema_rs.validator_for(kind.schema)
    for place, field in walk(kind.schema):
        if field["type"] != "string" or field.get("x-multiline") or place in kind.example.literal:
            continue
        one = jsonschema_rs.validator_for({key: value for key, value in field.items() if not key.startswith("x-")})
        for value in ("{{ 7 * 7 }}", "a\nb", "-o", "a\n", "$(x)", "a b\x00", "'; --", "../x", ""):
            assert not one.is_valid(value), (place, value)
    assert not validator.is_valid({**kind.resource()["spec"], "__ansible_unsafe": "x"})


@every_type
def test_a_systems_file_is_complete_and_its_kinds_are_there(type_name):
    system = system_of(type_name)
    folder = FOLDERS[type_name]
    assert {*system} == SYSTEM_KEYS
    jsonschema_rs.meta.validate(system["connection"])
    assert system["connection"]["additionalProperties"] is False
    assert sorted(system["kinds"]) == sorted(file.stem for file in folder.glob("kinds/*.yml"))
    assert {*server_of(type_name).EXAMPLES} == {*system["kinds"]}
    for name in ("apply.yml", "discover.yml", "testbed.py"):
        assert (folder / name).is_file()
    for _, field in walk(system["connection"]):
        assert field["title"]
        assert field["description"].endswith(".")


@pytest.mark.systems
@every_type
def test_the_connection_of_a_started_server_is_valid(stages, type_name):
    system, testbed = system_of(type_name), stages(type_name).testbed
    jsonschema_rs.validate(system["connection"], testbed.connection)
    required = {name for name, secret in system["secrets"].items() if secret["required"]}
    assert required <= {*testbed.secrets} <= {*system["secrets"]}
    assert all(Path("/proc", str(pid)).exists() for pid in testbed.processes)


def test_every_yaml_file_has_no_duplicate_key_or_alias():
    class Strict(yaml.SafeLoader):
        def compose_node(self, parent, index):
            assert not self.check_event(yaml.AliasEvent), self.peek_event().start_mark
            return super().compose_node(parent, index)

        def construct_mapping(self, node, deep=False):
            keys = [key.value for key, _ in node.value]
            assert len(keys) == len(set(keys)), node.start_mark
            return super().construct_mapping(node, deep)

    files = sorted(PLAYBOOKS.glob("**/*.yml"))
    assert len(files) >= 3 * len(TYPES)
    for file in files:
        yaml.load(file.read_text(), Loader=Strict)
        assert load(file)
        assert "/work/" not in file.read_text()
        assert str(ROOT) not in file.read_text()
