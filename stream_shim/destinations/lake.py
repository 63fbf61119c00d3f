"""Kind `lake`: the raw topic as gzipped JSON lines by day, at least once.

A file is <folder>/<topic>/day=YYYY-MM-DD/<topic id>.<leader epoch>-<partition>-<first offset>.jsonl.gz, one line a
record: {"partition", "offset", "timestamp" (ms), "key", "value"}; bytes that are no text stand as base64 in
`value_base64`, and `missing_bytes` says how many are left out of a record that is larger than any may be. After a
crash, records may stand in two files; what comes before `-<first offset>` and the offset tell
them apart: a log that lost its tail was filled again under another leader epoch, and its old records stay.
"""

import base64
import gzip
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from realtime.rows import day_of
from stream_shim.destinations.entries import ROLL_SECONDS
from stream_shim.processor.destination import NotTaken, Written
from stream_shim.processor.records import Record
from stream_shim.processor.segments import Segment
from tidemark.lake import LakeError, lake_url, new_file
from tidemark.settings import Settings

log = logging.getLogger("tidemark.processor")

ROLL_BYTES = 32_000_000


class _Place(NamedTuple):
    """Where lines go: a file is of one day and one log, and named by the first of its offsets."""

    topic: str
    day: str
    log: str
    first_offset: int

    @property
    def file(self) -> str:
        return f"{self.topic}/day={self.day}/{self.log}-{self.first_offset:012d}.jsonl.gz"


class LakeDestination:
    """Files below `path` of the lake. The position is what the group has committed to Kafka, after the files.

    A poll brings few records, so many of them are gathered for a file: until its lines, before gzip, have `roll_bytes`,
    or its first is `roll_seconds` old.
    """

    def __init__(
        self, settings: Settings, path: str, roll_seconds: float = ROLL_SECONDS, roll_bytes: int = ROLL_BYTES
    ) -> None:
        self._settings, self._path = settings, path
        self._roll_seconds, self._roll_bytes = roll_seconds, roll_bytes
        self._lines: dict[_Place, list[bytes]] = {}
        self._bytes = 0
        self._began_at = 0.0

    def prepare(self, segments: list[Segment]) -> list[tuple[_Place, list[bytes]]]:
        """The lines of each segment, by the place of their file."""
        return [piece for segment in segments for piece in _pieces(segment)]

    def commit(self, prepared: list[tuple[_Place, list[bytes]]]) -> None:
        """Gather the lines for their files."""
        if not self._lines:
            self._began_at = time.monotonic()
        for place, lines in prepared:
            self._lines.setdefault(_beside(self._lines, place), []).extend(lines)
            self._bytes += sum(map(len, lines))

    def write(self, all_of_it: bool) -> Written | None:
        """Write the files, each whole under its name or not at all, once it is time."""
        age = time.monotonic() - self._began_at
        if not (all_of_it or self._bytes >= self._roll_bytes or age >= self._roll_seconds):
            return None
        rows: Counter[str] = Counter()
        try:
            for place, lines in self._lines.items():
                with new_file(self._settings, f"{self._path}/{place.file}") as file:
                    file.write(gzip.compress(b"\n".join(lines) + b"\n", 3))
                rows[place.topic] += len(lines)
        except LakeError as error:
            raise NotTaken(str(error)) from error
        except OSError as error:
            root = f"{lake_url(self._settings)}/{self._path}"
            raise NotTaken(f"expected the lake at {root} to take files, received {error}") from error
        log.info("%s: wrote %s records in %s files", self._path, rows.total(), len(self._lines))
        self._lines, self._bytes = {}, 0
        return Written(dict(rows), {})

    def close(self) -> None:
        """What is gathered and was not asked for stays unread: it is read again."""


def _pieces(segment: Segment) -> list[tuple[_Place, list[bytes]]]:
    by_day: dict[str, list[Record]] = defaultdict(list)
    for record in segment.records:
        by_day[day_of(record.timestamp).isoformat()].append(record)
    return [
        (
            _Place(segment.log.topic, day, _log_of(segment), records[0].offset),
            [_line(segment.log.partition, record) for record in records],
        )
        for day, records in by_day.items()
    ]


def _beside(held: Iterable[_Place], place: _Place) -> _Place:
    """The place of lines of the same day and log that are held already, before which these are not; or their own."""
    same = (one for one in held if one[:3] == place[:3] and one.first_offset <= place.first_offset)
    return next(same, place)


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
