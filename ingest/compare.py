"""Whether ingestion tables still hold what the lake holds, row by row, and the lake what `realtime` holds.

Checksums are compared first, a lake file at a time; only of files that differ the rows are told apart.
"""

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import islice, zip_longest
from typing import Any, Literal

import psycopg
from psycopg import IsolationLevel, sql

from ingest import lake, tables
from ingest.lake import LakeFile
from ingest.sources import Row, realtime
from realtime import copy_out, partitions, slices
from realtime.slices import IDENTITY, Slice
from tidemark.categories import table_columns
from tidemark.connections import connect
from tidemark.lake import LakeError
from tidemark.settings import Settings

SAMPLE_ROWS = 5
IN_LAKE, IN_TABLE = "in the lake alone", "in the table alone"
Warehouse = psycopg.Connection[Any]
Checksum = tuple[int, str]  # of how many rows
UNREADABLE = (*lake.UNREADABLE, ValueError)


@dataclass(frozen=True)
class Difference:
    """What two places do not hold alike: how many rows, and the first of them as JSON text."""

    rows: int = 0
    sample: tuple[str, ...] = ()

    def __add__(self, other: "Difference") -> "Difference":
        return Difference(self.rows + other.rows, (self.sample + other.sample)[:SAMPLE_ROWS])


def table_is_there(settings: Settings, table: str) -> bool:
    """Whether an ingestion table was ever made."""
    with connect(settings, "warehouse", "ingest_writer") as warehouse:
        return tables.is_there(warehouse, tables.qualified(table))


# --- batch sources


@dataclass(frozen=True)
class _Table:
    """An ingestion table of a batch source, on a connection. A row is digested as all its texts and nulls."""

    settings: Settings
    warehouse: Warehouse
    name: str
    columns: Sequence[str]

    def sql_digest(self) -> sql.Composed:
        """No value is a text of its own, which no value has; the last is of columns that a file has beyond these."""
        marked = sql.SQL("coalesce('=' || {}, '')")
        return slices.sql_digest([*(marked.format(sql.Identifier(name)) for name in self.columns), sql.SQL("''")])

    def digest(self, row: Row) -> int:
        """The same of a row of the lake."""
        beyond = sorted(name for name, value in row.items() if value is not None and name not in self.columns)
        texts = ("" if (value := row.get(name)) is None else f"={value}" for name in self.columns)
        return slices.digest([*texts, json.dumps(beyond) if beyond else ""])

    def checksums(self) -> dict[str, Checksum]:
        """Of each lake file that the table names."""
        query = sql.SQL(
            "select file_name, count(*), {} from (select file_name, {} as digest from {}) as digests group by file_name"
        ).format(slices.SQL_CHECKSUM, self.sql_digest(), tables.qualified(self.name))
        return {name: (rows, checksum) for name, rows, checksum in self.warehouse.execute(query).fetchall()}


def batch(settings: Settings, source: str, resource: str) -> Difference:
    """The rows of every complete load of a resource in the lake against its ingestion table, and the other way round.

    No run of the source goes on meanwhile: TurnTaken where one has its turn for long.
    """
    name = tables.table_name(source, resource)
    with tables.only_run(settings, source) as warehouse:
        table = _Table(settings, warehouse, name, tables.data_columns(warehouse, name))
        files = {file.name: file for file in lake.files(settings, source, resource)}
        loaded = table.checksums()
        found = Difference()
        for path in sorted(files.keys() | loaded.keys()):
            if path not in files:
                found += Difference(loaded[path][0], (_shown("the lake's file is gone", {"file_name": path}),))
            else:
                found += _file(table, files[path], loaded.get(path, (0, "0")))
    return found


