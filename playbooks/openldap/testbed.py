"""Owns an OpenLDAP for tests, with TLS and some users, read by ldapsearch and changed by its other tools."""

from __future__ import annotations

import base64
import os
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
    answers,
    as_another_user,
    kept_ports,
    secret_file,
)

MEMORY_ONLY = False
BASE = "dc=example,dc=com"
GROUPS, USERS = f"ou=groups,{BASE}", f"ou=people,{BASE}"
ADMIN, OURS = f"cn=admin,{BASE}", f"cn=mergeyard,{BASE}"
PEOPLE = ["anna", "ben", "carla", "dora", "emil"]
SCHEMAS, MODULES = Path("/etc/ldap/schema"), Path("/usr/lib/ldap")
PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
SECONDS = 10

EXAMPLES = {
    "LdapGroup": Example(
        spec={"description": "May release {{ 7 * 7 }} to production", "members": ["ben", "anna"]},
        updates={"description": "May do it; -o $(id)", "members": ["carla", "anna", "dora"]},
        refused={"members": ["anna", "nobody-of-that-name"]},
        vary=lambda number: {"name": f"conformance-{number}"},
        literal=frozenset({"description"}),
    )
}

CONFIGURATION = """\
include {schemas}/core.schema
include {schemas}/cosine.schema
include {schemas}/inetorgperson.schema
include {schemas}/nis.schema
modulepath {modules}
moduleload back_mdb
TLSCACertificateFile {directory}/ca/ca.pem
TLSCertificateFile {directory}/ca/ca.pem
TLSCertificateKeyFile {directory}/key.pem
security tls=1
sizelimit 500
database mdb
maxsize 268435456
dbnosync
suffix "{base}"
rootdn "{admin}"
rootpw {admin_password}
directory {directory}/data
index objectClass,cn,uid eq
limits dn.exact="{ours}" size=unlimited size.prtotal=unlimited
access to attrs=userPassword by anonymous auth by * none
access to dn.subtree="{groups}" by dn.exact="{ours}" write by users read
access to * by users read
"""


def _program(name: str, package: str) -> str:
    program = shutil.which(name, path=PATH)
    if program is None:
        raise MissingTool(f"There is no {name} here; install the Debian package {package}.")
    return program


def start(directory: Path) -> Testbed:
    slapd = _program("slapd", "slapd")
    _program("ldapsearch", "ldap-utils")
    if not SCHEMAS.is_dir() or not MODULES.is_dir():
        raise MissingTool(f"{SCHEMAS} or {MODULES} is not there; install the Debian package slapd.")
    directory = directory.absolute()
    ports = kept_ports(directory, ["ldap", "ldaps"], title="OpenLDAP")
    port = ports["ldap"]
    new = not (directory / "data").exists()
    for name in ("data", "ca"):
        (directory / name).mkdir(exist_ok=True)
    if new:
        _certify(directory)
        for name in ("admin", "mergeyard"):
            secret_file(directory, name, secrets.token_urlsafe(24))
    _configure(directory)
    if new:
        _fill(directory)
    server = Server(
        "OpenLDAP",
        [slapd, "-d", "0", "-f", str(directory / "slapd.conf"), "-h"]
        + [f"ldap://127.0.0.1:{port}/ ldaps://127.0.0.1:{ports['ldaps']}/"],
        log=directory / "slapd.log",
        drop_root=True,
    )
    testbed = Testbed(
        title=f"OpenLDAP {_version(slapd)}",
        connection={
            "host": "127.0.0.1",
            "port": port,
            "tls": "starttls",
            "ca_directory": str(directory / "ca"),
            "bind_dn": OURS,
            "groups_base": GROUPS,
            "users_base": USERS,
        },
        secrets={"bind_password": (directory / "mergeyard").read_text()},
        servers=[server],
        clients={"LdapGroup": f"ldapsearch -ZZ -x -H ldap://127.0.0.1:{port} -D {ADMIN} -W -b {GROUPS}"},
        extra={"directory": str(directory), "ldaps": ports["ldaps"]},
    )
    server.wait_until(lambda: answers(port))
    return testbed


def _version(slapd: str) -> str:
    # With a single -V it would go on and serve what the host has configured.
    said = subprocess.run([slapd, "-VV"], capture_output=True, text=True, check=False).stderr
    return said.partition("slapd ")[2].split("+")[0].split()[0]


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
    argv += ["-keyout", str(directory / "key.pem"), "-out", str(directory / "ca" / "ca.pem")]
    _run(argv, "OpenSSL made no certificate")


