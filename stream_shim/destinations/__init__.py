"""The kinds of destination, each a module; what they have in common is processor/destination.py."""

from stream_shim.destinations.entries import DestinationEntry
from stream_shim.processor.destination import Destination
from tidemark.settings import Settings


def open_destination(settings: Settings, name: str, entry: DestinationEntry) -> Destination:
    """The destination of one entry of destinations.yml."""
    if entry.kind == "postgres":
        from stream_shim.destinations.postgres import PostgresDestination

        return PostgresDestination(settings)
    if entry.kind == "lake":
        from stream_shim.destinations.lake import LakeDestination

        return LakeDestination(settings, entry.path or name)
    from stream_shim.destinations.kafka import KafkaDestination

    return KafkaDestination(name, entry)
