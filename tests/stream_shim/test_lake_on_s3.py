"""A destination of kind `lake` and a replay of it, on a server that speaks S3."""

import json

import pytest

from stream_shim.connectors.entries import ReplaySource
from stream_shim.destinations.entries import DestinationEntry
from stream_shim.destinations.lake import LakeDestination
from stream_shim.processor.destination import NotTaken
from stream_shim.processor.segments import Segment
from stream_shim.running.supervisor import of_the_lake
from tests.conftest import Stack
from tests.s3_server import s3_server
from tests.stream_shim.conftest import until
from tests.stream_shim.connecting import Wire, entry_of
from tests.stream_shim.test_replay_source import log_of, recorded

PATH = "an archive/é+%"


def test_what_a_destination_puts_on_s3_is_replayed_and_a_server_that_is_gone_is_waited_for(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = [recorded(number, 1000 + number) for number in range(20)]
    with s3_server() as s3:
        for name, value in s3.environ.items():
            monkeypatch.setenv(name, value)
        s3.client.create_bucket(Bucket="lake-of-the-lane")
        wire = Wire(stack.with_settings(lake_url="s3://lake-of-the-lane/tide mark"))
        lake = LakeDestination(wire.settings, PATH)
        prepared = lake.prepare([Segment(log_of("Xt0p1cId"), 0, 20, records, 20)])
        with s3.back_afterwards():
            s3.server.stop()
            lake.commit(prepared)
            with pytest.raises(NotTaken, match=r"^expected the lake at s3://lake-of-the-lane/tide mark .*no answer"):
                lake.write(all_of_it=True)
        for _ in range(2):  # a crash has it put the same files again
            written = lake.write(all_of_it=True)
            assert written is not None
            assert written.rows == {"market_tick": 20}
            lake.commit(prepared)
        assert s3.names("lake-of-the-lane") == [
            f"tide mark/{PATH}/market_tick/day=1970-01-01/Xt0p1cId.-1-0-000000000000.jsonl.gz"
        ]
        body = {"kind": "replay", "path": PATH, "topics": ["market_tick"], "speed": 0}
        with wire.connected(entry_of(wire.settings, json.dumps({"from-s3": body}))) as publisher:
            until(lambda: publisher.sent["market_tick"] == 20, "every tick")


def test_only_who_reads_or_writes_the_lake_gets_its_key() -> None:
    replay = ReplaySource(name="r", source_system="r", path="p", topics=["market_tick"])
    assert of_the_lake(replay)
    entries = [DestinationEntry(kind="lake", topics=[]), DestinationEntry(kind="postgres", topics=[])]
    assert [of_the_lake(entry) for entry in entries] == [True, False]
