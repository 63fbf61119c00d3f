"""What the API is, for programs and people: OpenAPI, and its page, whose files come with a package. No CDN."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, Response

from serve.problems import MEDIA_TYPE, Problem
from tidemark.errors import StackError

router = APIRouter(include_in_schema=False)

FILES = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript"}
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Tidemark's read API</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
<link rel="icon" href="data:,">
</head>
<body>
<div id="api"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""
_START = 'SwaggerUIBundle({url: "/openapi.json", dom_id: "#api", deepLinking: true, validatorUrl: null});\n'
_POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'"

PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "instance"],
    "properties": {
        "type": {"type": "string", "examples": ["urn:tidemark:problem:no-such-column"]},
        "title": {"type": "string", "examples": ["no such column"]},
        "status": {"type": "integer", "examples": [400]},
        "detail": {"type": "string", "examples": ["expected a column of live.last_price (..), received prise"]},
        "instance": {"type": "string", "examples": ["/v1/live/last_price"]},
    },
}
# Every route may answer these.
REFUSALS = {
    "400": "Not a query: what was expected, and what was received",
    "401": "No key, or one that opens nothing",
    "404": "Nothing of that name that you may read",
    "406": "None of the formats that you accept, or not exactly one row",
    "413": "The answer would be too large",
    "416": "No such range of rows",
    "429": "More requests than the key allows; `Retry-After` says when",
    "503": "A database does not answer, or too many wait; `Retry-After` says when",
    "504": "The query took too long",
}
SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "query": {"type": "apiKey", "in": "query", "name": "apikey"},
}


def description(app: FastAPI) -> dict[str, Any]:
    """OpenAPI 3.1 of every route: keys, refusals and formats are the same for all."""
    found = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
    found["components"] = {
        "schemas": {**found.get("components", {}).get("schemas", {}), "Problem": PROBLEM},
        "securitySchemes": SECURITY,
    }
    found["components"]["schemas"].pop("HTTPValidationError", None)
    found["components"]["schemas"].pop("ValidationError", None)
    found["security"] = [{name: []} for name in SECURITY]
    refusal = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for path in found["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
            for status, meaning in REFUSALS.items():
                operation["responses"].setdefault(status, {"description": meaning, "content": refusal})
    return found


@router.get("/openapi.json")
async def openapi(request: Request) -> Response:
    """What programs read."""
    state = request.app.state
    if not hasattr(state, "description"):
        state.description = description(request.app)
    return JSONResponse(state.description)


@router.get("/docs")
async def page() -> Response:
    """What people read."""
    return HTMLResponse(_PAGE, headers={"Content-Security-Policy": _POLICY})


@router.get("/docs/start.js")
async def start() -> Response:
    """What the page does first."""
    return PlainTextResponse(_START, media_type="text/javascript")


@router.get("/docs/{name}")
async def file(name: str) -> Response:
    """One of the page's files."""
    if name not in FILES:
        raise Problem(404, "not found", f"expected one of {', '.join(FILES)}, received another name")
    return FileResponse(_folder() / name, media_type=FILES[name], headers={"Cache-Control": "max-age=86400"})


@cache
def _folder() -> Path:
    spec = find_spec("fastapi_offline")  # never imported: only its files are of use
    if spec is None or not spec.submodule_search_locations:
        raise StackError("expected the package fastapi-offline, found none: `make setup` installs it")
    return Path(spec.submodule_search_locations[0]) / "static"
