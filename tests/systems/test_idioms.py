"""The catalogue's folders follow their own rules, and hold no Ansible idiom through which data becomes code."""

from pathlib import Path

import jsonschema_rs
import pytest
import yaml

from executors import authoring
from executors.ansible.idioms import plugin_problems, problems_of
from executors.kind_rules import places_of
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
LINES = {("DnsRecord", "values.*")}  # any line of text beside the `literal` of examples: a TXT record's
every_kind = pytest.mark.parametrize("kind", [Kind(*names) for names in KINDS], ids=repr)
every_type = pytest.mark.parametrize("type_name", TYPES)


PLAY = "- name: y\n  hosts: system\n  gather_facts: false\n  tasks:\n    - name: x\n"
PLAIN = "- hosts: system\n  gather_facts: false\n  "


@pytest.mark.threat("worker.idioms")
@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("ansible.builtin.shell is no module", "ansible.builtin.shell: echo {{ mergeyard.system.name }}"),
        ("win_shell is no module", "win_shell: echo {{ x }}"),
        ("other.command is no module", "other.command: {argv: [tool, --, x]}"),
        ("action is no module", "action: ansible.builtin.shell echo {{ x }}"),
        ("local_action is no module", "local_action: shell echo {{ x }}"),
        ("args is no module", "kafka: {}\n      args: '{{ x }}'"),
        ("kafka is not given a mapping", "kafka: '{{ x }}'"),
        ("copy is no module", "copy: {content: 'server {{ x }}', dest: /x}"),
        ("ansible.builtin.copy is no module", "ansible.builtin.copy: {src: '{{ x }}', dest: /x}"),
        ("lineinfile is no module", "lineinfile: {line: '{{ x }}', path: /x}"),
        ("ansible.builtin.template is no module", "ansible.builtin.template: {src: x, dest: y}"),
        ("script is no module", "script: tool -- {{ x }}"),
        ("ansible.builtin.include_tasks is no module", "ansible.builtin.include_tasks: '{{ x }}'"),
        ("import_tasks is no module", "import_tasks: more.yml"),
        ("include_role is no module", "include_role: {name: x}"),
        ("ansible.builtin.include_vars is no module", "ansible.builtin.include_vars: x.yml"),
        ("ansible.builtin.add_host is no module", "ansible.builtin.add_host: {name: '{{ x }}'}"),
        ("meta is no module", "meta: clear_facts"),
        ("setup is no module", "setup: {}"),
        ("command is not given a mapping", "command: echo {{ x }}"),
        ("command without a list argv", "command: {cmd: echo x}"),
        ("command without a list argv", "command: {argv: '{{ x }} -- y'}"),
        ("not behind '--'", "ansible.builtin.command: {argv: [echo, '{{ x }}'], expand_argument_vars: false}"),
        ("not behind '--'", "command: {argv: [tool, '{{ x }}', '--', y], expand_argument_vars: false}"),
        ("not behind '--'", "command: {argv: ['--', '{{ x }}'], expand_argument_vars: false}"),
        ("may run it", "command: {argv: [/bin/bash, -c, --, '{{ x }}'], expand_argument_vars: false}"),
        ("$NAME in a value is replaced", "command: {argv: [tool, --, '{{ x }}']}"),
        ("a value in stdin", "command: {argv: [tool], stdin: '{{ x }}'}"),
        ("a value in var", "debug: {var: '{{ x }}'}"),
        ("a value in that", "ansible.builtin.assert: {that: '{{ x }}'}"),
        ("the name '{{ x }}' comes from data", "ansible.builtin.set_fact: {'{{ x }}': 1}"),
        ("the variable ansible_host", "ansible.builtin.set_fact: {ansible_host: '{{ x }}'}"),
        ("set_fact is not given a mapping", "set_fact: a={{ x }}"),
        ("the variable ansible_host", "kafka: {}\n      vars: {ansible_host: '{{ x }}'}"),
        ("the variable ansible_ssh_common_args", "kafka: {}\n      vars: {ansible_ssh_common_args: '{{ x }}'}"),
        ("the variable ansible_host", "block: [{name: z, kafka: {}}]\n      vars: {ansible_host: '{{ x }}'}"),
        ("task 'z': the variable", "block: [{name: z, kafka: {}, vars: {ansible_user: '{{ x }}'}}]"),
        ("vars is not a mapping", "kafka: {}\n      vars: '{{ x }}'"),
        ("the variable ansible_host", "kafka: {}\n      register: ansible_host"),
        ("register with a template", "kafka: {}\n      register: '{{ x }}'"),
        ("notify with a template", "kafka: {}\n      notify: '{{ x }}'"),
        ("when with a template", "kafka: {}\n      when: '{{ x }}'"),
        ("until with a template", "kafka: {}\n      until: ['{{ x }}']"),
        ("environment is no module", "kafka: {}\n      environment: {A: '{{ x }}'}"),
        ("delegate_to is no module", "kafka: {}\n      delegate_to: '{{ x }}'"),
        ("check_mode is no module", "kafka: {}\n      check_mode: false"),
        ("become_exe is no module", "kafka: {}\n      become_exe: '{{ x }}'"),
        ("module_defaults is no module", "kafka: {}\n      module_defaults: {kafka: '{{ x }}'}"),
        ("with_pipe is no module", "kafka: {}\n      with_pipe: '{{ x }}'"),
        ("loop is no module", "kafka: {}\n      loop: '{{ x }}'"),
        ("a lookup other than", "ansible.builtin.debug: {msg: \"{{ lookup('pipe', x) }}\"}"),
        ("a lookup other than", "ansible.builtin.debug: {msg: \"{{ lookup ('url', x) }}\"}"),
        ("a lookup other than", "ansible.builtin.debug: {msg: \"{{ lookup('vars', x) }}\"}"),
        ("a lookup other than", "ansible.builtin.debug: {msg: \"{{ lookup('ansible.builtin.file', x) }}\"}"),
        ("a lookup other than", "kafka: {}\n      when: query ('pipe', x)"),
        ("a variable by a name from data", "kafka: {config: '{{ hostvars[x] }}'}"),
        ("a variable by a name from data", "kafka: {config: '{{ vars.get(x) }}'}"),
        ("a filter that gives data more power", "kafka: {config: '{{ x | ansible.builtin.from_yaml }}'}"),
        ("a filter that gives data more power", "kafka: {config: \"{{ x | map('extract', y) }}\"}"),
        ("a template that takes in a file", "kafka: {config: '{% include x %}'}"),
        ("block is not a list of tasks", "block: '{{ x }}'"),
    ],
)
def test_the_lint_finds_each_idiom(said, text):
    [problem] = problems_of(f"{PLAY}      {text}\n", {"kafka"})
    assert said in problem
    assert problem.startswith("task '")


