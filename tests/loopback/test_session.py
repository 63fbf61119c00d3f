"""A generated session: one seed, one session; its book holds together; a folder that lacks a part is refused."""

from pathlib import Path

import pytest

from loopback.session import Session, open_session
from loopback.simulated import simulate
from tidemark.errors import ConfigurationError


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(generated: Session, tmp_path: Path) -> None:
    again = contents(simulate(tmp_path / "again"))
    assert again == contents(generated.folder)
    other = contents(simulate(tmp_path / "other", seed=7))
    assert sorted(other) == sorted(again)
    for part in ("spot_", "getcurrent_20251212T", "observations", "eurofxref"):
        named = [name for name in again if part in name]
        assert named, part
        assert [name for name in named if other[name] == again[name]] == []


def test_a_generated_session_says_so_and_crosses_midnight(generated: Session) -> None:
    assert generated.simulated
    assert generated.trades.keys() == {"BTC/USDT", "ETH/USDT"}
    assert all(min(days.values()) > 500 and len(days) == 2 for days in generated.trades.values())
    assert {series: counts.text for series, counts in generated.fred_counts(0).items()} == {
        "GDP": 1, "CPILFESL": 0, "WGS10YR": 0,
    }  # fmt: skip


def test_a_generated_book_is_deep_and_never_crossed(generated: Session) -> None:
    for time_ms in (None, 1723161600000):
        bids, asks = generated.book_at("ETH/USDT", time_ms)
        assert (len(bids), len(asks)) == (10, 10)
        assert bids[0][0] < asks[0][0]
        assert bids == sorted(bids, reverse=True)


def test_a_folder_without_a_source_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="sec_edgar"):
        open_session(tmp_path, tmp_path)
