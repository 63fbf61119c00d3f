"""Kind `replay`: what a destination of kind `lake` has written goes into the topics again, at its pace or faster.

One line of a lake file (destinations/lake.py), whose `value` is the record as it was:

    {"partition": 0, "offset": 17, "timestamp": 1723161255124, "key": "binance|BTC/USDT", "value": "{..}"}

The rows say that they are a replay: their source_system is the entry's, and the first one is kept in `attributes` as
`replayed_from`. The record's time is the recorded one, so the topics of a replay keep it. A file is sent once; one that
was being sent when the process was killed is sent again, whole.
"""

import asyncio
import heapq
import re
import time
from collections.abc import Iterator
from operator import itemgetter
from typing import Any

from stream_shim.buffer.encoding import Datum
from stream_shim.buffer.publisher import Publisher
from stream_shim.connectors import pause
from stream_shim.connectors.cursor import Cursor, short
from stream_shim.connectors.entries import ReplaySource
from tidemark.bounded import gzip_lines, json_value
from tidemark.categories import required_fields
from tidemark.errors import SourceError
from tidemark.lake import LakeError, file_system, reaching
from tidemark.numbers import Digits
from tidemark.settings import Settings

Line = tuple[int, str, str, dict[str, Any] | None]  # the record's time (ms), its topic, its file, what the file says
MOST_LINE_BYTES = 16 * 1024 * 1024  # a topic takes a record of 4 MB; as JSON text in JSON it is longer
TURN = 1000  # lines between two looks at `stop` when all goes at once
_time = itemgetter(0)


def parse_line(source: ReplaySource, topic: str, line: dict[str, Any]) -> Datum | None:
    """The datum of a recorded record; None where its value is no JSON object, as a foreign producer's may be."""
    try:
        record = json_value((line.get("value") or "").encode(), MOST_LINE_BYTES, float_hook=Digits)
        attributes = dict(record.pop("attributes", {}))
    except (AttributeError, TypeError, ValueError):
        return None
    attributes["replayed_from"] = record.get("source_system")
    fields = {name: record.pop(name, None) for name in required_fields(topic)}
    fields["source_system"] = source.source_system
    return Datum(topic, fields, {**record, **attributes}, line["timestamp"])


def _lines(settings: Settings, files: Any, topic: str, paths: list[str]) -> Iterator[Line]:
    """One partition's lines, and None at each file's end. Within a day offsets rise: what stands twice comes once."""
    last_offset, time_ms, day = -1, 0, ""
    for path in paths:
        if path.rpartition("/")[0] != day:
            last_offset, day = -1, path.rpartition("/")[0]
        with reaching(settings), files.open(path) as raw:
            for line in _decoded(raw, path):
                time_ms = line["timestamp"]
                if line["offset"] > last_offset:
                    last_offset = line["offset"]
                    yield time_ms, topic, path, line
        yield time_ms, topic, path, None


def _decoded(raw: Any, path: str) -> Iterator[dict[str, Any]]:
    try:
        for text in gzip_lines(raw, MOST_LINE_BYTES):
            yield json_value(text, MOST_LINE_BYTES)
    except ValueError as error:
        raise SourceError(f"expected JSON lines of a lake destination in {path}, received {error}") from None


def _paths(files: Any, folder: str) -> list[str]:
    """The files of one topic; no pattern with the path in it, which may hold what a pattern is made of."""
    found = [path for path in files.find(folder) if path.startswith(folder)]
    return sorted(path for path in found if re.fullmatch(r"day=[^/]*/[^/]*\.jsonl\.gz", path.removeprefix(folder)))


def _partitions(settings: Settings, source: ReplaySource, cursor: Cursor) -> list[Iterator[Line]]:
    """The lines of every partition, without the files that were sent. SourceError where the destination has no file."""
    files, root = file_system(settings)
    root = f"{root}/{source.path.strip('/')}"
    with reaching(settings):
        paths = {topic: _paths(files, f"{root}/{topic}/") for topic in source.topics}
    if not any(paths.values()):
        raise SourceError(f"{source.name}: expected files of a lake destination in {root}, found none")
    found: dict[tuple[str, str], list[str]] = {}  # by topic, and topic id with partition
    for topic in source.topics:
        for path in paths[topic]:
            if not cursor.sent_values([short(path)]):
                found.setdefault((topic, path.rpartition("/")[2].rpartition("-")[0]), []).append(path)
    return [_lines(settings, files, topic, of_partition) for (topic, _), of_partition in found.items()]


async def run(source: ReplaySource, publisher: Publisher, settings: Settings, stop: asyncio.Event) -> None:
    """Send all lines in order of their time, then wait for `stop`. SourceError where the lake fails."""
    try:
        await _send(source, publisher, settings, stop)
    except LakeError as error:
        raise SourceError(f"{source.name}: {error}") from None


async def _send(source: ReplaySource, publisher: Publisher, settings: Settings, stop: asyncio.Event) -> None:
    with Cursor.open(settings, source) as cursor:
        started, first_ms = time.monotonic(), None
        for number, (time_ms, topic, path, line) in enumerate(
            heapq.merge(*_partitions(settings, source, cursor), key=_time)
        ):
            first_ms = time_ms if first_ms is None else first_ms
            due = started + (time_ms - first_ms) / 1000 / source.speed if source.speed else 0.0
            if due > time.monotonic() or number % TURN == 0:
                await pause(stop, max(0.0, due - time.monotonic()))
            if stop.is_set():
                return
            if line is None:
                publisher.flush()
                cursor.mark_sent({short(path): short("")})
                cursor.commit()
            elif (datum := parse_line(source, topic, line)) is not None:
                publisher.send(datum)
            else:
                publisher.reject("recorded value is no JSON object", line)
        publisher.flush()
        await stop.wait()
