"""The contracts, verified by Soda on the real stack: what passes, what fails, and what is said of it."""

import json
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
import yaml

from catalog import contracts
from catalog.check import failures, run
from flows.checks import verify
from tests.catalog.conftest import NOW, Rows
from tidemark.categories import CATEGORIES, table_columns
from tidemark.errors import ConfigurationError

SODA_TYPES = {"timestamptz": "timestamp with time zone"}  # Soda's word for Postgres's type, where they differ


def columns_of(contract: contracts.Contract) -> dict[str, str]:
    columns = yaml.safe_load(contract.path.read_text())["columns"]
    return {column["name"]: column["data_type"] for column in columns}


@pytest.mark.parametrize("topic", CATEGORIES)
def test_a_realtime_contract_has_the_columns_and_types_of_its_category(topic: str) -> None:
    (contract,) = contracts.find((f"realtime.{topic}",))
    expected = {name: SODA_TYPES.get(kind, kind) for name, kind in table_columns(topic).items()}
    assert columns_of(contract) == expected


def test_the_contract_of_promoted_rows_has_the_columns_of_their_category_as_text() -> None:
    (contract,) = contracts.find(("ingestion.realtime__market_tick",))
    load = {"load_id": "text", "file_name": "text", "loaded_at": "timestamp with time zone"}
    assert columns_of(contract) == dict.fromkeys(table_columns("market_tick"), "text") | load


def test_a_contract_in_the_wrong_place_is_refused_with_what_was_expected(tmp_path: Path) -> None:
    path = tmp_path / "realtime" / "realtime" / "market_tick.yml"
    path.parent.mkdir(parents=True)
    path.write_text("dataset: realtime/realtime/realtime/market_ticks\ncolumns: []\n")
    with pytest.raises(ConfigurationError, match="expected `dataset: realtime/realtime/realtime/market_tick`"):
        contracts.read(path)


def test_good_rows_pass_every_contract_and_the_results_are_kept(rows: Rows) -> None:
    rows.good()
    results = run(rows.stack.settings)
    assert not failures(results)
    evaluated = {result.contract for result in results if result.outcome == "passed"}
    assert {f"realtime.{topic}" for topic in CATEGORIES} < evaluated
    with psycopg.connect(rows.stack.dsn("warehouse", "catalog_reader")) as connection:
        kept = connection.execute("select contract, check_name, outcome from quality.check_result").fetchall()
    assert sorted(kept) == sorted((r.contract, r.check, r.outcome) for r in results)


def test_a_broken_row_in_realtime_fails_the_command_which_names_table_column_count_and_row(
    rows: Rows,
) -> None:
    rows.realtime("market_tick")
    offsets = {rows.realtime("market_tick", price=float("nan")) for _ in range(2)}
    done = rows.stack.run("check", "realtime.market_tick")
    assert done.returncode == 1
    assert "realtime.realtime.market_tick, column price: expected a finite price: 2 failing rows" in done.stderr
    for offset in offsets:
        assert f'"kafka_offset": {offset}' in done.stderr
    row = next(line for line in done.stdout.splitlines() if "failed" in line)
    assert row.replace("│", " ").split() == ["realtime.market_tick", "a", "finite", "price", "price", "failed", "2"]
    assert "--all shows each" in done.stdout
    assert "price is there" not in done.stdout
    assert "price is there" in rows.stack.run("check", "realtime.market_tick", "--all").stdout


def test_a_broken_rate_in_an_ingestion_table_is_named_with_its_currency(rows: Rows) -> None:
    rows.ingestion("ecb__reference_rates")
    rows.ingestion("ecb__reference_rates", Date="2026-10-31", XXX="1,0")
    (failed,) = failures(run(rows.stack.settings, ["ingestion.ecb__reference_rates"]))
    assert (failed.dataset, failed.column, failed.failing_rows) == (
        "warehouse.ingestion.ecb__reference_rates", "XXX", 1,
    )  # fmt: skip
    assert json.loads(failed.sample[0])["Date"] == "2026-10-31"


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("fred__observations", "value", "1,5"),
        ("fred__observations", "series_id", None),
        ("fred__observations", "date", None),
        ("fred__observations", "realtime_start", "9999-12-32"),
        ("realtime__market_tick", "price", "Infinity"),
        ("realtime__market_tick", "received_at", "2024-08-08 00:00:00+00"),
        ("realtime__market_tick", "symbol", None),
        ("ecb__reference_rates", "Date", "30.10.2026"),
        ("ecb__reference_rates", "USD", None),
    ],
)  # fmt: skip
def test_a_wrong_value_in_an_ingestion_table_fails_its_column(
    rows: Rows, table: str, column: str, value: str | None
) -> None:
    rows.ingestion(table, **{column: value})
    failed = failures(run(rows.stack.settings, [f"ingestion.{table}"]))
    assert [(result.column, result.failing_rows) for result in failed] == [(column, 1)]


