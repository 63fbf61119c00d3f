"""Bring the local broker to what Tidemark needs: a user with a password for each part, and its rights."""

from contextlib import closing
from typing import TYPE_CHECKING, Any

from tidemark.access.kafka_rights import GROUP_PREFIX, RIGHTS
from tidemark.categories import CATEGORIES
from tidemark.credentials import KAFKA_ADMINISTRATOR, KAFKA_NODE, KAFKA_ROLES, credential
from tidemark.errors import StackError
from tidemark.kafka import admin, reachable_kafka
from tidemark.settings import Settings

if TYPE_CHECKING:
    from kafka import KafkaAdminClient


def apply(settings: Settings) -> None:
    """Passwords as they are in the state folder, rights as in kafka_rights.py; repeating it changes nothing.

    A right of ours that the table does not have is taken back. StackError where the broker refuses.
    """
    with reachable_kafka(settings, KAFKA_ADMINISTRATOR), closing(admin(settings, KAFKA_ADMINISTRATOR)) as client:
        write_users(settings, client)
        _write_rights(client)


def write_users(settings: Settings, client: "KafkaAdminClient") -> None:
    """The password of every user of the broker; what is open stays open. Kafka is given a salted hash of it."""
    from kafka.admin import UserScramCredentialUpsertion

    users = (KAFKA_ADMINISTRATOR, KAFKA_NODE, *KAFKA_ROLES)
    said = client.alter_user_scram_credentials(
        [UserScramCredentialUpsertion(user, "SCRAM-SHA-512", credential(settings, user)) for user in users]
    )
    if refused := {user: why for user, why in said.items() if why}:
        raise StackError(f"expected Kafka to take the passwords of {', '.join(users)}, it said: {refused}")


def _wanted() -> set[Any]:
    from kafka.admin import ResourceType

    return {
        _acl(role, operation, kind, name)
        for role, rights in RIGHTS.items()
        for kind, names, operations in (
            (ResourceType.TOPIC, tuple(CATEGORIES), rights.topics),
            (ResourceType.GROUP, (GROUP_PREFIX,), rights.groups),
        )
        for name in names
        for operation in operations
    }


def _acl(role: str, operation: str, kind: Any, name: str) -> Any:
    from kafka.admin import ACL, ACLOperation, ACLPermissionType, ACLResourcePatternType, ResourcePattern, ResourceType

    pattern = ACLResourcePatternType.PREFIXED if kind is ResourceType.GROUP else ACLResourcePatternType.LITERAL
    resource = ResourcePattern(kind, name, pattern)
    return ACL(f"User:{role}", "*", ACLOperation[operation], ACLPermissionType.ALLOW, resource)


def _write_rights(client: "KafkaAdminClient") -> None:
    from kafka.admin import ACLFilter
    from kafka.errors import NoError

    wanted, there = _wanted(), {acl for role in KAFKA_ROLES for acl in granted(client, role)}
    made = client.create_acls(sorted(wanted - there, key=repr)) if wanted - there else {"failed": []}
    if made["failed"]:
        raise StackError(f"expected Kafka to grant the parts their rights, it said: {made['failed']}")
    surplus = [
        ACLFilter(acl.principal, acl.host, acl.operation, acl.permission_type, acl.resource_pattern)
        for acl in there - wanted
    ]
    for right, _, failure in client.delete_acls(surplus) if surplus else ():
        if failure is not NoError:
            raise StackError(f"expected Kafka to take back {right}, which no part has any more, it said: {failure}")


def granted(client: "KafkaAdminClient", role: str) -> set[Any]:
    """The rights (kafka-python's ACL) that a role has now, as an administrator sees them."""
    from kafka.admin import (
        ACLFilter,
        ACLOperation,
        ACLPermissionType,
        ACLResourcePatternType,
        ResourcePatternFilter,
        ResourceType,
    )

    everything = ResourcePatternFilter(ResourceType.ANY, None, ACLResourcePatternType.ANY)
    found, _ = client.describe_acls(
        ACLFilter(f"User:{role}", None, ACLOperation.ANY, ACLPermissionType.ANY, everything)
    )
    return set(found)
