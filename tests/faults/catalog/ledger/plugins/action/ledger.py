"""A resource module over files. It writes down what it is about to do before it does it, and whether it is alone.

The journal of a ledger has one JSON object on each line: at (seconds of boot time), play, event (begin, put, delete,
clash, end), and of a put or delete path and value.
"""

import contextlib
import fcntl
import json
import os
import time
from pathlib import Path

from ansible.plugins.action import ActionBase

WORK_SECONDS = 0.05
SLOW_SECONDS = 40.0  # where the ledger has a file `slow`


class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        arguments = json.loads(json.dumps(self._task.args, default=str))
        directory = Path(str(task_vars["mergeyard_dir"]))
        self.secrets = json.loads((directory / "secrets.json").read_text())
        self.ledger, self.play = Path(arguments["system"]["directory"]), f"{os.getpid()}-{time.monotonic_ns()}"
        self.pipe = os.open(directory / "events", os.O_WRONLY)
        with (self.ledger / "lock").open("a") as lock:
            self.alone(lock)
            self.note("begin")
            time.sleep(SLOW_SECONDS if (self.ledger / "slow").exists() else WORK_SECONDS)
            changed = [self.put(one) for one in arguments["entries"]["replaced"]]
            changed += [self.delete(one) for one in arguments["entries"]["deleted"]]
            time.sleep(WORK_SECONDS)
            self.note("end")
        os.close(self.pipe)
        return {**result, "changed": any(changed)}

    def alone(self, lock):
        """The kernel frees the lock when its holder dies: who does not get it runs beside a living play."""
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.note("clash")

    def put(self, entry):
        path, wanted = self.file(entry), json.dumps(entry["spec"])
        before = path.read_text() if path.exists() else None
        self.note("put", path=entry["path"], value=entry["spec"]["value"])
        lock = self.secrets["resources"].get(entry["path"], {}).get("lock")
        if lock:
            self._display.display(f"the lock is {lock}")
        new = path.with_suffix(".new")
        new.write_text(wanted)
        new.replace(path)
        self.report(entry, before and json.loads(before), {**entry["spec"], **({"lock": lock} if lock else {})})
        return before != wanted

    def delete(self, entry):
        path = self.file(entry)
        before = json.loads(path.read_text()) if path.exists() else None
        self.note("delete", path=entry["path"], value=entry["spec"]["value"])
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        self.report(entry, before, None)
        return before is not None

    def file(self, entry):
        """Teams may use the same name."""
        return self.ledger / f"{entry['path'].split('/')[0]}--{entry['name']}.json"

    def note(self, event, **more):
        line = {"at": time.clock_gettime(time.CLOCK_BOOTTIME), "play": self.play, "event": event, **more}
        journal = os.open(self.ledger / "journal", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(journal, json.dumps(line).encode() + b"\n")
        os.close(journal)

    def report(self, entry, before, after):
        shown = {key: value for key, value in (after or {}).items() if key != "lock"}
        changed = before != (shown or None)
        event = {"event": "resource", "path": entry["path"], "kind": "Entry", "status": "ok", "changed": changed}
        event |= {"before": before, "after": after, "reasons": ["it was asked for"], "message": ""}
        os.write(self.pipe, json.dumps(event).encode() + b"\n")
