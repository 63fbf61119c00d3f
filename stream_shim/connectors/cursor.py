"""What a polling source has sent already: an SQLite file in the state folder. If it is lost, values are sent again.

It never forgets an observation that was sent, of which it takes some 30 bytes, and writes what is new alone.
"""

import hashlib
import json
import logging
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from importlib.metadata import version
from pathlib import Path

from stream_shim.connectors.entries import SourceEntry
from tidemark.errors import SourceError, TidemarkError
from tidemark.settings import Settings

log = logging.getLogger("tidemark.connector")

# What gets over without the file being another: no room, no right, a lock of somebody's who looks into it.
_UNWRITTEN = {
    sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_BUSY,
}  # fmt: skip
_CONDITIONS = {"etag": "If-None-Match", "last-modified": "If-Modified-Since"}
# Hashes: `rejected` holds what was no record by that version of the entry, `validator` what makes requests conditional.
_TABLES = """
create table if not exists opened (id integer primary key check (id = 1), at real not null);
create table if not exists sent (identity blob primary key, value blob not null) without rowid;
create table if not exists rejected (message blob primary key, entry blob not null) without rowid;
create table if not exists validator (request blob primary key, headers text not null, entry blob not null)
without rowid;
"""


class Cursor:
    """A source's memory. What is marked counts once it is committed: after Kafka has acknowledged what was sent.

    What was rejected is tried again by another entry, or another version of this program, and by no same one.
    """

    def __init__(self, connection: sqlite3.Connection, entry: bytes) -> None:
        self._connection, self._entry = connection, entry
        self._has_rejects = connection.execute("select 1 from rejected").fetchone() is not None

    @classmethod
    @contextmanager
    def open(cls, settings: Settings, source: SourceEntry) -> Iterator["Cursor"]:
        """The cursor as it was last committed, or an empty one. TidemarkError where its file is none.

        SourceError where it cannot be written, as on a full disk: found before anything is asked for and sent, which
        would be sent again each time.
        """
        folder = settings.home / "cursors"
        with suppress(OSError):  # SQLite says what is the matter
            folder.mkdir(parents=True, exist_ok=True)
        path, entry = folder / f"{source.name}.sqlite", short((version("tidemark"), source))
        try:
            with closing(sqlite3.connect(path)) as connection:
                connection.execute("pragma cache_size = -32768")  # kB: identities come in no order
                connection.executescript(_TABLES)
                _take_over(connection, folder / f"{source.name}.json")
                connection.execute("delete from rejected where entry != ?", (entry,))
                connection.execute("delete from validator where entry != ?", (entry,))
                connection.execute("insert or replace into opened values (1, ?)", (time.time(),))
                connection.commit()
                yield cls(connection, entry)
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in _UNWRITTEN:
                raise SourceError(
                    f"{source.name}: expected to write its cursor {path}, received {error}: make room there, or let it "
                    "be written; nothing is asked meanwhile"
                ) from None
            raise TidemarkError(
                f"expected a cursor in {path} that can be read and written, received {error}; without the file all "
                "values are sent again, and the warehouse knows them as repeats"
            ) from None

    def sent_values(self, identities: Sequence[bytes]) -> dict[bytes, bytes]:
        """Of these identities those that were sent, each with the value that was sent last: `short` of either."""
        query = f"select identity, value from sent where identity in ({', '.join('?' * len(identities))})"  # noqa: S608
        return dict(self._connection.execute(query, identities))

    def mark_sent(self, values: Mapping[bytes, bytes]) -> None:
        """These are the values that were sent last."""
        self._connection.executemany("insert or replace into sent values (?, ?)", sorted(values.items()))

    def was_rejected(self, message: object) -> bool:
        """Whether this very message was rejected as the entry is now."""
        if not self._has_rejects:
            return False
        found = self._connection.execute("select 1 from rejected where message = ?", (short(message),))
        return found.fetchone() is not None

    def mark_rejected(self, message: object) -> None:
        """It was counted, and is kept."""
        self._has_rejects = True
        self._connection.execute("insert or replace into rejected values (?, ?)", (short(message), self._entry))

    def conditions(self, request: object) -> dict[str, str]:
        """Headers that ask for what has changed since the request was last answered whole."""
        found = self._connection.execute("select headers from validator where request = ?", (short(request),))
        return next((json.loads(headers) for (headers,) in found), {})

    def mark_answered(self, request: object, headers: Mapping[str, str]) -> None:
        """All of the answer is marked; its headers say of which version it is."""
        kept = json.dumps({ours: headers[name] for name, ours in _CONDITIONS.items() if name in headers})
        self._connection.execute(
            "insert into validator values (?, ?, ?) on conflict do update set headers = excluded.headers "
            "where headers != excluded.headers",
            (short(request), kept, self._entry),
        )

    def commit(self) -> None:
        """Keep what was marked: whole, or not at all."""
        self._connection.commit()


def _take_over(connection: sqlite3.Connection, old: Path) -> None:
    """What an older version kept in a JSON file, which then goes."""
    if not old.exists():
        return
    try:
        seen = dict(json.loads(old.read_text())["seen"])
        rows = [(bytes.fromhex(identity), bytes.fromhex(value)) for identity, value in seen.items()]
    except (ValueError, KeyError, TypeError):
        log.warning("expected a cursor in %s, received something else; it is left there, values are sent again", old)
        return
    with connection:
        connection.executemany("insert or ignore into sent values (?, ?)", rows)
    old.unlink()


def short(value: object) -> bytes:
    """Ten bytes that stand for a value."""
    return hashlib.sha256(str(value).encode(errors="surrogatepass")).digest()[:10]
