"""Owns a MariaDB for tests, its data directory made of the server's own scripts for system tables and nothing else."""

from __future__ import annotations

import re
import secrets
import shutil
import subprocess
from pathlib import Path
from typing import Any

from playbooks.servers import (
    CannotStart,
    Example,
    MissingTool,
    Server,
    Testbed,
    as_another_user,
    kept_ports,
    secret_file,
)

MEMORY_ONLY = False
ADMIN = "mergeyard"
SECONDS = 10
PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
SCRIPTS = [Path("/usr/share/mysql"), Path("/usr/share/mariadb")]

EXAMPLES = {
    "MariaDbDatabase": Example(
        spec={"character_set": "latin1"},
        updates={"character_set": "utf8mb3", "collation": "latin1_bin"},
        refused={"collation": "utf8mb4_bin"},
    ),
    "MariaDbUser": Example(
        spec={
            "host": "127.0.0.%",
            "login": True,
            "privileges": [
                {"database": "conformance_main", "privileges": ["UPDATE", "SELECT", "INSERT", "CREATE VIEW"]},
                {"database": "conformance_other", "privileges": ["ALL PRIVILEGES"]},
            ],
            "tls": "any",
            "max_connections": 20,
            "authentication": "mysql_native_password",
        },
        updates={
            "login": False,
            "privileges": [{"database": "conformance_main", "privileges": ["SELECT", "SHOW VIEW"]}],
            "tls": "none",
            "max_connections": 5,
            "authentication": "ed25519",
        },
        secrets={"password": "s3cret-Pässword-{{ 7*7 }}"},
        refused={
            "privileges": [
                {"database": "conformance_main", "privileges": ["SELECT"]},
                {"database": "conformance_main", "privileges": ["DROP"]},
            ]
        },
        needs={"MariaDbDatabase": [{"name": "conformance_main"}, {"name": "conformance_other"}]},
        vary=lambda number: {"name": f"conformance_x{number}"},
    ),
}

SETTINGS = {
    "innodb-buffer-pool-size": "16M",
    "innodb-log-file-size": "4M",
    "innodb-doublewrite": "0",
    "innodb-flush-log-at-trx-commit": "0",
    "innodb-flush-method": "nosync",
    "innodb-undo-tablespaces": "0",
    "innodb-buffer-pool-dump-at-shutdown": "0",
    "innodb-buffer-pool-load-at-startup": "0",
    "aria-log-file-size": "8M",
    "aria-pagecache-buffer-size": "8M",
    "key-buffer-size": "1M",
    "max-connections": "60",
    "table-open-cache": "200",
    "performance-schema": "0",
    "sync-frm": "0",
    "skip-log-bin": "1",
}


def _program(name: str, package: str) -> str:
    program = shutil.which(name, path=PATH)
    if program is None:
        raise MissingTool(f"There is no {name} here; install the Debian package {package}.")
    return program


def start(directory: Path) -> Testbed:
    mariadbd, client = _program("mariadbd", "mariadb-server"), _program("mariadb", "mariadb-client")
    directory = directory.absolute()
    port = kept_ports(directory, ["mariadb"], title="MariaDB")["mariadb"]
    options = ["--no-defaults", f"--datadir={directory / 'data'}", f"--tmpdir={directory / 'tmp'}"]
    options += [f"--{name}={value}" for name, value in SETTINGS.items()]
    if not (directory / "data" / "mysql").exists():
        _initialise(directory, [mariadbd, *options])
    server = Server(
        "MariaDB",
        [mariadbd, *options, "--bind-address=127.0.0.1", f"--port={port}", "--socket=m.sock", "--skip-name-resolve"]
        + [f"--pid-file={directory / 'pid'}", "--plugin-load-add=auth_ed25519"]
        + [f"--ssl-cert={directory / 'ca' / 'ca.pem'}", f"--ssl-key={directory / 'key.pem'}"],
        log=directory / "mariadb.log",
        drop_root=True,
    )
    testbed = Testbed(
        title=f"MariaDB {_version(mariadbd)}",
        connection={
            "host": "127.0.0.1",
            "port": port,
            "user": ADMIN,
            "tls": "verify",
            "ca_directory": str(directory / "ca"),
        },
        secrets={"password": (directory / "password").read_text()},
        servers=[server],
        clients=dict.fromkeys(EXAMPLES, f"mariadb -h 127.0.0.1 -P {port} -u {ADMIN} -p"),
        extra={"directory": str(directory), "client": client},
    )
    server.wait_until(lambda: _answers(testbed))
    return testbed