def _file(table: _Table, file: LakeFile, loaded: Checksum) -> Difference:
    try:
        digests = Counter(map(table.digest, lake.read(table.settings, file)))
        total = sum(digest * times for digest, times in digests.items())
        if loaded == (digests.total(), slices.checksum(total)):
            return Difference()
        return _rows(table, file, digests)
    except LakeError:
        raise
    except UNREADABLE as error:
        return Difference(max(loaded[0], 1), (_shown("unreadable", {"file_name": file.name, "error": str(error)}),))


def _rows(table: _Table, file: LakeFile, digests: Counter[int]) -> Difference:
    """The rows of one file that only one of the two has; `digests` of the lake's rows is used up."""
    # Without parameters: among them a percent sign in a column's name would be one more.
    query = sql.SQL("select {}, to_jsonb(loaded) from {} as loaded where file_name = {}").format(
        table.sql_digest(), tables.qualified(table.name), file.name
    )
    only_here: list[Row] = []
    beyond = 0
    with table.warehouse.transaction(), table.warehouse.cursor("rows_of_a_file") as cursor:
        for digest, row in cursor.execute(query):
            if digests[digest % slices.MODULUS]:
                digests[digest % slices.MODULUS] -= 1
                continue
            beyond += 1
            if beyond <= SAMPLE_ROWS:
                only_here.append({name: row[name] for name in table.columns})
    missing = digests.total()
    lacking = islice((r for r in lake.read(table.settings, file) if digests[table.digest(r)]), SAMPLE_ROWS)
    pairs = zip_longest(
        (_shown(IN_LAKE, {"file_name": file.name, **row}) for row in lacking),
        (_shown(IN_TABLE, {"file_name": file.name, **row}) for row in only_here),
    )
    sample = [text for pair in pairs for text in pair if text]  # a changed row is one of each
    return Difference(max(missing, beyond), tuple(sample[:SAMPLE_ROWS]))


def _shown(difference: str, row: Mapping[str, Any]) -> str:
    known = {name: value for name, value in row.items() if value is not None}
    return json.dumps({"difference": difference, **known}, ensure_ascii=False)


# --- what was promoted


def promoted(settings: Settings, topic: str, verified: Mapping[str, Collection[Slice]]) -> Difference:
    """The topic's lake files against the ledger's `verified` slices of them, and against the ingestion table.

    Files are those that the ledger or the table names: one that a killed promotion left alone is nobody's yet.
    """
    table = tables.table_name(realtime.SOURCE, topic)
    found = Difference()
    with connect(settings, "warehouse", "ingest_writer") as warehouse:
        warehouse.isolation_level = IsolationLevel.REPEATABLE_READ
        files = sorted({*verified, *tables.rows_by_file(warehouse, tables.qualified(table))})
        suspects = set()
        for file in files:
            try:
                held = realtime.slices_in_lake(settings, file)
            except LakeError:
                raise
            except UNREADABLE as error:
                found += Difference(1, (_shown("unreadable", {"file_name": file, "error": str(error)}),))
                continue
            if file in verified and set(held) != set(verified[file]):
                found += Difference(1, (_shown("the lake's file is not what was verified", {"file_name": file}),))
            if held != _slices_of_file(settings, warehouse, table, file):
                suspects.add(_day(file))
        for day in sorted(suspects):
            found += _day_of_lake_and_table(settings, warehouse, table, [f for f in files if _day(f) == day])
    return found


def _day(file: str) -> str:
    """realtime/market_tick/2024-08-08.<promotion>.csv.gz: its day."""
    return file.rpartition("/")[2].partition(".")[0]


def _slices_of_file(settings: Settings, warehouse: Warehouse, table: str, file: str) -> list[Slice]:
    rows = sql.SQL("(select * from {} where file_name = {}) as loaded").format(tables.qualified(table), file)
    columns = realtime.columns_of(settings, file)
    return slices.in_database(warehouse, rows, [sql.Identifier(name) for name in columns])


