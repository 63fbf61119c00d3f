"""Kind `lake`: the raw topic as gzipped JSON lines by day, at least once.

A file is <folder>/<topic>/day=YYYY-MM-DD/<topic id>.<leader epoch>-<partition>-<first offset>.jsonl.gz, one line a
record: {"partition", "offset", "timestamp" (ms), "key", "value"}; bytes that are no text stand as base64 in
`value_base64`, and `missing_bytes` says how many are left out of a record that is larger than any may be. After a
crash, records may stand in two files; what comes before `-<first offset>` and the offset tell
them apart: a log that lost its tail was filled again under another leader epoch, and its old records stay.
"""

import base64
import gzip
from collections import defaultdict
from typing import Any

import msgspec

from realtime.rows import day_of
from stream_shim.processor.destination import NotTaken, Written
from stream_shim.processor.records import Record
from stream_shim.processor.segments import Segment
from tidemark.lake import LakeError, lake_url, new_file
from tidemark.settings import Settings


class LakeDestination:
    """Files below `path` of the lake. The position is what the group has committed to Kafka, after the files."""

    def __init__(self, settings: Settings, path: str) -> None:
        self._settings, self._path = settings, path

    def prepare(self, segments: list[Segment]) -> list[tuple[Segment, dict[str, bytes]]]:
        """Each segment's files: name to compressed bytes."""
        return [(segment, self._files_of(segment)) for segment in segments]

    def _files_of(self, segment: Segment) -> dict[str, bytes]:
        by_day: dict[str, list[Record]] = defaultdict(list)
        for record in segment.records:
            by_day[day_of(record.timestamp).isoformat()].append(record)
        return {
            f"{segment.log.topic}/day={day}/{_log_of(segment)}-{records[0].offset:012d}.jsonl.gz": gzip.compress(
                b"\n".join(_line(segment.log.partition, record) for record in records) + b"\n", 3
            )
            for day, records in by_day.items()
        }

    def commit(self, prepared: list[tuple[Segment, dict[str, bytes]]]) -> Written:
        """Write the files, each whole under its name or not at all."""
        written = Written({}, {})
        try:
            for segment, files in prepared:
                for name, data in files.items():
                    with new_file(self._settings, f"{self._path}/{name}") as file:
                        file.write(data)
                written.rows[segment.log.topic] = written.rows.get(segment.log.topic, 0) + len(segment.records)
        except LakeError as error:
            raise NotTaken(str(error)) from error
        except OSError as error:
            root = f"{lake_url(self._settings)}/{self._path}"
            raise NotTaken(f"expected the lake at {root} to take files, received {error}") from error
        return written

    def close(self) -> None:
        """Nothing is held open."""


def _line(partition: int, record: Record) -> bytes:
    line: dict[str, Any] = {"partition": partition, "offset": record.offset, "timestamp": record.timestamp}
    for name, value in (("key", record.key), ("value", record.value)):
        try:
            line[name] = value.decode() if value is not None else None
        except UnicodeDecodeError:
            line[f"{name}_base64"] = base64.b64encode(value or b"").decode()
    if record.missing:
        line["missing_bytes"] = record.missing
    return msgspec.json.encode(line)


def _log_of(segment: Segment) -> str:
    """The log that the offsets are of: a topic made again has another id, one filled again another leader epoch."""
    leader_epoch = segment.mark.leader_epoch if segment.mark is not None else -1
    return f"{segment.log.topic_id}.{leader_epoch}-{segment.log.partition}"
