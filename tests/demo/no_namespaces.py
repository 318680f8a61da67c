"""Runs a command as on a kernel that gives no user namespaces, as in most containers: no_namespaces.py COMMAND ..."""

import ctypes
import errno
import os
import struct
import sys

PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 22, 38, 2
CLONE_NEWUSER = 0x10000000
CLONE, UNSHARE, CLONE3 = 56, 272, 435  # their numbers on x86-64
LOAD, IF_EQUAL, IF_ANY_BIT, RETURN = 0x20, 0x15, 0x45, 0x06
NUMBER, FIRST_ARGUMENT = 0, 16  # offsets in struct seccomp_data
ALLOW, REFUSE_WITH = 0x7FFF0000, 0x00050000

PROGRAM = [  # operation, if true skip, else skip, value
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


class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("program", ctypes.c_void_p)]


def main():
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in PROGRAM))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    loaded = Filter(len(PROGRAM), ctypes.addressof(program))
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(loaded), 0, 0):
        raise OSError(ctypes.get_errno(), "user namespaces cannot be taken away here")
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
