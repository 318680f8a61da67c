"""What was tried and what was heard of it: JSON lines that survive the death of whoever writes them.

Each line has at (seconds of boot time), who, op, phase. A merge is `invoked` with its documents, then `ok` (with its
commit) or `failed` (it was refused, so it never happens); without a second line, or with `unknown`, nobody knows. A
fault `begins` and `ends`.
"""

import json
import os
import time


class History:
    def __init__(self, file, who):
        self.who = who
        self._descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(self, op, phase, **more):
        at = round(time.clock_gettime(time.CLOCK_BOOTTIME), 3)
        line = json.dumps({"at": at, "who": self.who, "op": op, "phase": phase, **more})
        os.write(self._descriptor, line.encode() + b"\n")  # one write: lines of several processes do not mix


def read(file):
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
