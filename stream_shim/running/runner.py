"""One process of the lane: a connector or a processor, until SIGTERM, its log and report in the state folder."""

import asyncio
import gc
import logging
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING

from stream_shim.buffer.entries import read_topics
from stream_shim.claims import claim, claim_in_turn, second_of
from stream_shim.connectors import check_in, connector_of, pause
from stream_shim.connectors.entries import SourceEntry, read_sources
from stream_shim.destinations.entries import read_destinations
from stream_shim.reports import SUPERVISOR, report_path, supervisor_is_gone, write_process_report
from stream_shim.running.ending import CONNECTOR_SECONDS, PROCESSOR_SECONDS, stop_on_signal
from stream_shim.running.log_file import start_log
from stream_shim.running.logs import ENDS
from stream_shim.running.starting import apply_schemas_in_time
from tidemark.errors import ConfigurationError, SourceError, TidemarkError
from tidemark.home_kind import refuse_a_replay
from tidemark.kafka import reachable_kafka
from tidemark.settings import Settings
from tidemark.state_file import StateFile

if TYPE_CHECKING:
    from stream_shim.buffer.publisher import Publisher
    from stream_shim.processor.processor import Processor

log = logging.getLogger("tidemark.connector")

RECONNECT_SECONDS = (1, 2, 5, 10, 30, 60)
STEADY_SECONDS = 60  # a source that ran so long before it failed begins again with the shortest wait
WORKED_SECONDS = 2  # and so does one that gave data, or answers without news, for so long
REPORT_SECONDS = 1
STOP_SECONDS = 0.5
END_SECONDS = 8  # a processor that stands still may hang in a call, and come to no end
# Messages and rows in flight are many small objects without cycles: to look through them as often as by default costs a
# connector a tenth of its time, a processor a third.
GC_THRESHOLDS = (100_000, 50, 100)
MOST_PROCESSORS = 32  # of one destination, on one machine


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
        held = _claim_connector(settings, name)
        if held is None:
            return
    with held, _reason_logged(settings, CONNECTOR):
        require_topics(settings, list(read_topics(settings.topics_file)), CONNECTOR)
        publisher = Publisher(settings, name)
        gc.set_threshold(*GC_THRESHOLDS)
        try:
            asyncio.run(_connect_until_signal(sources[name], publisher, settings))
        finally:
            publisher.close()


def _claim_connector(settings: Settings, name: str) -> IO[str] | None:
    """The lock of a source: a person is told who has it, a supervisor's process waits. None where nobody wants it more.

    Until it has it, a signal ends the process at once.
    """
    if SUPERVISOR not in os.environ:
        return claim(settings, "connector", name, most=1)[1]
    return claim_in_turn(settings, "connector", name, supervisor_is_gone)


def refuse_live_sources_in_a_replay(settings: Settings) -> None:
    """A replay's state folder has its sources in itself."""
    if not settings.sources_file.resolve().is_relative_to(settings.home.resolve()):
        refuse_a_replay(settings)


async def _connect_until_signal(source: SourceEntry, publisher: "Publisher", settings: Settings) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def ask() -> None:
        with suppress(RuntimeError):  # the loop is closed: it ends already
            loop.call_soon_threadsafe(stop.set)

    stop_on_signal(CONNECTOR_SECONDS, ask)
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


def run_processor(settings: Settings, name: str) -> None:
    """Run a processor of one destination until SIGTERM: the label `NAME#2` is the second one's of the lane alone."""
    from stream_shim.buffer.topics import require_topics
    from stream_shim.destinations import open_destination
    from stream_shim.processor.consumer import PROCESSOR
    from stream_shim.processor.mapping import build_mapper
    from stream_shim.processor.processor import Processor

    destinations = read_destinations(settings.destinations_file)
    asked, name = name, name.partition("#")[0]
    if name not in destinations or asked not in {name, second_of(name)}:
        raise ConfigurationError(
            f"expected a destination of {settings.destinations_file} ({', '.join(destinations)}), received {asked!r}"
        )
    label, held = claim(settings, "processor", asked, MOST_PROCESSORS if asked == name else 1)
    start_log(settings, f"processor-{label}")
    topics = read_topics(settings.topics_file)
    file = StateFile(report_path(settings, "processor", label), logging.getLogger("tidemark.processor"))
    with _reason_logged(settings, PROCESSOR):
        if destinations[name].kind == "postgres" and not apply_schemas_in_time(settings, name, topics, file):
            return
        require_topics(settings, destinations[name].topics, PROCESSOR)
        mappers = {topic: build_mapper(topic, topics[topic].mapping) for topic in destinations[name].topics}
        processor = Processor(settings, name, open_destination(settings, name, destinations[name]), mappers)
    stop = stop_on_signal(PROCESSOR_SECONDS)  # until here a signal ends the process at once
    reporting = threading.Thread(target=_report_processor, args=(processor, file, stop))
    reporting.start()
    gc.set_threshold(*GC_THRESHOLDS)
    try:
        with _reason_logged(settings, PROCESSOR):
            processor.run(stop)
    finally:
        stop.set()
        reporting.join()
        held.close()


def _report_processor(processor: "Processor", file: StateFile, stop: threading.Event) -> None:
    while not stop.wait(REPORT_SECONDS):
        write_process_report(file, processor.report())
        if supervisor_is_gone():
            stop.set()
        if (why := processor.end_if_still()) and not stop.wait(END_SECONDS):
            logging.getLogger("tidemark.processor").error("%s; it does not end by itself either, and is ended", why)
            os._exit(1)
    write_process_report(file, processor.report())
