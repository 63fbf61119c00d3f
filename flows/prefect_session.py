"""What a flow runs in: which Prefect server and settings, and without telemetry."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from tidemark.connections import prefect_url
from tidemark.errors import StackError
from tidemark.output import visible
from tidemark.refusals import is_foreseen
from tidemark.settings import Settings, load
from tidemark.stack.prefect import prefect_login, refusal

HEARTBEAT_SECONDS = 30  # Prefect's shortest

_settings: ContextVar[Settings] = ContextVar("settings")


def current_settings() -> Settings:
    """The settings of the run: the caller's, or, in a process that Prefect started, the environment's.

    They are no parameter of a flow: Prefect keeps parameters, and settings hold secrets.
    """
    return _settings.get(None) or load()


def _as_sentences(record: logging.LogRecord) -> bool:
    """An error that Tidemark raises on purpose is its sentence; a traceback is for what nobody foresaw.

    Text from outside shows its control characters, in Prefect's UI as on the terminal.
    """
    record.msg, record.args = visible(record.getMessage(), lines=True), None
    if record.exc_info and is_foreseen(record.exc_info[1]):
        record.exc_info = None
    return True


@contextmanager
def prefect_session(settings: Settings) -> Iterator[None]:
    """Let Prefect's client talk to the settings' server, as who may; StackError where it cannot.

    Processes that start meanwhile find the server, and what it asks for, in their environment.
    """
    url, auth_string = prefect_url(settings), prefect_login(settings)
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(name).addFilter(_as_sentences)
    token = _settings.set(settings)
    try:
        with _environment(settings, url, auth_string):
            _require_healthy(settings, url)
            from prefect.settings import (
                PREFECT_API_AUTH_STRING,
                PREFECT_API_URL,
                PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
                temporary_settings,
            )

            # A string that a first session or the caller's environment left is not for another server.
            known = {
                PREFECT_API_URL: url,
                PREFECT_API_AUTH_STRING: auth_string,
                PREFECT_FLOWS_HEARTBEAT_FREQUENCY: HEARTBEAT_SECONDS,
            }
            unknown = [setting for setting, value in known.items() if value is None]
            with temporary_settings({key: value for key, value in known.items() if value}, restore_defaults=unknown):
                _require_entry(settings)
                yield
    finally:
        _settings.reset(token)


@contextmanager
def _environment(settings: Settings, url: str, auth_string: str | None) -> Iterator[None]:
    """What Prefect's first import and the processes that it starts read; as it was afterwards: it holds a secret."""
    before = dict(os.environ)
    os.environ.update(
        PREFECT_API_URL=url,
        PREFECT_HOME=str(settings.home.resolve() / "prefect"),
        PREFECT_SERVER_ANALYTICS_ENABLED="false",
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY=str(HEARTBEAT_SECONDS),
        DO_NOT_TRACK="1",
    )
    os.environ.pop("PREFECT_API_AUTH_STRING", None)
    if auth_string is not None:
        os.environ["PREFECT_API_AUTH_STRING"] = auth_string
    ours = {key for key, value in os.environ.items() if before.get(key) != value} | {"PREFECT_API_AUTH_STRING"}
    try:
        yield
    finally:
        for key in ours:
            os.environ.pop(key, None)
        os.environ.update({key: before[key] for key in ours & before.keys()})


def _require_healthy(settings: Settings, url: str) -> None:
    from tidemark.http import NoAnswer, ask_now

    try:
        answer = ask_now(settings, f"{url}/health", seconds=10)
        if answer.status != 200:
            raise NoAnswer(f"HTTP {answer.status}")
    except NoAnswer as error:
        raise StackError(
            f"expected a Prefect server at {url}, received {error}: run `tidemark up`, or set TIDEMARK_PREFECT_URL"
        ) from None


def _require_entry(settings: Settings) -> None:
    """One call, as the flow's will be: health is open to everybody, the rest is not."""
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectHTTPStatusError

    try:
        with get_client(sync_client=True) as client:
            client.read_flows(limit=1)
    except PrefectHTTPStatusError as error:
        if error.response.status_code not in {401, 403}:
            raise StackError(
                f"expected the Prefect server at {prefect_url(settings)} to list its flows, received HTTP "
                f"{error.response.status_code}: see `tidemark logs`, and `tidemark status`"
            ) from None
        raise refusal(settings, error.response.status_code) from None
