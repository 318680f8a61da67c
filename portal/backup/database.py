"""The database's part of a backup: one consistent state of it, read while everybody writes, and put back.

SQLite by its own online backup; a database server by COPY of every table within one REPEATABLE READ transaction, and
back into the tables that the migrations of that time make: no program of the server's version is needed, and nothing
but rows is taken from the file. Knows no git.
"""

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.db import connection, transaction
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
from psycopg import sql

FILE = "mergeyard.sqlite3"
TABLES = "tables.json"
Ask = Callable[[str], list[tuple[Any, ...]]]  # a SELECT to its rows
Migrations = list[tuple[str, str]]  # (app, name)


class CannotCopy(Exception):
    """The database cannot be copied or put back; the text says why and what to do."""


@contextmanager
def copied(into: Path) -> Iterator[Ask]:
    """Copy the database to the new directory `into`; what the copy holds can be asked meanwhile."""
    into.mkdir(mode=0o700)
    with (_copied_sqlite if connection.vendor == "sqlite" else _copied_postgresql)(into) as ask:
        yield ask


@contextmanager
def _copied_sqlite(into: Path) -> Iterator[Ask]:
    name = connection.settings_dict["NAME"]
    with closing(sqlite3.connect(name, timeout=20)) as source, closing(sqlite3.connect(into / FILE)) as copy:
        source.backup(copy)  # in one step, so a writer does not make it begin again; in WAL mode nobody waits for it
        copy.execute("PRAGMA journal_mode=DELETE")
        found = copy.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise CannotCopy(f"The database {name} is damaged: {found}. Restore an earlier backup.")
        yield lambda question: copy.execute(question).fetchall()


@contextmanager
def _copied_postgresql(into: Path) -> Iterator[Ask]:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        tables: dict[str, list[str]] = {}
        for table in sorted(connection.introspection.table_names(cursor)):
            tables[table] = [row.name for row in connection.introspection.get_table_description(cursor, table)]
            with (into / f"{table}.copy").open("wb") as file, cursor.copy(_copy("TO STDOUT", table, tables)) as rows:
                for data in rows:
                    file.write(data)
        (into / TABLES).write_text(json.dumps(tables))

        def ask(question: str) -> list[tuple[Any, ...]]:
            cursor.execute(question)
            return list(cursor.fetchall())

        yield ask


def _copy(direction: str, table: str, tables: dict[str, list[str]]) -> sql.Composed:
    columns = sql.SQL(", ").join(map(sql.Identifier, tables[table]))
    return sql.SQL("COPY {} ({}) {}").format(sql.Identifier(table), columns, sql.SQL(direction))


def migrations_of(ask: Ask) -> Migrations:
    return [(app, name) for app, name in ask("SELECT app, name FROM django_migrations ORDER BY id")]


def must_fit(vendor: str, migrations: Migrations) -> None:
    """Refuse a backup that this installation cannot take in, and a database that holds something."""
    if vendor != connection.vendor:
        raise CannotCopy(
            f"The backup is of a {vendor} database and MERGEYARD_DATABASE_URL names a {connection.vendor} one: "
            f"name an empty {vendor} database."
        )
    known = MigrationLoader(None).disk_migrations
    newer = [f"{app}.{name}" for app, name in migrations if (app, name) not in known]
    if newer:
        raise CannotCopy(
            f"The backup is of a newer version of Mergeyard (it has the migration {newer[-1]}): "
            "install that version or a later one, then restore."
        )
    if connection.introspection.table_names():
        raise CannotCopy(
            f"The database {connection.settings_dict['NAME']} is not empty, and nothing was done to it: name an empty "
            "one with MERGEYARD_DATABASE_URL, or move this one away first."
        )


@contextmanager
def asked(source: Path) -> Iterator[Ask]:
    """Ask a copy of SQLite that is not put back yet."""
    with closing(sqlite3.connect(source / FILE)) as copy:
        yield lambda question: copy.execute(question).fetchall()


def put_back(source: Path, migrations: Migrations) -> None:
    """Into the empty database, then onto this version's migrations."""
    if connection.vendor == "sqlite":
        _put_back_sqlite(source)
    else:
        _put_back_postgresql(source, migrations)
    call_command("migrate", verbosity=0, interactive=False)


def _put_back_sqlite(source: Path) -> None:
    target = Path(connection.settings_dict["NAME"])
    connection.close()
    for left in ("-wal", "-shm"):  # of the empty one
        target.with_name(target.name + left).unlink(missing_ok=True)
    shutil.copyfile(source / FILE, waiting := target.with_name(f"{target.name}.restored"))
    waiting.chmod(0o640)
    waiting.replace(target)


def _put_back_postgresql(source: Path, migrations: Migrations) -> None:
    tables = json.loads((source / TABLES).read_text())
    MigrationExecutor(connection).migrate(migrations)
    made = {*connection.introspection.table_names()}
    if made != {*tables}:
        raise CannotCopy(f"The backup's tables are not those of its migrations: {', '.join(sorted(made ^ {*tables}))}.")
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")
        cursor.execute(sql.SQL("TRUNCATE {}").format(sql.SQL(", ").join(map(sql.Identifier, tables))))
        for table in tables:
            with (source / f"{table}.copy").open("rb") as file, cursor.copy(_copy("FROM STDIN", table, tables)) as rows:
                while data := file.read(1 << 20):
                    rows.write(data)
        for table in tables:
            for sequence in connection.introspection.get_sequences(cursor, table):
                _go_on(cursor, table, sequence["name"], sequence["column"] or "id")


def _go_on(cursor: Any, table: str, name: str, column_name: str) -> None:
    """The next number of a table comes after those that were put back."""
    column = sql.Identifier(column_name)
    cursor.execute(
        sql.SQL("SELECT setval({}, coalesce(max({}), 1), max({}) IS NOT NULL) FROM {}").format(
            sql.Literal(name), column, column, sql.Identifier(table)
        )
    )
