"""`/widgets.json`, `/apps.json` and `/openbb/..`: what OpenBB Workspace asks of a backend.

It sends the key as a header or a parameter with every request, and parameters of its own (`theme`, `raw`) beside those
of a widget: they are let pass, as no condition. A table is flat: what is nested is text.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi import Query as Parameter
from psycopg.sql import SQL
from starlette.responses import JSONResponse, Response

from serve import parameters
from serve.caching import PRIVATE
from serve.callers import Caller, CallerOf, may, note_rows, require
from serve.databases import Databases
from serve.formats import JSON, Output, Statement, named, read
from serve.grammar import Comparison, Condition, Ordered, Query
from serve.openbb import widgets
from serve.problems import Problem
from serve.relations import Relation, Relations
from serve.spool import SpoolResponse
from serve.statements import page
from serve.udf.symbols import find, parts

router = APIRouter(tags=["OpenBB Workspace"])

MOST_ROWS, MOST_OPTIONS, MOST_VINTAGES = 1_000, 1_000, 12
_NESTED = ("json", "jsonb", "interval")
_SERIES = SQL("select series_key from marts.dim_economic_series order by series_key limit %s")
# As the series was known at the moments at which it last became another.
_VINTAGES = SQL("""
with known as (
    select distinct vintage_date from marts.fct_economic_observations
    where series_key = %(series)s order by vintage_date desc limit %(most)s
)
select known.vintage_date::text, observations.reference_date::text, observations.value
from known
inner join marts.fct_economic_observations as observations
on observations.series_key = %(series)s and observations.vintage_date <= known.vintage_date
and not exists (
    select from marts.fct_economic_observations as later
    where later.series_key = %(series)s and later.observation_key = observations.observation_key
    and later.vintage_date <= known.vintage_date
    and (later.vintage_date, later.available_at) > (observations.vintage_date, observations.available_at)
)
where not observations.is_withdrawn
order by known.vintage_date, observations.reference_date
""")

Symbol = Annotated[str, Parameter(max_length=400)]


def _databases(request: Request) -> Databases:
    found: Databases = request.app.state.databases
    return found


@router.get("/widgets.json", response_model=None, summary="What may be drawn of here")
async def widgets_json(request: Request, caller: CallerOf) -> Response:
    """A table for each mart that you may read, the chart of bars, a series with its vintages."""
    relations: Relations = request.app.state.relations
    found: list[Relation] = []
    if may(caller, "marts"):
        async with _databases(request).reading("warehouse", caller) as connection:
            found = await relations.all(connection, "marts")
    first = await _first_symbol(request, caller)
    return JSONResponse(widgets.of(found, first))


async def _first_symbol(request: Request, caller: Caller) -> str:
    """What the chart begins with; none where nothing is there yet."""
    try:
        found = await find(_databases(request), caller, "", None, 1)
    except Problem as problem:
        if problem.status != 404:
            raise
        return ""
    return found[0].ticker if found else ""


@router.get("/apps.json", response_model=None, summary="A dashboard to begin with")
async def apps_json(caller: CallerOf) -> Response:
    """Of the widgets."""
    return JSONResponse(widgets.apps())


@router.get("/openbb/symbols", response_model=None, summary="Symbols, for a widget's choice")
async def symbols(request: Request, caller: CallerOf) -> Response:
    """Label and value."""
    found = await find(_databases(request), caller, "", None, MOST_OPTIONS)
    return JSONResponse([{"label": each.ticker, "value": each.ticker} for each in found])


@router.get("/openbb/series", response_model=None, summary="Series, for a widget's choice")
async def series_options(request: Request, caller: CallerOf) -> Response:
    """Label and value; none where no series is there yet."""
    require(caller, "marts")
    try:
        async with _databases(request).reading("warehouse", caller, ("marts", "dim_economic_series")) as connection:
            found = await (await connection.execute(_SERIES, (MOST_OPTIONS,))).fetchall()
    except Problem as problem:
        if problem.status != 404:
            raise
        found = []
    return JSONResponse([{"label": name, "value": name} for (name,) in found])


@router.get("/openbb/marts/{name}", response_model=None, summary="A mart as a flat table")
async def mart(
    request: Request, caller: CallerOf, name: str, *, limit: Annotated[int, Parameter(ge=1, le=MOST_ROWS)] = 200,
    symbol: Symbol = "",
) -> Response:  # fmt: skip
    """The last rows by the declared key; `symbol` is of those that have one."""
    require(caller, "marts")
    relations: Relations = request.app.state.relations
    spool = request.app.state.spools.new()
    try:
        async with relations.reading(_databases(request), caller, "marts", name) as (connection, relation):
            statement, outputs = _flat(relation, limit, parameters.name(symbol, "symbol"))
            note_rows(request, await read(connection, statement, outputs, JSON, spool))
        return SpoolResponse(spool, JSON.media_type, PRIVATE)
    except BaseException:
        spool.close()
        raise


def _flat(relation: Relation, limit: int, symbol: str) -> tuple[Statement, tuple[Output, ...]]:
    conditions: tuple[Condition, ...] = ()
    if symbol and {"source_system", "symbol"} <= relation.columns.keys():
        source, name = parts(symbol)
        conditions = (Comparison("source_system", "eq", source), Comparison("symbol", "eq", name))
    order = tuple(Ordered(key, True) for key in relation.key)
    rows = page(relation, Query((), conditions, order, limit, 0, None), limit).rows
    columns = SQL(", ").join(
        SQL("{0}::text as {0}").format(named(each.name)) if each.type in _NESTED else named(each.name)
        for each in relation.columns.values()
    )
    outputs = tuple(Output(each.name, each.type) for each in relation.columns.values())
    return Statement(SQL("select {} from ({}) as found").format(columns, rows.sql), rows.values), outputs


@router.get("/openbb/vintages", response_model=None, summary="A series as it was known when")
async def vintages(
    request: Request, caller: CallerOf, *, series: Symbol = "", raw: bool = False, theme: str = ""
) -> Response:
    """A figure of Plotly: a line a vintage, the newest of them; with `raw`, the rows."""
    require(caller, "marts")
    asked = {"series": parameters.name(series, "series"), "most": MOST_VINTAGES}
    async with _databases(request).reading("warehouse", caller, ("marts", "fct_economic_observations")) as connection:
        found = await (await connection.execute(_VINTAGES, asked)).fetchall()
    note_rows(request, len(found))
    if raw:
        names = ("vintage_date", "reference_date", "value")
        return JSONResponse([dict(zip(names, row, strict=True)) for row in found])
    return JSONResponse(_figure(series, found, is_dark=theme == "dark"))


def _figure(series: str, rows: list[tuple[str, str, float]], *, is_dark: bool) -> dict[str, Any]:
    lines: dict[str, dict[str, Any]] = {}
    for vintage, day, value in rows:
        line = lines.setdefault(vintage, {"x": [], "y": [], "name": vintage, "type": "scatter", "mode": "lines"})
        line["x"].append(day)
        line["y"].append(value)
    for number, line in enumerate(reversed(lines.values())):
        line["opacity"], line["line"] = (1.0, {"width": 3}) if number == 0 else (0.5, {"width": 1})
    ink = "#e2e8f0" if is_dark else "#1e293b"
    layout = {
        "title": {"text": series}, "showlegend": True, "font": {"color": ink}, "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)", "margin": {"l": 40, "r": 20, "t": 40, "b": 40},
    }  # fmt: skip
    return {"data": list(lines.values()), "layout": layout}
