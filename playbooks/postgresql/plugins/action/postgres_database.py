"""Owns PostgreSQL databases: PostgresDatabase specs to and from pg_database.

It writes inside a database only what has to follow to another owner: see `change`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import ansible.module_utils
from ansible import constants

ansible.module_utils.__path__[:] = [
    *dict.fromkeys([*ansible.module_utils.__path__, *constants.DEFAULT_MODULE_UTILS_PATH])
]

import psycopg  # noqa: E402
from ansible.module_utils.mergeyard.pairing import (  # noqa: E402
    Found,
    Identity,
    Outcome,
    Refused,
    Resource,
    Spec,
    SystemDown,
    shown,
)
from ansible.module_utils.mergeyard.values import number  # noqa: E402
from ansible.module_utils.postgres import (  # noqa: E402
    PostgresAction,
    fit,
    marker_of,
    settings_of,
    wanted_settings,
)
from psycopg import sql  # noqa: E402

UNFINISHED = "mergeyard-unfinished-"
OF_THE_SERVER = ("postgres", "template0", "template1")
ENCODINGS = ("UTF8", "LATIN1", "LATIN9", "SQL_ASCII")
LOCALES = ("C", "C.UTF-8", "en_US.UTF-8", "de_DE.UTF-8")
OPEN = "whoever may sign in to the server may connect to it"
SELECT = """
SELECT datname, pg_get_userbyid(datdba) AS owner, pg_encoding_to_char(encoding) AS encoding, datcollate, datctype,
       datconnlimit, datistemplate, shobj_description(oid, 'pg_database') AS comment,
       EXISTS (SELECT FROM aclexplode(coalesce(datacl, acldefault('d', datdba))) WHERE grantee = 0) AS open,
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
    TOLD = ("name", "owner")

    def open(self) -> None:
        super().open()
        self.templates: set[str] = set()
        self.roles = {row["rolname"] for row in self.rows("SELECT rolname FROM pg_roles")}
        self.roles |= {role for role, _ in self.told("roles")}
        self.unknown: dict[str, bool] = {}  # locale -> whether the server does not know it

    def read(self, resources: list[Resource]) -> dict[Identity, Found]:
        names = [str(resource.spec["name"]) for resource in resources]
        return {(row["datname"],): self.found(row) for row in self.rows(f"{SELECT} WHERE datname = ANY(%s)", names)}

    def gather(self) -> list[Found]:
        condition = f"NOT datistemplate AND NOT starts_with(datname, '{UNFINISHED}') AND datname <> 'postgres'"
        rows = self.rows(f"{SELECT} WHERE {condition} AND datname <> current_database() ORDER BY datname")
        return [self.found(row) for row in rows]

    def found(self, row: dict[str, Any]) -> Found:
        if row["datistemplate"]:
            self.templates.add(row["datname"])
        return Found(spec_of(row), marker_of(row["comment"]), (OPEN,) if row["open"] else ())

    def after(self, resource: Resource, found: Found | None) -> Spec:
        spec = resource.spec
        self.may_be_ours(str(spec["name"]), found)
        owner = str(spec["owner"])
        fit(owner)
        if owner not in self.roles or owner.startswith("pg_"):
            raise Refused(f"owner: there is no role {shown(owner)} on the server that could own a database.")
        number("connection_limit", spec["connection_limit"], -1, 10_000)
        if found is None:
            self.must_be_made(str(spec["encoding"]), str(spec["locale"]))
        for name in ("encoding", "locale"):
            if found is not None and found.spec[name] != spec[name]:
                raise Refused(
                    f"{name}: PostgreSQL cannot change {found.spec[name]} to {spec[name]} in a database that exists; "
                    "make a new database and copy the data."
                )
        return {**spec, "settings": wanted_settings(spec["settings"])}

    def may_be_ours(self, name: str, found: Found | None) -> None:
        fit(name)
        if name == self.connection.get("database", "postgres"):
            raise Refused("This is the database that Mergeyard connects to; choose another name.")
        template = found is not None and not found.marker and name in self.templates
        if name in OF_THE_SERVER or name.startswith(UNFINISHED) or template:
            raise Refused(f"{shown(name)} is one of the server's own databases; choose another name.")

    def must_be_made(self, encoding: str, locale: str) -> None:
        for field, value, known in (("encoding", encoding, ENCODINGS), ("locale", locale, LOCALES)):
            if value not in known:
                raise Refused(f"{field}: {shown(value)} is none of {', '.join(known)}.")
        if locale == "C":
            return
        if encoding != "UTF8":
            raise Refused(f"encoding: {encoding} does not go with the locale {locale}; take UTF8, or the locale C.")
        if locale not in self.unknown and self.database.info.parameter_status("server_encoding") == "UTF8":
            try:
                self.undone(self.statement("CREATE COLLATION pg_temp.tried (LOCALE = {at})", at=sql.Literal(locale)))
            except psycopg.Error as error:
                self.unknown[locale] = error.sqlstate == "22023"
        if self.unknown.get(locale):
            raise Refused(f"locale: the server does not know {locale}; have it installed there, or take C.")

    def rehearse(self, outcome: Outcome) -> None:
        if outcome.after is None:
            if self.check:
                self.must_be_unused(str(outcome.before["name"]))
        elif outcome.before is None:
            wanted = outcome.after["settings"].items()
            text = "ALTER ROLE CURRENT_USER SET {setting} TO {value}"  # of no effect here, and the values are the same
            self.undone(*(self.statement(text, setting=name, value=sql.Literal(value)) for name, value in wanted))
        else:
            self.change(outcome)

    def must_be_unused(self, name: str) -> None:
        """As the server says it; it waits some seconds for connections that are about to end."""
        query = (
            "SELECT count(*) AS sessions FROM pg_stat_activity WHERE datname = %s AND backend_type = 'client backend'"
        )
        if sessions := self.rows(f"{query} AND application_name <> 'mergeyard'", name)[0]["sessions"]:
            are = "is 1 other session" if sessions == 1 else f"are {sessions} other sessions"
            raise Refused(
                f'PostgreSQL refused it: database "{name}" is being accessed by other users. '
                f"There {are} using the database."
            )

    def create(self, outcome: Outcome) -> None:
        """CREATE DATABASE cannot be in a transaction with its marker. Until the rename, which can, a database bears a
        name that only we give, so that one left by a crash is known and made anew."""
        spec = outcome.after
        unfinished = UNFINISHED + hashlib.sha256(str(spec["name"]).encode()).hexdigest()[:20]
        away = self.statement("DROP DATABASE IF EXISTS {name}", name=unfinished)
        self.execute(away)
        self.execute(
            self.statement(
                "CREATE DATABASE {name} OWNER {owner} ENCODING {encoding} LOCALE {locale} TEMPLATE template0 "
                "CONNECTION LIMIT {limit}",
                name=unfinished,
                owner=spec["owner"],
                encoding=sql.Literal(spec["encoding"]),
                locale=sql.Literal(spec["locale"]),
                limit=sql.Literal(spec["connection_limit"]),
            )
        )
        try:
            self.execute(
                *self.settings(unfinished, None, spec),
                self.closed(unfinished),
                self.mark(unfinished, outcome),
                self.statement("ALTER DATABASE {name} RENAME TO {wanted}", name=unfinished, wanted=spec["name"]),
            )
        except Exception:
            self.execute(away)
            raise

    def closed(self, name: str) -> sql.Composed:
        return self.statement("REVOKE ALL ON DATABASE {name} FROM PUBLIC", name=name)

    def change(self, outcome: Outcome) -> None:
        """All or nothing, and nothing in check mode. What grants give of tables that the owner will make is kept in the
        database, by the owner's name, and so goes to another owner there."""
        if outcome.before["owner"] == outcome.after["owner"]:
            (self.undone if self.check else self.execute)(*self.changes(outcome))
            return
        try:
            connection = self.connected(str(outcome.after["name"]))
        except SystemDown as down:
            raise Refused(f"owner: {down}") from down
        with connection, connection.transaction(force_rollback=self.check):
            self.hand_over(connection, str(outcome.after["owner"]))
            for statement in self.changes(outcome):
                connection.execute(statement)

    def changes(self, outcome: Outcome) -> Iterator[sql.Composable]:
        name, before, after = outcome.after["name"], outcome.before, outcome.after
        if before["connection_limit"] != after["connection_limit"]:
            limit = sql.Literal(after["connection_limit"])
            yield self.statement("ALTER DATABASE {name} CONNECTION LIMIT {limit}", name=name, limit=limit)
        if OPEN in outcome.reasons:
            yield self.closed(name)
        yield from self.settings(name, before, after)
        yield self.mark(name, outcome)
