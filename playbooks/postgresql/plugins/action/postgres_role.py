"""Owns PostgreSQL roles: PostgresRole specs to and from pg_authid, and whether a role's password is the given one.

The password is compared with the stored SCRAM verifier, and sent to the server as a verifier only, so that neither a
second run sets it again nor the server's log can hold it.
"""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import ansible.module_utils
from ansible import constants

ansible.module_utils.__path__[:] = [
    *dict.fromkeys([*ansible.module_utils.__path__, *constants.DEFAULT_MODULE_UTILS_PATH])
]

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
from ansible.module_utils.mergeyard.values import WRONG_PASSWORD, flag, number, remark_on  # noqa: E402
from ansible.module_utils.postgres import (  # noqa: E402
    PostgresAction,
    fit,
    marker_of,
    settings_of,
    wanted_settings,
)
from ansible.module_utils.postgres_passwords import verifier, verifies  # noqa: E402
from psycopg import sql  # noqa: E402

SELECT = """
SELECT rolname, rolcanlogin, rolconnlimit, rolcreatedb, rolsuper, rolcreaterole, rolreplication, rolbypassrls,
       rolpassword, CASE WHEN rolvaliduntil <> 'infinity' THEN rolvaliduntil AT TIME ZONE 'UTC' END AS ends,
       shobj_description(oid, 'pg_authid') AS comment,
       (SELECT setconfig FROM pg_db_role_setting WHERE setdatabase = 0 AND setrole = pg_authid.oid) AS settings,
       (SELECT json_agg(json_build_array(pg_get_userbyid(roleid), pg_get_userbyid(grantor)) ORDER BY roleid, grantor)
        FROM pg_auth_members WHERE member = pg_authid.oid) AS memberships
FROM pg_authid
"""
# Why a role cannot be dropped: what it owns (o), or is named in the privileges of (other letters), and where.
HOLDING = """
SELECT pg_get_userbyid(refobjid) AS role, deptype = 'o' AS owns, classid = 'pg_default_acl'::regclass AS coming,
       coalesce(inside.datname, itself.datname, '') AS database, itself.datname IS NOT NULL AS itself
FROM pg_shdepend LEFT JOIN pg_database inside ON inside.oid = dbid
     LEFT JOIN pg_database itself ON classid = 'pg_database'::regclass AND itself.oid = objid
WHERE refclassid = 'pg_authid'::regclass GROUP BY 1, 2, 3, 4, 5
"""
OTHERS = ("none", "postgres", "public")  # names that stand for something else
POWERS = {
    "rolsuper": "SUPERUSER",
    "rolcreaterole": "CREATEROLE",
    "rolreplication": "REPLICATION",
    "rolbypassrls": "BYPASSRLS",
}


def spec_of(row: dict[str, Any]) -> Spec:
    ends: datetime.datetime | None = row["ends"]
    spec: Spec = {
        "name": row["rolname"],
        "login": row["rolcanlogin"],
        "connection_limit": row["rolconnlimit"],
        "create_databases": row["rolcreatedb"],
        "settings": settings_of(row["settings"]),
    }
    if ends is not None:
        spec["valid_until"] = ends.date().isoformat() if ends.time() == datetime.time() else ends.isoformat(" ")
    return spec


