"""Recorded Binance trades through ccxt into Kafka: parsed and acknowledged, by the broker's clock.

The demo's server, a process of its own, sends the trades of a session (the recorded one where TIDEMARK_RECORDINGS names
a folder) as fast as the connector takes them. A round's rate is its trades over the time between the first and the last
of them in the topic.
"""

import os
from pathlib import Path

import yaml
from kafka import KafkaConsumer, TopicPartition

from bench.filling import TOPIC, make_topics
from bench.report import Measure
from bench.stack import BenchmarkFailed, Stack, own_stack, until
from demo.processes import sources
from loopback.binance_feed import read_feed
from loopback.session import open_session
from tidemark.credentials import KAFKA_ADMINISTRATOR
from tidemark.kafka import kafka_client

GOAL = 15_000  # trades/s
SYMBOLS = {"BTC/USDT": "btcusdt@trade", "ETH/USDT": "ethusdt@trade"}
PARTITION = TopicPartition(TOPIC, 0)


def measure(rounds: int = 3) -> list[Measure]:
    """So many connections, one after the other; a trade that is missing is a failed benchmark."""
    with own_stack() as stack:
        make_topics(stack)
        recordings = os.environ.get("TIDEMARK_RECORDINGS")
        session = open_session(Path(recordings) if recordings else None, stack.settings.home / "session")
        streams = read_feed(session.folder).streams
        trades = sum(len(streams[name]) for name in SYMBOLS.values())
        with sources(stack.settings, session.folder) as urls:
            found = [_round(stack, f"venue{number}", urls["binance"], trades) for number in range(rounds)]
    return [Measure("connector_trades_per_second", found, goal=GOAL)]


def _round(stack: Stack, name: str, url: str, trades: int) -> float:
    """Trades a second of one connector's whole session."""
    settings = stack.settings.model_copy(update={"sources_file": stack.settings.home / f"{name}.yml"})
    entry = {
        "kind": "ccxt", "exchange": "binance", "trades": list(SYMBOLS), "silence_seconds": 600,
        "sequential_trade_ids": True, "options": {"fetchMarkets": {"types": ["spot"]}},
        "urls": {"public": f"{url}/api/v3", "ws.spot": f"{url.replace('http', 'ws')}/ws"},
    }  # fmt: skip
    settings.sources_file.write_text(yaml.safe_dump({name: entry}))
    consumer = KafkaConsumer(**kafka_client(settings, KAFKA_ADMINISTRATOR))
    try:
        start = consumer.end_offsets([PARTITION])[PARTITION]
        with Stack(settings).running("connector", name) as process:
            until(lambda: consumer.end_offsets([PARTITION])[PARTITION] >= start + trades, "every trade", [process], 300)
        found = consumer.end_offsets([PARTITION])[PARTITION] - start
        if found != trades:
            raise BenchmarkFailed(f"expected {trades} trades of the session in the topic, found {found}")
        first, last = (_stamp_ms(consumer, offset) for offset in (start, start + trades - 1))
    finally:
        consumer.close()
    return trades / (last - first) * 1000


def _stamp_ms(consumer: KafkaConsumer, offset: int) -> int:
    """When the broker took the record, in milliseconds since 1970 UTC."""
    consumer.assign([PARTITION])
    consumer.seek(PARTITION, offset)
    while not (records := consumer.poll(timeout_ms=1000, max_records=1)):
        pass
    return int(records[PARTITION][0].timestamp)
