"""Prometheus metrics of the whole lane, at one address: read from the reports that its processes write each second.

What a process counted is given while its report is fresh: of one that hangs, is gone or cannot write, its age is left.
"""

import time
from collections.abc import Iterable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from stream_shim.reports import FRESH_SECONDS, find_reports, fresh_reports
from tidemark.errors import StackError
from tidemark.settings import Settings

# (metric, its help, the report's key, its label): counters of a connector, then of a processor.
CONNECTOR_COUNTERS = (
    ("tidemark_source_record_send_total", "Records that Kafka acknowledged", "sent", "topic"),
    ("tidemark_source_record_rejected_total", "Messages that were no datum", "rejected", "reason"),
    ("tidemark_source_reject_dropped_total", "Of these, those no longer kept", "rejects_dropped", None),
    ("tidemark_source_record_without_value_total", "Records whose value was empty", "without_value", None),
    ("tidemark_source_gap_total", "Trades or books that are missing", "gaps", "symbol"),
    ("tidemark_source_silence_total", "Times that nothing came for too long", "silences", "symbol"),
    ("tidemark_source_client_error_total", "Warnings its client only logged", "client_errors", "reason"),
    ("tidemark_source_record_error_total", "Records that Kafka did not take", "errors", None),
    ("tidemark_source_reconnect_total", "Times that the source was lost", "source_errors", None),
)
PROCESSOR_COUNTERS = (
    ("tidemark_sink_record_send_total", "Rows that were committed", "rows", "topic"),
    ("tidemark_sink_record_errors_total", "Records that went to quarantine", "rejects", "topic"),
    ("tidemark_sink_batch_seconds_total", "Seconds spent in commits", "batch_seconds", None),
    ("tidemark_sink_batch_total", "Commits", "batches", None),
    ("tidemark_sink_wait_total", "Times that the destination took no rows", "waits", None),
    ("tidemark_sink_fence_total", "Times that another consumer was ahead", "fences", None),
)
PROCESSOR_GAUGES = (
    (
        "tidemark_sink_records_lag",
        "Records that the topic holds and the destination does not, its partitions together",
        "lag_records",
        "topic",
    ),
    (
        "tidemark_sink_lag_seconds",
        "Age of the newest record that the destination holds, but no more than for how long there has been a lag, "
        "of the partition that is worst",
        "lag_seconds",
        "topic",
    ),
    (
        "tidemark_sink_still_seconds",
        "For how long its group, or a partition with lag, has not moved; it ends itself before 60",
        "still_seconds",
        None,
    ),
    ("tidemark_sink_headroom_days", "Days ahead that have a partition", "headroom_days", None),
)


class LaneCollector(Collector):
    """Gives what the reports say at the moment of asking."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def collect(self) -> Iterator[Metric]:
        """One family a metric, labelled by source or destination."""
        yield from self._ages()
        connectors = fresh_reports(self._settings, "connector")
        processors = fresh_reports(self._settings, "processor")
        for metric in CONNECTOR_COUNTERS:
            yield _family(CounterMetricFamily, metric, "source", connectors)
        for metric in PROCESSOR_COUNTERS:
            yield _family(CounterMetricFamily, metric, "destination", processors)
        for metric in PROCESSOR_GAUGES:
            yield _family(GaugeMetricFamily, metric, "destination", processors)
        age = GaugeMetricFamily("tidemark_source_last_message_age_seconds", "Since the last message", labels=["source"])
        for name, report in connectors.items():
            age.add_metric([name], time.time() - (report["last_message_at"] or report["started_at"]))
        yield age
        degraded = GaugeMetricFamily(
            "tidemark_source_degraded", "1 for a part that gives nothing", labels=["source", "part"]
        )
        for name, report in connectors.items():
            for part in report.get("degraded", ()):
                degraded.add_metric([name, part], 1)
        yield degraded
        restarts = CounterMetricFamily(
            "tidemark_process_restart_total", "Times that a process died and was started again", labels=["kind", "name"]
        )
        supervisors = fresh_reports(self._settings, "supervisor").values()
        for report in supervisors:
            for role, times in report["restarts"].items():
                restarts.add_metric(role.split(" ", 1), times)
        yield restarts
        yield from _measured(supervisors)

    def _ages(self) -> Iterator[Metric]:
        labels = ["kind", "name"]
        ages = GaugeMetricFamily(
            "tidemark_process_report_age_seconds",
            "Since the process last reported; what it counts is given while that is below 10 (a supervisor's: 30)",
            labels=labels,
        )
        unreadable = GaugeMetricFamily(
            "tidemark_process_report_unreadable", "1 for a report that is empty, cut off, or none", labels=labels
        )
        for kind in FRESH_SECONDS:
            for found in find_reports(self._settings, kind):
                if found.report is None:
                    unreadable.add_metric([kind, found.name], 1)
                else:
                    ages.add_metric([kind, found.name], found.age_seconds)
        yield ages
        yield unreadable


def _measured(supervisors: Iterable[dict[str, Any]]) -> Iterator[Metric]:
    """What the supervisor measured of `realtime` and of the disks; nothing of what did not answer it."""
    age = GaugeMetricFamily("tidemark_realtime_oldest_day_age_days", "Days since the oldest day that realtime holds")
    left = GaugeMetricFamily(
        "tidemark_disk_days_left", "Days that the free room lasts, as lake and warehouse grow", labels=["file_system"]
    )
    for report in supervisors:
        if (days := report.get("oldest_day_age_days")) is not None:
            age.add_metric([], days)
        for path, days_left in report.get("disk_days_left", {}).items():
            left.add_metric([path], days_left)
    yield age
    yield left


def _family(
    kind: Any, metric: tuple[str, str, str, str | None], owner: str, reports: dict[str, dict[str, Any]]
) -> Metric:
    name, text, key, label = metric
    family: Metric = kind(name, text, labels=[owner] if label is None else [owner, label])
    for entry, report in reports.items():
        values = report.get(key)  # the report of a process that an upgrade has not started again yet may lack it
        if values is None:
            continue
        if label is None:
            family.add_metric([entry], values)  # type: ignore[attr-defined]
        for value in values if label is not None else ():
            family.add_metric([entry, value], values[value])  # type: ignore[attr-defined]
    return family


def serve(settings: Settings) -> Any:
    """Serve /metrics on loopback, at settings.metrics_port, in a thread of this process; returns the server."""
    registry = CollectorRegistry()
    registry.register(LaneCollector(settings))
    try:
        server, _ = start_http_server(settings.metrics_port, addr="127.0.0.1", registry=registry)
    except OSError as error:
        raise StackError(
            f"expected port {settings.metrics_port} free for metrics, received {error.strerror}: "
            "set TIDEMARK_METRICS_PORT to a free port"
        ) from None
    return server
