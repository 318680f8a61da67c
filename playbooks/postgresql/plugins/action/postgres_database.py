"""Owns PostgreSQL databases: PostgresDatabase specs to and from pg_database. It never writes inside a database."""

from __future__ import annotations

import hashlib
from typing import Any

import ansible.module_utils
from ansible import constants

ansible.module_utils.__path__[:] = [
    *dict.fromkeys([*ansible.module_utils.__path__, *constants.DEFAULT_MODULE_UTILS_PATH])
]

from ansible.module_utils.mergeyard.pairing import Found, Identity, Outcome, Refused, Resource, Spec  # noqa: E402
from ansible.module_utils.postgres import PostgresAction, fit, marker_of, settings_of  # noqa: E402
from psycopg import sql  # noqa: E402

UNFINISHED = "mergeyard-unfinished-"
SELECT = """
SELECT datname, pg_get_userbyid(datdba) AS owner, pg_encoding_to_char(encoding) AS encoding, datcollate, datctype,
       datconnlimit, shobj_description(oid, 'pg_database') AS comment,
       (SELECT setconfig FROM pg_db_role_setting WHERE setrole = 0 AND setdatabase = pg_database.oid) AS settings
FROM pg_database
"""


def spec_of(row: dict[str, Any]) -> Spec:
    return {
        "name": row["datname"],
        "owner": row["owner"],
        "encoding": row["encoding"],
        "locale": row["datcollate"],
        "connection_limit": row["datconnlimit"],
        "settings": settings_of(row["settings"]),
    }


class ActionModule(PostgresAction):  # type: ignore[misc]
    KIND = "PostgresDatabase"
    OBJECT = "DATABASE"

    def read(self, resources: list[Resource]) -> dict[Identity, Found]:
        names = [str(resource.spec["name"]) for resource in resources]
        return {(row["datname"],): self.found(row) for row in self.rows(f"{SELECT} WHERE datname = ANY(%s)", names)}

    def gather(self) -> list[Found]:
        condition = f"NOT datistemplate AND datname <> current_database() AND NOT starts_with(datname, '{UNFINISHED}')"
        return [self.found(row) for row in self.rows(f"{SELECT} WHERE {condition} ORDER BY datname")]

    def found(self, row: dict[str, Any]) -> Found:
        return Found(spec_of(row), marker_of(row["comment"]))

    def after(self, resource: Resource, found: Found | None) -> Spec:
        spec = resource.spec
        fit(str(spec["name"]))
        fit(str(spec["owner"]))
        settings: Any = spec["settings"]
        for name in ("encoding", "locale"):
            if found is not None and found.marker and found.spec[name] != spec[name]:
                raise Refused(
                    f"{name}: PostgreSQL cannot change {found.spec[name]} to {spec[name]} in a database that exists; "
                    "make a new database and copy the data."
                )
        return {**spec, "settings": dict(sorted(settings.items()))}

    def create(self, outcome: Outcome) -> None:
        """CREATE DATABASE cannot be in a transaction with its marker. Until the rename, which can, a database bears a
        name that only we give, so that one left by a crash is known and made anew."""
        spec = outcome.after
        unfinished = UNFINISHED + hashlib.sha256(str(spec["name"]).encode()).hexdigest()[:20]
        self.execute("DROP DATABASE IF EXISTS {name}", name=unfinished)
        self.execute(
            "CREATE DATABASE {name} OWNER {owner} ENCODING {encoding} LOCALE {locale} TEMPLATE template0 "
            "CONNECTION LIMIT {limit}",
            name=unfinished,
            owner=spec["owner"],
            encoding=sql.Literal(spec["encoding"]),
            locale=sql.Literal(spec["locale"]),
            limit=sql.Literal(spec["connection_limit"]),
        )
        try:
            with self.database.transaction():
                self.set_settings(unfinished, {}, spec["settings"])
                self.mark(unfinished, outcome)
                self.execute("ALTER DATABASE {name} RENAME TO {wanted}", name=unfinished, wanted=spec["name"])
        except Exception:
            self.execute("DROP DATABASE IF EXISTS {name}", name=unfinished)
            raise

    def change(self, outcome: Outcome) -> None:
        name, before, after = outcome.after["name"], outcome.before, outcome.after
        if before["owner"] != after["owner"]:
            self.execute("ALTER DATABASE {name} OWNER TO {owner}", name=name, owner=after["owner"])
        if before["connection_limit"] != after["connection_limit"]:
            limit = sql.Literal(after["connection_limit"])
            self.execute("ALTER DATABASE {name} CONNECTION LIMIT {limit}", name=name, limit=limit)
        self.set_settings(name, before["settings"], after["settings"])
        self.mark(name, outcome)
