"""A cluster of others, with TLS: one account for every part by SASL or by certificate; its name is checked."""

import datetime
import ipaddress
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from kafka import KafkaConsumer, TopicPartition
from kafka.admin import UserScramCredentialUpsertion
from pydantic import SecretStr

from stream_shim.buffer.encoding import Datum
from stream_shim.buffer.entries import read_topics
from stream_shim.buffer.publisher import Publisher
from stream_shim.buffer.topics import ensure_topics
from stream_shim.destinations.entries import DestinationEntry
from stream_shim.destinations.kafka import KafkaDestination
from stream_shim.processor.destination import NotTaken
from stream_shim.processor.mapping import build_mapper
from stream_shim.processor.records import Record
from stream_shim.processor.segments import Log, Segment
from tests.conftest import new_home, new_settings
from tests.stream_shim.conftest import until
from tidemark.categories import CATEGORIES
from tidemark.credentials import KAFKA_ADMINISTRATOR, credential, ensure_credentials
from tidemark.errors import StackError
from tidemark.kafka import admin, kafka_client, librdkafka, reachable_kafka
from tidemark.settings import Settings
from tidemark.stack import checks, kafka, process, properties
from tidemark.stack.ports import free_ports

Key = ec.EllipticCurvePrivateKey
ACCOUNT, PASSWORD = "account", "p a=ss/wörd"


def certificate(folder: Path, name: str, signer: tuple[x509.Name, Key] | None, *hosts: str) -> tuple[x509.Name, Key]:
    """NAME.pem (key and certificate), NAME.crt and NAME.key; an authority where there is no signer."""
    key, subject = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer, issuer_key = signer or (subject, key)
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=signer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )  # fmt: skip
    if signer is None:
        usage = dict.fromkeys(
            ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
             "encipher_only", "decipher_only"), False
        )  # fmt: skip
        builder = builder.add_extension(x509.KeyUsage(key_cert_sign=True, crl_sign=True, **usage), critical=True)
    if hosts:
        names: list[x509.GeneralName] = [
            x509.IPAddress(ipaddress.ip_address(host)) if host[0].isdigit() else x509.DNSName(host) for host in hosts
        ]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    made = builder.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for suffix, content in (("pem", secret + made), ("crt", made), ("key", secret)):
        (folder / f"{name}.{suffix}").write_bytes(content)
    return subject, key


@dataclass(frozen=True)
class Managed:
    """A cluster with TLS, certified for `localhost` alone: `sasl` and `mutual` are its listeners' ports."""

    folder: Path
    home: Settings  # of a state folder that has no broker of its own
    sasl: int
    mutual: int

    def settings(self, **changes: Any) -> Settings:
        """Settings as a user of that cluster sets them."""
        account = {
            "kafka_bootstrap": f"localhost:{self.sasl}", "kafka_security_protocol": "SASL_SSL",
            "kafka_username": ACCOUNT, "kafka_password": SecretStr(PASSWORD), "kafka_ca_file": self.folder / "ca.crt",
        }  # fmt: skip
        return self.home.model_copy(update=account | changes)


def _broker(settings: Settings, folder: Path, mutual: int) -> dict[str, str]:
    """The local broker's configuration with TLS, another listener, and what a managed cluster has."""
    values = kafka.properties(settings, settings.home.resolve() / "kafka" / "data")
    plain = f'org.apache.kafka.common.security.plain.PlainLoginModule required user_{ACCOUNT}="{PASSWORD}";'
    return values | {
        "listeners": f"{values['listeners']},MUTUAL://127.0.0.1:{mutual}",
        "advertised.listeners": f"CLIENT://localhost:{settings.kafka_port},MUTUAL://localhost:{mutual}",
        "listener.security.protocol.map": "CLIENT:SASL_SSL,MUTUAL:SSL,CONTROLLER:SASL_PLAINTEXT",
        "listener.name.client.sasl.enabled.mechanisms": "SCRAM-SHA-512,SCRAM-SHA-256,PLAIN",
        "listener.name.client.scram-sha-256.sasl.jaas.config": values[
            "listener.name.client.scram-sha-512.sasl.jaas.config"
        ],
        "listener.name.client.plain.sasl.jaas.config": plain,
        "listener.name.mutual.ssl.client.auth": "required",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(folder / "broker.pem"),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(folder / "ca.crt"),
        "super.users": f"{values['super.users']};User:{ACCOUNT};User:CN=client",
    }


@pytest.fixture(scope="module")
def managed() -> Iterator[Managed]:
    """The cluster, with the account's passwords and the topics."""
    with new_home() as home:
        settings, (mutual,), folder = new_settings(home), free_ports(1), home.parent
        checks.make_home(home)
        ensure_credentials(settings)
        authority = certificate(folder, "ca", None)
        certificate(folder, "other-ca", None)
        certificate(folder, "broker", authority, "localhost")
        certificate(folder, "client", authority)
        launch = kafka.prepare(settings)
        properties.write(home / "kafka" / "server.properties", _broker(settings, folder, mutual))
        process.spawn(home, kafka.NAME, launch, kafka.ports(settings))
        try:
            elsewhere = new_settings(folder / "elsewhere")
            cluster = Managed(folder, elsewhere, settings.kafka_port, mutual)
            _make_account(cluster, credential(settings, KAFKA_ADMINISTRATOR))
            yield cluster
        finally:
            process.stop(home, kafka.NAME, kafka.STOP_SIGNAL)


