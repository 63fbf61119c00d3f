"""How old the oldest day is and how long the disks last: measured, and shown as metrics."""

import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from stream_shim.reports import report_path
from stream_shim.running.causes import causes_of_disk, causes_of_oldest_day
from stream_shim.running.measurements import Measured, Measurements, measure
from stream_shim.running.metrics import LaneCollector
from tests.stream_shim.conftest import Lane, until
from tidemark.disk import LAKE_BYTES, WAREHOUSE_BYTES, FileSystem, bytes_a_day, file_systems
from tidemark.settings import PROJECT, Settings
from tidemark.stack.ports import free_ports
from tidemark.state_file import write_whole

TODAY = datetime.now(UTC).date()
OLD = TODAY - timedelta(days=5)
GB = 1_000_000_000
YEAR = PROJECT / "docs" / "a-year.md"


@pytest.fixture
def old_day(lane: Lane) -> Any:
    lane.execute("select realtime.ensure_partition('market_tick', %s)", OLD)
    yield lane
    lane.execute(f"drop table realtime.market_tick_{OLD:%Y%m%d}")


def test_the_oldest_day_and_what_a_day_takes_are_measured(old_day: Lane) -> None:
    lane = old_day
    lane.execute(
        "insert into realtime.market_tick (source_system, symbol, timestamp, price, size, log_epoch, kafka_partition, "
        "kafka_offset, received_at) select 't', 'BTC', now(), 1, 1, 1, 0, n, %s from generate_series(1, 5000) n",
        OLD,
    )
    measured = measure(lane.settings)
    assert measured.oldest_day_age_days == 5
    (disk,) = measured.file_systems
    assert disk.path == lane.settings.home
    assert disk.days_left is not None
    assert 0 < disk.days_left < disk.free_bytes / 500_000  # as 5,000 ticks take more than 500 kB
    measurements = Measurements(lane.settings)
    measurements.look()
    until(lambda: measurements.last.oldest_day_age_days == 5, "the first measurement")


def test_a_day_is_past_its_time_once_promotion_had_a_day_for_it_and_never_in_a_replay(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, keep_days=3)
    assert causes_of_oldest_day(settings, None) == causes_of_oldest_day(settings, 4) == {}
    assert causes_of_oldest_day(settings, 5).keys() == {"oldest day past its time"}
    (tmp_path / "mark").write_text("replay\n")
    assert causes_of_oldest_day(settings, 900) == {}


def test_a_disk_ends_by_its_days_or_by_what_is_free() -> None:
    path = Path("/data")
    for each, said in (
        (FileSystem(path, 900 * GB, 90.0), None),
        (FileSystem(path, 900 * GB, None), None),
        (FileSystem(path, 900 * GB, 6.5), "expected room for 7 days, 900.0 GB are free, which last 6.5 days"),
        (FileSystem(path, GB // 2, None), "expected 1.0 GB free, 0.5 GB are free"),
    ):
        assert causes_of_disk([each]) == ({"disk ends /data": said} if said else {})


def test_a_disk_fills_by_what_lake_and_warehouse_keep_of_a_day_and_not_by_what_realtime_gives_back(
    tmp_path: Path,
) -> None:
    """The factors are the most of the records of docs/a-year.md: warehouse is ingestion and marts."""
    rows = re.findall(r"^\| a .*\| \d+ \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", YEAR.read_text(), flags=re.MULTILINE)
    assert len(rows) == 2
    sizes = [tuple(map(int, row)) for row in rows]
    assert max((ingestion + marts) / realtime for realtime, _, ingestion, marts in sizes) == pytest.approx(
        WAREHOUSE_BYTES, rel=0.05
    )
    assert max(lake / realtime for realtime, lake, _, _ in sizes) == pytest.approx(LAKE_BYTES, rel=0.1)

    (tmp_path / "lake").mkdir()
    (disk,) = file_systems(Settings(home=tmp_path), 1000.0)
    assert disk.days_left == pytest.approx(disk.free_bytes / 1000 / (WAREHOUSE_BYTES + LAKE_BYTES), rel=0.01)
    elsewhere = Settings(home=tmp_path, warehouse_url=SecretStr("postgresql://example.org/warehouse"))
    (disk,) = file_systems(elsewhere, 1000.0)
    assert disk.days_left == pytest.approx(disk.free_bytes / 1000 / LAKE_BYTES, rel=0.01)


def test_growth_is_the_mean_of_the_last_whole_days() -> None:
    sizes = {TODAY: 1, TODAY + timedelta(1): 1, TODAY - timedelta(1): 30, TODAY - timedelta(2): 10}
    assert bytes_a_day(sizes | {TODAY - timedelta(8): 10_000}) == 20
    assert bytes_a_day({TODAY: 5}) is None


def test_a_database_that_is_away_leaves_its_numbers_out(tmp_path: Path) -> None:
    away = Settings(home=tmp_path, postgres_port=free_ports(1)[0])
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "stream_writer").write_text("none")
    measured = measure(away)
    assert measured.oldest_day_age_days is None
    assert [each.days_left for each in measured.file_systems] == [None]


def test_both_are_metrics(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    report = Measured(4, [FileSystem(Path("/data"), GB, 12.5)]).report()
    write_whole(report_path(settings, "supervisor", "stream"), {"restarts": {}, **report})
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for metric in LaneCollector(settings).collect()
        for sample in metric.samples
    }
    assert found["tidemark_realtime_oldest_day_age_days",] == 4
    assert found["tidemark_disk_days_left", "/data"] == 12.5


def test_a_log_of_the_lane_begins_anew_at_the_bytes_that_are_set(tmp_path: Path) -> None:
    program = (
        "import logging; from stream_shim.running.log_file import start_log; from tidemark.settings import load; "
        "start_log(load(), 'x'); [logging.getLogger('y').info('z' * 1000) for _ in range(150)]"
    )
    environ = {"TIDEMARK_HOME": str(tmp_path), "TIDEMARK_LOG_BYTES": "100000"}
    subprocess.run([sys.executable, "-c", program], env=environ, check=True)
    sizes = [(tmp_path / "logs" / name).stat().st_size for name in ("x.log.1", "x.log")]
    assert sizes[0] <= 100_000 < sum(sizes)