def _version(mariadbd: str) -> str:
    said = subprocess.run([mariadbd, "--no-defaults", "--version"], capture_output=True, text=True, check=True).stdout
    return re.findall(r"Ver (\d+\.\d+\.\d+)", said)[0]


def _initialise(directory: Path, server: list[str]) -> None:
    scripts = next((path for path in SCRIPTS if (path / "mysql_system_tables.sql").exists()), None)
    if scripts is None:
        raise MissingTool(
            "The scripts for MariaDB's system tables are not here; install the Debian package mariadb-server."
        )
    for name in ("data", "tmp", "ca"):
        (directory / name).mkdir(exist_ok=True)
    password = secret_file(directory, "password", secrets.token_urlsafe(24)).read_text()
    _certify(directory)
    statements = [
        "CREATE DATABASE IF NOT EXISTS mysql;",
        "USE mysql;",
        (scripts / "mysql_system_tables.sql").read_text(),
        "FLUSH PRIVILEGES;",
        f"CREATE USER {ADMIN}@'127.0.0.1' IDENTIFIED BY '{password}';",
        f"GRANT ALL ON *.* TO {ADMIN}@'127.0.0.1' WITH GRANT OPTION;",
    ]
    script = secret_file(directory, "first.sql", "\n".join(statements) + "\n")
    with script.open() as file:
        _run(as_another_user([*server, "--bootstrap"]), directory, stdin=file)


def _certify(directory: Path) -> None:
    argv = [_program("openssl", "openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    argv += [
        "-nodes",
        "-days",
        "3650",
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=IP:127.0.0.1,DNS:localhost",
    ]
    _run([*argv, "-keyout", str(directory / "key.pem"), "-out", str(directory / "ca" / "ca.pem")], directory)


def _run(argv: list[str], directory: Path, **more: Any) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=directory, timeout=60, **more)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["it said nothing"]
        raise CannotStart(f"{argv[0]} failed: {lines[-1]}")


def _connect(testbed: Testbed) -> Any:
    import pymysql

    return pymysql.connect(
        host="127.0.0.1",
        port=testbed.connection["port"],
        user=ADMIN,
        password=testbed.secrets["password"],
        charset="utf8mb4",
        connect_timeout=SECONDS,
        autocommit=True,
    )


def _answers(testbed: Testbed) -> bool:
    import pymysql

    try:
        _connect(testbed).close()
    except pymysql.MySQLError:
        return False
    return True


def rows(testbed: Testbed, query: str, *values: object) -> list[tuple[Any, ...]]:
    with _connect(testbed) as database, database.cursor() as cursor:
        cursor.execute(query, values or None)
        return list(cursor.fetchall())


def read(testbed: Testbed, kind: str, spec: dict[str, Any]) -> dict[str, Any] | None:
    """The database or user as a spec, out of the statements that the server shows; written apart from the modules."""
    import pymysql

    if not re.fullmatch(r"[a-z0-9_]+", spec["name"]) or not re.fullmatch(r"[a-z0-9.%]+", spec.get("host", "x")):
        return None  # none of ours, and nothing to put into a statement
    try:
        return _database(testbed, spec) if kind == "MariaDbDatabase" else _user(testbed, spec)
    except pymysql.MySQLError as error:
        if error.args[0] in (1049, 1133, 1141):  # unknown database, no such user, no such grant
            return None
        raise


