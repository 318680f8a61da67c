#!/usr/bin/python
"""Owns the table `inet mergeyard` of one host's firewall, and the file that brings it back. It runs on that host.

What a rule is in nft is module_utils/nft_rules, the table around them nft_table.
"""

from __future__ import annotations

import datetime
import os
import re
import subprocess
import tempfile
from typing import Any

from ansible.module_utils.mergeyard.pairing import Found, Outcome, Refused, Resource, Spec, SystemDown, shown
from ansible.module_utils.mergeyard.remote import run
from ansible.module_utils.nft_rules import HOOKS, NAME, PREFIX, TABLE, jump_text, line_text, lines_of, text, valid
from ansible.module_utils.nft_table import (
    Table,
    beginning,
    blocks_of,
    for_the_next_start,
    listed,
    own_statements,
)
from ansible.module_utils.nft_values import canonical_networks

DOCUMENTATION = r"""
module: firewall_rule
short_description: Rules of a host's packet filter
description:
  - Keeps rules in the table C(inet mergeyard) of nftables, each in a chain of its own. Other tables are not touched.
  - Everything is checked by nft together, takes effect in one transaction, and is written to a file for the next start.
options:
  leaving:
    description: Rules to delete in the same transaction, or to leave where one that is to take their place is refused.
    type: list
    elements: dict
    default: []
extends_documentation_fragment: [mergeyard]
"""

EXAMPLES = r"""
- name: Bring all of them to what is wanted
  firewall_rule:
    state: replaced
    config: "{{ mergeyard.kinds.FirewallRule.replaced }}"
    leaving: "{{ mergeyard.kinds.FirewallRule.deleted }}"
    system: "{{ mergeyard.system.connection }}"

- name: List what is there
  firewall_rule:
    state: gathered
    system: "{{ mergeyard.system.connection }}"
"""

RETURN = r"""
resources:
  description:
    - Of each resource path, kind, status (ok or failed) and changed, the spec before and after (null where it is not
      there), the reasons of a change, and the message that says what failed.
    - With O(state=gathered) the identity, spec and owner (marker) of each that is there.
  returned: when nobody reads events, as in a play started by hand
  type: list
  elements: dict
"""

PROGRAMS = ("/usr/sbin/nft", "/sbin/nft", "/usr/local/sbin/nft", "/usr/bin/nft")
SECONDS = 60
BLAMED = re.compile(r"/dev/stdin:(\d+):\d+(?:-\d+)?: Error: (.*)")
Statement = tuple[str, "Outcome | None"]


