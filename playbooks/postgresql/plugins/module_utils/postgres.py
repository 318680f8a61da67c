"""Owns what the PostgreSQL kinds share: the connection, markers in comments, settings, errors as sentences.

It must not know roles or databases.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import psycopg
from ansible.module_utils.mergeyard.action import ResourceAction  # type: ignore[import-not-found]
from ansible.module_utils.mergeyard.pairing import (  # type: ignore[import-not-found]
    Found,
    Outcome,
    Refused,
    Spec,
    SystemDown,
    shown,
)
from ansible.module_utils.postgres_grants import FOLLOWING, handed_over  # type: ignore[import-not-found]
from psycopg import sql

MARKER = "Managed by Mergeyard: "
SETTINGS = (
    "default_transaction_isolation",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "lock_timeout",
    "log_min_duration_statement",
    "statement_timeout",
    "work_mem",
)

# What would end our own sessions, wherever a document set it, with the version of the server that knows it. A limit for
# locks stays: it keeps us from holding up others.
OURS = (
    (0, "statement_timeout=0"),
    (0, "idle_in_transaction_session_timeout=0"),
    (0, r"default_transaction_isolation=read\ committed"),
    (14_00_00, "idle_session_timeout=0"),
    (17_00_00, "transaction_timeout=0"),
)


def marker_of(comment: str | None) -> str | None:
    return comment.removeprefix(MARKER) if comment and comment.startswith(MARKER) else None


def settings_of(config: list[str] | None) -> dict[str, str]:
    """PostgreSQL keeps them as name=value; sorted, so that their order never looks like a change."""
    return dict(sorted((name, value) for name, _, value in (entry.partition("=") for entry in config or [])))


def wanted_settings(given: object) -> dict[str, str]:
    """A spec's settings, sorted; raises Refused for what no document may set and for what is no text."""
    if not isinstance(given, dict):
        raise Refused("settings: must be names with their values.")
    for name, value in given.items():
        if name not in SETTINGS:
            raise Refused(f"settings: {shown(name)} is none that may be set here; these are: {', '.join(SETTINGS)}.")
        if not isinstance(value, str) or not value or not value.isprintable():
            raise Refused(f"settings.{name}: {shown(value)} is not the text of a setting.")
    return dict(sorted(given.items()))


def fit(name: str) -> None:
    """PostgreSQL cuts a name short after 63 bytes or at a NUL, without a word, and so would take another for it."""
    if not name.isprintable():
        raise Refused(f"{shown(name)} holds characters that no name may have.")
    if len(name.encode(errors="replace")) > 63:
        raise Refused(f"{shown(name)} is longer than the 63 bytes that a name in PostgreSQL may have.")


def said(error: psycopg.Error) -> str:
    """What the server answered, as a sentence; its detail names what stands in the way."""
    parts = [error.diag.message_primary or str(error).strip().splitlines()[-1], error.diag.message_detail or ""]
    return "PostgreSQL refused it: " + " ".join(f"{part.rstrip('.')}." for part in parts if part).replace("\n", "; ")


def unreached(error: psycopg.Error) -> str:
    """Why there is no connection, as the end of a sentence; where it should go to is said before it."""
    first = str(error).strip().splitlines()[0].rstrip(".?")
    return re.sub(r'^connection failed: (connection to server at "[^"]*", port [0-9]+ failed: )?', "", first)


def refusal_of(error: psycopg.Error | UnicodeEncodeError) -> str:
    if isinstance(error, UnicodeEncodeError):
        return "It holds characters that cannot be sent to PostgreSQL."
    return said(error)


