"""Fill a state folder with the code of the checkout that this runs in: all topics, both lanes, a day promoted.

Run by make_fixture.py with an older checkout's own interpreter, so it uses what that version gives to its users: the
demo, the command line, and Kafka. TIDEMARK_HOME and the ports are in the environment; the servers are left running.
"""

import json
import os
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

from demo.simulate import simulate
from kafka import KafkaProducer
from sent import AT, NOT_ROWS, TICK, WAITING  # beside this file, as it runs as a program

from demo import simulated_market
from tidemark.connections import kafka_bootstrap
from tidemark.settings import load


def tidemark(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """One command of this version."""
    command = [sys.executable, "-m", "tidemark.cli", *arguments]
    return subprocess.run(command, env=os.environ | environ, stdout=subprocess.PIPE, text=True, check=True)


def small_session(folder: Path) -> Path:
    """The generated session of this version with few trades and few books."""
    few = {"BTC": 200, "ETH": 100}
    simulated_market.MARKETS = tuple(
        simulated_market.Market(one.base, one.quote, one.price_cents, few[one.base]) for one in simulated_market.MARKETS
    )
    simulated_market.UPDATE_MS = 60_000
    return simulate(folder)


def send(values: dict[str, list[bytes]]) -> None:
    """Records as of the day that stays."""
    with closing(KafkaProducer(bootstrap_servers=kafka_bootstrap(load()))) as producer:
        for topic, bodies in values.items():
            for body in bodies:
                producer.send(topic, body, key=b"simulated", timestamp_ms=int(AT.timestamp() * 1000))
        producer.flush()


def account() -> dict[str, dict[str, Any]]:
    """The account of this version, a partition a topic."""
    return {row["topic"]: row for row in json.loads(tidemark("account", "--json").stdout)}


def consume(until: dict[str, int]) -> None:
    """Run the processor until it has consumed so much of each topic."""
    command = [sys.executable, "-m", "tidemark.cli", "stream", "processor", "realtime"]
    with subprocess.Popen(command) as processor:
        while any(row["consumed"] < until[topic] for topic, row in account().items()):
            threading.Event().wait(0.5)
            assert processor.poll() is None
        processor.terminate()


def main() -> None:
    session = small_session(load().home.parent / "session")
    tidemark("demo", "--json", TIDEMARK_RECORDINGS=str(session))
    before = {topic: row["consumed"] for topic, row in account().items()}
    good = {"market_tick": [json.dumps(TICK | {"attributes": {"id": str(n)}}).encode() for n in range(3)]}
    for sent in (NOT_ROWS, good):
        send(sent)
    wanted = {topic: n + len(NOT_ROWS.get(topic, [])) + len(good.get(topic, [])) for topic, n in before.items()}
    consume(wanted)
    tidemark("quarantine", "drop", "--topic", "economic_event_text", "--yes")
    send({"market_tick": [json.dumps(TICK | {"attributes": {"id": f"waiting {n}"}}).encode() for n in range(WAITING)]})


if __name__ == "__main__":
    main()
