"""Which partitions each processor of a group reads: each topic is shared out evenly, not their number alone.

kafka-python's assignor (as Java's) counts partitions. Of four topics, one of them of two partitions, it leaves both of
these with the member that has them, and gives a second one two topics that have nothing to do.
"""

from collections.abc import Set
from typing import Any, NamedTuple

from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.protocol.consumer.metadata import ConsumerProtocolAssignment, ConsumerProtocolSubscription


class EachTopicShared(CooperativeStickyAssignor):  # type: ignore[misc]
    """kafka-python's, asked for each topic of several partitions alone, and for all of one partition together.

    Its name in the protocol stays: of a group whose members know no common one, nobody may enter.
    """

    def assign(self, cluster: Any, members: Any) -> dict[str, ConsumerProtocolAssignment]:
        """What each member may read now, by its id. What moves is first given up, and given in the next round."""
        topics = {topic for member in members for topic in member.metadata.topics}
        shared = {topic for topic in topics if len(cluster.partitions_for_topic(topic) or ()) > 1}
        given: dict[str, list[Any]] = {member.member_id: [] for member in members}
        for part in [*({topic} for topic in sorted(shared)), topics - shared]:
            for member_id, share in super().assign(cluster, [_of(member, part) for member in members]).items():
                given[member_id] += share.assigned_partitions
        return {
            member_id: ConsumerProtocolAssignment(self.version, sorted(share), b"")
            for member_id, share in given.items()
        }


class _Member(NamedTuple):
    member_id: str
    metadata: ConsumerProtocolSubscription


def _of(member: Any, topics: Set[str]) -> _Member:
    """A member as if it wanted, and had, these topics alone."""
    said = member.metadata
    owned = [each for each in getattr(said, "owned_partitions", None) or () if each.topic in topics]
    wanted = sorted(topics & set(said.topics))
    alone = ConsumerProtocolSubscription(version=1, topics=wanted, user_data=b"", owned_partitions=owned)
    return _Member(member.member_id, alone)
