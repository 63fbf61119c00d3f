"""The kinds of destination, each a module; what they have in common is processor/destination.py."""

from typing import TYPE_CHECKING

from stream_shim.destinations.entries import ROLL_SECONDS, DestinationEntry
from tidemark.settings import Settings

if TYPE_CHECKING:  # who reads the entries alone needs no processor
    from stream_shim.processor.destination import Destination


def open_destination(settings: Settings, name: str, entry: DestinationEntry) -> "Destination":
    """The destination of one entry of destinations.yml."""
    if entry.kind == "postgres":
        from stream_shim.destinations.postgres import PostgresDestination

        return PostgresDestination(settings)
    if entry.kind == "lake":
        from stream_shim.destinations.lake import ROLL_BYTES, LakeDestination

        roll_bytes = ROLL_BYTES if entry.roll_mb is None else entry.roll_mb * 1_000_000
        return LakeDestination(settings, entry.path or name, entry.roll_seconds or ROLL_SECONDS, roll_bytes)
    from stream_shim.destinations.kafka import KafkaDestination

    return KafkaDestination(name, entry)
