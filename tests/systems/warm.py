"""Ansible, imported once and forked per play: a play costs a tenth of what a process of its own does.

Run as a script: an order per line on stdin, {argv, directory, output}; the answer is the exit status. It must not know
the product, whose own runs are what `tests/executors` looks at.
"""

import ast
import contextlib
import gc
import importlib
import json
import os
import sys
from pathlib import Path

from ansible import constants
from ansible.cli.playbook import PlaybookCLI
from ansible.parsing.dataloader import DataLoader
from ansible.plugins import loader
from ansible.template import Templar, trust_as_template
from ansible.utils import vars as ansible_vars


def preload():
    loader.init_plugin_loader([])
    for plugins in ("connection", "shell", "strategy", "callback", "cache", "inventory", "become"):
        list(getattr(loader, f"{plugins}_loader").all(class_only=True))
    for plugins in ("filter", "test", "vars"):
        list(getattr(loader, f"{plugins}_loader").all())
    for folder in (*constants.DEFAULT_ACTION_PLUGIN_PATH, *constants.DEFAULT_MODULE_UTILS_PATH):
        for file in Path(folder).rglob("*.py"):
            for name in imported(file):
                with contextlib.suppress(ImportError):
                    importlib.import_module(name)
    # What every play would learn anew: templates, and the lookup that reads its item.
    Templar(DataLoader()).template(trust_as_template("{{ lookup('ansible.builtin.file', '/dev/null') | to_json }}"))
    gc.collect()
    gc.freeze()  # a child would copy every page that its collector looks at


def imported(file):
    """The libraries that a plugin imports; Ansible's own stay what each play finds."""
    for node in ast.walk(ast.parse(file.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        yield from (name for name in names if name.partition(".")[0] != "ansible")


def play(argv, directory, output):
    """In the child: as if ansible-playbook had been started in `directory`."""
    with open(output, "wb") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.chdir(directory)
    os.setsid()
    ansible_vars.random_int = f"{int.from_bytes(os.urandom(3), 'big'):08x}"[:8]
    os.makedirs(constants.DEFAULT_LOCAL_TMP, exist_ok=True)
    code = 250
    try:
        PlaybookCLI.cli_executor(["ansible-playbook", *argv])
    except SystemExit as end:
        code = end.code or 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main():
    preload()
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            play(**order)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
