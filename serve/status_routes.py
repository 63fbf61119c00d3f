"""The status page and what programs ask of health, open to anyone: they read the watcher's files, and no database."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from fastapi import APIRouter, Request
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
ANSWER_SECONDS = 2.0  # that a database may take to say that it is there
LINKS = (("docs", "Read API"),)
HEADERS = {
    "Content-Security-Policy": f"{POLICY}; frame-ancestors 'none'", "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer", "Cache-Control": "no-cache",
}  # fmt: skip
Made = TypeVar("Made")


class Kept(Generic[Made]):
    """Something that is made in a thread, once in KEPT_SECONDS at most."""

    def __init__(self, make: Callable[[Settings], Made]) -> None:
        self._make, self._lock = make, asyncio.Lock()
        self._made: tuple[float, Made] | None = None

    async def get(self, settings: Settings) -> Made:
        """What was made last, or is made now."""
        async with self._lock:
            if self._made is None or time.monotonic() - self._made[0] > KEPT_SECONDS:
                self._made = (time.monotonic(), await asyncio.to_thread(self._make, settings))
            return self._made[1]


def _files(settings: Settings) -> dict[str, File]:
    return files(view.read(settings), str(settings.home.resolve()), LINKS)


def _kept(request: Request, name: str, make: Callable[[Settings], Made]) -> "Kept[Made]":
    """That of this application."""
    kept: dict[str, Any] = request.app.state.kept
    found: Kept[Made] = kept.setdefault(name, Kept(make))
    return found


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
    found = (await _kept(request, "page", _files).get(request.app.state.settings))[name]
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
    seen = await _kept(request, "metrics", _seen).get(request.app.state.settings)
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
