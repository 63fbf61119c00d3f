"""What this process answered, as Prometheus reads it; by route, never by caller or by what was asked."""

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram

SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
NO_ROUTE = "none"


class Counts:
    """Counters of a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        here = self.registry
        self._requests = Counter("tidemark_api_requests", "Requests answered", ["route", "status"], registry=here)
        self._rows = Counter("tidemark_api_rows", "Rows of answers", ["route"], registry=here)
        self._bytes = Counter("tidemark_api_bytes", "Bytes of answers", ["route"], registry=here)
        self._seconds = Histogram(
            "tidemark_api_seconds", "Until an answer was sent", ["route"], buckets=SECONDS, registry=here
        )

    def note(self, scope: Any, called: dict[str, Any], seconds: float) -> None:
        """Count one answer."""
        route = getattr(scope.get("route"), "path", NO_ROUTE)
        self._requests.labels(route, str(called["status"])).inc()
        self._rows.labels(route).inc(called["rows"])
        self._bytes.labels(route).inc(called["bytes"])
        self._seconds.labels(route).observe(seconds)
