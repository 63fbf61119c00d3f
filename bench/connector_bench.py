"""Recorded Binance messages through ccxt into Kafka: trades parsed and acknowledged a second, none missing.

The demo's server runs in a process of its own and sends the trades of the session as fast as they are taken.
"""

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tidemark.settings import Settings

GOAL = 15_000  # trades/s
ROUNDS = 3
SECONDS = 300


@contextmanager
def _venue(recordings: Path | None) -> Iterator[str]:
    """The loopback venue's URL; without recordings, a generated session."""
    from demo.simulate import simulate

    with tempfile.TemporaryDirectory() as folder:
        session = recordings or simulate(Path(folder))
        with subprocess.Popen(
            [sys.executable, "-m", "demo.servers", str(session)], stdout=subprocess.PIPE, text=True
        ) as server:
            try:
                assert server.stdout is not None
                import json

                yield json.loads(server.stdout.readline())["binance"]
            finally:
                server.terminate()


async def _round(settings: Settings, url: str) -> tuple[int, int, float]:
    """(trades that the venue sent, trades that Kafka acknowledged, seconds) of one connection, from its first trade."""
    from stream_shim.config import CcxtSource
    from stream_shim.publisher import Publisher
    from stream_shim.runner import connect_until

    source = CcxtSource(
        name="bench", source_system="bench", exchange="binance", trades=["BTC/USDT", "ETH/USDT"],
        options={"fetchMarkets": {"types": ["spot"]}}, silence_seconds=600,
        urls={"public": f"{url}/api/v3", "ws.spot": f"{url.replace('http', 'ws')}/ws"},
    )  # fmt: skip
    publisher, stop = Publisher(settings, "bench"), asyncio.Event()
    running = asyncio.create_task(connect_until(stop, source, publisher, settings))
    async with httpx.AsyncClient() as client:
        expected, began, deadline = 0, 0.0, time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            if not began and publisher.last_message_at:
                began = time.monotonic()
                status = (await client.get(f"{url}/_replay/status")).json()
                expected = sum(status["recorded"].values())
            if began and publisher.sent["market_tick"] >= expected:
                break
            await asyncio.sleep(0.02)
    seconds = time.monotonic() - began
    stop.set()
    await running
    publisher.close()
    return expected, publisher.sent["market_tick"], seconds


def measure(settings: Settings, recordings: Path | None = None) -> dict[str, dict[str, Any]]:
    """The best of three connections: `{"connector trades/s": {"ours", "goal", "holds", ..}}`. Needs a running stack."""
    from stream_shim.config import read_topics
    from stream_shim.topics import ensure_topics

    ensure_topics(settings, read_topics(settings.topics_file))
    with _venue(recordings) as url:
        rounds = [asyncio.run(_round(settings, url)) for _ in range(ROUNDS)]
    missing = sum(expected - acknowledged for expected, acknowledged, _ in rounds)
    rate = max(acknowledged / seconds for _, acknowledged, seconds in rounds)
    return {
        "connector trades/s": {
            "ours": round(rate), "goal": GOAL, "missing": missing, "trades": rounds[0][0],
            "holds": rate >= GOAL and missing == 0,
        }
    }  # fmt: skip
