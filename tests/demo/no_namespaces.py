"""Runs a command as on a kernel that gives no user namespaces, as in most containers: no_namespaces.py COMMAND ..."""

import errno
import os
import sys

from tests.seccomp import ALLOW, FIRST_ARGUMENT, IF_ANY_BIT, IF_EQUAL, LOAD, NUMBER, REFUSE_WITH, RETURN, obey

CLONE_NEWUSER = 0x10000000
CLONE, UNSHARE, CLONE3 = 56, 272, 435  # their numbers on x86-64

PROGRAM = [
    (LOAD, 0, 0, NUMBER),
    (IF_EQUAL, 5, 0, CLONE3),  # its flags cannot be seen; libraries fall back to clone
    (IF_EQUAL, 1, 0, UNSHARE),
    (IF_EQUAL, 0, 2, CLONE),
    (LOAD, 0, 0, FIRST_ARGUMENT),
    (IF_ANY_BIT, 2, 0, CLONE_NEWUSER),
    (RETURN, 0, 0, ALLOW),
    (RETURN, 0, 0, REFUSE_WITH | errno.ENOSYS),
    (RETURN, 0, 0, REFUSE_WITH | errno.EPERM),
]


def main():
    obey(PROGRAM)
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
