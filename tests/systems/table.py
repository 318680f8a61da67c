"""What the conformance suite proved, counted and as the table of the docs."""

import os
import shutil
import subprocess

from tests.systems.catalogue import PROVEN, lacks

HEAD = """# What was proven of every kind

Made by `CONFORMANCE_TABLE=docs/conformance.md bin/test systems` from the results of the conformance suite
(`tests/systems/test_conformance.py`), which runs every kind against the real server named beside it. A dash: the kind
has nothing of that sort, or it is a matter of the plan alone, which is proven once for each kind, in the first of its
rows.

"""
LENIENT = "The schema lets nothing through that the system refuses, so only other failures were tried beside others: "
SIGNS = {"passed": "yes", "failed": "**no**", "skipped": "not tested"}


class Table:
    def __init__(self):
        self.outcomes = {}  # (kind, property) -> passed | failed | skipped
        self.servers = {}  # kind -> the server's title

    def record(self, title, kind, outcome):
        key = kind, title
        if self.outcomes.get(key) in (None, "passed"):
            self.outcomes[key] = outcome

    def count(self, outcome):
        return sum(found == outcome for found in self.outcomes.values())

    @property
    def left_out(self):
        """What the examples of kinds that were looked at leave out here."""
        kinds = {kind for kind, _ in self.outcomes}
        return [line for kind in PROVEN if repr(kind) in kinds for line in kind.left_out]

    def summary(self):
        kinds = {kind for kind, _ in self.outcomes}
        return (
            f"kinds {len(kinds)}, properties {len(self.outcomes)}, failed {self.count('failed')}, "
            f"not tested {self.count('skipped') + len(self.left_out)}"
        )

    def text(self):
        properties = list(dict.fromkeys(title for _, title in self.outcomes))
        lines = [
            HEAD,
            "| system type | kind | server |",
            *(f" {title} |" for title in properties),
            "\n",
            "| --- | --- | --- |",
        ]
        lines += [*(" --- |" for _ in properties), "\n"]
        for kind in PROVEN:
            lines += [f"| {kind.type} | {kind.name} | {self.servers.get(repr(kind), 'none')} |"]
            signs = [SIGNS.get(self.outcomes.get((repr(kind), title)), "–") for title in properties]
            lines += [*(f" {sign} |" for sign in signs), "\n"]
        left = {kind.type: lacks(kind.type, kind.server) for kind in PROVEN if kind.server}
        if any(left.values()):
            lines.append("\nThe demo's embedded servers do not have everything:\n\n")
            lines += [f"- {what}: {why}\n" for found in left.values() for what, why in found.items()]
        if self.left_out:
            lines.append("\nNot tested where this was made:\n\n")
            lines += [f"- {line}\n" for line in self.left_out]
        if lenient := [kind.name for kind in PROVEN if not kind.example.refused]:
            lines.append(f"\n{LENIENT}{', '.join(lenient)}.\n")
        return "".join(lines)


table = Table()


def can_have_everything():
    """Debian's packages may be installed here, Maven brings Apache Kafka, and user namespaces work."""
    root = os.geteuid() == 0 or (shutil.which("sudo") and succeeds("sudo", "-n", "true"))
    apt = shutil.which("apt-get") and root
    maven = shutil.which("mvn") and shutil.which("java")
    return bool(apt and maven) and succeeds("unshare", "-Ur", "true")


def succeeds(*argv):
    return subprocess.run(argv, capture_output=True).returncode == 0
