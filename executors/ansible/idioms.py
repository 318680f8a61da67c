"""Owns the idioms that no playbook or plugin of the catalogue may use: through each of them data becomes code.

Pure: text in, sentences out. See the threat model for what was proven of each.
"""

import ast
import re
from collections.abc import Iterator
from typing import Any

import yaml

FREE_FORM = {"shell", "command", "raw", "script", "expect"}
FORBIDDEN_MODULES = {
    "include_vars",
    "set_fact",
    "add_host",
    "group_by",
    "template",
    "assemble",
    "meta",
    "import_playbook",
}
FORBIDDEN_KEYS = {
    "environment",
    "delegate_to",
    "vars_files",
    "vars_prompt",
    "connection",
    "become",
    "become_user",
    "remote_user",
    "module_defaults",
    "no_log",
    "include_tasks",
    "import_tasks",
    "include_role",
    "import_role",
    "loop",
    "with_items",
    "check_mode",
    "async",
    "collections",
    "roles",
}
FORBIDDEN_TEXT = {
    r"lookup\(\s*['\"](?!ansible\.builtin\.file['\"])": "a lookup other than ansible.builtin.file",
    r"query\(|\bq\(": "query()",
    r"\bwith_\w+\s*:": "with_*",
    r"!unsafe|!vault": "a YAML tag",
    r"hostvars\s*\[|\bvars\s*\[": "variables by a name from data",
    r"\|\s*(from_yaml|from_yaml_all|extract|eval|template)\b": "a filter that gives data more power",
}
THE_ONE_LOOKUP = "lookup('ansible.builtin.file', mergeyard_dir ~ '/item.json') | from_json"
DANGEROUS_CALLS = {"eval", "exec", "compile", "__import__", "system", "popen"}

SSH_VARIABLES = {  # how a play may say that its system is reached by SSH; the files are the action ssh_access's
    "ansible_connection": "ssh",
    "ansible_host": "{{ mergeyard.system.connection.host }}",
    "ansible_port": "{{ mergeyard.system.connection.port }}",
    "ansible_user": "{{ mergeyard.system.connection.user }}",
    "ansible_become": "{{ mergeyard.system.connection.become }}",
    "ansible_python_interpreter": "/usr/bin/python3",
    "ansible_ssh_timeout": 8,  # seconds until a host that does not answer is said to be down
    "ansible_ssh_private_key_file": "{{ mergeyard_dir }}/ssh/key",
    "ansible_ssh_common_args": (
        "-F /dev/null -o IdentitiesOnly=yes -o StrictHostKeyChecking=yes "
        "-o UserKnownHostsFile={{ mergeyard_dir }}/ssh/known_hosts"
    ),
}


def problems_of(text: str) -> list[str]:
    """Each idiom of a playbook by which a value could become a template, path, option, command or host."""
    problems = [why for pattern, why in FORBIDDEN_TEXT.items() if re.search(pattern, text)]
    for found in re.findall(r"lookup\([^}]*", text):
        if not found.strip().startswith(THE_ONE_LOOKUP):
            problems.append(f"a lookup of something else than item.json: {found}")
    for play in yaml.safe_load(text) or []:
        if play.get("gather_facts") is not False:
            problems.append("gather_facts is not false")
        problems += [f"play key {key}" for key in play if key in FORBIDDEN_KEYS]
        problems += [
            f"the variable {name} is not {SSH_VARIABLES.get(name, 'one that a playbook may set')!r}"
            for name, value in (play.get("vars") or {}).items()
            if name.startswith("ansible_") and value != SSH_VARIABLES.get(name)
        ]
        problems += [problem for task in tasks_of(play) for problem in task_problems(task)]
    return problems


def tasks_of(play: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for section in ("pre_tasks", "tasks", "post_tasks", "handlers", "block", "rescue", "always"):
        for task in play.get(section) or []:
            yield task
            yield from tasks_of(task)


def task_problems(task: dict[str, Any]) -> Iterator[str]:
    for key, value in task.items():
        short = key.rsplit(".", 1)[-1]
        if key in FORBIDDEN_KEYS or short in FORBIDDEN_KEYS | FORBIDDEN_MODULES:
            yield f"{key} in task {task.get('name')}"
        if short in FREE_FORM and not (isinstance(value, dict) and "--" in value.get("argv", [])):
            yield f"{key} without argv and -- in task {task.get('name')}"
        if key in ("when", "failed_when", "changed_when") and "{{" in str(value):
            yield f"{key} with a template in task {task.get('name')}"
    if not task.get("name"):
        yield "a task without a name"


def plugin_problems(text: str) -> list[str]:
    """Each call in a plugin or module that evaluates text, or starts a shell with it."""
    problems = []
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        on = getattr(getattr(node.func, "value", None), "id", "")
        if name in DANGEROUS_CALLS and on != "re":
            problems.append(f"line {node.lineno}: {name}()")
        if any(word.arg == "shell" for word in node.keywords):
            problems.append(f"line {node.lineno}: shell=")
        if "templar" in ast.unparse(node.func):
            problems.append(f"line {node.lineno}: a text is templated")
    return problems
