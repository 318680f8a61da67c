"""Owns MariaDB databases: MariaDbDatabase specs to and from information_schema. It never writes inside a database.

The mark is a database's comment, which is made and changed in one statement with the rest.
"""

from __future__ import annotations

from typing import Any

import ansible.module_utils
from ansible import constants

ansible.module_utils.__path__[:] = [
    *dict.fromkeys([*ansible.module_utils.__path__, *constants.DEFAULT_MODULE_UTILS_PATH])
]

from ansible.module_utils.mariadb import DATABASE_NAME, SYSTEM_DATABASES, MariaDbAction, quoted  # noqa: E402
from ansible.module_utils.mergeyard.pairing import (  # noqa: E402
    Found,
    Identity,
    Outcome,
    Refused,
    Resource,
    Spec,
    shown,
)

MARKER = "Managed by Mergeyard: "
SELECT = """
SELECT SCHEMA_NAME AS name, DEFAULT_CHARACTER_SET_NAME AS character_set, DEFAULT_COLLATION_NAME AS collation,
       SCHEMA_COMMENT AS comment
FROM information_schema.SCHEMATA
"""


class ActionModule(MariaDbAction):  # type: ignore[misc]
    KIND = "MariaDbDatabase"

    def read(self, resources: list[Resource]) -> dict[Identity, Found]:
        self.learn_collations()
        names = [str(resource.spec["name"]) for resource in resources]
        names = [name for name in names if DATABASE_NAME.fullmatch(name)]  # another one could spoil the whole question
        if not names:
            return {}
        return {(row["name"],): self.found(row) for row in self.rows(f"{SELECT} WHERE SCHEMA_NAME IN %s", names)}

    def gather(self) -> list[Found]:
        self.learn_collations()
        rows = self.rows(f"{SELECT} ORDER BY SCHEMA_NAME")
        return [self.found(row) for row in rows if row["name"] not in SYSTEM_DATABASES]

    def learn_collations(self) -> None:
        rows = self.rows("SELECT CHARACTER_SET_NAME, DEFAULT_COLLATE_NAME FROM information_schema.CHARACTER_SETS")
        self.usual = {row["CHARACTER_SET_NAME"]: row["DEFAULT_COLLATE_NAME"] for row in rows}
        rows = self.rows("SELECT * FROM information_schema.COLLATION_CHARACTER_SET_APPLICABILITY")
        self.fitting = {  # since 10.10 some collations have a short name that is one of several character sets
            (row["CHARACTER_SET_NAME"], row.get("FULL_COLLATION_NAME") or row["COLLATION_NAME"]) for row in rows
        }

    def found(self, row: dict[str, Any]) -> Found:
        spec: Spec = {"name": row["name"], "character_set": row["character_set"]}
        if row["collation"] != self.usual.get(row["character_set"]):
            spec["collation"] = row["collation"]
        comment = str(row["comment"] or "")
        return Found(spec, comment.removeprefix(MARKER) if comment.startswith(MARKER) else None)

    def after(self, resource: Resource, found: Found | None) -> Spec:
        name, character_set = str(resource.spec["name"]), str(resource.spec["character_set"])
        if not DATABASE_NAME.fullmatch(name):
            raise Refused(f"name: {shown(name)} cannot be the name of a database.")
        if character_set not in self.usual:
            raise Refused(f"character_set: the server has none that is called {shown(character_set)}.")
        spec: Spec = {"name": name, "character_set": character_set}
        collation = str(resource.spec.get("collation", self.usual[character_set]))
        if (character_set, collation) not in self.fitting:
            raise Refused(
                f"collation: {shown(collation)} is not one of {character_set} on this server; leave it out for "
                f"{self.usual[character_set]}."
            )
        return spec if collation == self.usual[character_set] else {**spec, "collation": collation}

    def forbidden(self, outcome: Outcome) -> str:
        needed = "DROP" if outcome.after is None else "CREATE" if outcome.before is None else "ALTER"
        return str(self.own.refused_in(str(outcome.resource.spec["name"]), [needed]))

    def options(self, outcome: Outcome) -> str:
        spec: Any = outcome.after
        character_set = spec["character_set"]
        collation = spec.get("collation", self.usual[character_set])
        comment = self.literal(MARKER + outcome.resource.path)
        return f"CHARACTER SET {quoted(character_set)} COLLATE {quoted(collation)} COMMENT {comment}"

    def create(self, outcome: Outcome) -> None:
        self.execute(f"CREATE DATABASE {quoted(outcome.after['name'])} {self.options(outcome)}")

    def change(self, outcome: Outcome) -> None:
        self.execute(f"ALTER DATABASE {quoted(outcome.after['name'])} {self.options(outcome)}")

    def drop(self, outcome: Outcome) -> None:
        self.execute(f"DROP DATABASE {quoted(outcome.before['name'])}")
