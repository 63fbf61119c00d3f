"""The application: what it holds while it runs, its routes, and what it says where it has no answer."""

import asyncio
import importlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse

from serve import problems
from serve.callers import Callers
from serve.counts import Counts
from serve.crossing.sides import Sides
from serve.databases import Databases
from serve.gate import METHODS, Gate
from serve.problems import Problem
from serve.relations import Relations
from serve.spool import Spools
from serve.status_routes import warm
from serve.stream.poller import Poller
from tidemark.settings import Settings

# Each has a `router`.
ROUTERS = (
    "serve.relations_routes", "serve.crossing.router", "serve.latest", "serve.stream.router",
    "serve.udf.router", "serve.openbb.router", "serve.live.router", "serve.me", "serve.docs", "serve.status_routes",
)  # fmt: skip
EXPOSED = ("Content-Range", "ETag", "Link", "Retry-After", "Tidemark-Pages", "Tidemark-Run")


def create_app(settings: Settings) -> FastAPI:
    """The application for one pair of databases; they may be down when it starts, and while it runs."""
    databases = Databases(settings)
    # Connections of its own, so that no query of others holds the stream up.
    streamed = Databases(settings.model_copy(update={"api_connections": 2}), ("realtime",))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await databases.open()
        await streamed.open()
        warming = asyncio.create_task(warm(app))
        try:
            yield
        finally:
            warming.cancel()
            await streamed.close()
            await databases.close()
            app.state.sides.close()
            app.state.callers.close()

    app = FastAPI(
        title="Tidemark",
        version=version("tidemark"),
        summary="Market and economic data, live and historical, as your role may read them.",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        strict_content_type=False,
    )
    spooled = settings.home / "run" / "answers"
    spooled.mkdir(parents=True, exist_ok=True)
    app.state.settings, app.state.databases, app.state.callers = settings, databases, Callers(settings)
    app.state.spools, app.state.relations = Spools(spooled, settings.api_bytes), Relations()
    app.state.counts, app.state.kept = Counts(), {}
    app.state.poller, app.state.sides = Poller(streamed), Sides(settings, settings.api_connections)
    for name in ROUTERS:
        app.include_router(importlib.import_module(name).router)
    _say_problems(app)
    app.add_middleware(Gate, callers=app.state.callers, counts=app.state.counts, hosts=settings.api_hosts)
    if settings.api_origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=list(settings.api_origins), allow_methods=list(METHODS),
            allow_headers=["*"], expose_headers=list(EXPOSED),
        )  # fmt: skip
    return app


def _say_problems(app: FastAPI) -> None:
    """Every refusal is an RFC 9457 answer."""

    async def problem(request: Request, error: Any) -> JSONResponse:
        return error.response(request)  # type: ignore[no-any-return]

    async def invalid(request: Request, error: Any) -> JSONResponse:
        return problems.invalid(error).response(request)

    async def http(request: Request, error: Any) -> JSONResponse:
        if error.status_code == 404:
            return Problem(404, "not found", f"expected a path of /docs, received {request.url.path}").response(request)
        return Problem(error.status_code, "not answered", str(error.detail), headers=error.headers).response(request)

    async def fault(request: Request, error: Any) -> JSONResponse:
        detail = "expected an answer, found a fault of the server's: its log has it (`tidemark logs serve`)"
        return Problem(500, "a fault", detail).response(request)

    app.add_exception_handler(Problem, problem)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, fault)
