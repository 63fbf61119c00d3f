"""One process of the lane: a connector or a processor, until SIGTERM, its log and report in the state folder."""

import asyncio
import gc
import logging
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TYPE_CHECKING

from stream_shim.buffer.entries import TopicEntry, read_topics
from stream_shim.connectors import check_in, connector_of, pause
from stream_shim.connectors.entries import SourceEntry, read_sources
from stream_shim.destinations.entries import read_destinations
from stream_shim.reports import claim, report_path, supervisor_is_gone, write_process_report
from stream_shim.running.logs import ENDS
from tidemark import connections
from tidemark.errors import ConfigurationError, SourceError, StackError, TidemarkError
from tidemark.kafka import reachable_kafka
from tidemark.output import VisibleFormatter
from tidemark.secrets import hide
from tidemark.settings import Settings

if TYPE_CHECKING:
    from stream_shim.buffer.publisher import Publisher
    from stream_shim.processor.processor import Processor

log = logging.getLogger("tidemark.connector")

LOG_BYTES, LOG_FILES = 10 * 1024 * 1024, 3
RECONNECT_SECONDS = (1, 2, 5, 10, 30, 60)
STEADY_SECONDS = 60  # a source that ran so long before it failed begins again with the shortest wait
WORKED_SECONDS = 2  # and so does one that gave data, or answers without news, for so long
REPORT_SECONDS = 1
DATABASE_SECONDS = 5
STOP_SECONDS = 3
END_SECONDS = 8  # a processor that stands still may hang in a call, and come to no end
# Messages and rows in flight are many small objects without cycles: to look through them as often as by default costs a
# connector a tenth of its time, a processor a third.
GC_THRESHOLDS = (100_000, 50, 100)
MOST_PROCESSORS = 32  # of one destination, on one machine


class _WithoutCredentials(VisibleFormatter):
    """Leaves credentials out of whatever is logged, tracebacks and other libraries' lines too."""

    def format(self, record: logging.LogRecord) -> str:
        return hide(super().format(record))


