"""A resource module over files, with the faults that tests ask for in `trouble`."""

import base64
import html
import json
import os
import shlex
import subprocess
import sys
import textwrap
import time
import urllib.parse
from itertools import product
from pathlib import Path

import yaml
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.color import stringc


def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith(f"{name}:"))


def uncover(path, command):
    """What a command prints behind a mount that was taken away; None if that cannot be."""
    script = f"umount -l {shlex.quote(path)} && {command}"
    done = subprocess.run(["unshare", "-Urm", "sh", "-c", script], capture_output=True, text=True)
    return done.stdout if done.returncode == 0 else None


PROGRAMS = {  # of a file to write to, and the attempt's directory
    "eat": "import time; much = b'x' * 150_000_000; time.sleep(60)",
    "share": "import mmap, time; much = mmap.mmap(-1, 150_000_000); much.write(bytes(150_000_000)); time.sleep(60)",
    "breed": "import time; time.sleep(60)",
    "lurk": """
import sys, time
from pathlib import Path
limit = time.monotonic() + 20
while time.monotonic() < limit:
    with open(sys.argv[1], "a") as seen:
        for path in Path(sys.argv[2]).parents[1].glob("*/play/secrets.json"):
            print(path.read_text(), file=seen)
        print("here", file=seen)
    time.sleep(0.02)
""",
}