def _day_of_lake_and_table(settings: Settings, warehouse: Warehouse, table: str, files: Sequence[str]) -> Difference:
    """A day's rows by identity, whichever promotion of it brought them: a row that two of its files hold is one."""
    readable = [*_readable(settings, files)]
    loaded = sql.SQL("(select * from {} where file_name = any({}))").format(tables.qualified(table), readable)
    with realtime.incoming(settings, warehouse, readable) as columns:
        return _by_identity(warehouse, loaded, columns, "full") if readable else Difference()


def _readable(settings: Settings, files: Collection[str]) -> dict[str, list[Slice]]:
    """What the files hold, of those that can be read and hold anything."""
    found: dict[str, list[Slice]] = {}
    for file in sorted(files):
        try:
            found[file] = realtime.slices_in_lake(settings, file)
        except LakeError:
            raise
        except UNREADABLE:
            continue  # which has been said
    return {file: held for file, held in found.items() if held}


def held(settings: Settings, topic: str, staged: Mapping[date, Collection[str]]) -> Difference:
    """Rows that `realtime` still holds against the same rows in the lake; `staged`: the lake files of each day.

    A row that only one of the two has is no difference: it is yet to be copied, or has left.
    """
    found = Difference()
    with connect(settings, "realtime", "promoter") as database:
        days = {day for of_topic, day in partitions.days(database) if of_topic == topic}
    for day in sorted(staged.keys() & days):
        here = copy_out.day_slices(settings, topic, day)
        readable = _readable(settings, staged[day]) if here else {}
        if readable and here not in readable.values():
            with (
                connect(settings, "warehouse", "ingest_writer") as warehouse,
                realtime.incoming(settings, warehouse, [*readable]) as columns,
            ):
                realtime.copy_held(settings, warehouse, topic, day)
                known = [name for name in columns if name in table_columns(topic)]
                found += _by_identity(warehouse, sql.SQL("held"), known, "inner")
    return found


_BY_IDENTITY = sql.SQL("""
    select
        count(*) over (),
        jsonb_build_object(
            'difference',
            case when other is null then {in_lake} when lake is null then {in_table} else 'changed' end
        ) || place || coalesce((
            select jsonb_object_agg(key, jsonb_build_array(one.value, another.value))
            from jsonb_each_text(lake) as one inner join jsonb_each_text(other) as another using (key)
            where key = any({columns}) and one.value is distinct from another.value
        ), '{{}}')
    from (
        select
            case when incoming.kafka_offset is not null then to_jsonb(incoming) end as lake,
            case when other.kafka_offset is not null then to_jsonb(other) end as other,
            jsonb_build_object({place}) as place,
            kafka_offset::bigint as at
        from incoming {join} join {other} as other using (log_epoch, kafka_partition, kafka_offset)
        where ({lake_texts}) is distinct from ({other_texts})
    ) as different
    order by at
    limit {limit}
""")


def _by_identity(
    warehouse: Warehouse, other: sql.Composable, columns: Sequence[str], join: Literal["full", "inner"]
) -> Difference:
    """Rows of `incoming` and others that differ, with the columns in which they do and both texts.

    A null is a blank text here: a CSV does not tell them apart.
    """

    def texts(of: str) -> sql.Composed:
        return sql.SQL(", ").join(sql.SQL("coalesce({}, '')").format(sql.Identifier(of, name)) for name in columns)

    query = _BY_IDENTITY.format(
        in_lake=IN_LAKE, in_table=IN_TABLE, columns=list(columns), limit=SAMPLE_ROWS, other=other, join=sql.SQL(join),
        place=sql.SQL(", ").join(sql.SQL("{}, {}").format(name, sql.Identifier(name)) for name in IDENTITY),
        lake_texts=texts("incoming"), other_texts=texts("other"),
    )  # fmt: skip
    rows = warehouse.execute(query).fetchall()
    sample = tuple(json.dumps(row, ensure_ascii=False) for _, row in rows)
    return Difference(rows[0][0] if rows else 0, sample)