def _database(testbed: Testbed, spec: dict[str, Any]) -> dict[str, Any]:
    statement = rows(testbed, f"SHOW CREATE DATABASE `{spec['name']}`")[0][1]
    found = re.findall(r"CHARACTER SET (\w+)(?: COLLATE (\w+))?", statement)[0]
    usual = dict(
        rows(testbed, "SELECT character_set_name, default_collate_name FROM information_schema.character_sets")
    )
    result = {"name": spec["name"], "character_set": found[0]}
    return result | ({"collation": found[1]} if found[1] and found[1] != usual[found[0]] else {})


def _user(testbed: Testbed, spec: dict[str, Any]) -> dict[str, Any]:
    account = f"'{spec['name']}'@'{spec['host']}'"
    made = rows(testbed, f"SHOW CREATE USER {account}")[0][0]
    grants = "\n".join(row[0] for row in rows(testbed, f"SHOW GRANTS FOR {account}"))
    most = re.findall(r"MAX_USER_CONNECTIONS (\d+)", made)
    return {
        "name": spec["name"],
        "host": spec["host"],
        "login": "ACCOUNT LOCK" not in made,
        "privileges": [
            {"database": database.replace("\\_", "_"), "privileges": sorted(names.split(", "))}
            for names, database in sorted(re.findall(r"GRANT (.+) ON `(.+)`\.\* TO", grants), key=lambda part: part[1])
        ],
        "tls": "x509" if "REQUIRE X509" in made else "any" if "REQUIRE SSL" in made else "none",
        "max_connections": int(most[0]) if most else 0,
        "authentication": (re.findall(r"IDENTIFIED VIA (\w+)", made) or ["mysql_native_password"])[0],
    }


def make(testbed: Testbed, kind: str, spec: dict[str, Any]) -> None:
    if kind == "MariaDbDatabase":
        rows(testbed, f"CREATE DATABASE `{spec['name']}`")
    else:
        rows(testbed, f"CREATE USER '{spec['name']}'@'{spec['host']}' IDENTIFIED BY 'theirs'")


def tamper(testbed: Testbed, kind: str, spec: dict[str, Any]) -> None:
    if kind == "MariaDbDatabase":
        rows(testbed, f"ALTER DATABASE `{spec['name']}` COLLATE utf8mb4_bin")
    else:
        rows(testbed, f"GRANT DELETE ON `conformance\\_main`.* TO '{spec['name']}'@'{spec['host']}'")


def remove(testbed: Testbed, kind: str, spec: dict[str, Any]) -> None:
    if kind == "MariaDbDatabase":
        rows(testbed, f"DROP DATABASE IF EXISTS `{spec['name']}`")
    else:
        rows(testbed, f"DROP USER IF EXISTS '{spec['name']}'@'{spec['host']}'")


def client(testbed: Testbed, user: str, password: str, statement: str = "SELECT 1") -> tuple[int, str]:
    """MariaDB's own client, signed in as a user over TLS: its exit status and what it said."""
    directory = Path(testbed.extra["directory"])
    quoted = password.replace("\\", "\\\\").replace('"', '\\"')
    options = f'[client]\nuser={user}\npassword="{quoted}"\nhost=127.0.0.1\nport={testbed.connection["port"]}\n'
    file = secret_file(directory, "client.cnf", options + f"ssl-ca={directory / 'ca' / 'ca.pem'}\n")
    done = subprocess.run(
        [testbed.extra["client"], f"--defaults-file={file}", "--batch", "--skip-column-names"],
        input=statement,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    return done.returncode, (done.stdout + done.stderr).strip()


def accepts(testbed: Testbed, kind: str, spec: dict[str, Any], secrets: dict[str, str]) -> bool:
    return client(testbed, spec["name"], secrets["password"])[0] == 0


def kept(testbed: Testbed, kind: str, spec: dict[str, Any]) -> list[tuple[Any, ...]]:
    """The account as the server stores it, and, as one of its hashes has no salt, how often accounts were changed."""
    counted = "SELECT variable_value FROM information_schema.global_status WHERE variable_name = 'COM_ALTER_USER'"
    stored = rows(
        testbed, "SELECT priv FROM mysql.global_priv WHERE user = %s AND host = %s", spec["name"], spec["host"]
    )
    return [*stored, *rows(testbed, counted)]
