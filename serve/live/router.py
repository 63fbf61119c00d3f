"""`/live`: the page, its files, and the session that keeps a key in a cookie which no script can read."""

import hashlib
import html
from base64 import b64encode
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response

from serve.callers import CallerOf
from serve.gate import COOKIE
from serve.problems import Problem
from tidemark.access import key_file
from tidemark.settings import PROJECT, Settings

router = APIRouter(include_in_schema=False)

HERE = Path(__file__).parent
CHARTS = "lightweight-charts.standalone.production.js"
SCRIPTS = ("live.js", "api.js", "chart.js", "marks.js", "panels.js", "warehouse.js")
SCRIPT, STYLE = "text/javascript", "text/css"
FILES = {
    "pages.css": (PROJECT / "tidemark" / "pages.css", STYLE),
    "live.css": (HERE / "page" / "live.css", STYLE),
    **{name: (HERE / "page" / name, SCRIPT) for name in SCRIPTS},
    CHARTS: (HERE / "vendor" / CHARTS, SCRIPT),
    "LICENSE": (HERE / "vendor" / "LICENSE", "text/plain"),
    "NOTICE": (HERE / "vendor" / "NOTICE", "text/plain"),
}
# The charts' attribution brings these rules of its own.
_ATTRIBUTION = (
    "a#tv-attr-logo{--fill:#131722;--stroke:#fff;position:absolute;left:10px;bottom:10px;height:19px;width:35px;margin:0;"
    "padding:0;border:0;z-index:3;}a#tv-attr-logo[data-dark]{--fill:#D1D4DC;--stroke:#131722;}"
)
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'sha256-{}'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@router.get("/live", response_model=None)
async def page(request: Request) -> Response:
    """The page; it asks for a key itself."""
    settings: Settings = request.app.state.settings
    text = (HERE / "page" / "live.html").read_text(encoding="utf-8")
    text = text.replace("{{prefect}}", html.escape(_prefect(settings), quote=True))
    headers = {
        "Content-Security-Policy": POLICY.format(b64encode(hashlib.sha256(_ATTRIBUTION.encode()).digest()).decode()),
        "Cache-Control": "no-cache", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff",
    }  # fmt: skip
    return HTMLResponse(text, headers=headers)


def _prefect(settings: Settings) -> str:
    """Where the runs are shown."""
    if settings.prefect_url:
        return str(settings.prefect_url).removesuffix("/").removesuffix("/api") + "/runs"
    return f"http://127.0.0.1:{settings.prefect_port}/runs"


@router.post("/live/session", response_model=None)
async def begin(request: Request, caller: CallerOf) -> Response:
    """Keep the key that was sent as a header, as long as it lasts; requests without one use it, to read alone."""
    settings: Settings = request.app.state.settings
    record = key_file.read(settings).get(caller.key_id)
    lasts = int(record["expires_at"] - datetime.now(UTC).timestamp()) if record else 0
    answer = JSONResponse({"name": caller.name})
    answer.set_cookie(
        COOKIE, request.scope["tidemark.key"], max_age=max(1, lasts), path="/", httponly=True, samesite="strict",
        secure=request.url.scheme == "https",
    )  # fmt: skip
    return answer


@router.post("/live/session/end", response_model=None)
async def end() -> Response:
    """Forget it."""
    answer = Response(status_code=204)
    answer.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
    return answer


@router.get("/live/{name}", response_model=None)
async def file(name: str) -> Response:
    """One of the page's files."""
    if name not in FILES:
        raise Problem(404, "not found", f"expected one of {', '.join(_names())}, received another name")
    path, kind = FILES[name]
    headers = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
    return FileResponse(path, media_type=kind, headers=headers)


@cache
def _names() -> tuple[str, ...]:
    return tuple(sorted(FILES))
