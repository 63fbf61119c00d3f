"""`/v1/live` and `/v1/marts`: what a caller may read of each, and its rows."""

import hashlib
from dataclasses import dataclass, replace
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from psycopg import AsyncConnection
from psycopg.sql import SQL
from starlette.responses import JSONResponse, Response

from serve import grammar
from serve.caching import PRIVATE, is_known, unchanged
from serve.callers import CallerOf, may, note_rows, require
from serve.databases import Databases
from serve.formats import FORMATS, JSON, ONE_OBJECT, Format, Output, Statement, finished, negotiated, read
from serve.problems import Problem
from serve.ranges import Range, content_range, is_counted, requested
from serve.relations import SCHEMAS, Relation, Relations
from serve.spool import Spool, SpoolResponse, Spools
from serve.statements import Page, cursor_after, page
from tidemark.access.keys import Caller

router = APIRouter(prefix="/v1", tags=["relations"])

DEFAULT_ROWS = 1_000

# Which run of dbt the rows of a mart are of; written in the transaction that changes the mart.
# What is deleted or written otherwise is in the counts, some seconds later.
_PUBLICATION = Statement(
    SQL(
        "select concat_ws(':', invocation_id, published_at, pg_stat_get_tuples_inserted(%s), "
        "pg_stat_get_tuples_updated(%s), pg_stat_get_tuples_deleted(%s)) from ops.publication where mart = %s"
    )
)
_MAY_SEE_PUBLICATION = Statement(
    SQL(
        "select coalesce(pg_catalog.has_table_privilege(pg_catalog.to_regclass('ops.publication'), 'select') "
        "and pg_catalog.has_schema_privilege('ops', 'usage'), false)"
    )
)
_CONDITIONS = """\
Every parameter that is not listed is a condition: `column=operator.value`, `or=(a.eq.1,b.is.null)`, `and=(..)`.
Operators: `eq`, `neq`, `gt`, `gte`, `lt`, `lte`, `like`, `ilike` (`*` stands for any text), `in.(..)`, `is.null`, and
each after `not.`. `Prefer: count=exact` counts all rows into `Content-Range`. Where a key is declared, `Link` has the
next page, which neither repeats nor leaves out a row that was there, whatever is inserted meanwhile."""
_ROWS = [{"source_system": "binance", "symbol": "BTC/USDT", "price": 61234.5, "traded_at": "2024-08-08T12:00:00+00:00"}]
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The rows",
        "content": {JSON.media_type: {"example": _ROWS}}
        | {each.media_type: {} for each in FORMATS if each is not JSON},
    },
    206: {"description": "Some of the rows that were counted"},
    304: {"description": "What the caller has already, by `If-None-Match`"},
}
_EXAMPLES = {"live": "last_price", "marts": "fct_bars_1m"}


def _add_routes(schema: str, what: str) -> None:
    async def list_relations(request: Request, caller: CallerOf) -> Response:
        databases: Databases = request.app.state.databases
        if not may(caller, schema):
            return JSONResponse([])
        async with databases.reading(SCHEMAS[schema], caller) as connection:
            found = await _relations(request).all(connection, schema)
        note_rows(request, len(found))
        return JSONResponse([each.described() for each in found])

    async def read_relation(  # noqa: PLR0917 (each is a parameter of the request)
        request: Request,
        caller: CallerOf,
        name: Annotated[str, Path(description=f"The {what}", examples=[_EXAMPLES[schema]])],
        select: Annotated[str | None, Query(description="Columns: `a,b,alias:c`", examples=["source_system"])] = None,
        order: Annotated[str | None, Query(description="`a.desc.nullslast,b`", examples=["source_system"])] = None,
        limit: Annotated[str | None, Query(description="Most rows", examples=["10"])] = None,
        offset: Annotated[str | None, Query(description="Rows left out at the beginning", examples=["0"])] = None,
        after: Annotated[str | None, Query(description="The cursor of a next page, as `Link` has it")] = None,
        format: Annotated[
            str | None, Query(description="`json`, `ndjson`, `csv`, `arrow` or `object`; else `Accept` says")
        ] = None,
    ) -> Response:
        return await _answered(request, caller, schema, name)

    router.add_api_route(
        f"/{schema}", list_relations, response_model=None, operation_id=f"list_{schema}",
        summary=f"Each {what} that you may read",
        description="Name, columns with their types, declared key, description.",
    )  # fmt: skip
    router.add_api_route(
        f"/{schema}/{{name}}", read_relation, response_model=None, operation_id=f"read_{schema}",
        summary=f"Rows of a {what}", description=_CONDITIONS, responses=_RESPONSES,
    )  # fmt: skip


_add_routes("live", "view of `live`")
_add_routes("marts", "mart")


async def _answered(request: Request, caller: Caller, schema: str, name: str) -> Response:
    form = negotiated(request)
    asked = grammar.parse(request.query_params.multi_items())
    wanted = requested(request, asked, DEFAULT_ROWS, request.app.state.settings.api_rows)
    require(caller, schema)
    return await _Answer(request, caller, schema, name, form, replace(asked, offset=wanted.offset), wanted).response()


