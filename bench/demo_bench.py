"""The demo, as `make demo` runs it on a state folder of its own: its seconds, and what the stack has resident at rest.

Recordings are those that TIDEMARK_RECORDINGS names, else the session is generated. Downloads are not measured: the
stack starts and ends once before. Resident memory is what `tidemark status` says of every process of the stack, once
the demo's own processes are gone.
"""

import json
import subprocess
import sys
from time import monotonic, sleep

from bench.report import Measure
from bench.stack import BenchmarkFailed, new_home
from demo.processes import environment
from tidemark.settings import Settings
from tidemark.stack import local
from tidemark.stack.ports import free_ports

PORTS = ("postgres_port", "kafka_port", "kafka_controller_port", "prefect_port", "metrics_port", "api_port")
REST_SECONDS = 20


def measure(rounds: int) -> list[Measure]:
    """Each round is a demo of its own, from nothing."""
    found = [one_round() for _ in range(rounds)]
    return [
        Measure("demo_seconds", [seconds for seconds, _ in found], goal=120, lower_is_better=True),
        Measure("stack_at_rest_resident_mb", [mb for _, mb in found], goal=1200, lower_is_better=True),
    ]


def one_round() -> tuple[float, float]:
    """Seconds of the demo, and MB of 10^6 bytes resident when it has been at rest for a while."""
    with new_home() as home:
        settings = Settings(home=home, **dict(zip(PORTS, free_ports(len(PORTS)), strict=True)))  # type: ignore[arg-type]
        try:
            local.up(settings)  # so that whatever is not there yet is fetched
            began = monotonic()
            ended = subprocess.run(
                [sys.executable, "-m", "tidemark.cli", "demo", "--json"],
                env=environment(settings), capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
            )  # fmt: skip
            seconds = monotonic() - began
            if ended.returncode != 0:
                raise BenchmarkFailed(f"expected the demo to succeed, it said: {ended.stderr.strip()[-1000:]}")
            if json.loads(ended.stdout)["balance"] != 0:
                raise BenchmarkFailed("expected a balance of 0")
            sleep(REST_SECONDS)
            return seconds, sum(status.resident_bytes or 0 for status in local.status(settings)) / 1e6
        finally:
            local.down(settings)