class ActionModule(PostgresAction):  # type: ignore[misc]
    KIND = "PostgresRole"
    OBJECT = "ROLE"

    def open(self) -> None:
        super().open()
        self.powers: dict[str, list[str]] = {}
        self.memberships: dict[str, list[tuple[str, str]]] = {}  # role -> (what it is a member of, who made it one)
        self.verifiers: dict[str, Future[str]] = {}  # path -> of the password that it is given
        self.holding: dict[str, list[dict[str, Any]]] | None = None

    def read(self, resources: list[Resource]) -> dict[Identity, Found]:
        wanted = {str(resource.spec["name"]): resource for resource in resources}
        rows = self.rows(f"{SELECT} WHERE rolname = ANY(%s)", [*wanted])
        return {(row["rolname"],): self.found(row, wanted[row["rolname"]]) for row in rows}

    def gather(self) -> list[Found]:
        rows = self.rows(f"{SELECT} WHERE rolname !~ '^pg_' AND rolname <> current_user ORDER BY rolname")
        found = [self.found(row) for row in rows]
        return [one for one in found if one.marker or not self.powers[str(one.spec["name"])]]

    def found(self, row: dict[str, Any], resource: Resource | None = None) -> Found:
        name, marker = row["rolname"], marker_of(row["comment"])
        self.powers[name] = [power for column, power in POWERS.items() if row[column]]
        self.memberships[name] = [(role, grantor) for role, grantor in row["memberships"] or []]
        remarks = [f"{power} was given to it on the server" for power in self.powers[name]]
        joined = dict.fromkeys(role for role, _ in self.memberships[name])
        remarks += [f"it was made a member of {shown(role)} on the server" for role in joined]
        # A role that is not ours is refused anyway; working out 4,096 rounds for it would only cost time.
        ours = resource is not None and (marker or resource.adopt)
        if ours and not verifies(row["rolpassword"], self.password(resource.path)):
            remarks.append(remark_on(self.password(resource.path)))
        return Found(spec_of(row), marker, tuple(remarks))

    def password(self, path: str) -> str:
        return str(self.secrets.get(path, {}).get("password") or "")

    def after(self, resource: Resource, found: Found | None) -> Spec:
        spec, name = resource.spec, str(resource.spec["name"])
        self.may_be_ours(name, found)
        if not self.password(resource.path) and not self.check:
            raise Refused("The password of the role could not be read; see where its secret is kept.")
        if "valid_until" in spec:
            try:
                datetime.date.fromisoformat(str(spec["valid_until"]))
            except ValueError as error:
                raise Refused(f"valid_until: {spec['valid_until']!r} is not a day; write it as 2027-01-31.") from error
        flag("login", spec["login"])
        flag("create_databases", spec["create_databases"])
        number("connection_limit", spec["connection_limit"], -1, 10_000)
        return {**spec, "settings": wanted_settings(spec["settings"])}

    def may_be_ours(self, name: str, found: Found | None) -> None:
        fit(name)
        if name == self.connection["user"]:
            raise Refused("This is the role that Mergeyard works as; choose another name.")
        if name.startswith("pg_") or name in OTHERS:
            raise Refused(f"{shown(name)} is a name that PostgreSQL has a meaning for; choose another one.")
        if found is not None and not found.marker and self.powers[name]:
            raise Refused(
                f"It has {' and '.join(self.powers[name])} on the server, so it is not a role of an application; "
                "choose another name, or have that taken from it first."
            )

    def options(self, outcome: Outcome) -> sql.Composed:
        spec: Any = outcome.after
        end = f"{spec['valid_until']} UTC" if "valid_until" in spec else "infinity"
        parts = [
            sql.SQL("LOGIN" if spec["login"] else "NOLOGIN"),
            sql.SQL("CREATEDB" if spec["create_databases"] else "NOCREATEDB"),
            sql.SQL("CONNECTION LIMIT {}").format(sql.Literal(spec["connection_limit"])),
            sql.SQL("VALID UNTIL {}").format(sql.Literal(end)),
        ]
        if made := self.verifiers.get(outcome.resource.path):
            parts.append(sql.SQL("PASSWORD {}").format(sql.Literal(made.result())))
        return sql.SQL(" ").join(parts)

    def write(self, outcomes: list[Outcome]) -> Iterator[tuple[Outcome, str]]:
        """Verifiers take longer than what the server does with them, and are made while it works."""
        with ThreadPoolExecutor() as pool:
            for outcome in outcomes:
                if outcome.after is not None and (outcome.before is None or WRONG_PASSWORD in outcome.reasons):
                    path = outcome.resource.path
                    self.verifiers[path] = pool.submit(verifier, self.password(path))
            yield from super().write(outcomes)

    def creation(self, outcome: Outcome) -> Iterator[sql.Composable]:
        name = outcome.after["name"]
        yield self.statement("CREATE ROLE {name} {options}", name=name, options=self.options(outcome))
        yield from self.settings(name, None, outcome.after)
        yield self.mark(name, outcome)

    def create(self, outcome: Outcome) -> None:
        self.execute(*self.creation(outcome))

    def changes(self, outcome: Outcome) -> Iterator[sql.Composable]:
        name = outcome.after["name"]
        yield self.statement("ALTER ROLE {name} {options}", name=name, options=self.options(outcome))
        for power in self.powers[name]:
            yield self.statement(f"ALTER ROLE {{name}} NO{power}", name=name)
        for role, grantor in self.memberships[name]:
            text = "REVOKE {role} FROM {name} GRANTED BY {grantor} CASCADE"
            yield self.statement(text, role=role, name=name, grantor=grantor)
        yield from self.settings(name, outcome.before, outcome.after)
        yield self.mark(name, outcome)

    def rehearse(self, outcome: Outcome) -> None:
        if outcome.after is None:
            self.must_hold_nothing(str(outcome.before["name"]))
        else:
            self.undone(*(self.creation(outcome) if outcome.before is None else self.changes(outcome)))

    def must_hold_nothing(self, role: str) -> None:
        """Of what the same play leaves there, for then it is not dropped."""
        if self.holding is None:
            self.holding = defaultdict(list)
            for row in self.rows(HOLDING):
                self.holding[row["role"]].append(row)
            self.owners = dict(self.told("databases"))
            self.dropped = {database for database, _ in self.told("dropped")}
            self.withdrawn = {(database, role) for database, role in self.told("withdrawn")}
        rows = self.holding[role]
        passing = {row["database"] for row in rows if row["owns"] and row["itself"] and self.passes(row)}
        if left := [row["database"] for row in rows if self.stays(row, passing)]:
            where = ", ".join(sorted({shown(name) if name else "the server" for name in left}))
            raise Refused(
                f"It still owns something, or has rights by hand, in {where}; have that taken away on the server first."
            )

    def passes(self, row: dict[str, Any]) -> bool:
        return bool(self.owners.get(row["database"], row["role"]) != row["role"])

    def stays(self, row: dict[str, Any], passing: set[str]) -> bool:
        """`passing`: databases that go from the role to another owner, with what comes with what their owner makes."""
        role, database = row["role"], row["database"]
        if (
            row["owns"]
            and database in passing
            and (row["itself"] or (row["coming"] and not self.keeps(role, database)))
        ):
            return False
        return database not in self.dropped and (row["owns"] or (database, role) not in self.withdrawn)

    def keeps(self, role: str, database: str) -> bool:
        """Whether some of what comes with what the role makes there is still its own once the database has passed."""
        try:
            connection = self.connected(database)
        except SystemDown as down:
            raise Refused(str(down)) from down
        with connection, connection.transaction(force_rollback=True):
            self.hand_over(connection, self.owners[database])
            left = "SELECT 1 FROM pg_default_acl WHERE pg_get_userbyid(defaclrole) = %s"
            return connection.execute(left, [role]).fetchone() is not None
