"""Owns what a playbook of the catalogue may say, and what no plugin of it may call, so that no value becomes code.

Pure: text in, sentences out. A playbook may say what is listed here and nothing else. See the threat model for what was
proven of the rest.
"""

import ast
import re
from collections.abc import Collection, Iterator
from typing import Any, TypeGuard

import yaml

PLAY_SECTIONS = ("pre_tasks", "tasks", "post_tasks", "handlers")
TASK_SECTIONS = ("block", "rescue", "always")
PLAY_WORDS = {"name", "hosts", "gather_facts", "vars", *PLAY_SECTIONS}
TASK_WORDS = {"name", "vars", "register", "when", "failed_when", "changed_when", "until", "retries", "delay", "timeout"}
TASK_WORDS |= {"ignore_errors", "ignore_unreachable", "notify", "listen", "tags", *TASK_SECTIONS}
SHARED_MODULES = {"ssh_access"}
BUILTIN: dict[
    str, set[str] | None
] = {  # each of Ansible's own modules that a playbook may call: which of its arguments may hold a value, None for all
    "assert": {"msg", "fail_msg", "success_msg"},
    "command": {"argv"},
    "debug": {"msg"},
    "fail": {"msg"},
    "set_fact": None,
}
RUNNERS = {"ash", "bash", "dash", "env", "ksh", "perl", "python", "python3", "sh", "ssh", "su", "sudo", "xargs", "zsh"}
TEMPLATE = re.compile(r"\{\{|\{%")
THE_ONE_LOOKUP = "lookup('ansible.builtin.file', mergeyard_dir ~ '/item.json') | from_json"
FORBIDDEN_TEXT = {
    r"\b(lookup|query|q)\s*\(": f"a lookup other than {THE_ONE_LOOKUP}; read the value from item.json",
    r"\b(host)?vars\s*(\[|\.\s*get\b)": "a variable by a name from data; write the variable's name",
    r"(\||\bmap\(\s*['\"])\s*(\w+\.)*(from_yaml|from_yaml_all|extract|eval|template)\b": (
        "a filter that gives data more power; read fields by their names, and texts in the module"
    ),
    r"\{%[-+]?\s*(include|import|from|extends)\b": "a template that takes in a file; write its text here",
}
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


def problems_of(text: str, own: Collection[str] = ()) -> list[str]:
    """Each place of a playbook where a value could become a template, path, option, command, variable or host.

    `own`: the modules of the system type, by their action plugins.
    """
    plays = yaml.safe_load(text)
    if not _are_mappings(plays):
        return ["It is not a list of plays; write '- name: ...' with hosts, gather_facts, vars and tasks."]
    problems = []
    for play in plays:
        parts = [("play", play, play_problems(play))]
        parts += [("task", task, task_problems(task, {*own, *SHARED_MODULES})) for task in tasks_of(play)]
        for what, part, found in parts:
            where = f"{what} {part.get('name')!r}"
            problems += [f"{where}: {problem}." for problem in (*found, *part_problems(part))]
    return problems


def tasks_in(text: str) -> Iterator[dict[str, Any]]:
    plays = yaml.safe_load(text)
    for play in plays if _are_mappings(plays) else []:
        yield from tasks_of(play)


