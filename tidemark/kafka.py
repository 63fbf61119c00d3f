"""Kafka for every part: a client's options with the credentials of one role, and what it means when it is refused."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from tidemark.access.kafka_rights import GROUP_PREFIX, RIGHTS, SHOWING, Rights
from tidemark.categories import CATEGORIES
from tidemark.connections import kafka_bootstrap
from tidemark.credentials import KAFKA_ADMINISTRATOR, KAFKA_ROLES, credential
from tidemark.errors import ConfigurationError, StackError
from tidemark.kafka_security import NAMES, KafkaSecurity, read
from tidemark.settings import Settings

if TYPE_CHECKING:
    from kafka import KafkaAdminClient

TOPIC_AUTHORIZATION_FAILED, UNKNOWN_TOPIC = 29, 3  # Kafka's error codes
ANSWER_MS = 20_000  # after so long without an answer a question about a log has failed; kafka-python asks for ever


def _variable(key: str) -> str:
    return f"TIDEMARK_KAFKA_{key.upper()}"


def _of_settings(settings: Settings) -> dict[str, str | None]:
    values = {key: getattr(settings, f"kafka_{key}") for key in NAMES}
    return {
        key: value.get_secret_value() if isinstance(value, SecretStr) else None if value is None else str(value)
        for key, value in values.items()
    }


def security(settings: Settings, role: str) -> KafkaSecurity:
    """How one role enters: the local broker by its own password, a cluster of others by the account of the settings.

    ConfigurationError where the settings do not fit, or there is no such role. No local password leaves the machine.
    """
    if role not in (KAFKA_ADMINISTRATOR, *KAFKA_ROLES):
        raise ConfigurationError(f"expected a user of Kafka, {', '.join(KAFKA_ROLES)}, received {role!r}")
    values = _of_settings(settings)
    if settings.kafka_bootstrap is not None:
        return read(values, _variable)
    for key, value in values.items():
        if value is not None:
            raise ConfigurationError(
                f"TIDEMARK_KAFKA_BOOTSTRAP: expected host:port of a cluster, as {_variable(key)} is set, received none"
            )
    return KafkaSecurity("SASL_PLAINTEXT", "SCRAM-SHA-512", role, credential(settings, role))


def client_options(bootstrap: str, how: KafkaSecurity) -> dict[str, Any]:
    """What every client of kafka-python is given to enter a cluster. It holds a password: never log it."""
    from tidemark.kafka_network import NetClient

    logging.getLogger("kafka").setLevel(logging.ERROR)
    for name in ("kafka.net", "kafka.cluster"):  # every try of a broker that is away; ours say it once
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return {"bootstrap_servers": bootstrap, "kafka_client": NetClient, **how.kafka_python()}


def kafka_client(settings: Settings, role: str) -> dict[str, Any]:
    """The options with which a client of kafka-python enters as one role. They hold a password: never log them."""
    return client_options(kafka_bootstrap(settings), security(settings, role))


def librdkafka(settings: Settings, role: str) -> dict[str, str]:
    """The same for kcat and other clients that are made on librdkafka."""
    return {"bootstrap.servers": kafka_bootstrap(settings), **security(settings, role).librdkafka()}


def admin(settings: Settings, role: str, **options: Any) -> "KafkaAdminClient":
    """An admin client of one role, to be closed."""
    from kafka.admin import KafkaAdminClient

    return KafkaAdminClient(**kafka_client(settings, role), client_id=f"tidemark-{role}", **options)


@contextmanager
def reachable_kafka(settings: Settings, role: str) -> Iterator[None]:
    """What Kafka's client raises in the block becomes a StackError that names broker, user and right: what to do.

    Around whole commands and processes: a broker may go away at any call, not only when it is first asked.
    """
    from kafka.errors import CorruptRecordError, KafkaError, UnsupportedCodecError

    try:
        yield
    except (CorruptRecordError, UnsupportedCodecError) as failure:
        raise StackError(
            f"expected records that can be decoded, received {failure}: nothing from there on is read; the "
            "codecs are gzip, snappy, lz4 and zstd, and what is stored otherwise cannot be read"
        ) from None
    except KafkaError as failure:
        raise explained(settings, role, failure) from None


def explained(settings: Settings, role: str, failure: BaseException) -> StackError:
    """The sentence about an error of Kafka's client that one role has met."""
    from kafka.errors import AuthorizationError, SaslAuthenticationFailedError

    from tidemark.kafka_network import NotEntered

    where, user = kafka_bootstrap(settings), _user(settings, role)
    received = " ".join(str(failure).split())
    if isinstance(failure, NotEntered):
        return StackError(
            f"expected Kafka at {where} to show a certificate that {_variable('ca_file')} (or the system) trusts, with "
            f"that host in it, received {received}"
        )
    if isinstance(failure, SaslAuthenticationFailedError):
        return StackError(f"Kafka at {where} refused the password of {user}: {_password_remedy(settings)}")
    if isinstance(failure, AuthorizationError):
        return refused(settings, role, _lacking_now(settings, role) or [_needed(role, received)])
    error = StackError(
        f"expected Kafka at {where} to answer, received {received}: "
        "`tidemark up` starts the local one, TIDEMARK_KAFKA_BOOTSTRAP names another"
    )
    error.retriable = bool(getattr(failure, "retriable", False))
    return error