def _relations(request: Request) -> Relations:
    found: Relations = request.app.state.relations
    return found


@dataclass
class _Answer:
    """One request for rows, from its snapshot to what is sent."""

    request: Request
    caller: Caller
    schema: str
    name: str
    form: Format
    asked: grammar.Query
    wanted: Range
    total: int | None = None
    rows: int = 0
    next_page: str | None = None
    etag: str | None = None
    run: str | None = None  # of dbt, that the rows of a mart are of
    outputs: tuple[Output, ...] = ()
    key: tuple[str, ...] = ()

    async def response(self) -> Response:
        spools: Spools = self.request.app.state.spools
        spool = spools.new()
        try:
            if not await self._read(spool):
                spool.close()
                return unchanged(self.etag or "")
            return await self._sent(spool)
        except BaseException:
            spool.close()
            raise

    async def _read(self, spool: Spool) -> bool:
        """Everything in one snapshot, which ends here; False where the caller has it already."""
        databases: Databases = self.request.app.state.databases
        reading = _relations(self.request).reading(databases, self.caller, self.schema, self.name)
        async with reading as (connection, relation):
            of_page = page(relation, self.asked, self.wanted.limit)
            self.outputs, self.key = of_page.outputs, relation.key
            self.etag = await self._publication(connection, relation)
            if self.etag is not None and is_known(self.request, self.etag):
                return False
            if is_counted(self.request):
                self.total = await _one(connection, of_page.count)
            self.rows = await read(connection, of_page.rows, self.outputs, self.form, spool)
            await self._find_next(connection, relation, of_page)
        note_rows(self.request, self.rows)
        return True

    async def _publication(self, connection: AsyncConnection[Any], relation: Relation) -> str | None:
        """The tag of an answer that is as it is until dbt builds the mart again; None where nothing says when.

        It notes the run.
        """
        if self.schema != "marts" or not await _one(connection, _MAY_SEE_PUBLICATION):
            return None
        oid = int(relation.version.partition(":")[0])
        run = await _one(connection, Statement(_PUBLICATION.sql, (oid, oid, oid, relation.name)))
        if run is None:
            return None
        self.run = run.partition(":")[0]
        parts = (
            run,
            relation.version,
            self.request.url.query,
            self.form.name,
            repr(self.wanted),
            is_counted(self.request),
        )
        return f'"{hashlib.sha256(repr(parts).encode()).hexdigest()[:32]}"'

    async def _find_next(self, connection: AsyncConnection[Any], relation: Relation, of_page: Page) -> None:
        if of_page.last_key is None or self.rows < self.wanted.limit or self.rows == 0:
            return
        found = await (await connection.execute(of_page.last_key.sql, of_page.last_key.values)).fetchall()
        if len(found) == 2:
            url = self.request.url.remove_query_params(["after", "offset"])
            url = url.include_query_params(after=cursor_after(relation, found[0]), limit=self.wanted.limit)
            self.next_page = f"{url.path}?{url.query}"

    async def _sent(self, spool: Spool) -> Response:
        if self.form is ONE_OBJECT and self.rows != 1:
            details = f"The result contains {self.rows} rows"
            raise Problem(406, "not one row", f"expected exactly one row, found {self.rows}", details=details)
        if self.total is not None and self.wanted.offset > max(0, self.total - 1) and self.wanted.offset:
            raise Problem(
                416, "no such range", f"expected an offset below {self.total} rows, received {self.wanted.offset}",
                headers={"Content-Range": f"*/{self.total}"},
            )  # fmt: skip
        spool = await finished(spool, self.outputs, self.form, self.rows)
        self.etag = self.etag or spool.etag()
        if self.etag is not None and is_known(self.request, self.etag):
            spool.close()
            return unchanged(self.etag)
        status = 206 if self.total is not None and self.rows < self.total else 200
        return SpoolResponse(spool, self.form.media_type, self._headers(), status)

    def _headers(self) -> dict[str, str]:
        headers = {
            **PRIVATE,
            "Content-Range": content_range(self.wanted, self.rows, self.total),
            "Tidemark-Pages": f"by {', '.join(self.key)}" if self.key else "none, as no key is declared",
            "Vary": f"{PRIVATE['Vary']}, Range, Prefer",
        }
        if self.etag is not None:
            headers["ETag"] = self.etag
        if self.run is not None:
            headers["Tidemark-Run"] = self.run
        if self.next_page is not None:
            headers["Link"] = f'<{self.next_page}>; rel="next"'
        return headers


async def _one(connection: AsyncConnection[Any], statement: Statement) -> Any:
    """The one value of a statement's first row; None where there is no row."""
    row = await (await connection.execute(statement.sql, statement.values)).fetchone()
    return None if row is None else row[0]