def _make_account(cluster: Managed, password: str) -> None:
    boss = cluster.settings(kafka_username=KAFKA_ADMINISTRATOR, kafka_password=SecretStr(password))
    with closing(admin(boss, KAFKA_ADMINISTRATOR, bootstrap_timeout_ms=180_000)) as client:
        for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512"):
            made = client.alter_user_scram_credentials([UserScramCredentialUpsertion(ACCOUNT, mechanism, PASSWORD)])
            assert made == {ACCOUNT: None}


def entered(cluster: Managed, how: str) -> Settings:
    """Settings of one way to enter."""
    if how != "certificate":
        return cluster.settings(kafka_sasl_mechanism=how)
    files = {f"kafka_{part}_file": cluster.folder / f"client.{end}" for part, end in
             (("certificate", "crt"), ("key", "key"))}  # fmt: skip
    nobody = {"kafka_username": None, "kafka_password": None, "kafka_security_protocol": "SSL"}
    return cluster.settings(kafka_bootstrap=f"localhost:{cluster.mutual}", **nobody, **files)


@pytest.mark.parametrize("how", ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN", "certificate"])
def test_every_part_works_on_a_cluster_with_tls(managed: Managed, how: str) -> None:
    settings = entered(managed, how)
    ensure_topics(settings, read_topics(settings.topics_file))
    publisher = Publisher(settings, "source")
    fields = {"source_system": "s", "symbol": how, "timestamp": "2024-08-08T00:00:00Z", "price": 1.0, "size": 1.0}
    publisher.send(Datum("market_tick", fields, {}, 0))
    publisher.flush()
    publisher.close()
    with closing(KafkaConsumer(**kafka_client(settings, "promoter"))) as consumer:
        partition = TopicPartition("market_tick", 0)
        consumer.assign([partition])
        consumer.seek_to_beginning(partition)
        until(lambda: any(how.encode() in record.value for record in consumer.poll(500).get(partition, ())), "the tick")
    known = AdminClient({**librdkafka(settings, "catalog_reader")}).list_topics(timeout=60).topics
    assert set(known) >= set(CATEGORIES)
    assert not (settings.home / "credentials").exists()  # of which nothing was asked


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kafka_bootstrap": "127.0.0.1:{sasl}"}, "certificate is not valid for '127.0.0.1'"),
        ({"kafka_ca_file": "other-ca.crt"}, "expected Kafka at localhost:{sasl} to show a certificate that"),
        (
            {"kafka_password": SecretStr("guessed")},
            "Kafka at localhost:{sasl} refused the password of account: expected TIDEMARK_KAFKA_USERNAME and",
        ),
    ],
)  # fmt: skip
def test_a_cluster_that_is_not_the_one_that_was_meant_is_said_at_once(
    managed: Managed, changes: dict[str, Any], said: str
) -> None:
    place = {"sasl": managed.sasl}
    found = {key: value.format(**place) if isinstance(value, str) else value for key, value in changes.items()}
    if "kafka_ca_file" in found:
        found["kafka_ca_file"] = managed.folder / found["kafka_ca_file"]
    settings = managed.settings(**found)
    with pytest.raises(StackError) as failure, reachable_kafka(settings, "connector"):
        Publisher(settings, "source")
    assert said.format(**place) in str(failure.value)
    assert "guessed" not in str(failure.value)


def test_a_destination_on_a_cluster_with_tls_takes_records_and_says_when_it_refuses(
    managed: Managed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTHER_USER", ACCOUNT)
    monkeypatch.setenv("OTHER_PASSWORD", PASSWORD)
    entry = DestinationEntry(
        kind="kafka", topics=["market_tick"], bootstrap=f"localhost:{managed.sasl}", security_protocol="SASL_SSL",
        credentials={"username": "${OTHER_USER}", "password": "${OTHER_PASSWORD}"},
        ca_file=str(managed.folder / "ca.crt"),
    )  # fmt: skip
    ensure_topics(managed.settings(), read_topics(managed.home.topics_file))
    log = Log("market_tick", 0, "id", 0, build_mapper("market_tick", {}))
    segments = [Segment(log, 0, 1, [Record(0, 0, b"key", b"value")], 1)]
    destination = KafkaDestination("other", entry)
    assert destination.commit(segments).rows == {"market_tick": 1}
    destination.close()
    monkeypatch.setenv("OTHER_PASSWORD", "guessed")
    with pytest.raises(NotTaken, match="SaslAuthenticationFailedError"):
        KafkaDestination("other", entry).commit(segments)
