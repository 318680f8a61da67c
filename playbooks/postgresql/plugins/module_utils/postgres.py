"""Owns what the PostgreSQL kinds share: the connection, markers in comments, settings, errors as sentences.

It must not know roles or databases.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
from ansible.module_utils.mergeyard.action import ResourceAction  # type: ignore[import-not-found]
from ansible.module_utils.mergeyard.pairing import Outcome, Refused, SystemDown, shown  # type: ignore[import-not-found]
from psycopg import sql

MARKER = "Managed by Mergeyard: "


def marker_of(comment: str | None) -> str | None:
    return comment.removeprefix(MARKER) if comment and comment.startswith(MARKER) else None


def settings_of(config: list[str] | None) -> dict[str, str]:
    """PostgreSQL keeps them as name=value; sorted, so that their order never looks like a change."""
    return dict(sorted((name, value) for name, _, value in (entry.partition("=") for entry in config or [])))


def fit(name: str) -> None:
    """PostgreSQL cuts a longer identifier short without a word, and so would take another thing for it."""
    if len(name.encode(errors="replace")) > 63:
        raise Refused(f"{shown(name)} is longer than the 63 bytes that a name in PostgreSQL may have.")


def said(error: psycopg.Error) -> str:
    """What the server answered, as a sentence; its detail names what stands in the way."""
    parts = [error.diag.message_primary or str(error).strip().splitlines()[-1], error.diag.message_detail or ""]
    return "PostgreSQL refused it: " + " ".join(f"{part.rstrip('.')}." for part in parts if part).replace("\n", "; ")


class PostgresAction(ResourceAction):  # type: ignore[misc]
    OBJECT: str  # ROLE or DATABASE, as SQL says it

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
        }

    def open(self) -> None:
        where = self.where()
        try:
            self.database = psycopg.connect(
                **where, dbname=self.connection.get("database", "postgres"), autocommit=True
            )
        except psycopg.Error as error:
            cause = str(error).strip().splitlines()[0].rstrip(".?")
            raise SystemDown(f"PostgreSQL at {where['host']}:{where['port']} cannot be used: {cause}.") from error

    def close(self) -> None:
        self.database.close()

    def rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        try:
            with self.database.cursor(row_factory=psycopg.rows.dict_row) as cursor:
                return cursor.execute(query, values).fetchall()
        except psycopg.Error as error:
            raise SystemDown(f"What exists on the server cannot be read. {said(error)}") from error

    def execute(self, template: str, **parts: object) -> None:
        """`{name}` holes are identifiers for strings, else composed SQL; values come as sql.Literal."""
        fitted = {name: sql.Identifier(part) if isinstance(part, str) else part for name, part in parts.items()}
        self.database.execute(sql.SQL(template).format(**fitted))

    def write(self, outcomes: list[Outcome]) -> Iterator[tuple[Outcome, str]]:
        for outcome in outcomes:
            failure = ""
            try:
                if outcome.after is None:
                    self.drop(outcome)
                elif outcome.before is None:
                    self.create(outcome)
                else:
                    with self.database.transaction():
                        self.change(outcome)
            except psycopg.Error as error:
                failure = said(error)
            except UnicodeEncodeError:
                failure = "It holds characters that cannot be sent to PostgreSQL."
            yield outcome, failure
            if self.database.closed:
                raise SystemDown("The connection to PostgreSQL was lost.")

    def drop(self, outcome: Outcome) -> None:
        self.execute(f"DROP {self.OBJECT} {{name}}", name=outcome.before["name"])

    def create(self, outcome: Outcome) -> None:
        raise NotImplementedError

    def change(self, outcome: Outcome) -> None:
        raise NotImplementedError

    def mark(self, name: str, outcome: Outcome) -> None:
        text = sql.Literal(MARKER + outcome.resource.path)
        self.execute(f"COMMENT ON {self.OBJECT} {{name}} IS {{text}}", name=name, text=text)

    def set_settings(self, name: str, before: dict[str, str], after: dict[str, str]) -> None:
        for setting in before:
            if setting not in after:
                self.execute(
                    f"ALTER {self.OBJECT} {{name}} RESET {{setting}}",
                    name=name,
                    setting=sql.Identifier(*setting.split(".")),
                )
        for setting, value in after.items():
            if before.get(setting) != value:
                self.execute(
                    f"ALTER {self.OBJECT} {{name}} SET {{setting}} TO {{value}}",
                    name=name,
                    setting=sql.Identifier(*setting.split(".")),
                    value=sql.Literal(value),
                )
