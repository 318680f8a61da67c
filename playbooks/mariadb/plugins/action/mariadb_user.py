"""Owns MariaDB users: MariaDbUser specs to and from the server's tables, and whether a password is the given one.

A password is compared with what the server stores of it, and only that is sent to set it, so that neither a second run
sets it again nor the server's log can hold it. A user can hold no mark.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import ansible.module_utils
from ansible import constants

ansible.module_utils.__path__[:] = [
    *dict.fromkeys([*ansible.module_utils.__path__, *constants.DEFAULT_MODULE_UTILS_PATH])
]

import pymysql  # noqa: E402
from ansible.module_utils.mariadb import DATABASE_NAME, MariaDbAction, quoted  # noqa: E402
from ansible.module_utils.mariadb_accounts import (  # noqa: E402
    ALL,
    Account,
    database_of,
    listed,
    pattern_of,
    privilege_of,
)
from ansible.module_utils.mariadb_passwords import STORED, belongs  # noqa: E402
from ansible.module_utils.mergeyard.pairing import (  # noqa: E402
    Found,
    Identity,
    Outcome,
    Refused,
    Resource,
    Spec,
    shown,
)
from ansible.module_utils.mergeyard.values import WRONG_PASSWORD, flag, known, number, remark_on  # noqa: E402

NAME = re.compile(r"(?!(?:root|mysql|mariadb|public)\Z)[a-z_][a-z0-9_]{0,79}")
BYTE = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
ADDRESS = rf"{BYTE}(?:\.{BYTE}){{3}}"
NAMES = r"(?![0-9.]+\Z)[a-z0-9%](?:[a-z0-9.:%-]{0,250}[a-z0-9%])?"
HOST = re.compile(rf"%|{ADDRESS}(?:/{ADDRESS})?|{NAMES}")
OF_THE_SERVER = ("root", "mysql", "mariadb.sys", "PUBLIC")
REQUIRE = {"none": "NONE", "any": "SSL", "x509": "X509"}
NOT_ITS_ADMIN = 1698  # "Access denied", as the server says it of a role that is another's
BELOW = ("tables_priv", "columns_priv", "procs_priv")


def is_network(host: str) -> bool:
    """Whether it is one that the server compares with: an address without bits beyond its mask."""
    try:
        return host.endswith(f"/{ip_network(host).netmask}")
    except ValueError:
        return False


class ActionModule(MariaDbAction):  # type: ignore[misc]
    KIND = "MariaDbUser"
    IDENTITY = ("name", "host")
    MARKED = False

    def read(self, resources: list[Resource]) -> dict[Identity, Found]:
        by_identity = {resource.identity(self.IDENTITY): resource for resource in resources}
        self.learn([str(resource.spec["name"]) for resource in resources])
        return {
            identity: self.found(self.accounts[identity], resource)
            for identity, resource in by_identity.items()
            if identity in self.accounts
        }

    def gather(self) -> list[Found]:
        self.learn(None)
        ours = (*OF_THE_SERVER, self.connection["user"])
        accounts = [account for _, account in sorted(self.accounts.items()) if account.name not in ours]
        return [self.found(account) for account in accounts if account.plugin]

    def learn(self, names: list[str] | None) -> None:
        """Everything that the server has of these users, or of all, with one query a table."""
        columns = self.rows("SHOW COLUMNS FROM mysql.db LIKE '%_priv'")
        self.every = frozenset(privilege_of(column["Field"]) for column in columns) - {"GRANT"}
        plugins = self.rows("SELECT PLUGIN_NAME AS name FROM information_schema.PLUGINS WHERE PLUGIN_STATUS = 'ACTIVE'")
        self.plugins = {row["name"] for row in plugins}
        where = "" if names is None else " WHERE User IN %s"  # nothing but our own words goes into the queries below
        accounts = [Account.of(row) for row in self.rows(f"SELECT * FROM mysql.global_priv{where}", names)]  # nosec B608
        self.accounts = {(one.name, one.host): one for one in accounts if not one.stored.get("is_role")}
        for row in self.rows(f"SELECT * FROM mysql.db{where}", names):  # nosec B608
            if account := self.accounts.get((row["User"], row["Host"])):
                account.add(row)
        for table in BELOW:
            for row in self.rows(f"SELECT DISTINCT User, Host FROM mysql.{table}{where}", names):  # nosec B608
                if account := self.accounts.get((row["User"], row["Host"])):
                    account.below = True
        for row in self.rows(f"SELECT User, Host, Role FROM mysql.roles_mapping{where}", names):  # nosec B608
            if account := self.accounts.get((row["User"], row["Host"])):
                account.roles.append(row["Role"])

    def found(self, account: Account, resource: Resource | None = None) -> Found:
        remarks = [*account.remarks(), *account.sign_in_remarks()]
        if resource is not None and self.has_wrong_password(account, resource):
            remarks.append(remark_on(self.password(resource.path)))
        return Found(account.spec(self.every), remarks=tuple(remarks))

    def has_wrong_password(self, account: Account, resource: Resource) -> bool:
        """Of another plugin the field says it, and of a user that is not ours nothing is said."""
        plugin = account.plugin
        if not (resource.managed or resource.adopt) or plugin not in STORED:
            return False
        return plugin == resource.spec.get("authentication") and not belongs(
            account.verifier, self.password(resource.path), plugin
        )

    def password(self, path: str) -> str:
        return str(self.secrets.get(path, {}).get("password") or "")

    def after(self, resource: Resource, found: Found | None) -> Spec:
        spec = resource.spec
        name, host = self.may_be_ours(resource, found)
        for field, options in (("tls", REQUIRE), ("authentication", STORED)):
            if spec[field] not in options:
                raise Refused(f"{field}: {shown(spec[field])} is none of {', '.join(options)}.")
        if spec["authentication"] not in self.plugins:
            raise Refused(
                f"authentication: the server has not loaded {shown(spec['authentication'])}; take the other way."
            )
        if not self.password(resource.path) and not self.check:
            raise Refused("The password of the user could not be read; see where its secret is kept.")
        return {
            "name": name,
            "host": host,
            "login": flag("login", spec["login"]),
            "privileges": listed(self.wanted(spec["privileges"]), self.every),
            "tls": spec["tls"],
            "max_connections": number("max_connections", spec["max_connections"], 0, 10_000),
            "authentication": spec["authentication"],
        }

    def may_be_ours(self, resource: Resource, found: Found | None) -> tuple[str, str]:
        """Name and host; raises Refused."""
        name, host = (str(part) for part in resource.identity(self.IDENTITY))
        if not NAME.fullmatch(name) or name == self.connection["user"]:
            raise Refused(f"name: {shown(name)} cannot be the name of a user that is managed here.")
        if not HOST.fullmatch(host) or ("/" in host and not is_network(host)):
            raise Refused(f"host: {shown(host)} is not a host, address or network like 10.1.2.0/255.255.255.0.")
        if found is not None and not resource.managed and self.accounts[name, host].stored.get("access"):
            raise Refused(
                "It has privileges on the whole server, so it is not a user of an application; choose another name, or "
                "have them taken from it first."
            )
        return name, host

    def wanted(self, privileges: Any) -> dict[str, frozenset[str]]:
        """Database to privileges, ALL PRIVILEGES as each of them; raises Refused."""
        rights: dict[str, frozenset[str]] = {}
        for entry in privileges:
            known("privileges", entry, ("database", "privileges"))
            database, names = str(entry["database"]), entry["privileges"]
            if not DATABASE_NAME.fullmatch(database):
                raise Refused(f"privileges: {shown(database)} cannot be the name of a database.")
            if database in rights:
                raise Refused(f"privileges: {shown(database)} is there twice; write its privileges in one place.")
            for name in names:
                if name not in self.every and name != ALL:
                    raise Refused(f"privileges: this server knows no privilege {shown(name)} in a database.")
            rights[database] = self.every if ALL in names else frozenset(names)
        return rights

    def forbidden(self, outcome: Outcome) -> str:
        if outcome.after is None:
            return str(self.own.refused_users("DELETE"))
        there = nothing = Account("", "", {})
        if outcome.before is not None:
            there = self.accounts[outcome.resource.identity(self.IDENTITY)]
        changes = self.changes_of_grants(outcome, nothing if there.below else there)
        refusals = (
            self.own.refused_in(database_of(pattern), [*names, "GRANT OPTION"], pattern=pattern)
            for _, names, pattern in changes
        )
        return self.own.refused_users("UPDATE" if outcome.before else "INSERT") or next(filter(None, refusals), "")

    def account(self, outcome: Outcome) -> str:
        spec: Any = outcome.after or outcome.before
        return f"{self.literal(spec['name'])}@{self.literal(spec['host'])}"

    def identified(self, outcome: Outcome) -> str:
        plugin = outcome.after["authentication"]
        verifier = self.literal(STORED[plugin](self.password(outcome.resource.path)))
        return f"IDENTIFIED VIA {plugin} USING {verifier} "

    def options(self, spec: Any) -> str:
        return (
            f"REQUIRE {REQUIRE[spec['tls']]} WITH MAX_QUERIES_PER_HOUR 0 MAX_UPDATES_PER_HOUR 0 "
            f"MAX_CONNECTIONS_PER_HOUR 0 MAX_STATEMENT_TIME 0 MAX_USER_CONNECTIONS {int(spec['max_connections'])} "
            f"ACCOUNT {'UNLOCK' if spec['login'] else 'LOCK'}"
        )

    def create(self, outcome: Outcome) -> None:
        """No statement of MariaDB makes a user with its privileges; one that cannot have them is taken away again."""
        account = self.account(outcome)
        self.execute(f"CREATE USER {account} {self.identified(outcome)}{self.options(outcome.after)}")
        try:
            self.grant(outcome, Account("", "", {}))
        except pymysql.MySQLError:
            if self.database.open:
                self.execute(f"DROP USER {account}")
            raise

    def change(self, outcome: Outcome) -> None:
        name, there = self.account(outcome), self.accounts[outcome.resource.identity(self.IDENTITY)]
        again = {WRONG_PASSWORD, *there.sign_in_remarks()} & {*outcome.reasons}
        sign_in = self.identified(outcome) if again or there.plugin != outcome.after["authentication"] else ""
        self.execute(f"ALTER USER {name} {sign_in}{self.options(outcome.after)}")
        if there.below or not self.take_back(there.roles, name):
            there = Account(there.name, there.host, {})
            self.grant(outcome, there)  # so that what may not be given is refused while nothing is gone
            # The one statement that reaches them all; what it takes too much is given again.
            self.execute(f"REVOKE ALL PRIVILEGES, GRANT OPTION FROM {name}")
        elif there.stored.get("access"):
            self.execute(f"REVOKE ALL PRIVILEGES ON *.* FROM {name}")
            self.execute(f"REVOKE GRANT OPTION ON *.* FROM {name}")
        self.grant(outcome, there)

    def take_back(self, roles: list[str], name: str) -> bool:
        """False where a role is another administrator's, who alone may revoke it by its name."""
        try:
            for role in roles:
                self.execute(f"REVOKE {quoted(role)} FROM {name}")
        except pymysql.MySQLError as error:
            if error.args[0] != NOT_ITS_ADMIN:
                raise
            return False
        return True

    def grant(self, outcome: Outcome, there: Account) -> None:
        name = self.account(outcome)
        for verb, names, pattern in self.changes_of_grants(outcome, there):
            to = "TO" if verb == "GRANT" else "FROM"
            self.execute(f"{verb} {', '.join(names)} ON {quoted(pattern)}.* {to} {name}")

    def changes_of_grants(self, outcome: Outcome, there: Account) -> Iterator[tuple[str, list[str], str]]:
        """First what is missing, then away with what is too much, so that nothing that stays is ever gone."""
        specified = self.wanted(outcome.after["privileges"])
        wanted = {pattern_of(database): rights for database, rights in specified.items()}
        has = {grant.pattern: grant for grant in there.grants}
        for pattern, rights in wanted.items():
            if missing := rights - (has[pattern].privileges if pattern in has else frozenset()):
                yield "GRANT", sorted(missing), pattern
        for pattern, grant in has.items():
            extra = sorted(grant.privileges - wanted.get(pattern, frozenset()))
            extra += ["GRANT OPTION"] if grant.hands_on else []
            if extra:
                yield "REVOKE", extra, pattern

    def drop(self, outcome: Outcome) -> None:
        self.execute(f"DROP USER {self.account(outcome)}")
