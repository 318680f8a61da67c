"""What a script of a user's own would do: the system's client library in a bare loop, a resource at a time.

Each loop opens one connection, brings the resources to the system as their documents say, marker and password too, and
does nothing else: no look at what is there, no check, no result per resource. It is what a kind cannot be faster than.
Where a system is configured by files, the loop brings the files that the kind wrote, lets the server check them all and
loads them once: with SFTP where the host is reached by SSH. No file is ever seen half written.
"""

import http.client
import json
import os
import subprocess
import tempfile
import time
from base64 import b64encode
from pathlib import Path
from urllib.parse import quote

from playbooks.kafka import outside

PASSWORD = "a password of the loop"


def marker(resource):
    return f"Managed by Mergeyard: {resource['path']}"


def postgresql(stage, kind, resources):
    from psycopg import sql

    def run(connection, statement, *values, **names):
        names = {key: sql.Identifier(name) for key, name in names.items()}
        connection.execute(sql.SQL(statement).format(*map(sql.Literal, values), **names))

    def settings(connection, what, name, spec):
        for key, value in spec["settings"].items():
            run(connection, f"ALTER {what} {{name}} SET {{key}} = {{}}", value, name=name, key=key)

    with stage.module._connect(stage.testbed, database=resources[0]["spec"].get("database", "")) as connection:
        for resource in resources:
            spec = resource["spec"]
            name = spec.get("name", "")
            if kind == "PostgresRole":
                run(
                    connection,
                    "CREATE ROLE {name} LOGIN CREATEDB CONNECTION LIMIT {} VALID UNTIL {} PASSWORD {}",
                    spec["connection_limit"],
                    spec["valid_until"],
                    PASSWORD,
                    name=name,
                )
                settings(connection, "ROLE", name, spec)
                run(connection, "COMMENT ON ROLE {name} IS {}", marker(resource), name=name)
            elif kind == "PostgresDatabase":
                limit = spec["connection_limit"]
                owner = spec["owner"]
                run(
                    connection,
                    "CREATE DATABASE {name} OWNER {owner} CONNECTION LIMIT {}",
                    limit,
                    name=name,
                    owner=owner,
                )
                settings(connection, "DATABASE", name, spec)
                run(connection, "COMMENT ON DATABASE {name} IS {}", marker(resource), name=name)
            else:
                for schema in spec["schemas"]:
                    names = {"schema": schema, "role": spec["role"]}
                    run(connection, "GRANT USAGE, CREATE ON SCHEMA {schema} TO {role}", **names)
                    run(connection, "GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role}", **names)
                    run(connection, "GRANT SELECT ON ALL SEQUENCES IN SCHEMA {schema} TO {role}", **names)
                    default = (
                        "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA {schema} GRANT SELECT ON {what} TO {role}"
                    )
                    for what in ("TABLES", "SEQUENCES"):
                        run(connection, default.replace("{what}", what), owner="conformance_owner", **names)


def mariadb(stage, kind, resources):
    with stage.module._connect(stage.testbed) as connection, connection.cursor() as cursor:
        for resource in resources:
            spec = resource["spec"]
            if kind == "MariaDbDatabase":
                cursor.execute(
                    f"CREATE DATABASE `{spec['name']}` CHARACTER SET {spec['character_set']} COMMENT %s",
                    [marker(resource)],
                )
                continue
            user = f"'{spec['name']}'@'{spec['host']}'"
            limit = spec["max_connections"]
            rest = f"REQUIRE SSL WITH MAX_USER_CONNECTIONS {limit}"
            cursor.execute(f"CREATE USER {user} IDENTIFIED BY '{PASSWORD}' {rest}")
            for one in spec["privileges"]:
                cursor.execute(f"GRANT {', '.join(one['privileges'])} ON `{one['database']}`.* TO {user}")


