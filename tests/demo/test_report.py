"""What makes a demo a failed one, and which state folder it may make anew."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from demo import report, state
from demo.errors import DemoFailed
from demo.report import Report, Stage, problems
from demo.run import failed
from demo.watch import Seen
from flows.account import Balance
from tests.conftest import new_settings
from tidemark.categories import CATEGORIES
from tidemark.errors import ConfigurationError
from tidemark.settings import Settings


def good() -> tuple[Report, Seen]:
    """A demo that came out right, in small."""
    seen = Seen(
        sent={"binance": dict.fromkeys(CATEGORIES, 10)},
        held=dict.fromkeys(CATEGORIES, 10),
        consumed=dict.fromkeys(CATEGORIES, 10),
    )
    stages = [Stage("connector", "binance, trades", 10, 10), Stage("promote", "market_tick 2024-08-08", 4, 4)]
    account = [Balance(topic, 1, 0, consumed=10, realtime=6, promoted=4) for topic in CATEGORIES]
    return Report("a session", stages, account), seen


def test_a_demo_where_every_count_agrees_has_no_problem() -> None:
    report, seen = good()
    assert list(problems(report, seen)) == []
    assert failed(report) is None


def test_a_balance_that_is_not_zero_is_a_failed_demo() -> None:
    report, seen = good()
    report.account[0] = Balance("market_tick", 1, 0, consumed=10, realtime=5, promoted=4)
    assert report.balance == 1
    assert "balance +1" in "".join(problems(report, seen))


def test_missing_and_surplus_records_do_not_cancel_out() -> None:
    report, _ = good()
    report.account[:2] = [Balance("a", 1, 0, consumed=1), Balance("b", 1, 0, realtime=1)]
    assert report.balance == 2


@pytest.mark.parametrize("place", ["held", "consumed"])
def test_a_topic_that_holds_or_gave_other_than_was_sent_is_named(place: str) -> None:
    report, seen = good()
    getattr(seen, place)["order_book_l2"] = 9
    assert [problem.split(":")[0] for problem in problems(report, seen)] == ["order_book_l2"]


def test_a_connector_that_sent_less_than_the_files_hold_is_named() -> None:
    report, seen = good()
    report.stages[0] = replace(report.stages[0], rows_out=9)
    assert list(problems(report, seen)) == ["connector, binance, trades: expected 10 rows out, received 9"]


def test_zero_of_nothing_is_no_success() -> None:
    nothing = dict.fromkeys(CATEGORIES, 0)
    report = Report("a session", [Stage("connector", "binance, trades", 0, 0)], [])
    report.problems += problems(report, Seen(sent={}, held=nothing, consumed=nothing))
    assert len(report.problems) == 2
    assert isinstance(failed(report), DemoFailed)


def files(home: Path) -> list[str]:
    return sorted(path.name for path in home.iterdir())


@pytest.mark.parametrize("held", ["lake/ecb", "cursors/fred.json", "kafka/data/market_tick-0"])
def test_a_state_folder_with_live_data_is_refused_and_kept(tmp_path: Path, held: str) -> None:
    (tmp_path / held).mkdir(parents=True)
    with pytest.raises(ConfigurationError, match="TIDEMARK_HOME"):
        state.renew(Settings(home=tmp_path))
    assert (tmp_path / held).exists()
    assert not (tmp_path / "mark").exists()


def test_a_replays_state_folder_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "mark").write_text("replay\n")
    (tmp_path / "lake" / "ecb").mkdir(parents=True)
    (tmp_path / "credentials").mkdir()
    state.renew(new_settings(tmp_path))
    assert files(tmp_path) == ["mark"]


def test_a_stack_that_holds_nothing_yet_is_made_a_replay(tmp_path: Path) -> None:
    (tmp_path / "credentials").mkdir()
    (tmp_path / "kafka" / "data" / "__cluster_metadata-0").mkdir(parents=True)
    state.renew(new_settings(tmp_path))
    assert (tmp_path / "mark").read_text() == "replay\n"


def test_servers_that_variables_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="TIDEMARK_KAFKA_BOOTSTRAP"):
        state.renew(Settings(home=tmp_path, kafka_bootstrap="127.0.0.1:9092"))
    assert files(tmp_path) == []


def test_every_line_to_look_at_can_be_pasted_into_a_shell(tmp_path: Path) -> None:
    lines = [line for _, line in report.look_next(Settings(home=tmp_path))]
    assert [line.split()[0] for line in lines if "http://" in line or line.endswith(".html")] == ["#"] * 5
    done = subprocess.run(["bash", "-n"], input="\n".join(lines), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
