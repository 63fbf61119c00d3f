"""The lane's commands: what cannot be done is a sentence, and an exit code."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from stream_shim.running.logs import list_logs, print_log
from tests.stream_shim.conftest import Lane
from tidemark.settings import Settings

NOWHERE = "127.0.0.1:1"


@pytest.mark.faults  # each of them waits the 30 s that kafka-python tries to connect
def test_with_kafka_down_every_command_that_needs_it_names_the_broker_and_what_starts_it(lane: Lane) -> None:
    lane.execute("insert into realtime.log_epoch (topic, log_epoch, topic_id) values ('market_tick', 1, 'an id')")
    commands = (
        ("processor",), ("connector", "binance"), ("epoch", "market_tick"), ("forget", "archive", "--yes"),
        ("rebuild", "2024-08-09", "--topic", "market_tick"),
    )  # fmt: skip

    def run(arguments: tuple[str, ...]) -> CompletedProcess[str]:
        return lane.stack.run("stream", *arguments, TIDEMARK_KAFKA_BOOTSTRAP=NOWHERE)

    with ThreadPoolExecutor(len(commands)) as together:  # each waits as long as Kafka's client does for a first answer
        ended = list(together.map(run, commands))
    for done in ended:
        assert (done.returncode, "Traceback" in done.stderr) == (1, False), done.stderr
        assert f"expected Kafka at {NOWHERE} to answer, received KafkaTimeoutError" in done.stderr
        assert "`tidemark up` starts" in done.stderr
    log = lane.settings.home / "logs" / "processor-realtime.log"
    assert f"it ends: expected Kafka at {NOWHERE} to answer" in log.read_text()


def test_what_dbt_logs_is_among_the_logs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "dbt" / "warehouse" / "logs" / "dbt.log"
    path.parent.mkdir(parents=True)
    path.write_text("built\n")
    settings = Settings(home=tmp_path)
    assert list_logs(settings) == [{"log": "dbt-warehouse", "bytes": 6}]
    print_log(settings, "dbt-warehouse", 1, follow=False)
    assert capsys.readouterr().out == "built\n"
