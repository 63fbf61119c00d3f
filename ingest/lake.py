"""What the lake holds: raw files, append-only, and a manifest that is written last.

<lake>/<source>/<resource>/<load id>.<file id>.jsonl.gz holds rows of one load; a file whose load is not in
<lake>/<source>/_dlt_loads/ is not there yet.
"""

import csv
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
from msgspec import Raw

from ingest.sources import Row
from ingest.values import text_row
from tidemark.bounded import gzip_lines
from tidemark.errors import TidemarkError
from tidemark.lake import file_system, reaching
from tidemark.settings import Settings

# What reading a file says that is not as it was written, whatever its form.
UNREADABLE = (OSError, EOFError, zlib.error, StopIteration, csv.Error, UnicodeError, TidemarkError)

DLT_COLUMNS = ("_dlt_id", "_dlt_load_id")
MOST_LINE_BYTES = 256 * 1024 * 1024  # of one row; an answer is far smaller, but its bound may have been raised

_LINE = msgspec.json.Decoder(dict[str, Raw])


@dataclass(frozen=True)
class LakeFile:
    """One file of one complete load; `name` is its path below the lake's root."""

    name: str
    load_id: str

    @property
    def load_began_at(self) -> datetime:
        """When the file's load began: its id is that, in seconds since 1970."""
        return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=int(Decimal(self.load_id) * 1_000_000))


def complete_loads(settings: Settings, source: str) -> set[str]:
    """The ids of the loads that are in the manifest."""
    return {name.rsplit("__", 1)[1].removesuffix(".jsonl") for name in names(settings, f"{source}/_dlt_loads")}


def files(settings: Settings, source: str, resource: str) -> list[LakeFile]:
    """The files of a resource whose loads are complete, oldest first."""
    complete = complete_loads(settings, source)
    return [
        LakeFile(f"{source}/{resource}/{name}", load_id)
        for name in sorted(names(settings, f"{source}/{resource}"))
        if (load_id := name.rsplit(".", 3)[0]) in complete
    ]


def names(settings: Settings, folder: str) -> list[str]:
    """The names of what is in a folder of the lake; none where there is no such folder."""
    system, root = file_system(settings)
    path = f"{root}/{folder}"
    with reaching(settings):
        found = system.ls(path, detail=False) if system.exists(path) else []
    # S3's consoles mark a folder by an object whose name ends in a slash.
    return [name for name in (place.removeprefix(path).strip("/") for place in found) if name]


def read(settings: Settings, file: LakeFile) -> Iterator[Row]:
    """The rows of one file, without dlt's own columns. TidemarkError where the file is not as it was written."""
    system, root = file_system(settings)
    with reaching(settings), system.open(f"{root}/{file.name}", "rb") as raw:
        try:
            for line in gzip_lines(raw, MOST_LINE_BYTES):
                row = text_row(_LINE.decode(line))
                yield {name: value for name, value in row.items() if name not in DLT_COLUMNS}
        except (ValueError, RecursionError) as error:
            raise TidemarkError(
                f"expected rows as gzipped JSON lines in {root}/{file.name}, received {error}: "
                "put the file back as it was written"
            ) from None
