"""`/v1/me`: what the caller may read, within which limits, and what was taken."""

from typing import Any

from fastapi import APIRouter, Request
from psycopg.sql import SQL
from starlette.responses import JSONResponse, Response

from serve.callers import BURST_SECONDS, CallerOf, Callers, may
from serve.databases import Databases
from serve.problems import Problem
from tidemark.access import key_file
from tidemark.access.keys import Caller
from tidemark.connections import DATABASES, Database
from tidemark.output import iso
from tidemark.settings import Settings

router = APIRouter(prefix="/v1", tags=["you"])

_RIGHTS = SQL("""
select home.nspname, relation.relname
from pg_catalog.pg_class as relation
inner join pg_catalog.pg_namespace as home on relation.relnamespace = home.oid
where relation.relkind in ('r', 'p', 'v', 'm') and not relation.relispartition
and home.nspname <> 'information_schema' and home.nspname not like 'pg\\_%'
and pg_catalog.has_schema_privilege(home.oid, 'usage') and pg_catalog.has_table_privilege(relation.oid, 'select')
order by home.nspname, relation.relname
""")


@router.get("/me", summary="Your rights, limits and usage", response_model=None, operation_id="me")
async def me(request: Request, caller: CallerOf) -> Response:
    """Rights are the databases' own, as they are now; usage is of the process that answers, by key, since it started.

    A database that does not answer has no rights here, and is named in `unavailable`.
    """
    settings: Settings = request.app.state.settings
    rights, unavailable = {}, []
    for database in DATABASES:
        try:
            rights[database] = await _rights(request, database, caller)
        except Problem as problem:
            if problem.status != 503:
                raise
            unavailable.append(database)
    record = key_file.read(settings).get(caller.key_id)
    return JSONResponse(
        {
            "name": caller.name,
            "key": {
                "id": caller.key_id,
                "scope": list(caller.scope),
                "expires_at": _moment(record["expires_at"] if record else None),
            },
            "rights": rights,
            "unavailable": unavailable,
            "limits": _limits(settings, caller),
            "usage": _usage(request.app.state.callers, caller),
        },
        headers={"Cache-Control": "no-store"},
    )


async def _rights(request: Request, database: Database, caller: Caller) -> dict[str, list[str]]:
    databases: Databases = request.app.state.databases
    async with databases.reading(database, caller) as connection:
        found = await (await connection.execute(_RIGHTS)).fetchall()
    schemas: dict[str, list[str]] = {}
    for schema, name in found:
        if may(caller, schema):
            schemas.setdefault(schema, []).append(name)
    return schemas


def _limits(settings: Settings, caller: Caller) -> dict[str, Any]:
    return {
        "requests_per_second": caller.requests_per_second,
        "burst_requests": max(1, int(caller.requests_per_second * BURST_SECONDS)),
        "rows_of_an_answer": settings.api_rows,
        "bytes_of_an_answer": settings.api_bytes,
        "statement_seconds": settings.api_statement_seconds,
    }


def _usage(callers: Callers, caller: Caller) -> dict[str, Any]:
    usage = callers.usage(caller)
    return {
        "requests": usage.requests,
        "rows": usage.rows,
        "bytes": usage.bytes,
        "last_use_at": _moment(usage.last_use_at or None),
    }


def _moment(at: float | None) -> str | None:
    return None if at is None else iso(at)
