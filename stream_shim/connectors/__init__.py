"""Connectors: each selects all fields of its source, renames those that the category has, and sends them to a topic.

A connector is a coroutine `run(source, publisher, settings, stop)` that returns when `stop` is set, and raises
SourceError when its source is lost; whoever runs it starts it again with back-off.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from stream_shim.connectors.entries import Source
from stream_shim.connectors.refusals import texts
from tidemark import typed_yaml
from tidemark.errors import ConfigurationError
from tidemark.secrets import VARIABLE, fill
from tidemark.settings import Settings
from tidemark.yaml_text import content

if TYPE_CHECKING:  # who reads the entries alone needs no client of Kafka
    from stream_shim.buffer.publisher import Publisher

Connector = Callable[[Any, "Publisher", Settings, asyncio.Event], Coroutine[Any, Any, None]]


def module_of(source: Source) -> Any:
    """The module of a source's kind; its client library is imported here, not before."""
    try:
        return import_module(f"stream_shim.connectors.{source.module}")
    except ModuleNotFoundError as error:
        if not source.extra or not str(error.name).startswith(source.extra):
            raise
        raise ConfigurationError(
            f"{source.name}: expected the client library of kind {source.extra}, found no module {error.name}; "
            f"`make setup` in the checkout brings it"
        ) from None


def connector_of(source: Source) -> Connector:
    """The coroutine for a source's kind."""
    connector: Connector = module_of(source).run
    return connector


def check(source: Source, text: str, where: str) -> None:
    """ConfigurationError, with the place in `text`, where the entry names what is neither here nor at its venue."""
    try:
        _check_variables(source)
        if checked := getattr(module_of(source), "check", None):
            checked(source)
    except typed_yaml.WrongValue as error:
        raise typed_yaml.located(error, text, where, source.name) from None


def check_in(source: Source, path: Path) -> None:
    """The same of an entry that was read from this file."""
    check(source, content(path), str(path))


def _check_variables(source: Source) -> None:
    for path, value in texts(msgspec.to_builtins(source)):
        if VARIABLE.search(value):
            try:
                fill(value)
            except ConfigurationError as error:
                raise typed_yaml.WrongValue(str(error), *path) from None


async def pause(stop: asyncio.Event, seconds: float) -> None:
    """Wait for the next poll or the next try, or for `stop`."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)


async def until_stopped(stop: asyncio.Event, streams: Sequence[Awaitable[None]]) -> None:
    """Run the streams until `stop`; the first that ends or fails ends them all."""
    tasks = [asyncio.ensure_future(stream) for stream in streams]
    stopping = asyncio.create_task(stop.wait())
    try:
        done, _ = await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (*tasks, stopping):
            task.cancel()
        await asyncio.gather(*tasks, stopping, return_exceptions=True)
    for task in done - {stopping}:
        task.result()