def _configure(directory: Path) -> None:
    config = CONFIGURATION.format(
        schemas=SCHEMAS,
        modules=MODULES,
        directory=directory,
        base=BASE,
        admin=ADMIN,
        admin_password=(directory / "admin").read_text(),
        ours=OURS,
        groups=GROUPS,
    )
    secret_file(directory, "slapd.conf", config)


def _fill(directory: Path) -> None:
    entries = [
        f"dn: {BASE}\nobjectClass: dcObject\nobjectClass: organization\no: Example\n",
        *(f"dn: {dn}\nobjectClass: organizationalUnit\n" for dn in (GROUPS, USERS)),
        f"dn: {OURS}\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\n"
        f"userPassword: {(directory / 'mergeyard').read_text()}\n",
        *(
            f"dn: uid={name},{USERS}\nobjectClass: inetOrgPerson\ncn: {name.title()}\nsn: Example\n"
            f"mail: {name}@example.com\n"
            for name in PEOPLE
        ),
    ]
    ldif = secret_file(directory, "first.ldif", "\n".join(entries))
    argv = [_program("slapadd", "slapd"), "-q", "-f", str(directory / "slapd.conf"), "-l", str(ldif)]
    _run(as_another_user(argv), "OpenLDAP's first entries were not written", cwd=directory)


def _run(argv: list[str], failure: str, *, script: str = "", cwd: Path | None = None, ca: str = "") -> str:
    environment = {"PATH": PATH, "LANG": "C.UTF-8", "HOME": os.devnull} | ({"LDAPTLS_CACERT": ca} if ca else {})
    done = subprocess.run(
        argv, input=script, capture_output=True, text=True, check=False, timeout=SECONDS, cwd=cwd, env=environment
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["it said nothing"]
        raise CannotStart(f"{failure}: {said[-1]}")
    return done.stdout


def tool(testbed: Testbed, name: str, *arguments: str, script: str = "") -> str:
    """One of the directory's own tools, signed in as its administrator."""
    directory = Path(testbed.extra["directory"])
    argv = [_program(name, "ldap-utils"), "-ZZ", "-x", "-H", f"ldap://127.0.0.1:{testbed.connection['port']}"]
    argv += ["-D", ADMIN, "-y", str(directory / "admin"), *arguments]
    return _run(argv, f"{name} failed", script=script, ca=str(directory / "ca" / "ca.pem"))


def dn_of(spec: dict[str, Any]) -> str:
    return f"cn={spec['name']},{GROUPS}"


def groups(testbed: Testbed, condition: str = "(cn=*)") -> dict[str, dict[str, list[str]]]:
    """Name -> attributes, as ldapsearch shows them."""
    asked = ["-LLL", "-o", "ldif-wrap=no", "-b", GROUPS, "-s", "one", condition]
    found = {}
    for entry in tool(testbed, "ldapsearch", *asked).strip().split("\n\n"):
        values: dict[str, list[str]] = {}
        for line in entry.splitlines():
            key, _, value = line.partition(":")
            text = base64.b64decode(value[1:]).decode() if value.startswith(":") else value.removeprefix(" ")
            values.setdefault(key, []).append(text)
        if values:
            found[values["cn"][0]] = values
    return found


def attributes(testbed: Testbed, name: str) -> dict[str, list[str]]:
    """A group as ldapsearch shows it; {} if there is none."""
    return groups(testbed, f"(cn={name})").get(name, {})


def read(testbed: Testbed, kind: str, spec: dict[str, Any]) -> dict[str, Any] | None:
    """The group as a spec; written apart from the module so that one checks the other."""
    if not spec["name"].replace("-", "").isalnum():
        return None  # no group of ours, and no name to put into a filter
    found = attributes(testbed, spec["name"])
    if not found:
        return None
    members = sorted(value.removeprefix("uid=").removesuffix(f",{USERS}") for value in found["member"])
    result: dict[str, Any] = {"name": spec["name"], "members": members}
    return result | ({"description": found["description"][0]} if "description" in found else {})


def make(testbed: Testbed, kind: str, spec: dict[str, Any]) -> None:
    entry = f"dn: {dn_of(spec)}\nobjectClass: groupOfNames\nmember: uid=emil,{USERS}\nbusinessCategory: theirs\n"
    tool(testbed, "ldapadd", script=entry)


def tamper(testbed: Testbed, kind: str, spec: dict[str, Any]) -> None:
    change = f"dn: {dn_of(spec)}\nchangetype: modify\nadd: member\nmember: uid=emil,{USERS}\n"
    tool(testbed, "ldapmodify", script=change)


def remove(testbed: Testbed, kind: str, spec: dict[str, Any]) -> None:
    if read(testbed, kind, spec) is not None:
        tool(testbed, "ldapdelete", dn_of(spec))
