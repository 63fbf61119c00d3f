"""From a tick's commit to the last byte of it at 50 listeners of `/v1/stream`."""

import threading
import time
from collections.abc import Sequence
from statistics import quantiles
from typing import Any

import httpx
from psycopg.sql import SQL

from bench.report import Measure
from realtime.tables import POSITIONS, of_topic

LISTENERS, TICKS, PAUSE = 50, 200, 0.037  # seconds between two commits: in no step with the poller's
GOAL_MS = 300
_COMMIT = SQL("""
with moved as (
    update {positions} set next_offset = next_offset + 1
    where topic = 'market_tick' and kafka_partition = 0 and closed_at is null
    returning log_epoch, next_offset - 1 as kafka_offset
)
insert into {ticks}
    (source_system, symbol, timestamp, price, size, attributes, log_epoch, kafka_partition, kafka_offset, received_at)
select 'simulated', 'STREAM/BENCH', now(), 1, 1, '{{}}', log_epoch, 0, kafka_offset, now() from moved
returning kafka_offset
""").format(positions=POSITIONS, ticks=of_topic("market_tick"))


def measure(url: str, key: str, connection: Any) -> list[Measure]:
    """`connection` commits as the processor does, in autocommit; there is a position already."""
    committed: dict[int, float] = {}
    arrived: list[dict[int, float]] = [{} for _ in range(LISTENERS)]
    begun = threading.Barrier(LISTENERS + 1)
    threads = [threading.Thread(target=_listen, args=(url, key, begun, seen), daemon=True) for seen in arrived]
    for thread in threads:
        thread.start()
    begun.wait(60)
    for _ in range(TICKS):
        (offset,) = connection.execute(_COMMIT).fetchone()
        committed[offset] = time.monotonic()
        time.sleep(PAUSE)
    for thread in threads:
        thread.join(30)
    return _measures(committed, arrived)


def _listen(url: str, key: str, begun: threading.Barrier, seen: dict[int, float]) -> None:
    asked = {"channels": "ticks", "symbol": "STREAM/BENCH"}
    with httpx.stream("GET", f"{url}/v1/stream", params=asked, headers={"X-API-Key": key}, timeout=30) as answer:
        for line in answer.iter_lines():
            if line == "event: begun":
                begun.wait(60)
            elif line.startswith("data: {") and '"kafka_offset":' in line:
                at = time.monotonic()
                seen[int(line.partition('"kafka_offset":')[2].partition(",")[0])] = at
                if len(seen) == TICKS:
                    return


def _measures(committed: dict[int, float], arrived: Sequence[dict[int, float]]) -> list[Measure]:
    found = [(seen[offset] - at) * 1000 for seen in arrived for offset, at in committed.items() if offset in seen]
    cuts = quantiles(found, n=100)
    return [
        Measure("stream_missed_ticks", [len(committed) * LISTENERS - len(found)], goal=0, lower_is_better=True),
        Measure("stream_p50_ms", [cuts[49]], lower_is_better=True),
        Measure("stream_p99_ms", [cuts[98]], goal=GOAL_MS, lower_is_better=True),
    ]
