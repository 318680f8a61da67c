"""Owns PostgreSQL roles: PostgresRole specs to and from pg_authid, and whether a role's password is the given one.

The password is compared with the stored SCRAM verifier, and sent to the server as a verifier only, so that neither a
second run sets it again nor the server's log can hold it.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import unicodedata
from typing import Any

import ansible.module_utils
from ansible import constants

ansible.module_utils.__path__[:] = [
    *dict.fromkeys([*ansible.module_utils.__path__, *constants.DEFAULT_MODULE_UTILS_PATH])
]

from ansible.module_utils.mergeyard.pairing import Found, Identity, Outcome, Refused, Resource, Spec  # noqa: E402
from ansible.module_utils.postgres import PostgresAction, fit, marker_of, settings_of  # noqa: E402
from psycopg import sql  # noqa: E402

SELECT = """
SELECT rolname, rolcanlogin, rolconnlimit, rolcreatedb, rolsuper, rolcreaterole, rolreplication, rolbypassrls,
       rolpassword, CASE WHEN rolvaliduntil <> 'infinity' THEN rolvaliduntil AT TIME ZONE 'UTC' END AS ends,
       shobj_description(oid, 'pg_authid') AS comment,
       (SELECT setconfig FROM pg_db_role_setting WHERE setdatabase = 0 AND setrole = pg_authid.oid) AS settings
FROM pg_authid
"""
POWERS = {
    "rolsuper": "SUPERUSER",
    "rolcreaterole": "CREATEROLE",
    "rolreplication": "REPLICATION",
    "rolbypassrls": "BYPASSRLS",
}
WRONG_PASSWORD = "the password on the system is not the one that is kept for it"


def verifies(stored: str | None, password: str) -> bool:
    """Whether a SCRAM-SHA-256 verifier as PostgreSQL stores it belongs to the password (RFC 5803, RFC 7677)."""
    try:
        scheme, parameters, keys = (stored or "").split("$")
        iterations, salt = parameters.split(":")
        wanted = base64.b64decode(keys.split(":")[0], validate=True)
    except ValueError:
        return False
    if scheme != "SCRAM-SHA-256":
        return False
    prepared = unicodedata.normalize("NFKC", password).encode()
    salted = hashlib.pbkdf2_hmac("sha256", prepared, base64.b64decode(salt), int(iterations))
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    return hmac.compare_digest(hashlib.sha256(client_key).digest(), wanted)


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

    def read(self, resources: list[Resource]) -> dict[Identity, Found]:
        wanted = {str(resource.spec["name"]): resource for resource in resources}
        rows = self.rows(f"{SELECT} WHERE rolname = ANY(%s)", [*wanted])
        return {(row["rolname"],): self.found(row, wanted[row["rolname"]]) for row in rows}

    def gather(self) -> list[Found]:
        rows = self.rows(f"{SELECT} WHERE rolname !~ '^pg_' AND rolname <> current_user ORDER BY rolname")
        return [self.found(row) for row in rows]

    def found(self, row: dict[str, Any], resource: Resource | None = None) -> Found:
        marker = marker_of(row["comment"])
        remarks = [f"{power} was given to it on the server" for name, power in POWERS.items() if row[name]]
        # A role that is not ours is refused anyway; working out 4,096 rounds for it would only cost time.
        ours = resource is not None and (marker or resource.adopt)
        if ours and not verifies(row["rolpassword"], self.password(resource.path)):
            remarks.append(WRONG_PASSWORD)
        return Found(spec_of(row), marker, tuple(remarks))

    def password(self, path: str) -> str:
        return str(self.secrets.get(path, {}).get("password") or "")

    def after(self, resource: Resource, found: Found | None) -> Spec:
        spec = resource.spec
        fit(str(spec["name"]))
        if not self.password(resource.path) and not self.check:
            raise Refused("The password of the role could not be read; see where its secret is kept.")
        if "valid_until" in spec:
            try:
                datetime.date.fromisoformat(str(spec["valid_until"]))
            except ValueError as error:
                raise Refused(f"valid_until: {spec['valid_until']!r} is not a day; write it as 2027-01-31.") from error
        settings: Any = spec["settings"]
        return {**spec, "settings": dict(sorted(settings.items()))}

    def options(self, spec: Spec) -> sql.Composed:
        parts = [
            sql.SQL("LOGIN" if spec["login"] else "NOLOGIN"),
            sql.SQL("CREATEDB" if spec["create_databases"] else "NOCREATEDB"),
            sql.SQL("CONNECTION LIMIT {}").format(sql.Literal(spec["connection_limit"])),
            sql.SQL("VALID UNTIL {}").format(
                sql.Literal(f"{spec['valid_until']} UTC" if "valid_until" in spec else "infinity")
            ),
        ]
        return sql.SQL(" ").join(parts)

    def create(self, outcome: Outcome) -> None:
        name, spec = outcome.after["name"], outcome.after
        with self.database.transaction():
            self.execute("CREATE ROLE {name} {options}", name=name, options=self.options(spec))
            self.set_password(name, outcome)
            self.set_settings(name, {}, spec["settings"])
            self.mark(name, outcome)

    def change(self, outcome: Outcome) -> None:
        name, before, after = outcome.after["name"], outcome.before, outcome.after
        self.execute("ALTER ROLE {name} {options}", name=name, options=self.options(after))
        for power in [
            power for power in POWERS.values() if any(reason.startswith(power) for reason in outcome.reasons)
        ]:
            self.execute(f"ALTER ROLE {{name}} NO{power}", name=name)
        if WRONG_PASSWORD in outcome.reasons:
            self.set_password(name, outcome)
        self.set_settings(name, before["settings"], after["settings"])
        self.mark(name, outcome)

    def set_password(self, name: str, outcome: Outcome) -> None:
        password = self.password(outcome.resource.path)
        verifier = self.database.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256")
        self.execute("ALTER ROLE {name} PASSWORD {verifier}", name=name, verifier=sql.Literal(verifier.decode()))