def bind(stage, kind, resources):
    import dns.query
    import dns.tsigkeyring
    import dns.update

    connection = stage.testbed.connection
    keys = dns.tsigkeyring.from_text({connection["key_name"]: stage.testbed.secrets["tsig_key"]})
    for resource in resources:
        spec = resource["spec"]
        update = dns.update.UpdateMessage(spec["zone"], keyring=keys, keyalgorithm="hmac-sha256")
        update.replace(spec["name"], spec["ttl"], spec["type"], *spec["values"])
        update.add(f"_mergeyard.{spec['name']}", 300, "TXT", marker(resource))
        answer = dns.query.tcp(update, connection["host"], port=connection["port"], timeout=10)
        assert answer.rcode() == 0, answer


def openldap(stage, kind, resources):
    import ssl

    import ldap3

    where, directory = stage.testbed.connection, Path(stage.testbed.extra["directory"])
    tls = ldap3.Tls(validate=ssl.CERT_REQUIRED, ca_certs_file=str(directory / "ca" / "ca.pem"))
    server = ldap3.Server(where["host"], port=where["port"], tls=tls, get_info=ldap3.NONE)
    with ldap3.Connection(
        server, where["bind_dn"], stage.testbed.secrets["bind_password"], auto_bind=ldap3.AUTO_BIND_TLS_BEFORE_BIND
    ) as directory_service:
        for resource in resources:
            spec = resource["spec"]
            attributes = {
                "member": [f"uid={name},{where['users_base']}" for name in spec["members"]],
                "description": spec["description"],
                "businessCategory": marker(resource),
            }
            added = directory_service.add(f"cn={spec['name']},{where['groups_base']}", "groupOfNames", attributes)
            assert added, directory_service.result


def rabbitmq(stage, kind, resources):
    connection = http.client.HTTPConnection(stage.testbed.connection["host"], stage.testbed.connection["port"])
    login = b64encode(f"{stage.testbed.connection['user']}:{stage.testbed.secrets['password']}".encode()).decode()

    def put(*place, method="PUT", **body):
        address = "/api/" + "/".join(quote(part, safe="") for part in place)
        headers = {"Authorization": f"Basic {login}", "Content-Type": "application/json"}
        connection.request(method, address, json.dumps(body), headers)
        answer = connection.getresponse()
        answer.read()
        assert answer.status < 300, (address, answer.status)

    for resource in resources:
        spec = resource["spec"]
        if kind == "RabbitVhost":
            put("vhosts", spec["name"], description=marker(resource))
            put("vhost-limits", spec["name"], "max-connections", value=spec["max_connections"])
            put("vhost-limits", spec["name"], "max-queues", value=spec["max_queues"])
        elif kind == "RabbitUser":
            put("users", spec["name"], password=PASSWORD, tags=spec["role"])
            for one in spec["permissions"]:
                rights = {key: one[key] for key in ("configure", "write", "read")}
                put("permissions", one["vhost"], spec["name"], **rights)
        elif kind == "RabbitPolicy":
            definition = {"message-ttl": 60_000, "max-length": 100, "overflow": "drop-head", "expires": 3_600_000}
            definition |= {"dead-letter-exchange": "amq.fanout"}
            sets = {"pattern": spec["pattern"], "priority": spec["priority"], "apply-to": "queues"}
            put("policies", spec["vhost"], spec["name"], definition=definition, **sets)
        else:
            arguments = {"x-queue-type": spec["type"]}
            put("queues", spec["vhost"], spec["name"], durable=True, arguments=arguments)
            for one in spec["bindings"]:
                place = ("bindings", spec["vhost"], "e", one["exchange"], "q", spec["name"])
                put(*place, method="POST", routing_key=one["routing_key"], arguments={})
    connection.close()


def kafka(stage, kind, resources):
    if kind == "KafkaQuota":
        quotas(stage, resources)
    else:
        topics_users_and_rights(stage, kind, resources)


