"""Tries to write where the disk keeps nothing for certain, and prints what was not refused.

no_sync.py REPOSITORY MAIN MORE: the commit of main, and one that could follow it.
"""

import errno
import sys
from datetime import UTC, datetime
from pathlib import Path

from changes.repository import MAIN_REF, Person, RefMoved, Repository, RepositoryError
from changes.repository.git_environment import GitFailed, run_git
from tests.seccomp import ALLOW, IF_EQUAL, LOAD, NUMBER, REFUSE_WITH, RETURN, obey

FSYNC, FDATASYNC = 74, 75  # their numbers on x86-64

PROGRAM = [
    (LOAD, 0, 0, NUMBER),
    (IF_EQUAL, 1, 0, FSYNC),
    (IF_EQUAL, 0, 1, FDATASYNC),
    (RETURN, 0, 0, REFUSE_WITH | errno.EIO),
    (RETURN, 0, 0, ALLOW),
]


def main(path, main, more):
    obey(PROGRAM)
    repository, anna = Repository(Path(path)), Person("Anna", "anna@office.example")
    signed = {"message": "x", "author": anna, "committer": anna, "when": datetime.now(UTC)}
    tries = {
        "commit": lambda: repository.commit(parents=[main], base_tree_of=main, changes={"new": b"new"}, **signed),
        "move": lambda: repository.swap_ref(MAIN_REF, more, main),
        "create": lambda: repository.swap_ref("refs/heads/other", more, None),
        "folder": lambda: repository.sync_ref(MAIN_REF),
        "git": lambda: run_git(repository.path, "hash-object", "-w", "--stdin", stdin=b"newer"),
    }
    for name, verb in tries.items():
        try:
            verb()
            print(name)
        except (RepositoryError, RefMoved, GitFailed):
            pass


if __name__ == "__main__":
    main(*sys.argv[1:])
