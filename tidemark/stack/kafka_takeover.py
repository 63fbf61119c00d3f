"""Takes over the storage of a Kafka that asked nobody who calls: gives it the users, so that SCRAM can let them in.

Users are records of the cluster's metadata, which only a running broker writes. So a broker runs on that storage for a
moment, on ports that nobody knows, where one user may enter by a password that is made for this one run.
"""

import secrets
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from tidemark.access import kafka as access
from tidemark.credentials import KAFKA_ADMINISTRATOR
from tidemark.errors import StackError
from tidemark.kafka import client_options
from tidemark.kafka_security import KafkaSecurity
from tidemark.settings import Settings
from tidemark.stack import process, properties
from tidemark.stack.ports import free_ports

if TYPE_CHECKING:
    from kafka import KafkaAdminClient

START_SECONDS = 120.0  # a log that was not closed is read again first
NAME = "kafka-takeover"


def take_over(
    settings: Settings, java: Sequence[str], folder: Path, values: Callable[[Settings], dict[str, str]]
) -> None:
    """Write the users into the storage that `values` configures, and stop again. Killed at any point, it is run again.

    The broker ends with this process: nothing that asks less than it should outlives an `up` that was killed.
    """
    configuration, password = folder / "takeover.properties", secrets.token_urlsafe(24)
    port, controller = free_ports(2)
    once = settings.model_copy(update={"kafka_port": port, "kafka_controller_port": controller})
    plain = f'org.apache.kafka.common.security.plain.PlainLoginModule required user_{KAFKA_ADMINISTRATOR}="{password}";'
    properties.write(
        configuration,
        {
            **values(once),
            "listener.name.client.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
            "listener.name.client.plain.sasl.jaas.config": plain,
        },
    )
    argv = ["setpriv", "--pdeathsig", "KILL", *java, "kafka.Kafka", str(configuration)]
    try:
        with process.log_path(settings.home, NAME).open("wb") as output:
            broker = subprocess.Popen(
                argv, cwd=folder, env=process.java_environment(), stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        try:
            with closing(_enter(settings, broker, f"127.0.0.1:{port}", password)) as client:
                access.write_users(settings, client)
        finally:
            _end(broker)
    finally:
        configuration.unlink(missing_ok=True)


def _enter(settings: Settings, broker: "subprocess.Popen[bytes]", bootstrap: str, password: str) -> "KafkaAdminClient":
    from kafka import KafkaAdminClient
    from kafka.errors import KafkaError

    # By PLAIN, which `kafka_security.read` refuses without TLS: here it meets nobody but the broker started above.
    options = client_options(bootstrap, KafkaSecurity("SASL_PLAINTEXT", "PLAIN", KAFKA_ADMINISTRATOR, password))
    deadline = time.monotonic() + START_SECONDS
    while broker.poll() is None and time.monotonic() < deadline:
        try:
            return KafkaAdminClient(**options, bootstrap_timeout_ms=2000)
        except KafkaError:
            time.sleep(0.1)
    said = process.last_lines(settings.home, NAME)
    raise StackError(
        f"expected Kafka to start on its old storage, so that it is given its users, it did not: {said} "
        f"(all of it in {process.log_path(settings.home, NAME)})"
    )


def _end(broker: "subprocess.Popen[bytes]") -> None:
    broker.terminate()
    try:
        broker.wait(30)
    except subprocess.TimeoutExpired:
        broker.kill()
        broker.wait()
