"""How a flow runs in this process: with which Prefect server and settings, and without telemetry."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from tidemark.connections import prefect_url
from tidemark.errors import ConfigurationError, StackError, TidemarkError
from tidemark.output import visible
from tidemark.settings import Settings, load

FLOWS = ("ingest", "promote", "check")
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
    if record.exc_info and isinstance(record.exc_info[1], TidemarkError):
        record.exc_info = None
    return True


@contextmanager
def prefect_session(settings: Settings) -> Iterator[None]:
    """Let Prefect's client talk to the settings' server; StackError where none answers."""
    from tidemark.http import NoAnswer, ask_now

    url = prefect_url(settings)
    try:
        answer = ask_now(settings, f"{url}/health", seconds=10)
        if answer.status != 200:
            raise NoAnswer(f"HTTP {answer.status}")
    except NoAnswer as error:
        raise StackError(
            f"expected a Prefect server at {url}, received {error}: run `tidemark up`, or set TIDEMARK_PREFECT_URL"
        ) from None
    # In the environment for Prefect's first import and for the processes that it starts.
    os.environ.update(
        PREFECT_API_URL=url,
        PREFECT_HOME=str(settings.home.resolve() / "prefect"),
        PREFECT_SERVER_ANALYTICS_ENABLED="false",
        DO_NOT_TRACK="1",
    )
    from prefect.settings import PREFECT_API_URL, temporary_settings

    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(name).addFilter(_as_sentences)
    token = _settings.set(settings)
    try:
        with temporary_settings({PREFECT_API_URL: url}):
            yield
    finally:
        _settings.reset(token)


def run_flow(settings: Settings, name: str, **parameters: Any) -> Any:
    """Run one flow of FLOWS to its end in this process; what it returns, or its own error, raised."""
    if name not in FLOWS:
        raise ConfigurationError(f"expected a flow of {', '.join(FLOWS)}, received {name!r}")
    with prefect_session(settings):
        from prefect.exceptions import ParameterBindError, ParameterTypeError, SignatureMismatchError

        from flows import definitions

        try:
            return getattr(definitions, name)(**parameters)
        except (ParameterBindError, ParameterTypeError, SignatureMismatchError) as error:
            raise ConfigurationError(f"flow {name}: expected other parameters, received {error}") from None