def tasks_of(play: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for section in (*PLAY_SECTIONS, *TASK_SECTIONS):
        tasks = play.get(section)
        for task in tasks if _are_mappings(tasks) else []:
            yield task
            yield from tasks_of(task)


def _are_mappings(value: object) -> TypeGuard[list[dict[str, Any]]]:
    return isinstance(value, list) and all(isinstance(each, dict) for each in value)


def part_problems(part: dict[str, Any]) -> Iterator[str]:
    """What holds for a play, a block and a task alike, but for the tasks below it."""
    sections = {*PLAY_SECTIONS, *TASK_SECTIONS}
    yield from (f"{key} is not a list of tasks" for key in part if key in sections and not _are_mappings(part[key]))
    yield from variable_problems("vars", part.get("vars") or {})
    for place, value in texts_of({key: value for key, value in part.items() if key not in sections}):
        if place == "a name" and TEMPLATE.search(value):
            yield f"the name {value!r} comes from data; write it out"
        yield from (why for pattern, why in FORBIDDEN_TEXT.items() if re.search(pattern, value))


def texts_of(value: object, place: str = "a value") -> Iterator[tuple[str, str]]:
    """Every text at every depth, without the one lookup, and whether it is a value or a name of one."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from texts_of(name, "a name")
            yield from texts_of(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts_of(inner)
    elif isinstance(value, str):
        yield place, value.replace(THE_ONE_LOOKUP, "")


def has_template(value: object) -> bool:
    return any(TEMPLATE.search(text) for _, text in texts_of(value))


def variable_problems(key: str, variables: object) -> Iterator[str]:
    if not isinstance(variables, dict):
        yield f"{key} is not a mapping; write names and values"
        return
    for name, value in variables.items():
        if str(name).startswith("ansible_") and value != SSH_VARIABLES.get(name):
            right = SSH_VARIABLES.get(name, "one that a playbook may set; leave it out")
            yield f"the variable {name} in {key} is not {right}"


def play_problems(play: dict[str, Any]) -> Iterator[str]:
    if play.get("gather_facts") is not False:
        yield "gather_facts is not false; write gather_facts: false"
    if play.get("hosts") != "system":
        yield "hosts is not system; write hosts: system, the only host that a play has"
    if unknown := sorted({*map(str, play)} - PLAY_WORDS):
        yield f"{' and '.join(unknown)}: a play says nothing but {', '.join(sorted(PLAY_WORDS))}; leave it out"


def task_problems(task: dict[str, Any], own: Collection[str]) -> Iterator[str]:
    if not task.get("name"):
        yield "a task without a name; say what it does"
    for key, value in task.items():
        module = str(key).removeprefix("ansible.builtin.")
        if key == "register":
            yield from variable_problems(key, {value: None} if isinstance(value, str) else value)
        if key in TASK_WORDS - {"vars", *TASK_SECTIONS} and has_template(value):
            yield f"{key} with a template; conditions are written without braces, all else as it is"
        elif key in own or module in BUILTIN:
            yield from call_problems(module, value or {})
        elif key not in TASK_WORDS:
            yield (
                f"{key} is no module that a playbook may call, and nothing else that a task may say; call a module "
                f"of the type's own or {', '.join(sorted(BUILTIN))}, and do it there, where a value stays one"
            )


def call_problems(module: str, arguments: object) -> Iterator[str]:
    if not isinstance(arguments, dict):
        yield f"{module} is not given a mapping; write each argument by its name"
        return
    if module == "set_fact":
        yield from variable_problems(module, arguments)
    if module == "command":
        yield from command_problems(arguments)
    free = BUILTIN.get(module)
    for name, value in arguments.items():
        if free is not None and name not in free and has_template(value):
            yield f"{module} with a value in {name}; only {', '.join(sorted(free))} may hold one"


def command_problems(arguments: dict[str, Any]) -> Iterator[str]:
    argv = arguments.get("argv")
    if not isinstance(argv, list):
        yield "command without a list argv; write argv: [tool, option, '--', value], which nothing takes apart"
        return
    first = next((number for number, word in enumerate(argv) if has_template(word)), None)
    if first is None:
        return
    if "--" not in argv[1:first]:
        yield "command with a value that is not behind '--'; write '--' before it, or it may be an option or the tool"
    if str(argv[0]).rpartition("/")[2] in RUNNERS:
        yield f"command that gives a value to {argv[0]}, which may run it; name the tool itself"
    if arguments.get("expand_argument_vars") is not False:
        yield "command with a value without expand_argument_vars: false; add it, or $NAME in a value is replaced"


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
