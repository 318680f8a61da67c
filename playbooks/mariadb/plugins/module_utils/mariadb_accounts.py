"""Owns what MariaDB's own tables say of a user: how it signs in, its limits, its rights in databases and elsewhere.

Pure. It must not know the connection or Ansible.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible.module_utils.mergeyard.pairing import Spec  # type: ignore[import-not-found]

ALL = "ALL PRIVILEGES"
TLS = {0: "none", 1: "any", 2: "x509", 3: "specified"}
LIMITS = ("max_questions", "max_updates", "max_connections", "max_statement_time")
WILDCARD = re.compile(r"(?<!\\)_")


def privilege_of(column: str) -> str:
    """The privilege that a column of mysql.db stands for."""
    name = column.removesuffix("_priv").replace("_", " ").upper()
    return name.replace("CREATE TMP TABLE", "CREATE TEMPORARY TABLES")


def pattern_of(database: str) -> str:
    """In a grant a database is a pattern, in which _ would be any character."""
    return database.replace("_", "\\_")


def database_of(pattern: str) -> str:
    return pattern.replace("\\_", "_").replace("\\%", "%")


@dataclass
class Grant:
    """What a user may do in the databases of one pattern."""

    pattern: str
    privileges: frozenset[str]
    hands_on: bool


@dataclass
class Account:
    """One user as the server has it."""

    name: str
    host: str
    stored: Mapping[str, Any]  # of mysql.global_priv
    grants: list[Grant] = field(default_factory=list)
    roles: list[str] = field(default_factory=list)
    below: bool = False  # whether it has rights on single tables, columns or routines

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Account:
        return cls(row["User"], row["Host"], json.loads(row["Priv"]))

    def add(self, row: Mapping[str, Any]) -> None:
        """A row of mysql.db."""
        rights = frozenset(privilege_of(name) for name, value in row.items() if name.endswith("_priv") and value == "Y")
        self.grants.append(Grant(row["Db"], rights - {"GRANT"}, "GRANT" in rights))

    @property
    def plugin(self) -> str:
        return str(self.stored.get("plugin", ""))

    @property
    def verifier(self) -> str:
        return str(self.stored.get("authentication_string", ""))

    @property
    def other_ways(self) -> list[str]:
        """Further plugins by which it may sign in."""
        return [str(way["plugin"]) for way in self.stored.get("auth_or", []) if way.get("plugin")]

    def spec(self, every: frozenset[str]) -> Spec:
        """`every`: all privileges that this server has in a database."""
        rights: dict[str, set[str]] = {}
        for grant in self.grants:
            rights.setdefault(database_of(grant.pattern), set()).update(grant.privileges)
        return {
            "name": self.name,
            "host": self.host,
            "login": not self.stored.get("account_locked", False),
            "privileges": listed(rights, every),
            "tls": TLS.get(int(self.stored.get("ssl_type", 0)), "specified"),
            "max_connections": int(self.stored.get("max_user_connections", 0)),
            "authentication": self.plugin,
        }

    def remarks(self) -> list[str]:
        """What no spec can show, and is taken back."""
        found = []
        if int(self.stored.get("access", 0)):
            found.append("privileges on the whole server were given to it there")
        if self.below:
            found.append("privileges on single tables or routines were given to it on the server")
        found += [f"the role {role} was given to it on the server" for role in self.roles]
        found += [f"it may hand on its privileges on {grant.pattern}" for grant in self.grants if grant.hands_on]
        found += [
            f"its privileges on {grant.pattern} hold for every database whose name fits"
            for grant in self.grants
            if WILDCARD.search(grant.pattern)
        ]
        if any(float(self.stored.get(limit, 0)) for limit in LIMITS):
            found.append("further limits were set for it on the server")
        return found

    def sign_in_remarks(self) -> list[str]:
        """What is mended by setting the password again."""
        found = [f"it may also sign in by {way}" for way in self.other_ways]
        if self.stored.get("password_last_changed") == 0:
            found.append("its password was made to expire on the server")
        return found


def listed(rights: Mapping[str, Iterable[str]], every: frozenset[str]) -> list[dict[str, object]]:
    """Privileges as a spec has them, always in the same order."""
    return [
        {"database": database, "privileges": [ALL] if every <= {*names} else sorted(names)}
        for database, names in sorted(rights.items())
        if names
    ]
