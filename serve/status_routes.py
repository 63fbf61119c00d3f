"""The status page and what programs ask of health, open to anyone: they read the watcher's files, and no database."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from fastapi import APIRouter, FastAPI, Request
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.responses import JSONResponse, PlainTextResponse, Response

from serve.databases import Databases
from tidemark.connections import DATABASES
from tidemark.settings import Settings
from watch.page import metrics, view
from watch.page.files import POLICY, File, files
from watch.page.parts import public
from watch.status_file import read_status

router = APIRouter(include_in_schema=False)

KEPT_SECONDS = 1.0  # however many ask, the page is made once in so long
OLD_SECONDS = 5.0  # who asks then waits for a new one; its reader sees by its own clock what is older than that
ANSWER_SECONDS = 2.0  # that a database may take to say that it is there
LINKS = (("live", "Live"), ("docs", "Read API"))
HEADERS = {
    "Content-Security-Policy": f"{POLICY}; frame-ancestors 'none'", "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer", "Cache-Control": "no-cache",
}  # fmt: skip
Made = TypeVar("Made")


class Kept(Generic[Made]):
    """Something that is made in a thread; who asks is given what was made last, unless that is old."""

    def __init__(self, make: Callable[[Settings], Made]) -> None:
        self._make = make
        self._made: Made | None = None
        self._made_at = 0.0  # monotonic clock
        self._making: asyncio.Task[None] | None = None

    async def get(self, settings: Settings) -> Made:
        """What was made last, or is made now."""
        age = time.monotonic() - self._made_at
        if self._making is None or (self._making.done() and age > KEPT_SECONDS):
            self._making = asyncio.create_task(self._remake(settings))
        if self._made is None or age > OLD_SECONDS:
            await asyncio.shield(self._making)
        assert self._made is not None
        return self._made

    async def _remake(self, settings: Settings) -> None:
        self._made = await asyncio.to_thread(self._make, settings)
        self._made_at = time.monotonic()


def _files(settings: Settings) -> dict[str, File]:
    return files(view.read(settings), str(settings.home.resolve()), LINKS)


def _kept(app: FastAPI, name: str, make: Callable[[Settings], Made]) -> "Kept[Made]":
    """That of this application."""
    kept: dict[str, Any] = app.state.kept
    found: Kept[Made] = kept.setdefault(name, Kept(make))
    return found


async def warm(app: FastAPI) -> None:
    """Make the page before somebody asks, as the first takes longest."""
    await _kept(app, "page", _files).get(app.state.settings)


@router.get("/")
async def page(request: Request) -> Response:
    """For people."""
    return await _file(request, "index.html")


@router.get("/tidemark.css")
@router.get("/status.js")
@router.get("/status.atom")
@router.get("/api/v2/summary.json")
async def file(request: Request) -> Response:
    """What the page is made of, what happened as a feed, and the page for programs."""
    return await _file(request, request.url.path.removeprefix("/"))


async def _file(request: Request, name: str) -> Response:
    found = (await _kept(request.app, "page", _files).get(request.app.state.settings))[name]
    return Response(found.content, media_type=found.media_type, headers=HEADERS)


@router.get("/healthz")
async def healthz() -> Response:
    """That this process answers; it says nothing of the databases."""
    return PlainTextResponse("ok\n")


@router.get("/readyz")
async def readyz(request: Request) -> Response:
    """Whether both databases answer and the watcher looks; 503 where not, with what is missing."""
    settings, databases = request.app.state.settings, request.app.state.databases
    missing = await _missing(databases)
    if unknown := (await asyncio.to_thread(read_status, settings)).unknown:
        missing["status"] = public(unknown, settings.home)
    return JSONResponse({"ready": not missing, "missing": missing}, 503 if missing else 200)


async def _missing(databases: Databases) -> dict[str, str]:
    answers = await asyncio.gather(*(databases.silence(database, ANSWER_SECONDS) for database in DATABASES))
    return {database: why for database, why in zip(DATABASES, answers, strict=True) if why}


@router.get("/metrics")
async def numbers(request: Request) -> Response:
    """What the watcher saw and what this process answered, as Prometheus reads it."""
    seen = await _kept(request.app, "metrics", _seen).get(request.app.state.settings)
    return Response(seen + generate_latest(request.app.state.counts.registry), media_type=CONTENT_TYPE_LATEST)


def _seen(settings: Settings) -> bytes:
    registry = CollectorRegistry()
    registry.register(_Seen(settings))
    return generate_latest(registry)


class _Seen:
    """A collector of the watcher's file."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def collect(self) -> Any:
        """The families."""
        return metrics.families(read_status(self._settings), self._settings.home)
