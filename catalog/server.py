"""An OpenMetadata server, by its REST API: one sentence for whatever it answers that was not expected.

Requests of our own, not the ingestion package's client: that one costs 5 s to import, and logs a refusal as if it were
none.
"""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from importlib.metadata import version
from typing import Any
from urllib.parse import quote

import httpx

from tidemark.bounded import json_value
from tidemark.errors import ConfigurationError, TidemarkError
from tidemark.http import Answer, NoAnswer, ask, client
from tidemark.settings import Settings

SECONDS = 30.0


class CatalogError(TidemarkError):
    """The catalog is not published whole; the message says what is missing, and what to do."""


class ServerGone(CatalogError):
    """The server does not answer, or takes no request of ours: whatever comes next would fail alike."""


class Server:
    """The server of the settings. `changes` counts what it was told to change."""

    def __init__(self, settings: Settings, runner: asyncio.Runner, http: httpx.AsyncClient) -> None:
        self.url, self._token = address(settings)
        self._settings, self._runner, self._http = settings, runner, http
        self.changes = 0

    def get(self, path: str) -> dict[str, Any] | None:
        """What is at a path below /v1; None where it is not there."""
        answer = self._ask("GET", path)
        if answer.status == HTTPStatus.NOT_FOUND:
            return None
        return self._body("GET", path, answer)

    def send(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """Change something; what the server says of it then."""
        answer = self._ask(method, path, body)
        found = self._body(method, path, answer)
        self.changes += 1
        return found

    def check_version(self) -> None:
        """CatalogError where the server is of another version than the ingestion package can speak with."""
        received = str((self.get("system/version") or {}).get("version", "no version"))
        expected = version("openmetadata-ingestion")
        if received.split(".")[:2] != expected.split(".")[:2]:
            raise ServerGone(
                f"TIDEMARK_OPENMETADATA_URL: expected OpenMetadata {'.'.join(expected.split('.')[:2])} at {self.url}, "
                f"received {received}: take a server of that version, or the Tidemark that goes with it"
            )

    def _ask(self, method: str, path: str, body: Any = None) -> Answer:
        headers = {"Authorization": f"Bearer {self._token}"}
        if method == "PATCH":
            headers["Content-Type"] = "application/json-patch+json"
        try:
            return self._runner.run(
                ask(
                    self._http, self._settings, f"{self.url}/v1/{path}",
                    method=method, headers=headers, json=body, seconds=SECONDS,
                )
            )  # fmt: skip
        except NoAnswer as error:
            done = f" after {self.changes} changes" if self.changes else ""
            raise ServerGone(
                f"TIDEMARK_OPENMETADATA_URL: expected an OpenMetadata server at {self.url}, received{done} {error}; "
                "start it, or correct the URL (it ends in /api), and publish again: what is there already stays"
            ) from None

    def _body(self, method: str, path: str, answer: Answer) -> dict[str, Any]:
        if answer.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            raise ServerGone(
                f"TIDEMARK_OPENMETADATA_TOKEN: expected {self.url} to take it for {method} {path}, it answered "
                f"{answer.status}: set the token of ingestion-bot (Settings, Bots), one that has not expired"
            )
        if answer.status == HTTPStatus.CONFLICT:
            raise CatalogError(
                f"{method} {path}: expected the server to take it, it answered 409 ({_said(answer)}): something else "
                "there has the name; rename or delete it there, and publish again"
            )
        if answer.status >= HTTPStatus.MULTIPLE_CHOICES:
            raise CatalogError(
                f"{method} {path}: expected the server to take it, it answered {answer.status} ({_said(answer)}): "
                "its log says more; what it lacks comes with the workflows before, `tidemark catalog publish` runs all"
            )
        try:
            found: dict[str, Any] = json_value(answer.body) if answer.body else {}
        except ValueError:
            raise ServerGone(
                f"TIDEMARK_OPENMETADATA_URL: expected JSON of an OpenMetadata server at {self.url}, received "
                f"{answer.start(60)!r} for {method} {path}; correct the URL (it ends in /api)"
            ) from None
        return found


@contextmanager
def server(settings: Settings) -> Iterator[Server]:
    """The server of the settings, its connections kept; ConfigurationError where none is named."""
    address(settings)
    with asyncio.Runner() as runner:
        http = client()
        try:
            yield Server(settings, runner, http)
        finally:
            runner.run(http.aclose())


def address(settings: Settings) -> tuple[str, str]:
    """URL and token; ConfigurationError where one is missing."""
    if settings.openmetadata_url is None or settings.openmetadata_token is None:
        variable, what = (
            ("URL", "the API URL of an OpenMetadata server (it ends in /api)")
            if settings.openmetadata_url is None
            else ("TOKEN", "the token of the server's ingestion-bot (Settings, Bots)")
        )
        raise ConfigurationError(
            f"TIDEMARK_OPENMETADATA_{variable}: expected {what}, found none; "
            "without a server, `tidemark catalog site` builds static pages"
        )
    return settings.openmetadata_url.rstrip("/"), settings.openmetadata_token.get_secret_value()


def in_path(name: str) -> str:
    """A fully qualified name as a part of a path."""
    return quote(name, safe="")


def _said(answer: Answer) -> str:
    """The server's own word, short."""
    try:
        return " ".join(str(json.loads(answer.body)["message"]).split())[:300]
    except (ValueError, KeyError, TypeError):
        return answer.start(100)
