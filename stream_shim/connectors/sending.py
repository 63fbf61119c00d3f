"""What the polling kinds share: of an answer, what is new or revised is sent, and marked once Kafka has it."""

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from stream_shim.buffer.encoding import Datum, NoValue, Unsendable
from stream_shim.buffer.publisher import Publisher
from stream_shim.connectors.cursor import Cursor, short

PART = 10_000  # records between two looks at who wants to end it
# What is marked at once, of a large answer: identities come in no order, so each commit writes most of the cursor anew.
COMMITS = 10
Record = TypeVar("Record")


class Reading(NamedTuple, Generic[Record]):
    """How the records of an answer are read.

    `identity` tells a record from the others, None where it lacks that; `value`, as `short` makes it, says whether it
    was revised. `message` is the record as it came, `remembered` what of it the cursor knows a reject by, and `make`
    its datum: Unsendable says why there is none, NoValue that its source left the value empty. `once` is the same
    value as it was known before, by an older version or another type, if it was: it is not sent again.
    """

    identity: Callable[[Record], str | None]
    value: Callable[[Record], bytes]
    message: Callable[[Record], Any]
    make: Callable[[Record], Datum]
    remembered: Callable[[Record], Any]
    once: Callable[[Record], bytes | None] = lambda _: None


def joined(*parts: str) -> str:
    """An identity of several parts: no other parts, as many, give the same one.

    Parts that hold the separator are JSON, which has none: what a cursor of before knows as one is sent again.
    """
    if len(parts) == 1 or not any("|" in part for part in parts):
        return "|".join(parts)
    return json.dumps(parts).replace("|", r"\u007c")


async def send_new(publisher: Publisher, cursor: Cursor, records: Sequence[Record], reading: Reading[Record]) -> None:
    """Send what the cursor does not know; each that is no record is counted once, until its entry changes.

    Where records of the answer share an identity and differ, each value of it is sent once: there is no last one.
    """
    keys = [None if identity is None else short(identity) for identity in map(reading.identity, records)]
    shared = _shared(keys, records, reading) if len(set(keys)) < len(keys) else set()
    sent: dict[bytes, bytes] = {}
    for start in range(0, len(records), PART):
        part = list(zip(keys[start : start + PART], records[start : start + PART], strict=True))
        _send(publisher, cursor, part, reading, shared, sent)
        if len(sent) >= max(PART, len(records) // COMMITS):
            _keep(publisher, cursor, sent)
        await asyncio.sleep(0)
    _keep(publisher, cursor, sent)


def _keep(publisher: Publisher, cursor: Cursor, sent: dict[bytes, bytes]) -> None:
    """Mark what was sent, once Kafka has it. A process that is killed before sends it again."""
    publisher.flush()
    cursor.mark_sent(sent)
    cursor.commit()
    sent.clear()


def _shared(keys: Sequence[bytes | None], records: Sequence[Record], reading: Reading[Record]) -> set[bytes]:
    """The identities that have several values in one answer."""
    values: dict[bytes, bytes] = {}
    return {
        key
        for key, value in zip(keys, map(reading.value, records), strict=True)
        if key is not None and values.setdefault(key, value) != value
    }


def _send(  # noqa: PLR0917 - what is sent, then how it is read
    publisher: Publisher,
    cursor: Cursor,
    part: Sequence[tuple[bytes | None, Record]],
    reading: Reading[Record],
    shared: set[bytes],
    sent: dict[bytes, bytes],
) -> None:
    """Send of some records those that are new, and note them in `sent`."""
    known = cursor.sent_values([key for key, _ in part if key is not None])
    values = [reading.value(record) for _, record in part]
    _take_over(cursor, part, values, reading, known, sent)
    alone = _once_shared(cursor, part, values, {*known, *sent, *shared})
    for (key, record), value in zip(part, values, strict=True):
        if key in shared and (sent.get(key) or known.get(key)) != value:
            key = short(key + value)  # noqa: PLW2901 - the value belongs to what tells it apart
            known |= cursor.sent_values([key])
        if key is not None and (sent.get(key) or known.get(key)) == value:
            continue
        if key in alone:
            sent[key] = value
            continue
        before = None if key is None else sent.get(key) or known.get(key)
        # The same record is another loss after another value.
        remembered = reading.remembered(record) if before is None else (reading.remembered(record), before)
        if cursor.was_rejected(remembered):
            continue
        if _is_sent(publisher, record, reading, before is not None) and key is not None:
            sent[key] = value
        else:
            cursor.mark_rejected(remembered)


def _take_over(  # noqa: PLR0917 - as of `_send`
    cursor: Cursor,
    part: Sequence[tuple[bytes | None, Record]],
    values: list[bytes],
    reading: Reading[Record],
    known: dict[bytes, bytes],
    sent: dict[bytes, bytes],
) -> None:
    """What was sent and is known as older versions knew it: as it is now; beside others of its identity as then."""
    beside: dict[bytes, tuple[int, bytes]] = {}
    for at, (key, record) in enumerate(part):
        if key is None or known.get(key) == values[at]:
            continue
        once = reading.once(record)
        if once is None or once == values[at]:
            continue
        if known.get(key) == once:
            known[key] = sent[key] = values[at]
        else:
            beside[short(key + once)] = (at, once)
    for of_both in cursor.sent_values(list(beside)):
        at, once = beside[of_both]
        values[at] = once


def _once_shared(
    cursor: Cursor, part: Sequence[tuple[bytes | None, Record]], values: Sequence[bytes], known: set[bytes]
) -> set[bytes]:
    """The identities whose value was sent when they had another one beside it in the same answer."""
    keys = [(key, short(key + value)) for (key, _), value in zip(part, values, strict=True) if key not in known and key]
    sent = cursor.sent_values([of_both for _, of_both in keys])
    return {key for key, of_both in keys if of_both in sent}


def _is_sent(publisher: Publisher, record: Record, reading: Reading[Record], had_value: bool) -> bool:
    """Whether it is a record. One without a value is counted; where it had one, it is a reject."""
    try:
        datum = reading.make(record)
    except NoValue as why:
        if had_value:
            publisher.reject(f"{why}, and one was sent before", reading.message(record))
        else:
            publisher.without_value += 1
        return False
    except Unsendable as why:
        publisher.reject(str(why), reading.message(record))
        return False
    return publisher.send(datum)
