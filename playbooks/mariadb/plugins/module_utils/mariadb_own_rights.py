"""Owns what the account that works here may do, as SHOW GRANTS tells it, and the server's words where it may not.

Pure. It must not know the connection or Ansible.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

GRANTED = re.compile(r"GRANT (?P<names>[A-Z ,]+) ON (?:\*|`(?P<pattern>(?:[^`]|``)+)`)\.\* TO (?P<rest>.*)", re.DOTALL)
ALL = "ALL PRIVILEGES"
HANDS_ON = "GRANT OPTION"


def fits(pattern: str, database: str) -> bool:
    """Whether a database is one of those that a grant's pattern means: % is anything, _ one character."""
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    signs = {"%": ".*", "_": "."}
    return bool(re.fullmatch("".join(signs.get(part) or re.escape(part[-1]) for part in parts), database, re.DOTALL))


class OwnRights:
    """Of one account ('name'@'host', as the server says it) and of the roles that it works with."""

    def __init__(self, account: str, lines: Iterable[str]) -> None:
        self.account = account
        self.everywhere: set[str] = set()
        self.within: list[tuple[str, set[str]]] = []
        for found in filter(None, map(GRANTED.fullmatch, lines)):
            names = set(found["names"].split(", "))
            if f"WITH {HANDS_ON}" in found["rest"]:
                names.add(HANDS_ON)
            if found["pattern"]:
                self.within.append((found["pattern"].replace("``", "`"), names))
            else:
                self.everywhere |= names

    def has(self, wanted: Iterable[str], database: str) -> bool:
        held = self.everywhere.union(*(names for pattern, names in self.within if fits(pattern, database)))
        return all(name in held or (ALL in held and name != HANDS_ON) for name in wanted)

    def refused_in(self, database: str, wanted: Iterable[str], *, pattern: str = "") -> str:
        """What the server says of privileges that are needed in a database; empty if it lets us."""
        return (
            ""
            if self.has(wanted, database)
            else f"Access denied for user {self.account} to database '{pattern or database}'"
        )

    def refused_users(self, instead: str) -> str:
        """The same of making, changing or deleting users, which `instead` in the database mysql allows too."""
        if self.has(["CREATE USER"], "") or self.has([instead], "mysql"):
            return ""
        return "Access denied; you need (at least one of) the CREATE USER privilege(s) for this operation"