def start_log(settings: Settings, name: str) -> None:
    """Everything to logs/NAME.log, which rotates at 10 MB with three old files kept, and warnings to the terminal."""
    folder = settings.home / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    to_file = RotatingFileHandler(folder / f"{name}.log", maxBytes=LOG_BYTES, backupCount=LOG_FILES)
    to_terminal = logging.StreamHandler(sys.stderr)
    to_terminal.setLevel(logging.WARNING)
    for handler in (to_file, to_terminal):
        handler.setFormatter(_WithoutCredentials("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[to_file, to_terminal])


@contextmanager
def _reason_logged(settings: Settings, role: str) -> Iterator[None]:
    """Why a process ends stands in its log too: where nobody sees the terminal, that is where people look."""
    try:
        with reachable_kafka(settings, role):
            yield
    except TidemarkError as error:
        log.info("%s%s", ENDS, error)
        raise
    except Exception as error:  # nobody foresaw it: the terminal may be seen by nobody
        log.info("%s%s: %s", ENDS, type(error).__name__, error, exc_info=True)
        raise


def run_connector(settings: Settings, name: str) -> None:
    """Run one source until SIGTERM: a source that is lost is connected again with back-off and jitter."""
    from stream_shim.buffer.publisher import Publisher
    from stream_shim.buffer.sink import CONNECTOR
    from stream_shim.buffer.topics import require_topics

    sources = read_sources(settings.sources_file)
    if name not in sources:
        raise ConfigurationError(
            f"expected a source of {settings.sources_file} ({', '.join(sources)}), received {name!r}"
        )
    refuse_live_sources_in_a_replay(settings)
    start_log(settings, f"connector-{name}")
    with _reason_logged(settings, CONNECTOR):
        check_in(sources[name], settings.sources_file)
        _, held = claim(settings, "connector", name, most=1)
    with held, _reason_logged(settings, CONNECTOR):
        require_topics(settings, list(read_topics(settings.topics_file)), CONNECTOR)
        publisher = Publisher(settings, name)
        gc.set_threshold(*GC_THRESHOLDS)
        try:
            asyncio.run(_connect_until_signal(sources[name], publisher, settings))
        finally:
            publisher.close()


def refuse_live_sources_in_a_replay(settings: Settings) -> None:
    """A replay's state folder has its sources in itself."""
    if not settings.sources_file.resolve().is_relative_to(settings.home.resolve()):
        connections.refuse_a_replay(settings)


async def _connect_until_signal(source: SourceEntry, publisher: "Publisher", settings: Settings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await connect_until(stop, source, publisher, settings)


async def connect_until(stop: asyncio.Event, source: SourceEntry, publisher: "Publisher", settings: Settings) -> None:
    """Run one source until `stop`. One that is lost is connected again, after a wait with back-off and jitter."""
    reporting = asyncio.create_task(_report(publisher))
    failures = 0
    while not stop.is_set():
        started = time.monotonic()
        publisher.begin()
        try:
            await _until(stop, asyncio.create_task(connector_of(source)(source, publisher, settings, stop)))
        except SourceError as error:
            publisher.lose()
            if time.monotonic() - started > STEADY_SECONDS or _has_worked(publisher):
                failures = 0
            seconds = RECONNECT_SECONDS[min(failures, len(RECONNECT_SECONDS) - 1)] * random.uniform(0.5, 1)
            failures += 1
            seconds = max(seconds, error.wait_seconds)
            log.warning("%s; connecting again in %.1f s", error, seconds)
            await pause(stop, seconds)
    reporting.cancel()


def _has_worked(publisher: "Publisher") -> bool:
    """Whether the session gave data for some time, or, polled, answered all that it was asked once."""
    return publisher.has_answered or publisher.answered_seconds > WORKED_SECONDS


async def _until(stop: asyncio.Event, connector: "asyncio.Task[None]") -> None:
    """Wait for the connector; one that does not heed `stop` in time, because its source lets it wait, is cancelled."""
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([connector, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    await asyncio.wait([connector], timeout=STOP_SECONDS)
    if connector.cancel():
        await asyncio.wait([connector])
    if not connector.cancelled():
        connector.result()


async def _report(publisher: "Publisher") -> None:
    while True:
        publisher.write_report()
        if supervisor_is_gone():
            os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(REPORT_SECONDS)


def stop_on_signal() -> threading.Event:
    """Set by SIGTERM and Ctrl-C."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def run_processor(settings: Settings, name: str) -> None:
    """Run the processor of one destination until SIGTERM."""
    from stream_shim.buffer.topics import require_topics
    from stream_shim.destinations import open_destination
    from stream_shim.processor.consumer import PROCESSOR
    from stream_shim.processor.mapping import build_mapper
    from stream_shim.processor.processor import Processor

    destinations = read_destinations(settings.destinations_file)
    if name not in destinations:
        raise ConfigurationError(
            f"expected a destination of {settings.destinations_file} ({', '.join(destinations)}), received {name!r}"
        )
    label, held = claim(settings, "processor", name, MOST_PROCESSORS)
    start_log(settings, f"processor-{label}")
    stop = stop_on_signal()
    topics = read_topics(settings.topics_file)
    if destinations[name].kind == "postgres":
        _apply_schemas(settings, topics, stop)
    with _reason_logged(settings, PROCESSOR):
        require_topics(settings, destinations[name].topics, PROCESSOR)
        mappers = {topic: build_mapper(topic, topics[topic].mapping) for topic in destinations[name].topics}
        processor = Processor(settings, name, open_destination(settings, name, destinations[name]), mappers)
    reporting = threading.Thread(
        target=_report_processor, args=(processor, report_path(settings, "processor", label), stop)
    )
    reporting.start()
    gc.set_threshold(*GC_THRESHOLDS)
    try:
        with _reason_logged(settings, PROCESSOR):
            processor.run(stop)
    finally:
        stop.set()
        reporting.join()
        held.close()


def _apply_schemas(settings: Settings, topics: dict[str, TopicEntry], stop: threading.Event) -> None:
    """Wait for a database that does not answer, as for one that takes no rows."""
    from stream_shim.buffer.topic_schema import apply_schemas

    while not stop.is_set():
        try:
            apply_schemas(settings, topics)
            return
        except StackError as error:
            log.warning("%s; trying again in %s s", error, DATABASE_SECONDS)
            stop.wait(DATABASE_SECONDS)


def _report_processor(processor: "Processor", path: Path, stop: threading.Event) -> None:
    while not stop.wait(REPORT_SECONDS):
        write_process_report(path, processor.report())
        if supervisor_is_gone():
            stop.set()
        if (why := processor.end_if_still()) and not stop.wait(END_SECONDS):
            logging.getLogger("tidemark.processor").error("%s; it does not end by itself either, and is ended", why)
            os._exit(1)
    write_process_report(path, processor.report())
