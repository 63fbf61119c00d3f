"""Lake files that could not be loaded: each is noted with a sentence, stops no other, and is tried by the next run."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import psycopg

from tidemark.connections import connect
from tidemark.errors import TidemarkError
from tidemark.output import utc
from tidemark.settings import Settings


class NotLoaded(TidemarkError):
    """Not every row of the source is in its tables: the message names each file that is not, and why."""


@dataclass(frozen=True)
class SetAside:
    """A lake file that its table does not have as the lake has it; `reason` is a sentence."""

    file: str  # below the lake's root
    table: str
    reason: str


@dataclass
class Loaded:
    """Rows by lake file, as its table got them, and the files that no table got."""

    rows: dict[str, int] = field(default_factory=dict)
    set_aside: list[SetAside] = field(default_factory=list)


def note(warehouse: psycopg.Connection[Any], source: str, found: Collection[SetAside], loaded: Collection[str]) -> None:
    """Note what could not be loaded, and forget what was."""
    with warehouse.transaction():
        warehouse.execute("delete from ops.set_aside where file_name = any(%s)", [list(loaded)])
        for file in found:
            warehouse.execute(
                "insert into ops.set_aside (file_name, source, table_name, reason) values (%s, %s, %s, %s) "
                "on conflict (file_name) do update set reason = excluded.reason, tried_at = now()",
                [file.file, source, file.table, file.reason],
            )


def forget_gone(warehouse: psycopg.Connection[Any], table: str, files: Collection[str]) -> None:
    """Forget what was set aside of a table and is not in the lake any more: nothing is left to load."""
    warehouse.execute(
        "delete from ops.set_aside where table_name = %s and not file_name = any(%s)", [table, list(files)]
    )


def names(warehouse: psycopg.Connection[Any], table: str) -> set[str]:
    """The files that are set aside of a table; it may have rows of them, from before."""
    found = warehouse.execute("select file_name from ops.set_aside where table_name = %s", [table]).fetchall()
    return {name for (name,) in found}


def noted(settings: Settings) -> list[dict[str, str]]:
    """What is set aside, by source and file; times UTC."""
    with connect(settings, "warehouse", "ingest_writer") as warehouse:
        found = warehouse.execute(
            "select source, table_name, file_name, reason, set_aside_at, tried_at from ops.set_aside order by 1, 3"
        ).fetchall()
    names = ("source", "table", "file", "reason", "set_aside_at", "tried_at")
    return [dict(zip(names, (*said, utc(since), utc(tried)), strict=True)) for *said, since, tried in found]


def refuse(source: str, found: Collection[SetAside], rows: Mapping[str, int]) -> None:
    """NotLoaded where something was set aside; `rows` says how many each table got all the same."""
    if not found:
        return
    first, *more = found
    others = f" (and {len(more)} more)" if more else ""
    loaded = ", ".join(f"{count:,} rows into {table}" for table, count in rows.items())
    raise NotLoaded(
        f"source {source}: expected every lake file to be loaded, {len(found)} set aside: {first.reason}{others}; "
        f"the others are loaded ({loaded}); `tidemark ingest status` names each, the next "
        f"`tidemark ingest run {source}` tries it again"
    )
