"""Owns what the MariaDB kinds share: the connection and its TLS, reading in bulk, statements, errors as sentences.

It must not know databases or users.
"""

from __future__ import annotations

import functools
import re
import socket
import ssl
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pymysql
from ansible.module_utils.mariadb_own_rights import OwnRights  # type: ignore[import-not-found]
from ansible.module_utils.mergeyard.action import ResourceAction  # type: ignore[import-not-found]
from ansible.module_utils.mergeyard.pairing import Found, Outcome, SystemDown  # type: ignore[import-not-found]
from pymysql.cursors import DictCursor

SECONDS = 8
ANSWER_SECONDS = 300  # dropping a large database takes its time
LOCK_SECONDS = 10  # of waiting for a transaction that still uses a database
TOGETHER = 500
OLDEST = (10, 5)  # the first in which a database may have a comment
SYSTEM_DATABASES = ("mysql", "sys", "information_schema", "performance_schema")
DATABASE_NAME = re.compile(rf"(?!(?:{'|'.join(SYSTEM_DATABASES)})\Z)[a-z_][a-z0-9_]{{0,63}}")


def said(error: BaseException) -> str:
    """What the server or the client library answered, on one line and without an end."""
    text = str(getattr(error, "strerror", None) or (error.args[1] if len(error.args) > 1 else error)).strip()
    if isinstance(error, OSError):
        text = text.lower()
    if "certificate_verify_failed" in text.lower():
        return "its certificate is not one that is trusted, or is for another host"
    found = re.search(r"\[Errno -?\d+\] ([^)]+)\)", text)  # PyMySQL's words around those of the system
    text = found[1].lower() if found else text
    text = "".join(character if character.isprintable() else " " for character in text)
    return text.strip()[:150].rstrip(". ") or "the connection was lost"


def greeted(host: str, port: int) -> socket.socket:
    """A connection on which the server has begun to speak; later answers may take longer than this one."""
    connection = socket.create_connection((host, port), timeout=SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.recv(1, socket.MSG_PEEK)
    return connection


def quoted(name: str) -> str:
    """An identifier."""
    return "`" + name.replace("`", "``") + "`"


class MariaDbAction(ResourceAction):  # type: ignore[misc]
    def open(self) -> None:
        host, port = str(self.connection["host"]), int(self.connection.get("port", 3306))
        self.at = f"{host}:{port}"
        tls = self.tls(self.connection.get("tls", "verify"))
        try:
            self.database = pymysql.connect(
                defer_connect=True,
                host=host,
                port=port,
                user=self.connection["user"],
                password=str(self.system_secrets.get("password") or "").encode(),
                ssl=tls,
                ssl_disabled=tls is None,
                charset="utf8mb4",
                connect_timeout=SECONDS,
                read_timeout=ANSWER_SECONDS,
                write_timeout=ANSWER_SECONDS,
                program_name="mergeyard",
                sql_mode="STRICT_ALL_TABLES",
                init_command=f"SET SESSION lock_wait_timeout = {LOCK_SECONDS}",
                autocommit=True,
                cursorclass=DictCursor,
            )
            self.database.connect(greeted(host, port))
        except (pymysql.MySQLError, OSError) as error:
            raise SystemDown(f"MariaDB at {self.at} cannot be used: {said(error)}.") from error
        version = str(self.database.get_server_info())
        numbers = re.search(r"(\d+)\.(\d+)\.\d+-MariaDB", version)
        if numbers is None or (int(numbers[1]), int(numbers[2])) < OLDEST:
            raise SystemDown(f"The server at {self.at} is {version[:60]}; MariaDB 10.5 or newer is needed.")

    def tls(self, how: object) -> ssl.SSLContext | None:
        if how == "none":
            return None
        authorities = None
        if directory := self.connection.get("ca_directory"):
            files = sorted(Path(str(directory)).glob("*.pem"))
            if not files:
                raise SystemDown(f"For MariaDB at {self.at} there is no *.pem in {directory}.")
            authorities = "\n".join(file.read_text() for file in files)
        context = ssl.create_default_context(cadata=authorities)
        if how != "verify":
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context

    def close(self) -> None:
        if self.database.open:
            self.database.close()

    def rows(self, query: str, values: Sequence[object] | None = None) -> list[dict[str, Any]]:
        """What a query gives; where it holds %s for a list, of all `values`, many with each query."""
        parts = [values[start : start + TOGETHER] for start in range(0, len(values or ()), TOGETHER)] if values else []
        found: list[dict[str, Any]] = []
        try:
            with self.database.cursor() as cursor:
                for part in parts or ([None] if values is None else []):
                    cursor.execute(query, None if part is None else [[*part]])
                    found += cursor.fetchall()
        except (pymysql.MySQLError, OSError) as error:
            raise SystemDown(f"What exists on MariaDB at {self.at} cannot be read: {said(error)}.") from error
        return found

    def execute(self, statement: str) -> None:
        with self.database.cursor() as cursor:
            cursor.execute(statement)

    def literal(self, value: object) -> str:
        return str(self.database.literal(value))

    @functools.cached_property
    def own(self) -> OwnRights:
        name, _, host = str(self.rows("SELECT CURRENT_USER() AS name")[0]["name"]).rpartition("@")
        lines = (str(line) for row in self.rows("SHOW GRANTS") for line in row.values())
        return OwnRights(f"'{name}'@'{host}'", lines)

    def pair(self, outcome: Outcome, found: Found | None, state: str) -> None:
        super().pair(outcome, found, state)
        if outcome.changed and self.check and (words := self.forbidden(outcome)):
            outcome.fail(f"MariaDB refused it: {said(pymysql.OperationalError(0, words))}.")

    def forbidden(self, outcome: Outcome) -> str:
        """What the server would say of what our own account may not do, in the order of the statements."""
        raise NotImplementedError

    def write(self, outcomes: list[Outcome]) -> Iterator[tuple[Outcome, str]]:
        for outcome in outcomes:
            failure = ""
            try:
                if outcome.after is None:
                    self.drop(outcome)
                elif outcome.before is None:
                    self.create(outcome)
                else:
                    self.change(outcome)
            except pymysql.MySQLError as error:
                failure = f"MariaDB refused it: {said(error)}."
            except OSError as error:
                raise SystemDown(f"The connection to MariaDB at {self.at} was lost: {said(error)}.") from error
            yield outcome, failure
            if not self.database.open:
                raise SystemDown(f"The connection to MariaDB at {self.at} was lost.")

    def drop(self, outcome: Outcome) -> None:
        raise NotImplementedError

    def create(self, outcome: Outcome) -> None:
        raise NotImplementedError

    def change(self, outcome: Outcome) -> None:
        raise NotImplementedError