def _user(settings: Settings, role: str) -> str:
    """Whom Kafka sees: a part has a user of its own on the local broker only."""
    return role if settings.kafka_bootstrap is None else settings.kafka_username or "anybody"


def _password_remedy(settings: Settings) -> str:
    if settings.kafka_bootstrap is None:
        return "`tidemark up` gives every part the one in its state folder; is TIDEMARK_HOME the folder of that broker?"
    return f"expected {_variable('username')} and {_variable('password')} of an account of that cluster"


def refused(settings: Settings, role: str, lacking: Sequence[str]) -> StackError:
    """The sentence about rights that a role lacks, each as `READ on the topic market_tick`."""
    remedy = (
        "`tidemark up` gives it back"
        if settings.kafka_bootstrap is None
        else f"grant it on that cluster; {role} is the part that asks, and docs/kafka.md lists what each needs"
    )
    return StackError(
        f"Kafka at {kafka_bootstrap(settings)} refused {_user(settings, role)}, who lacks the right "
        f"{', '.join(lacking)}: {remedy}"
    )


def _needed(role: str, received: str) -> str:
    rights = RIGHTS.get(role, Rights(("ALTER",)))
    return f"to do that, one of {', '.join(dict.fromkeys(rights.topics + rights.groups))} ({received})"


def _lacking_now(settings: Settings, role: str) -> list[str]:
    from kafka.errors import KafkaError

    try:
        return lacking_rights(settings, role) if role in RIGHTS else []
    except KafkaError:
        return []  # the first failure is what is told


def lacking_rights(settings: Settings, role: str, topics: Sequence[str] = tuple(CATEGORIES)) -> list[str]:
    """The rights of a role that Kafka does not grant to it, on topics that are there, and on its groups."""
    from kafka.errors import GroupAuthorizationFailedError, RetriableError

    rights = RIGHTS[role]
    with closing(admin(settings, role)) as client:
        found = lacking_on_topics(role, client.describe_topics(list(topics)))
        if rights.groups:
            try:  # Kafka looks at the right first, then whether there is such a group
                client.describe_groups([f"{GROUP_PREFIX}-"])
            except RetriableError:
                pass  # no group of anybody is there yet
            except GroupAuthorizationFailedError:
                found.append(f"{', '.join(rights.groups)} on the consumer groups {GROUP_PREFIX}*")
    return found


def require_rights(settings: Settings, role: str, topics: Sequence[str] = tuple(CATEGORIES)) -> None:
    """StackError where a role lacks a right that it needs: which, on what, and what to do."""
    if lacking := lacking_rights(settings, role, topics):
        raise refused(settings, role, lacking)


def lacking_on_topics(role: str, described: Sequence[dict[str, Any]]) -> list[str]:
    """The same of topics that were described already; one that Kafka does not show has no right that would show it."""
    found: list[str] = []
    for topic in sorted(described, key=lambda topic: str(topic["name"])):
        if topic["error_code"] == UNKNOWN_TOPIC:
            continue
        if topic["error_code"] == TOPIC_AUTHORIZATION_FAILED:
            missing = [right for right in RIGHTS[role].topics if right in SHOWING]
        else:
            granted = topic.get("authorized_operations") or RIGHTS[role].topics
            missing = [right for right in RIGHTS[role].topics if right not in granted]
        if missing:
            found.append(f"{', '.join(missing)} on the topic {topic['name']}")
    return found
