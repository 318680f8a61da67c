"""Owns the privileges of roles within databases: reads, replaces and takes them back, one connection per database.

What a grant means is module_utils/postgres_grants. PostgreSQL can hold no ownership marker for a privilege.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
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
from ansible.module_utils.mergeyard.values import flag  # noqa: E402
from ansible.module_utils.postgres import PostgresAction, fit, refusal_of, said  # noqa: E402
from ansible.module_utils.postgres_grants import (  # noqa: E402
    COMING,
    HELD,
    OBJECTS,
    TABLES,
    Held,
    Schema,
    by_role,
    found_of,
    grant,
    revoke,
    schemas_of,
)
from psycopg import sql  # noqa: E402

NOT_DONE = ("01006", "01007")  # a privilege that was not revoked, or not granted
DATABASES = """
SELECT datname AS name, pg_get_userbyid(datdba) AS owner FROM pg_database WHERE datallowconn AND NOT datistemplate
"""


class ActionModule(PostgresAction):  # type: ignore[misc]
    KIND = "PostgresGrant"
    IDENTITY = ("database", "role")
    MARKED = False
    TOLD = ("database", "role")

    def open(self) -> None:
        super().open()
        now = {row["name"]: row["owner"] for row in self.rows(DATABASES)}
        self.there, self.owners = {*now}, now | dict(self.told("databases"))
        self.passing = {name for name, owner in now.items() if owner != self.owners[name]}  # in check mode only
        self.existing = {row["rolname"] for row in self.rows("SELECT rolname FROM pg_roles")}
        self.roles = self.existing | {role for role, _ in self.told("roles")}
        self.schemas: dict[str, dict[str, Schema]] = {}  # database -> name -> what is there
        self.unusable: dict[str, str] = {}  # database -> why what is held in it cannot be read
        self.holding: dict[Identity, Held] = {}
        self.rehearsals: dict[str, Any] = {}  # database -> its connection
        self.warnings: list[str] = []

    def close(self) -> None:
        for connection in self.rehearsals.values():
            connection.close()
        super().close()

    def read(self, resources: list[Resource]) -> dict[Identity, Found]:
        wanted: dict[str, set[str]] = defaultdict(set)
        for resource in resources:
            wanted[str(resource.spec["database"])].add(str(resource.spec["role"]))
        found: dict[Identity, Found] = {}
        for database, roles in wanted.items():
            try:
                held = self.held(database) if database in self.there else {}
            except SystemDown as down:
                self.unusable[database] = str(down)
                continue
            found |= {(database, role): one for role, one in held.items() if role in roles}
        return found

    def pair(self, outcome: Outcome, found: Found | None, state: str) -> None:
        """A database that cannot be used holds up its own grants and no others."""
        if why := self.unusable.get(str(outcome.resource.spec["database"])):
            outcome.fail(why)
        else:
            super().pair(outcome, found, state)

    def present(self, resources: list[Resource]) -> set[str]:
        """Also those of which nobody can tell."""
        there: set[str] = super().present(resources)
        return there | {one.path for one in resources if str(one.spec["database"]) in self.unusable}

    def gather(self) -> list[Found]:
        return [
            one
            for database in sorted(self.there)
            for role, one in sorted(self.held(database).items())
            if role != self.owners[database]
        ]

    def held(self, database: str) -> dict[str, Found]:
        try:
            with (
                self.connected(database) as connection,
                self.undone_in(database, connection),
                connection.cursor(row_factory=psycopg.rows.dict_row) as cursor,
            ):
                held = by_role(cursor.execute(HELD).fetchall(), cursor.execute(COMING).fetchall())
                rows = cursor.execute(OBJECTS).fetchall()
        except psycopg.Error as error:
            raise SystemDown(f"What roles may do in {shown(database)} cannot be read. {said(error)}") from error
        self.schemas[database] = schemas_of(rows)
        self.holding |= {(database, role): one for role, one in held.items()}
        return {role: found_of(database, role, one, self.schemas[database]) for role, one in held.items()}

    def connected(self, database: str) -> Any:
        connection = super().connected(database)
        connection.add_notice_handler(self.take_notice)
        return connection

    @contextlib.contextmanager
    def undone_in(self, database: str, connection: Any) -> Iterator[None]:
        """A transaction that leaves nothing, in which the database has the owner that the same play is to give it."""
        with connection.transaction(force_rollback=True):
            if database in self.passing:
                self.hand_over(connection, self.owners[database])
            yield

    def after(self, resource: Resource, found: Found | None) -> Spec:
        spec = resource.spec
        database, role, schemas = str(spec["database"]), str(spec["role"]), list(map(str, spec["schemas"]))
        fit(database)
        if spec["access"] not in TABLES:
            raise Refused(f"access: {shown(spec['access'])} is none of {', '.join(TABLES)}.")
        flag("create", spec["create"])
        if database not in self.owners:
            raise Refused(f"There is no database {shown(database)} on the server.")
        self.may_be_given(role, self.owners[database])
        there = self.schemas.get(database, {"public": Schema("pg_database_owner")})  # of one that the same play makes
        for schema in schemas:
            if schema not in there:
                raise Refused(f"schemas: there is no schema {shown(schema)} in the database {shown(database)}.")
            if there[schema].keeper == role:
                raise Refused(f"schemas: {shown(role)} owns {shown(schema)} and needs no grant on it; leave it out.")
        return {**spec, "schemas": sorted(schemas)}

    def may_be_given(self, role: str, owner: str) -> None:
        if role == owner:
            raise Refused(f"{shown(role)} owns the database and needs no grant; remove the document.")
        if role == self.connection["user"] or role.startswith("pg_"):
            raise Refused(f"role: {shown(role)} is none whose privileges are managed here; choose another one.")
        if role not in self.roles or role in ("none", "public"):  # of which the latter is everybody, even in quotes
            raise Refused(f"role: there is no role {shown(role)} on the server.")

    def take_notice(self, notice: psycopg.errors.Diagnostic) -> None:
        if notice.sqlstate in NOT_DONE:
            self.warnings.append(str(notice.message_primary))

    def rehearse(self, outcome: Outcome) -> None:
        """In check mode; not of what the same play is yet to make."""
        database, role = str(outcome.resource.spec["database"]), str(outcome.resource.spec["role"])
        if not self.check or database not in self.there or role not in self.existing:
            return
        if database not in self.rehearsals:
            self.rehearsals[database] = self.connected(database)
            self.rehearsals[database].autocommit = True
        with self.undone_in(database, self.rehearsals[database]):
            refusal = self.settled(self.rehearsals[database], outcome)
        if refusal:
            raise Refused(refusal)

    def write(self, outcomes: list[Outcome]) -> Iterator[tuple[Outcome, str]]:
        by_database: dict[str, list[Outcome]] = defaultdict(list)
        for outcome in outcomes:
            by_database[str(outcome.resource.spec["database"])].append(outcome)
        for database, group in by_database.items():
            why = f"The connection to the database {shown(database)} was lost."
            try:
                with self.connected(database) as connection:
                    connection.autocommit = True
                    while group and not connection.closed:
                        outcome = group.pop(0)
                        yield outcome, self.settled(connection, outcome)
            except SystemDown as down:
                why = str(down)
            for outcome in group:
                yield outcome, why

    def settled(self, connection: Any, outcome: Outcome) -> str:
        """One message and so one transaction: nobody is without privileges in between, and a failure leaves all."""
        self.warnings.clear()
        try:
            connection.execute(sql.SQL("; ").join(self.statements(outcome)), prepare=False)
        except (psycopg.Error, UnicodeEncodeError) as error:
            return str(refusal_of(error))
        # Whoever has a privilege and may not hand it on is only warned.
        return f"PostgreSQL refused it: {self.warnings[0].rstrip('.')}." if self.warnings else ""

    def statements(self, outcome: Outcome) -> Iterator[sql.Composed]:
        database, role = str(outcome.resource.spec["database"]), str(outcome.resource.spec["role"])
        owner, held = self.owners[database], self.holding.get((database, role), Held())
        yield from revoke(role, owner, held)
        if role != owner:  # who may have become it since the grant was given
            yield self.statement("REVOKE ALL ON DATABASE {database} FROM {role} CASCADE", database=database, role=role)
        if outcome.after is not None:
            yield self.statement("GRANT CONNECT ON DATABASE {database} TO {role}", database=database, role=role)
            yield from grant(outcome.after, owner)