class PostgresAction(ResourceAction):  # type: ignore[misc]
    OBJECT: str  # ROLE or DATABASE, as SQL says it
    TOLD = ("name", "name")
    version = 0  # of the server, once it is reached
    silent = ""  # why it no longer answers: one wait is for all databases

    def where(self) -> dict[str, Any]:
        """How the server is reached; the database is the caller's."""
        return {
            "host": self.connection["host"],
            "port": self.connection.get("port", 5432),
            "user": self.connection["user"],
            "password": self.system_secrets.get("password"),
            "sslmode": self.connection.get("sslmode", "prefer"),
            "connect_timeout": 8,
            "application_name": "mergeyard",
            "options": " ".join(f"-c {setting}" for since, setting in OURS if since <= self.version),
        }

    def open(self) -> None:
        where = self.where()
        try:
            self.database = psycopg.connect(
                **where, dbname=self.connection.get("database", "postgres"), autocommit=True
            )
        except psycopg.Error as error:
            cause = unreached(error)
            raise SystemDown(f"PostgreSQL at {where['host']}:{where['port']} cannot be used: {cause}.") from error
        self.version = self.database.info.server_version

    def close(self) -> None:
        self.database.close()

    def connected(self, database: str) -> Any:
        """A connection to another database than the system's own."""
        if self.silent:
            raise SystemDown(self.silent)
        try:
            return psycopg.connect(**self.where(), dbname=database)
        except psycopg.Error as error:
            why = f"The database {shown(database)} cannot be used: {unreached(error)}."
            self.silent = why if isinstance(error, psycopg.errors.ConnectionTimeout) else ""
            raise SystemDown(why) from error

    def hand_over(self, connection: Any, owner: str) -> None:
        """In the database that goes to another owner, and in a transaction of the caller's."""
        with connection.cursor(row_factory=psycopg.rows.dict_row) as cursor:
            there = cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [owner]).fetchone()
            if there is None and self.check:
                cursor.execute(self.statement("CREATE ROLE {owner}", owner=owner))  # which the same play is to make
            database = connection.info.dbname
            for statement in handed_over(database, owner, cursor.execute(FOLLOWING).fetchall()):
                cursor.execute(statement)

    def rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        try:
            with self.database.cursor(row_factory=psycopg.rows.dict_row) as cursor:
                return cursor.execute(query, values).fetchall()
        except psycopg.Error as error:
            raise SystemDown(f"What exists on the server cannot be read. {said(error)}") from error

    def statement(self, template: str, **parts: object) -> sql.Composed:
        """`{name}` holes are identifiers for strings, else composed SQL; values come as sql.Literal."""
        fitted = {name: sql.Identifier(part) if isinstance(part, str) else part for name, part in parts.items()}
        return sql.SQL(template).format(**fitted)

    def execute(self, *statements: sql.Composable) -> None:
        """All in one message, and so all or none of them."""
        self.database.execute(sql.SQL("; ").join(statements), prepare=False)

    def pair(self, outcome: Outcome, found: Found | None, state: str) -> None:
        super().pair(outcome, found, state)
        if outcome.changed and (self.check or outcome.after is None):
            try:
                self.rehearse(outcome)
            except (Refused, SystemDown) as refused:
                outcome.fail(str(refused))
            except (psycopg.Error, UnicodeEncodeError) as error:
                outcome.fail(refusal_of(error))

    def rehearse(self, outcome: Outcome) -> None:
        """In check mode, and before a deletion: raises what the server would refuse, and leaves nothing there."""
        raise NotImplementedError

    def undone(self, *statements: sql.Composable) -> None:
        with self.database.transaction(force_rollback=True):
            self.execute(*statements)

    def write(self, outcomes: list[Outcome]) -> Iterator[tuple[Outcome, str]]:
        for outcome in outcomes:
            failure = ""
            try:
                if outcome.after is None:
                    self.execute(self.statement(f"DROP {self.OBJECT} {{name}}", name=outcome.before["name"]))
                elif outcome.before is None:
                    self.create(outcome)
                else:
                    self.change(outcome)
            except (psycopg.Error, UnicodeEncodeError) as error:
                failure = refusal_of(error)
            except Refused as refused:
                failure = str(refused)
            yield outcome, failure
            if self.database.closed:
                raise SystemDown("The connection to PostgreSQL was lost.")

    def create(self, outcome: Outcome) -> None:
        raise NotImplementedError

    def change(self, outcome: Outcome) -> None:
        self.execute(*self.changes(outcome))

    def changes(self, outcome: Outcome) -> Iterator[sql.Composable]:
        raise NotImplementedError

    def mark(self, name: str, outcome: Outcome) -> sql.Composed:
        text = sql.Literal(MARKER + outcome.resource.path)
        return self.statement(f"COMMENT ON {self.OBJECT} {{name}} IS {{text}}", name=name, text=text)

    def settings(self, name: str, before: Spec | None, after: Spec) -> Iterator[sql.Composed]:
        was: Any = before["settings"] if before else {}
        wanted: Any = after["settings"]
        for setting in was:
            if setting not in wanted:
                at = sql.Identifier(*setting.split("."))
                yield self.statement(f"ALTER {self.OBJECT} {{name}} RESET {{setting}}", name=name, setting=at)
        for setting, value in wanted.items():
            if was.get(setting) != value:
                text = f"ALTER {self.OBJECT} {{name}} SET {{setting}} TO {{value}}"
                yield self.statement(text, name=name, setting=setting, value=sql.Literal(value))