def topics_users_and_rights(stage, kind, resources):
    from confluent_kafka import admin

    client = outside.client(stage.testbed)
    configs = {"cleanup.policy": "compact,delete", "retention.ms": 259_200_000, "max.message.bytes": 524_288}
    configs |= {"min.cleanable.dirty.ratio": 0.4, "min.compaction.lag.ms": 7_200_000, "compression.type": "zstd"}
    patterns, kinds = admin.ResourcePatternType, admin.ResourceType
    fields = {
        "topics": (kinds.TOPIC, "topic", patterns.LITERAL),
        "topic_prefixes": (kinds.TOPIC, "prefix", patterns.PREFIXED),
        "groups": (kinds.GROUP, "group", patterns.LITERAL),
        "transactional_ids": (kinds.TRANSACTIONAL_ID, "id", patterns.PREFIXED),
    }
    for resource in resources:
        spec = resource["spec"]
        if kind == "KafkaTopic":
            new = [admin.NewTopic(spec["name"], spec["partitions"], spec["replication"], config=configs)]
            outside.done(client.create_topics(new))
        elif kind == "KafkaUser":
            info = admin.ScramCredentialInfo(admin.ScramMechanism.SCRAM_SHA_256, spec["iterations"])
            new = [admin.UserScramCredentialUpsertion(spec["name"], info, PASSWORD.encode())]
            outside.done(client.alter_user_scram_credentials(new))
        else:
            new = [
                admin.AclBinding(
                    fields[field][0],
                    entry[fields[field][1]],
                    fields[field][2],
                    f"User:{spec['user']}",
                    entry.get("host", "*"),
                    admin.AclOperation[operation.upper()],
                    admin.AclPermissionType[entry.get("permission", "allow").upper()],
                )
                for field in fields
                for entry in spec.get(field, [])
                for operation in entry["operations"]
            ]
            outside.done(client.create_acls(new))


def quotas(stage, resources):
    from kafka import KafkaAdminClient
    from kafka.protocol.admin import AlterClientQuotasRequest

    client = KafkaAdminClient(bootstrap_servers=stage.testbed.extra["plain"])
    for resource in resources:
        spec = resource["spec"]
        limits = {key: (float(spec[name] * units), False) for key, (name, units) in outside.Quotas.NAMES.items()}
        ops = [(key, value, remove) for key, (value, remove) in limits.items()]
        request = AlterClientQuotasRequest(entries=[([("user", spec["user"])], ops)], validate_only=False)
        answer = client._manager.run(client._manager.send, request)
        assert answer.entries[0].error_code == 0, answer
    client.close()


class Files:
    """A system that is configured by files: what the kind wrote is kept once and then brought again by the loop.

    `directory`: where they lie, which a host that is reached by SSH sees by the same path. `put` brings them, `load`
    makes the server check and use them.
    """

    def __init__(self, directory, put, load):
        self.directory, self.put, self.load = directory, put, load
        self.kept = None

    def contents(self, stage):
        return {file: file.read_bytes() for file in self.directory(stage).rglob("*") if file.is_file()}

    def learn(self, stage, before):
        """Keeps a copy of each new file, as a script would have it in its checkout."""
        now = self.contents(stage)
        new = {file: content for file, content in now.items() if before.get(file) != content}
        checkout = Path(tempfile.mkdtemp(dir=stage.directory, prefix="checkout-"))
        self.kept = {}
        for number, (file, content) in enumerate(new.items()):
            copy = checkout / str(number)
            copy.write_bytes(content)
            self.kept[copy] = (file, file.stat())

    def __call__(self, stage, kind, resources):
        self.put(stage, self.kept)
        self.load(stage, kind, resources)


def by_hand(stage, kept):
    for copy, (file, status) in kept.items():
        new = file.with_name(f".{file.name}.new")
        with new.open("wb") as written:
            written.write(copy.read_bytes())
            written.flush()
            os.fsync(written.fileno())
        new.chmod(status.st_mode & 0o7777)
        new.replace(file)


