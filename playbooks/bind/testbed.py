"""Owns a BIND 9 for tests, with two zones that a key may change, read them by dig and changed by nsupdate."""

from __future__ import annotations

import base64
import re
import secrets
import shutil
import subprocess
from pathlib import Path
from typing import Any

from playbooks.servers import CannotStart, Example, MissingTool, Server, Testbed, kept_ports

MEMORY_ONLY = False
ZONE, REVERSE = "conformance.test", "2.0.192.in-addr.arpa"
CLOSED, FIXED = "closed.test", "fixed.test"  # may not be transferred and has no mail and aliases; may not be changed
PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
SECONDS = 10

EXAMPLES = {
    "DnsRecord": Example(
        spec={"zone": ZONE, "name": "www", "type": "A", "values": ["192.0.2.10", "192.0.2.20"], "ttl": 600},
        updates={"values": ["192.0.2.20", "198.51.100.7"], "ttl": 60},
        refused={"zone": "elsewhere.test"},
        instead={"text": {"zone": ZONE, "name": "www", "type": "TXT", "values": ["v=spf1 mx -all"]}},
        vary=lambda number: {"name": f"conformance{number}"},
    )
}

CONFIGURATION = """\
include "{directory}/key.conf";
options {{
    directory "{directory}";
    listen-on port {port} {{ 127.0.0.1; }};
    listen-on-v6 {{ none; }};
    pid-file none;
    session-keyfile "{directory}/session.key";
    managed-keys-directory "{directory}";
    recursion no;
    dnssec-validation no;
    empty-zones-enable no;
    notify no;
    allow-query {{ any; }};
    allow-transfer {{ none; }};
}};
controls {{ }};
"""
ZONE_STATEMENT = """\
zone "{zone}" {{ type primary; file "{zone}.zone"; {rights} }};
"""
ZONE_FILE = """\
$TTL 3600
@ SOA ns.{zone}. hostmaster.{zone}. 1 3600 600 86400 60
@ NS ns.{zone}.
"""
RIGHTS = {
    ZONE: 'allow-update { key "mergeyard"; }; allow-transfer { key "mergeyard"; };',
    REVERSE: 'allow-update { key "mergeyard"; }; allow-transfer { key "mergeyard"; };',
    CLOSED: 'update-policy { grant "mergeyard" zonesub A AAAA TXT; };',
    FIXED: 'allow-transfer { key "mergeyard"; };',
}


def _program(name: str, package: str) -> str:
    program = shutil.which(name, path=PATH)
    if program is None:
        raise MissingTool(f"There is no {name} here; install the Debian package {package}.")
    return program


def start(directory: Path) -> Testbed:
    named, dig = _program("named", "bind9"), _program("dig", "bind9-dnsutils")
    _program("nsupdate", "bind9-dnsutils")
    directory = directory.absolute()
    port = kept_ports(directory, ["dns"], title="BIND")["dns"]
    key = _key(directory)
    config = directory / "named.conf"
    config.write_text(CONFIGURATION.format(directory=directory, port=port))
    for zone, rights in RIGHTS.items():
        with config.open("a") as file:
            file.write(ZONE_STATEMENT.format(zone=zone, rights=rights))
        content = directory / f"{zone}.zone"
        if not content.exists():
            address = "" if zone == REVERSE else "ns A 127.0.0.1\n"
            content.write_text(ZONE_FILE.format(zone=zone if address else ZONE) + address)
    version = subprocess.run([named, "-v"], capture_output=True, text=True, check=True).stdout.split()[1]
    server = Server(
        "BIND",
        [named, "-g", "-4", "-n", "1", "-c", str(config)],
        log=directory / "named.log",
        drop_root=True,
    )
    testbed = Testbed(
        title=f"BIND {version.partition('-')[0]}",
        connection={"host": "127.0.0.1", "port": port, "key_name": "mergeyard", "zones": [ZONE, REVERSE]},
        secrets={"tsig_key": key},
        servers=[server],
        clients={"DnsRecord": f"dig @127.0.0.1 -p {port} <name>.<zone> <type>"},
        extra={"dig": dig, "directory": str(directory)},
    )
    server.wait_until(lambda: "status: NOERROR" in _dig(testbed, ZONE, "SOA", "+comments", "+tries=1", "+time=1"))
    return testbed


def _key(directory: Path) -> str:
    file = directory / "key.conf"
    if not file.exists():
        file.touch(mode=0o600)
        key = base64.b64encode(secrets.token_bytes(32)).decode()
        file.write_text(f'key "mergeyard" {{ algorithm hmac-sha256; secret "{key}"; }};\n')
    return re.findall(r'secret "([^"]+)"', file.read_text())[0]


def _dig(testbed: Testbed, name: str, sort: str, *options: str) -> str:
    argv = [testbed.extra["dig"], "@127.0.0.1", "-p", str(testbed.connection["port"]), "+tcp", "+norecurse", "+noall"]
    done = subprocess.run(
        [*argv, *options, "-q", name, "-t", sort], capture_output=True, text=True, check=False, timeout=SECONDS
    )
    return done.stdout


def nsupdate(testbed: Testbed, *lines: str) -> None:
    """Somebody else's change, by the server's own tool."""
    script = [f"server 127.0.0.1 {testbed.connection['port']}", *lines, "send"]
    done = subprocess.run(
        [_program("nsupdate", "bind9-dnsutils"), "-k", f"{testbed.extra['directory']}/key.conf", "-v"],
        input="\n".join(script) + "\n",
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    if done.returncode:
        raise CannotStart(f"nsupdate failed: {(done.stderr or done.stdout).strip()}")


def owner(spec: dict[str, Any]) -> str:
    return f"{spec['zone']}." if spec["name"] == "@" else f"{spec['name']}.{spec['zone']}."


def read(testbed: Testbed, kind: str, spec: dict[str, Any]) -> dict[str, Any] | None:
    """The record set as dig shows it; written apart from the module so that one checks the other."""
    lines = _dig(testbed, owner(spec), spec["type"], "+answer", "+nosplit").splitlines()
    found = [line.split(None, 4) for line in lines]
    found = [parts for parts in found if (parts[0], parts[3]) == (owner(spec), spec["type"])]
    if not found:
        return None
    return {
        "zone": spec["zone"],
        "name": spec["name"],
        "type": spec["type"],
        "values": sorted(_value(spec["type"], parts[4]) for parts in found),
        "ttl": int(found[0][1]),
    }


def _value(sort: str, shown: str) -> str:
    if sort != "TXT":
        return shown if shown == "." or shown.endswith(" .") else shown.removesuffix(".")
    pieces = re.findall(r'"((?:[^"\\]|\\.)*)"', shown)
    return re.sub(r"\\(\d{3})|\\(.)", lambda found: found[2] or chr(int(found[1])), "".join(pieces))


def make(testbed: Testbed, kind: str, spec: dict[str, Any]) -> None:
    nsupdate(testbed, f"zone {spec['zone']}", f"update add {owner(spec)} 300 {spec['type']} {spec['values'][0]}")


def tamper(testbed: Testbed, kind: str, spec: dict[str, Any]) -> None:
    delete = f"update delete {owner(spec)} {spec['type']}"
    nsupdate(testbed, f"zone {spec['zone']}", delete, f"update add {owner(spec)} 77 A 203.0.113.9")


def remove(testbed: Testbed, kind: str, spec: dict[str, Any]) -> None:
    nsupdate(testbed, f"zone {spec['zone']}", f"update delete {owner(spec)} {spec['type']}")