@pytest.mark.threat("worker.idioms")
@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("hosts is not system", "- hosts: '{{ x }}'\n  gather_facts: false\n"),
        ("gather_facts is not false", "- hosts: system\n"),
        ("strategy: a play says nothing but", PLAIN + "strategy: '{{ x }}'\n"),
        ("become_exe: a play", PLAIN + "become_exe: '{{ x }}'\n"),
        ("roles: a play", PLAIN + "roles: [x]\n"),
        ("vars_files: a play", PLAIN + "vars_files: ['{{ x }}']\n"),
        ("module_defaults: a play", PLAIN + "module_defaults: {command: {chdir: '{{ x }}'}}\n"),
        ("import_playbook: a play", PLAIN + "import_playbook: x.yml\n"),
        ("vars is not a mapping", PLAIN + "vars: '{{ x }}'\n"),
        ("tasks is not a list of tasks", PLAIN + "tasks: [x]\n"),
        ("is not a list of plays", ""),
        ("is not a list of plays", "x"),
    ],
)
def test_the_lint_finds_what_no_play_may_say(said, text):
    [problem] = problems_of(text)
    assert said in problem


@pytest.mark.parametrize(
    "text",
    [
        "kafka: {config: '{{ x }}'}\n      register: y\n      when: x.y is defined\n      ignore_errors: true",
        "ansible.builtin.debug: {msg: '{{ x }}'}",
        "fail: {msg: \"{{ tried | map(attribute='msg') | join(' ') }}\"}\n      vars: {tried: '{{ [x, y] }}'}",
        "assert: {that: [x > 1], fail_msg: '{{ x }}'}",
        "set_fact: {y: '{{ x.y }}'}",
        "command: {argv: [tool, --all], chdir: /}",
        "command: {argv: [tool, --new, --, '{{ x }}', y], expand_argument_vars: false}",
        "block: [{name: y, kafka: {}}]\n      rescue: [{name: z, fail: }]",
    ],
)
def test_the_lint_lets_an_author_call_modules_and_say_what_came_of_it(text):
    assert problems_of(f"{PLAY}      {text}\n", {"kafka"}) == []


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


@every_kind
def test_a_kinds_file_is_complete_and_its_schema_valid(kind):
    assert {*kind.file} <= KIND_KEYS
    assert {*KIND_KEYS} - {*kind.file} <= {"icon", "grows", "exclusive"}
    jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **kind.schema})
    assert kind.schema["additionalProperties"] is False
    assert set(kind.identity) <= {*kind.schema["properties"]}
    assert {risk["on"] for risk in kind.file["risky"]} <= RISKS
    fields = {".".join(place.at) for place in places_of(kind.schema)}
    assert {*kind.file["immutable"]} | kind.example.literal <= fields
    for secret in kind.file["secrets"].values():
        assert {*secret} <= {"title", "help", "required", "generate"}


@every_kind
def test_a_field_says_nothing_that_no_form_knows(kind):
    for place in places_of(kind.schema):
        assert {key for key in place.schema if key.startswith("x-")} <= EXTENSIONS, place


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
    for place in places_of(kind.schema):
        field = {**place.schema, "$defs": kind.schema.get("$defs", {})}
        # A branch only narrows what the same place takes outside of it.
        if place.branch or "string" not in field.get("type", "string") or field.get("x-multiline"):
            continue
        where = ".".join(place.at)
        if where in kind.example.literal or (kind.name, where) in LINES:
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
    for field in (place.schema for place in places_of(system["connection"]) if place.named and not place.branch):
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
