"""Records in quarantine, tried again by the topic mapping as it is now."""

from typing import Any

import psycopg
from psycopg import Connection

from realtime import partitions, quarantined, rows
from realtime.quarantined import Quarantined, Wanted
from realtime.repairs import take_turn
from stream_shim.buffer.entries import read_topics
from stream_shim.processor.mapping import Mapper, build_mapper
from stream_shim.processor.records import Record
from tidemark.settings import Settings


def retry(settings: Settings, wanted: Wanted) -> tuple[int, int]:
    """Map the records again: (those that are rows now, those that stay).

    A record leaves quarantine in the transaction that writes its row, under the same identity and time.
    """
    mappers = {topic: build_mapper(topic, entry.mapping) for topic, entry in read_topics(settings.topics_file).items()}
    written = stay = 0
    with quarantined.enter(settings) as connection:
        for topic in mappers:
            take_turn(connection, topic, shared=True)
        for record in quarantined.held(connection, wanted):
            if _write(connection, mappers[record.topic], record):
                written += 1
            else:
                stay += 1
    return written, stay


def _write(connection: Connection[Any], mapper: Mapper, kept: Quarantined) -> bool:
    """Whether it is a row now."""
    record = Record(kept.offset, kept.timestamp, kept.key, kept.payload)
    mapped = mapper([record], kept.log_epoch, kept.partition)
    if mapped.rejects:
        return False
    try:
        with connection.transaction(), connection.cursor() as cursor:
            partitions.ensure(connection, rows.days_of(kept.topic, mapped.rows))
            rows.copy_lines(cursor, kept.topic, rows.lines(kept.topic, mapped.rows, mapped.plain))
            rows.note_feeds(cursor, rows.feeds_of(kept.topic, mapped.rows))
            quarantined.release(cursor, kept)
    except psycopg.DataError:
        return False
    return True