def test_a_record_that_was_promoted_twice_fails(rows: Rows) -> None:
    for _ in range(2):
        rows.ingestion("realtime__market_tick")
    (failed,) = failures(run(rows.stack.settings, ["ingestion.realtime__market_tick"]))
    assert failed.check == "a record is promoted once"
    assert json.loads(failed.sample[0])["times"] == 2


def test_a_promotion_that_lacks_rows_in_the_ingestion_table_fails(rows: Rows) -> None:
    rows.ingestion("realtime__market_tick")
    with psycopg.connect(rows.stack.dsn("warehouse", "promoter")) as connection:
        connection.execute(
            "insert into ops.promotion values"
            " (gen_random_uuid(), 'market_tick', '2024-08-08', 0, 0, 2, 7, 8, 'checksum', 'path', now(), now())"
        )
    (failed,) = failures(run(rows.stack.settings, ["ingestion.realtime__market_tick"]))
    assert failed.check == "every promotion has its rows"
    assert json.loads(failed.sample[0])["loaded_rows"] == 1


def test_a_changed_column_fails_and_says_which(rows: Rows) -> None:
    rows.ingestion("fred__observations")
    with psycopg.connect(rows.stack.dsn("warehouse", "ingest_writer")) as connection:
        connection.execute("alter table ingestion.fred__observations rename column realtime_end to until")
    failed = failures(run(rows.stack.settings, ["ingestion.fred__observations"]))
    assert any("realtime_end" in (result.detail or "") for result in failed)


def test_a_table_that_nothing_has_filled_is_said_and_one_that_is_gone_fails(rows: Rows) -> None:
    name = "ingestion.fred__observations"
    done = rows.stack.run("check", name)
    assert done.returncode == 0
    (line,) = [line for line in done.stdout.splitlines() if "the table exists" in line]
    assert [cell.strip() for cell in line.split("│")[1:-1]] == [
        name, "the table exists", "not evaluated", "it does not exist yet: nothing has filled it",
    ]  # fmt: skip

    rows.ingestion("fred__observations")
    assert not failures(run(rows.stack.settings, [name]))
    with psycopg.connect(rows.stack.dsn("warehouse", "ingest_writer")) as connection:
        connection.execute("drop table ingestion.fred__observations")
    (failed,) = failures(run(rows.stack.settings, [name]))
    assert (failed.check, (failed.detail or "")[:10]) == ("the table exists", "it is gone")


def test_a_silent_topic_fails_freshness(rows: Rows) -> None:
    rows.realtime("market_tick", received_at=NOW - timedelta(hours=1))
    (failed,) = failures(run(rows.stack.settings, ["realtime.market_tick"]))
    assert failed.check == "a row in the last 15 minutes"


EXCHANGE = "venue: {kind: ccxt, exchange: binance, trades: [BTC/USDT]}\n"
EQUITIES = "alpaca: {kind: alpaca, symbols: [AAPL], credentials: {key: '${A}', secret: '${B}'}}\n"
FEED = "sec: {kind: feed, url: 'https://example.org/f', event_publisher: SEC, unit: filing}\n"


def test_who_has_no_source_of_a_category_is_not_asked_for_fresh_rows_and_silence_of_one_that_is_there_fails(
    rows: Rows, tmp_path: Path
) -> None:
    settings = rows.stack.with_settings(sources_file=tmp_path / "sources.yml")

    def freshness(sources: str) -> dict[str, tuple[str, str]]:
        settings.sources_file.write_text(sources)
        found = verify(settings, ["realtime.market_tick", "realtime.order_book_l2"], deep=False, quiet=True)
        assert not [result for result in failures(found) if "last 15 minutes" not in result.check]
        return {r.contract[9:]: (r.outcome, r.detail or "") for r in found if "last 15 minutes" in r.check}

    nobody = ("not evaluated", "no source of this category is in sources.yml")
    assert freshness(FEED) == {"market_tick": nobody, "order_book_l2": nobody}
    assert freshness(EXCHANGE) == {"market_tick": ("failed", "the table is empty"), "order_book_l2": nobody}
    assert freshness("venue: {kind: no_such}\n")["order_book_l2"][0] == "failed"
    rows.realtime("market_tick", received_at=NOW - timedelta(hours=1))  # a producer of others
    assert freshness(FEED)["market_tick"][0] == "failed"
    weekend = ("not evaluated", "its sources may be silent for 345,600 s, by sources.yml")
    assert freshness(EQUITIES)["market_tick"] == weekend
    assert freshness(EQUITIES + EXCHANGE)["market_tick"][0] == "failed"


def test_a_replay_is_not_asked_to_be_fresh(rows: Rows, replay: None) -> None:
    rows.realtime("market_tick", received_at=NOW - timedelta(hours=1))
    results = run(rows.stack.settings, ["realtime.market_tick"])
    assert not failures(results)
    (left_out,) = [result for result in results if result.outcome == "not evaluated"]
    assert left_out.check == "a row in the last 15 minutes"


def test_an_unknown_contract_is_wrong_usage_and_the_known_ones_are_named(rows: Rows) -> None:
    done = rows.stack.run("check", "realtime.trades", "--json")
    assert done.returncode == 2
    assert "realtime.market_tick" in done.stderr
