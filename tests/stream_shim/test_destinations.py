"""Each destination has its own group and its own pace; a dead one slows no other."""

import gzip
import json
from pathlib import Path
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition

from tests.stream_shim.conftest import Lane, tick, until
from tidemark.connections import kafka_bootstrap
from tidemark.credentials import KAFKA_ADMINISTRATOR, credential
from tidemark.kafka import kafka_client
from tidemark.lake import lake_url


def destinations_file(tmp_path: Path, lane: Lane) -> str:
    """realtime, an archive in the lake, the same topics elsewhere on the broker, and a cluster that is not there."""
    path, bootstrap = tmp_path / "destinations.yml", kafka_bootstrap(lane.settings)
    path.write_text(
        "realtime: {kind: postgres, topics: [market_tick]}\n"
        "archive: {kind: lake, topics: [market_tick], path: stream, roll_seconds: 1}\n"
        f"mirror: {{kind: kafka, topics: [market_tick], prefix: copy., bootstrap: '{bootstrap}', "
        "security_protocol: SASL_PLAINTEXT, credentials: {username: '${OTHER_USER}', password: '${OTHER_PASSWORD}'}}\n"
        "dead: {kind: kafka, topics: [market_tick], bootstrap: '127.0.0.1:1', prefix: copy.}\n"
    )
    return str(path)


def test_a_topic_reaches_every_destination_that_wants_it_and_a_dead_one_slows_none(lane: Lane, tmp_path: Path) -> None:
    files = {
        "TIDEMARK_DESTINATIONS_FILE": destinations_file(tmp_path, lane),
        "OTHER_USER": KAFKA_ADMINISTRATOR,
        "OTHER_PASSWORD": credential(lane.settings, KAFKA_ADMINISTRATOR),
    }
    client = KafkaAdminClient(**kafka_client(lane.settings, KAFKA_ADMINISTRATOR))
    client.create_topics({"copy.market_tick": {"num_partitions": 1, "replication_factor": 1}})
    client.close()
    lane.produce("market_tick", [tick(number) for number in range(50)] + [b"\xff not JSON"])
    with (
        lane.running("processor", "dead", **files), lane.running("processor", "realtime", **files),
        lane.running("processor", "archive", **files), lane.running("processor", "mirror", **files),
    ):  # fmt: skip
        until(lambda: lane.count("market_tick") == 50, "realtime's rows", 120)
        until(lambda: len(archived(lane)) == 51, "the archive's records", 120)
        until(lambda: mirrored(lane) == 51, "the mirror's records", 120)
    lines = archived(lane)
    assert [line["offset"] for line in lines] == list(range(51))
    assert json.loads(lines[7]["value"]) == tick(7)
    assert "value_base64" in lines[50]


def test_a_destination_whose_next_records_expired_says_so_and_begins_anew_when_it_is_forgotten(
    lane: Lane, tmp_path: Path
) -> None:
    path = tmp_path / "destinations.yml"
    path.write_text("vault: {kind: lake, topics: [market_tick], path: stream, roll_seconds: 1}\n")
    files, before = {"TIDEMARK_DESTINATIONS_FILE": str(path)}, len(archived(lane))
    lane.produce("market_tick", [tick(number) for number in range(10)])
    with lane.running("processor", "vault", **files):
        until(lambda: len(archived(lane)) == before + 10, "the first records")
    lane.produce("market_tick", [tick(number) for number in range(10, 30)])
    client = KafkaAdminClient(**kafka_client(lane.settings, KAFKA_ADMINISTRATOR))
    client.delete_records({TopicPartition("market_tick", 0): 25})
    client.close()
    with lane.running("processor", "vault", **files) as process:
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 1, said
    assert "expected a log that holds offset 10" in said
    assert "tidemark stream forget vault" in said
    assert lane.stack.run("stream", "forget", "vault", "--yes").returncode == 0
    unknown = lane.stack.run("stream", "forget", "nobody", "--yes")
    assert (unknown.returncode, "expected a destination that once ran" in unknown.stderr) == (1, True), unknown.stderr
    assert lane.stack.run("stream", "forget", "realtime", "--yes").returncode == 2
    with lane.running("processor", "vault", **files):
        until(lambda: len(archived(lane)) == before + 15, "what the log still holds")


def archived(lane: Lane) -> list[dict[str, Any]]:
    folder = Path(lake_url(lane.settings).removeprefix("file://")) / "stream" / "market_tick"
    files = sorted(folder.glob("day=*/*.jsonl.gz"))
    return [json.loads(line) for file in files for line in gzip.decompress(file.read_bytes()).splitlines()]


def mirrored(lane: Lane) -> int:
    consumer = KafkaConsumer(**kafka_client(lane.settings, KAFKA_ADMINISTRATOR))
    partition = TopicPartition("copy.market_tick", 0)
    try:
        return int(consumer.end_offsets([partition])[partition])
    finally:
        consumer.close()