def by_sftp(stage, kept):
    """One session of OpenSSH's client, which syncs each file as the kinds of hosts do."""
    batch = ""
    for copy, (file, status) in kept.items():
        new = file.with_name(f".{file.name}.new")
        batch += f"put -f {copy} {new}\nchmod {status.st_mode & 0o7777:o} {new}\n"
        batch += f"chown {status.st_uid} {new}\n" if status.st_uid != os.geteuid() else ""
        batch += f"chgrp {status.st_gid} {new}\n" if status.st_gid != os.getegid() else ""
        batch += f"rename {new} {file}\n"
    where = stage.testbed.connection
    host = [f"{where['user']}@{where['host']}"]
    done = subprocess.run(
        ["sftp", "-b", "-", *ssh_options(stage), "-P", str(where["port"]), *host],
        input=batch,
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def ssh_options(stage):
    where = stage.testbed.connection
    key, known = stage.directory / "loop.key", stage.directory / "loop.known"
    if not key.exists():
        key.touch(mode=0o600)
        key.write_text(stage.testbed.secrets["ssh_key"])
        known.write_text(f"[{where['host']}]:{where['port']} {where['host_key']}\n")
    return ["-F", "/dev/null", "-i", str(key), "-o", f"UserKnownHostsFile={known}"]


def load_haproxy(stage, kind, resources):
    where = stage.testbed.connection
    configuration = Path(where["config_directory"], "haproxy.cfg")
    check = [str(stage.module._program()), "-c", "-f", str(configuration), "-f", where["routes_directory"]]
    subprocess.run(check, check=True, capture_output=True)
    stage.module.tell(stage.testbed, "reload")


def load_nginx(stage, kind, resources):
    """By SSH, until the last one answers."""
    where = stage.testbed.connection
    target = ["-p", str(where["port"]), f"{where['user']}@{where['host']}"]
    tell = f"nginx -t -c {where['configuration']} && kill -HUP $(cat {where['pid_file']})"
    subprocess.run(["ssh", *ssh_options(stage), *target, tell], check=True, capture_output=True)
    while not stage.module._answers(stage.testbed, resources[-1]["spec"]):
        time.sleep(0.02)


def nftables(stage, kind, resources):
    """One nft per rule, in the host's own network."""
    nft = stage.module.nft
    base = "add table inet mergeyard\n"
    base += "add chain inet mergeyard input { type filter hook input priority 0; policy accept; }\n"
    nft(stage.testbed, "-f", "-", text=base)
    for resource in resources:
        spec = resource["spec"]
        chain = f"rule_{spec['name']}"
        rules = []
        for ip in ("ip", "ip6"):
            nets = {
                field: [net for net in spec[field] if (":" in net) == (ip == "ip6")]
                for field in ("sources", "destinations")
            }
            match = f"{ip} saddr {{ {', '.join(nets['sources'])} }} {ip} daddr {{ {', '.join(nets['destinations'])} }}"
            match += f" {spec['protocol']} dport {{ {', '.join(spec['ports'])} }}"
            rules.append(f'add rule inet mergeyard {chain} {match} log prefix "{spec["name"]} "')
            rules.append(f'add rule inet mergeyard {chain} {match} accept comment "{spec["comment"]}"')
        jump = (
            f'add rule inet mergeyard input meta time < "2100-01-01 00:00:00" jump {chain} comment "{resource["path"]}"'
        )
        nft(stage.testbed, "-f", "-", text="\n".join([f"add chain inet mergeyard {chain}", *rules, jump]) + "\n")


LOOPS = {
    "postgresql": postgresql,
    "mariadb": mariadb,
    "bind": bind,
    "openldap": openldap,
    "rabbitmq": rabbitmq,
    "kafka": kafka,
    "nftables": nftables,
    "haproxy": Files(lambda stage: Path(stage.testbed.connection["routes_directory"]), by_hand, load_haproxy),
    "nginx": Files(lambda stage: Path(stage.testbed.connection["sites_directory"]), by_sftp, load_nginx),
    "linux": Files(lambda stage: Path(stage.testbed.extra["directory"]), by_sftp, lambda *_: None),
}
