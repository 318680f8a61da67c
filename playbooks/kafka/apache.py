"""Owns Apache Kafka for tests: brought from Maven Central once, then one broker (KRaft) with ACLs and SCRAM users.

What was brought lies in the user's cache and is shared by all starts. It must not know kinds.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path

from playbooks.servers import CannotStart, MissingTool, Server, answers, kept_ports

VERSION = "4.3.1"
SECONDS = 60  # a Java start on a busy machine
LISTENERS = ("plain", "scram", "controller")
JAVA = ["-Xms64m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"]
POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>mergeyard</groupId><artifactId>kafka</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version>
    </dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
"""
# Whoever comes in by the plain listener is User:ANONYMOUS and, as the broker itself does, may do everything.
PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAIN
listener.security.protocol.map=PLAIN:PLAINTEXT,SCRAM:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT
sasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512
listener.name.scram.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.scram.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:{admin}
auto.create.topics.enable=false
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
log.index.size.max.bytes=65536
log.segment.delete.delay.ms=1000
log.cleaner.dedupe.buffer.size=8388608
connection.failed.authentication.delay.ms=20
"""


def start(directory: Path, *, admin: str) -> tuple[Server, dict[str, int]]:
    """The broker and its listeners' ports: `plain` for whoever comes, `scram` for users, of whom `admin` may all."""
    java, home = tool("java", package="default-jre-headless"), bring()
    ports = kept_ports(directory, [*LISTENERS], title="Apache Kafka")
    data = directory / "data"
    if not data.exists():
        shutil.copytree(home / "formatted", data)
    at = {name: f"{name.upper()}://127.0.0.1:{port}" for name, port in ports.items()}
    own = {
        "log.dirs": str(data),
        "listeners": ",".join(at.values()),
        "advertised.listeners": f"{at['plain']},{at['scram']}",
        "controller.quorum.voters": f"1@127.0.0.1:{ports['controller']}",
    }
    config = directory / "server.properties"
    config.write_text(PROPERTIES.format(admin=admin) + "".join(f"{name}={value}\n" for name, value in own.items()))
    argv = [java, *JAVA, f"-Djava.io.tmpdir={directory}", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
    argv += ["-cp", _classes(home), "kafka.Kafka", str(config)]
    server = Server(f"Apache Kafka {VERSION}", argv, log=directory / "kafka.log")
    server.wait_until(lambda: answers(ports["plain"]) and answers(ports["scram"]), within=SECONDS)
    return server, ports


def command(class_name: str, *arguments: str) -> list[str]:
    """One of Kafka's own tools, as its shell scripts start them."""
    return [tool("java", package="default-jre-headless"), *JAVA, "-cp", _classes(bring()), class_name, *arguments]


def tool(name: str, *, package: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise MissingTool(f"Apache Kafka cannot be had without {name}; install the Debian package {package}.")
    return found


def bring() -> Path:
    """The folder with Kafka's classes (`libs`) and a formatted storage to copy (`formatted`); made at the first call.

    It appears whole or not at all: whoever comes second waits for the first.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mergeyard"
    home = cache / f"kafka-{VERSION}"
    if home.exists():
        return home
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "kafka.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not home.exists():
            made = Path(tempfile.mkdtemp(dir=cache))
            try:
                _make(made)
                made.rename(home)
            finally:
                shutil.rmtree(made, ignore_errors=True)
    return home


def _make(made: Path) -> None:
    maven, java = tool("mvn", package="maven"), tool("java", package="default-jre-headless")
    (made / "pom.xml").write_text(POM)
    copy = [maven, "-q", "-B", "-f", str(made / "pom.xml"), "dependency:copy-dependencies"]
    _run([*copy, "-DincludeScope=runtime", f"-DoutputDirectory={made / 'libs'}"], "be brought from Maven Central")
    config = made / "format.properties"
    config.write_text(
        "process.roles=broker,controller\nnode.id=1\ncontroller.listener.names=CONTROLLER\n"
        "listeners=PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093\n"
        f"controller.quorum.voters=1@127.0.0.1:9093\nlog.dirs={made / 'formatted'}\n"
    )
    cluster = str(uuid.uuid4())
    storage = [java, *JAVA, "-cp", _classes(made), "kafka.tools.StorageTool", "format", "-t", cluster]
    _run([*storage, "-c", str(config)], "format its storage (it needs Java 17 or newer)")


def _run(argv: list[str], what: str) -> None:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=600)
    except subprocess.TimeoutExpired as error:
        raise CannotStart(f"Apache Kafka {VERSION} could not {what} within ten minutes.") from error
    if done.returncode:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if "rror" in line] or ["it said nothing"]
        raise MissingTool(f"Apache Kafka {VERSION} could not {what}: {lines[0].strip()}")


def _classes(home: Path) -> str:
    return str(home / "libs" / "*")
