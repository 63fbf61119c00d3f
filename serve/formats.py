"""The formats of an answer: which one a request asks for, and how rows of Postgres become one."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection
from psycopg.sql import SQL, Composable, Composed, Identifier
from starlette.requests import Request

from serve.problems import Problem, bad_request
from serve.spool import Spool

# A field of CSV between characters that no JSON holds as they are is the field as it is.
_JSON_LINES = SQL(
    "copy (select row_to_json(answer) from ({}) as answer) to stdout (format csv, quote e'\\x01', delimiter e'\\x02')"
)
_CSV = SQL("copy (select {} from ({}) as answer) to stdout (format csv, header)")


@dataclass(frozen=True)
class Format:
    """A name for `?format=`, and what `Accept` calls it."""

    name: str
    media_type: str
    also: tuple[str, ...] = ()


JSON = Format("json", "application/json")
ONE_OBJECT = Format("object", "application/vnd.pgrst.object+json", ("application/vnd.pgrst.object",))
NDJSON = Format("ndjson", "application/x-ndjson", ("application/ndjson", "application/jsonl", "application/jsonlines"))
CSV = Format("csv", "text/csv")
ARROW = Format("arrow", "application/vnd.apache.arrow.stream")
FORMATS = (JSON, ONE_OBJECT, NDJSON, CSV, ARROW)
ROWS = (JSON, NDJSON, CSV, ARROW)  # where an answer is rows, however many


def negotiated(request: Request, formats: Sequence[Format] = FORMATS) -> Format:
    """The format that `?format=` names, else the one that `Accept` likes best; JSON where neither says.

    Problem 400 for a name that is none, 406 where `Accept` takes none of them.
    """
    if name := request.query_params.get("format"):
        for each in formats:
            if each.name == name:
                return each
        raise bad_request("no such format", f"format to be one of {', '.join(each.name for each in formats)}", name)
    wanted = _accepted(request.headers.get("accept") or "*/*")
    for media_type in wanted:
        for each in formats:
            if media_type in (each.media_type, *each.also):
                return each
        if media_type in ("*/*", "application/*"):
            return formats[0]
        if media_type == "text/*" and CSV in formats:
            return CSV
    raise Problem(
        406,
        "no such format",
        f"expected Accept to name one of {', '.join(each.media_type for each in formats)}, received {wanted}",
    )


def _accepted(header: str) -> list[str]:
    """The media types of an Accept header, the most wanted first."""
    found = []
    for position, entry in enumerate(header.split(",")):
        media_type, *parameters = (part.strip().lower() for part in entry.split(";"))
        quality = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    quality = float(parameter[2:])
                except ValueError:
                    quality = 0.0
        if quality > 0 and media_type:
            found.append((-quality, position, media_type))
    return [media_type for _, _, media_type in sorted(found)]


def named(*parts: str) -> Composable:
    """A name within a statement that has placeholders, which a `%` of the name is none of."""
    return SQL(Identifier(*parts).as_string().replace("%", "%%"))


@dataclass(frozen=True)
class Statement:
    """SQL with placeholders, and their values in order."""

    sql: Composed | SQL
    values: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Output:
    """A column of an answer: its name there, and its type in Postgres."""

    name: str
    type: str


async def read(
    connection: AsyncConnection[Any], statement: Statement, outputs: Sequence[Output], form: Format, spool: Spool
) -> int:
    """Read what a statement gives into a spool, in a format (Arrow: CSV, for `finished`); how many rows it has.

    The statement has the columns of `outputs`.
    """
    if form in (CSV, ARROW):
        return await _read_csv(connection, statement, outputs, form, spool)
    return await _read_json(connection, statement, form, spool)


async def finished(spool: Spool, outputs: Sequence[Output], form: Format, rows: int) -> Spool:
    """What was read, as it is sent: of CSV an Arrow stream, where that is the format."""
    return spool if form is not ARROW else await asyncio.to_thread(_arrow_of, spool, outputs, rows)


def _arrow_of(spool: Spool, outputs: Sequence[Output], rows: int) -> Spool:
    from serve.arrow import arrow_of  # in the thread too: it takes half a second, the first time

    return arrow_of(spool, outputs, rows)


async def _read_json(connection: AsyncConnection[Any], statement: Statement, form: Format, spool: Spool) -> int:
    """Numbers stay the text that Postgres has of them; a time is ISO 8601 in UTC."""
    rows, is_array = 0, form is JSON
    copied = _JSON_LINES.format(statement.sql)
    async with connection.cursor() as cursor, cursor.copy(copied, statement.values) as copy:
        async for line in copy:
            data = bytes(line)
            if data.startswith(b"\x01"):  # a column of type json that was stored with line ends between its tokens
                data = data[1:-2].replace(b"\n", b" ").replace(b"\r", b" ") + b"\n"
            if is_array:
                spool.write((b",\n" if rows else b"[") + data[:-1])
            else:
                spool.write(data)
            rows += 1
    if is_array:
        spool.write(b"]" if rows else b"[]")
    return rows


async def _read_csv(
    connection: AsyncConnection[Any], statement: Statement, outputs: Sequence[Output], form: Format, spool: Spool
) -> int:
    columns = SQL(", ").join(_csv_column(each, form) for each in outputs)
    copied = _CSV.format(columns, statement.sql)
    async with connection.cursor() as cursor:
        async with cursor.copy(copied, statement.values) as copy:
            async for line in copy:
                spool.write(line)
        return cursor.rowcount


def _csv_column(output: Output, form: Format) -> Composable:
    """In CSV times are ISO 8601 as in JSON, and truth is `true` and `false`; Arrow's reader takes Postgres's text."""
    name = named("answer", output.name)
    if output.type == "boolean":
        return SQL("{}::text as {}").format(name, named(output.name))
    if form is CSV and output.type.startswith("timestamp"):
        return SQL("to_json({}) #>> '{{}}' as {}").format(name, named(output.name))
    return name
