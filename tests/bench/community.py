"""What a playbook with a community module in a loop takes, where there is such a module: the usual way today.

It does less than the kind does: no marker, no result for what others made, and of a grant one call of five. A play of
one resource and one of 21 are timed; what a resource more takes is the difference, and a thousand are reckoned from it.
"""

import json
import subprocess
import time

PASSWORD = "a password of the loop"


def postgresql(stage):
    at = stage.testbed.connection
    login = {"login_host": at["host"], "login_port": at["port"], "login_user": at["user"]}
    return login | {"login_password": stage.testbed.secrets["password"]}


def mariadb(stage):
    at = stage.testbed.connection
    login = {"login_host": at["host"], "login_port": at["port"], "login_user": at["user"]}
    return login | {"login_password": stage.testbed.secrets["password"], "check_hostname": False}


def postgres_role(stage, spec):
    wanted = {"name": spec["name"], "password": PASSWORD, "role_attr_flags": "LOGIN,CREATEDB"}
    return postgresql(stage) | wanted | {"login_db": "postgres"}


def postgres_database(stage, spec):
    return postgresql(stage) | {"name": spec["name"], "owner": spec["owner"]}


def postgres_grant(stage, spec):
    fixed = {"privs": "SELECT", "objs": "ALL_IN_SCHEMA", "type": "table", "schema": spec["schemas"][0]}
    return postgresql(stage) | fixed | {"login_db": spec["database"], "roles": spec["role"]}


def mariadb_database(stage, spec):
    return mariadb(stage) | {"name": spec["name"], "encoding": spec["character_set"]}


def mariadb_user(stage, spec):
    rights = "/".join(f"{one['database']}.*:{','.join(one['privileges'])}" for one in spec["privileges"])
    own = {"name": spec["name"], "host": spec["host"], "password": PASSWORD, "priv": rights}
    return mariadb(stage) | own | {"column_case_sensitive": True}


def rabbit_queue(stage, spec):
    at = stage.testbed.connection
    login = {"login_host": at["host"], "login_port": str(at["port"]), "login_user": at["user"]}
    login |= {"login_password": stage.testbed.secrets["password"]}
    return login | {"name": spec["name"], "vhost": spec["vhost"], "arguments": {"x-queue-type": spec["type"]}}


def dns_record(stage, spec):
    at, key = stage.testbed.connection, stage.testbed.secrets["tsig_key"]
    server = {"server": at["host"], "port": at["port"], "key_name": at["key_name"], "key_secret": key}
    record = {"zone": spec["zone"], "record": spec["name"], "type": spec["type"], "value": spec["values"]}
    return server | record | {"key_algorithm": "hmac-sha256", "ttl": spec["ttl"], "protocol": "tcp"}


MODULES = {
    "PostgresRole": ("community.postgresql.postgresql_user", postgres_role),
    "PostgresDatabase": ("community.postgresql.postgresql_db", postgres_database),
    "PostgresGrant": ("community.postgresql.postgresql_privs", postgres_grant),
    "MariaDbDatabase": ("community.mysql.mysql_db", mariadb_database),
    "MariaDbUser": ("community.mysql.mysql_user", mariadb_user),
    "RabbitQueue": ("community.rabbitmq.rabbitmq_queue", rabbit_queue),
    "DnsRecord": ("community.general.nsupdate", dns_record),
}


def looped(stage, kind, make, count, binaries):
    """Seconds that `count` resources of a kind are reckoned to take; None where there is no module for it.

    `binaries`: the folder of an ansible-playbook that has the collections. What was made stays, under other names.
    """
    if kind not in MODULES:
        return None
    first, more = (play(stage, kind, [make() for _ in range(number)], binaries) for number in (1, 21))
    return first + (count - 1) * (more - first) / 20


def play(stage, kind, resources, binaries):
    module, arguments = MODULES[kind]
    items = [arguments(stage, resource["spec"]) for resource in resources]
    task = {module: {name: f"{{{{ item.{name} }}}}" for name in items[0]}, "loop": items, "no_log": True}
    book = [{"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [task]}]
    stage.attempts += 1
    directory = stage.directory / f"community-{stage.attempts}"
    directory.mkdir(mode=0o700)
    (directory / "book.yml").write_text(json.dumps(book))
    interpreter = f"ansible_python_interpreter={binaries / 'python'}"
    began = time.monotonic()
    done = subprocess.run(
        [str(binaries / "ansible-playbook"), "-e", interpreter, "book.yml"],
        cwd=directory,
        env={"PATH": f"{binaries}:/usr/bin:/bin", "HOME": str(directory), "LANG": "C.UTF-8"},
        capture_output=True,
        text=True,
    )
    if done.returncode or "changed=1 " not in done.stdout:
        raise RuntimeError(f"{module} did not do it:\n{done.stdout[-2000:]}{done.stderr[-1000:]}")
    return time.monotonic() - began