class Nft:
    """The nft program of this host, in UTC whatever its zone."""

    def __init__(self, where: str) -> None:
        self.where = where
        found = [program for program in PROGRAMS if os.access(program, os.X_OK)]
        if not found:
            raise SystemDown(f"There is no nft program on {where}; install nftables there.")
        self.program = found[0]

    def ask(self, *options: str, text: str = "") -> tuple[int, str, str]:
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "TZ": "UTC", "LANG": "C"}
        try:
            done = subprocess.run(
                [self.program, *options], input=text, capture_output=True, text=True, timeout=SECONDS, env=environment
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SystemDown(f"nft on {self.where} does not answer ({type(error).__name__}).") from error
        return done.returncode, done.stdout, done.stderr

    def table(self) -> Table:
        code, answer, said = self.ask("-j", "list", "table", *TABLE.split())
        if code and "No such file or directory" in said:
            return Table([], "")
        if code:
            raise SystemDown(f"The firewall of {self.where} cannot be read: {words(said)}")
        return Table(listed(answer), self.ask("-s", "list", "table", *TABLE.split())[1])


def words(said: str) -> str:
    first = next((line for line in said.splitlines() if line.strip()), "it said nothing")
    return shown(re.sub(r"^(/dev/stdin:\S+ )?Error: ", "", first).strip(". ")) + "."


def must_be_to_come(until: object) -> None:
    today = datetime.datetime.now(datetime.timezone.utc).date()  # noqa: UP017 (the host may have Python 3.9)
    if until is not None and str(until) < str(today):
        raise Refused(f"until: {until} is over, so the rule would never hold; choose a day to come.")


def may_be_written(directory: str) -> bool:
    """Whether files may be put there, or it may be made where it is not there yet."""
    while not os.path.exists(directory):
        directory = os.path.dirname(directory)
    return os.access(directory, os.W_OK | os.X_OK)


class Rules:
    """The rules of one host's firewall."""

    def __init__(self, connection: dict[str, Any]) -> None:
        self.connection = connection
        self.where = f"{connection['host']} port {connection['port']}"
        self.file = str(connection.get("rules_file", "/etc/nftables.d/mergeyard.nft"))
        try:
            self.management = canonical_networks("management", connection["management"])
        except Refused as refused:
            raise SystemDown(f"The connection of {self.where} is not right: {refused}") from refused
        self.nft = Nft(self.where)
        self.table = self.nft.table()
        self.kept = blocks_of(self.file_text())
        self.running = blocks_of(for_the_next_start(self.table.text))
        self.sound = self.table.is_as_it_should_be(connection, self.management)

    def file_text(self) -> str:
        try:
            with open(self.file, encoding="utf-8", errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""
        except OSError as error:
            cause = (error.strerror or "").lower()
            raise SystemDown(f"The rules file {self.file} on {self.where} cannot be read: {cause}.") from error

    def found(self, name: str) -> Found | None:
        described = self.table.described(name)
        if described is None:
            return None
        spec, marker, remarks = described
        if marker is not None and self.kept.get(PREFIX + name) != self.running.get(PREFIX + name):
            remarks.append(f"{self.file} would not bring it back as it is at the next start")
        if marker is not None and not self.sound:
            remarks.append("what stands before all rules was changed")
        return Found(spec, marker, tuple(remarks))

    def gather(self) -> list[Found]:
        return [found for name in self.table.names() if (found := self.found(name)) is not None]

    def find(self, resource: Resource) -> Found | None:
        return self.found(text("name", resource.spec.get("name"), NAME))

    def after(self, resource: Resource, found: Found | None) -> Spec:
        wanted = valid(resource.spec)
        jump_text(wanted, resource.path)
        if wanted.get("until") != (found.spec.get("until") if found else None):
            must_be_to_come(wanted.get("until"))
        return wanted

    def write(self, outcomes: list[Outcome], *, check: bool) -> None:
        self.hold_back(outcomes)
        for outcome in outcomes:
            self.must_not_return(outcome)
        changed = [outcome for outcome in outcomes if outcome.changed]
        if changed and not may_be_written(os.path.dirname(self.file)):
            for outcome in changed:
                outcome.fail(f"{self.file} for the next start may not be written, so nothing was changed.")
            return
        while changed:
            statements = self.statements(changed)
            code, _, said = self.nft.ask("-c", "-f", "-", text=script(statements))
            if not code:
                break
            blamed = BLAMED.search(said)
            at = statements[int(blamed[1]) - 1][1] if blamed and int(blamed[1]) <= len(statements) else None
            for outcome in [at] if at else changed:
                outcome.fail(f"nft refuses it: {words(blamed[2] if blamed else said)}")
            self.hold_back(outcomes)
            changed = [outcome for outcome in changed if outcome.changed]
        if changed and not check:
            self.load(changed)

    def must_not_return(self, outcome: Outcome) -> None:
        """A deletion that finds nothing is none as long as the next start would bring the rule back."""
        gone = outcome.before is None and outcome.after is None and not outcome.failure
        if gone and f"{PREFIX}{outcome.resource.spec['name']}" in self.kept:
            outcome.changed, outcome.reasons = True, [f"{self.file} would bring it back at the next start"]

    def hold_back(self, outcomes: list[Outcome]) -> None:
        """A rule leaves only together with those that may take its place: if one of them is refused, it stays."""
        refused = [outcome.resource for outcome in outcomes if outcome.failure and not outcome.resource.leaving]
        for outcome in outcomes:
            gone = outcome.before if outcome.changed and outcome.resource.leaving else None
            if missed := [one.path for one in refused if gone and takes_the_place(one.spec, gone)]:
                outcome.fail(
                    f"It stays in force, as {missed[0]} may be there to take its place and is refused; correct that."
                )

    def statements(self, changed: list[Outcome]) -> list[Statement]:
        """The whole transaction, one statement a line, each with the outcome that it is for."""
        by_name = {str(outcome.resource.spec["name"]): outcome for outcome in changed}
        result: list[Statement] = [(line, None) for line in beginning(self.table, self.connection)]
        for name, outcome in by_name.items():
            chain = PREFIX + name
            leading = [jump for jump in self.table.jumps.get(chain, []) if jump.marker is None]
            result += [(f"delete rule {TABLE} {jump.hook} handle {jump.handle}", outcome) for jump in leading]
            if chain in self.table.chains:
                result += [(f"flush chain {TABLE} {chain}", outcome)]
            if outcome.after is not None:
                result += [(f"add chain {TABLE} {chain}", outcome)]
                result += [(f"add rule {TABLE} {chain} {line_text(line)}", outcome) for line in lines_of(outcome.after)]
            elif chain in self.table.chains:
                result += [(f"delete chain {TABLE} {chain}", outcome)]
        result += [(line, None) for line in own_statements(self.connection, self.management)]
        for _, name, hook, line in sorted(self.jumps(by_name), key=lambda jump: jump[:2]):
            result.append((f"add rule {TABLE} {hook} {line}", by_name.get(name)))
        return result

    def jumps(self, by_name: dict[str, Outcome]) -> list[tuple[int, str, str, str]]:
        """Order, name, chain and text of what leads to each of our rules, changed ones as they will be."""
        found = []
        for name in self.table.names():
            described = self.table.described(name)
            if name not in by_name and described[1] is not None and self.table.jumps.get(PREFIX + name):
                found.append((described[0], described[1]))
        found += [(outcome.after, outcome.resource.path) for outcome in by_name.values() if outcome.after]
        return [
            (int(spec["order"]), str(spec["name"]), HOOKS[str(spec["direction"])], jump_text(spec, marker))
            for spec, marker in found
        ]

    def load(self, changed: list[Outcome]) -> None:
        code, _, said = self.nft.ask("-f", "-", text=script(self.statements(changed)))
        failure = f"nft did not take the rules, the old ones are in force: {words(said)}" if code else self.keep()
        for outcome in changed:
            if failure:
                outcome.fail(failure)

    def keep(self) -> str:
        """The file for the next start, made of what runs now; empty, or why it could not be written."""
        kept = for_the_next_start(self.nft.ask("-s", "list", "table", *TABLE.split())[1])
        code, _, said = self.nft.ask("-c", "-f", "-", text=kept)
        if code:
            return f"The rules are in force, but would not be after a restart: {words(said)}"
        directory = os.path.dirname(self.file)
        try:
            os.makedirs(directory, mode=0o755, exist_ok=True)
            descriptor, new = tempfile.mkstemp(dir=directory, prefix=".mergeyard-")
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(kept)
                file.flush()
                os.fsync(descriptor)
            os.replace(new, self.file)
        except OSError as error:
            cause = (error.strerror or str(error)).lower()
            return f"The rules are in force, but {self.file} for the next start cannot be written: {cause}."
        return ""


def takes_the_place(spec: Spec, gone: Spec) -> bool:
    """Whether one rule may be there to do what one that goes did, which no refusing one does for an accepting one."""
    same = spec.get("direction", "incoming") == gone["direction"]
    return same and (gone["action"] != "accept" or spec.get("action") == "accept")


def script(statements: list[Statement]) -> str:
    return "".join(f"{line}\n" for line, _ in statements)


if __name__ == "__main__":
    run("FirewallRule", Rules)