class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        arguments = json.loads(json.dumps(self._task.args, default=str))
        self.directory = Path(str(task_vars["mergeyard_dir"]))
        self.secrets = json.loads((self.directory / "secrets.json").read_text())
        self.pipe = os.open(self.directory / "events", os.O_WRONLY)
        self.kind, self.state = arguments["kind"], arguments["state"]
        self.shelf = Path(arguments["system"]["directory"])
        failed = [resource for resource in arguments["config"] if not self.settle(resource)]
        os.close(self.pipe)
        return {**result, "failed": bool(failed), "msg": f"{len(failed)} failed", "changed": self.state == "replaced"}

    def settle(self, resource):
        spec = resource["spec"]
        trouble, _, detail = spec.get("trouble", "").partition(" ")
        path = self.shelf / f"{self.kind}-{spec.get('name', resource['name'])}.json"
        before = json.loads(path.read_text()) if path.exists() else None
        after = spec if self.state == "replaced" else None
        self.trouble(trouble, detail, resource)
        if trouble == "silent":
            return True
        failed = trouble in ("fail", "refuse")
        if not failed:
            path.unlink(missing_ok=True) if after is None else path.write_text(json.dumps(after))
        self.send(
            event="resource",
            path=resource["path"],
            kind=self.kind,
            status="failed" if failed else "ok",
            changed=not failed and before != after,
            before=before,
            after=after,
            reasons=["it was asked for"],
            message=f"The shelf is full: {detail}" if failed else "",
        )
        if (trouble, detail) == ("refuse", "absent"):
            self.send(event="absent", kind=self.kind, paths=[resource["path"]])
        return not failed

    def trouble(self, trouble, detail, resource):
        if trouble == "slow":
            named = f"{self.shelf}/sleep"  # so that a test finds its own
            subprocess.Popen([named, "61.25"], executable="/bin/sleep", start_new_session=True)
            self.send(event="nonsense")
            time.sleep(float(detail))
        elif trouble in PROGRAMS:  # so often, in sessions of their own, and nobody waits for them
            for _ in range(int(detail or 1)):
                code, seen = PROGRAMS[trouble], self.shelf / "seen"
                subprocess.Popen([sys.executable, "-c", code, seen, self.directory], start_new_session=True)
            time.sleep(30 if detail else 1)
        elif trouble == "fill":
            with (self.directory / "large").open("wb") as large:
                for _ in range(int(detail)):
                    large.write(b"x" * 1_000_000)
        elif trouble == "scatter":  # so many megabytes in each place, in files that are small
            for place, number in product((self.directory, "/tmp", "/dev/shm"), range(int(detail))):
                Path(place, f"small-{number}").write_bytes(b"x" * 1_000_000)
            time.sleep(30)
        elif trouble == "flood":
            for number in range(int(detail)):
                self._display.display(f"line {number}")
            time.sleep(30)
        elif trouble == "dribble":  # so many megabytes without the end of a line
            with open(f"/proc/{os.getppid()}/fd/1", "wb", buffering=0) as terminal:
                for _ in range(int(detail)):
                    terminal.write(b"x" * 1_000_000)
            time.sleep(30)
        elif trouble == "link":
            self.link(Path(detail))
        elif trouble == "pour":
            for start in range(0, int(detail), 1000):
                self._display.display("\n".join(f"line {number}" for number in range(start, start + 1000)))
        elif trouble == "die":
            os.kill(os.getppid(), 9)
        elif trouble == "garbage":
            os.write(self.pipe, b"{no json\n" + b"x" * 9_000_000 + b"\n")
            deep = json.dumps({"event": "resource", "path": resource["path"], "kind": self.kind, "before": "deep"})
            os.write(self.pipe, deep.replace('"deep"', "[" * 700 + "]" * 700).encode() + b"\n")
            resource["spec"]["note"] = [float("nan"), float("inf"), float("-inf"), 1.5]
        elif trouble == "print":
            self._display.display("\x1b]0;title\x07\x1b[31mred\x1b[0m \x1b[2J" + "y" * 30_000)
        elif trouble == "vanish":  # it is made, and nobody hears of it
            self.send(event="creating", kind=self.kind, paths=[resource["path"]])
            os.kill(os.getppid(), 9)
            time.sleep(60)
        elif trouble == "refuse":
            self.send(event="creating", kind=self.kind, paths=[resource["path"]])
        elif trouble == "managed":
            resource["spec"]["note"] = f"managed {resource['managed']}, adopt {resource['adopt']}"
        elif trouble == "leak":
            secret = self.secrets["resources"][resource["path"]]["lock"]
            self._display.display(f"the lock is {secret}")
            self.send(event="nonsense", **{"secret": secret})
            resource["spec"]["note"] = secret
        elif trouble == "shout":
            secret = self.secrets["resources"][resource["path"]]["lock"]
            coded = base64.b64encode(f"user:{secret}".encode()).decode()
            for form in (secret, coded, urllib.parse.quote(secret), json.dumps(secret), repr({"lock": secret})):
                self._display.display(f"the lock is {form}")
            self.send(event="resource", path=resource["path"], kind=self.kind, status="failed", message=f"no: {secret}")
            raise RuntimeError(f"the lock {secret} does not open {coded}")
        elif trouble == "escape":  # with all the rights that a namespace of its own gives
            attempts = str(self.directory.parents[1])
            tried = {path: uncover(path, "true") for path in ("/proc", "/tmp", attempts)}
            seen = {"outside": {path: int(done is not None) for path, done in tried.items()}}
            seen["tried"] = subprocess.run(["unshare", "-Urm", "true"]).returncode == 0
            seen["processes"] = len(list(Path("/proc").glob("[0-9]*")))
            seen["attempts"] = len(os.listdir(attempts))
            resource["spec"]["note"] = json.dumps(seen)
        elif trouble == "stain":
            stains = [name for name in ("STAIN",) if name in os.environ] + list(Path("/tmp").glob("stain"))
            self._display.display(json.dumps([str(stain) for stain in stains]))
            os.environ["STAIN"] = "here"
            Path("/tmp/stain").touch()
        elif trouble == "confess":
            self.confess(resource)
        elif trouble == "spy":
            seen = {
                "environment": dict(os.environ),
                "home": [str(path) for path in Path(detail).iterdir()] if Path(detail).exists() else None,
                "processes": [name for name in os.listdir("/proc") if name.isdigit()],
                "own": sorted(os.listdir(self.directory)),
                "parent": [str(path) for path in self.directory.parent.iterdir()],
                "writable": [path for path in (sys.prefix, "/", "/dev", "/etc", "/usr") if os.access(path, os.W_OK)],
                "attempts": os.listdir(self.directory.parents[1]),
                "capabilities": status("CapEff"),
                "privileges": status("NoNewPrivs"),
            }
            resource["spec"]["note"] = json.dumps(seen)

    def link(self, outside):
        """Links to what this play cannot see, wherever somebody outside may write, read or delete by a name."""
        for folder in (self.directory, self.directory / "artifacts/run"):
            (folder / "job_events").mkdir(parents=True, exist_ok=True)
            (folder / "job_events/aa-partial.json").symlink_to(outside / "read-partial.json")
            for name in ("status", "rc", "stdout", "stderr", "command"):
                (folder / name).unlink(missing_ok=True)
                (folder / name).symlink_to(outside / name)
        for uuid in ("aa", f"{outside}/deleted"):
            coded = base64.b64encode(json.dumps({"uuid": uuid}).encode()).decode()
            self._display.display(f"\x1b[K{coded}\x1b[{len(coded)}D\x1b[K")

    def confess(self, resource):
        """All that a module, its client library, its system and Ansible could do wrong with secrets, at once."""
        given = {"key": self.secrets["system"].get("key"), **self.secrets["resources"].get(resource["path"], {})}
        for secret in given.values():
            user = f"admin:{secret}"
            for form in (
                *(secret, json.dumps(given), repr(given), repr(secret.encode()), shlex.quote(secret)),
                *(
                    urllib.parse.urlencode({"password": secret}),
                    urllib.parse.quote(secret, safe=""),
                    html.escape(secret),
                ),
                *(base64.b64encode(user.encode()).decode(), base64.encodebytes(user.encode() * 3).decode()),
                *(
                    secret.encode().hex(),
                    yaml.safe_dump(given, width=30),
                    textwrap.fill(secret, 12),
                    stringc(secret, "red"),
                ),
                *("x" * 19_990 + secret, f"\x1b]0;{secret}\x07{secret[:5]}\x1b[2K{secret[5:]}"),
            ):
                self._display.display(f"the system said: {form}")
                self._display.vvv(f"<system> EXEC login --password {form}")
        self._display.warning(f"the password {given} is old")
        self.send(
            event="resource",
            path=resource["path"],
            kind=self.kind,
            status="failed",
            before={"url": [f"http://admin:{given['key']}@shelf/"], "args": given},
            after={given["key"]: json.dumps(given)},
            reasons=[f"login failed for {given}"],
            message=f"the shelf says: no user with password {given['key']!r}",
        )
        arguments = {"invocation": {"module_args": {**given, "url": f"http://:{given['key']}@shelf"}}}
        try:
            raise KeyError(given["key"])
        except KeyError as error:
            raise AnsibleActionFail(
                f"login with {given} failed", result={**arguments, "stdout": repr(given)}
            ) from error

    def send(self, **event):
        os.write(self.pipe, json.dumps(event).encode() + b"\n")
