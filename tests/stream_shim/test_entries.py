"""The lane's files: a wrong entry is refused with line, key and what was expected."""

from pathlib import Path

import pytest

from stream_shim.buffer.entries import read_topics
from stream_shim.connectors.entries import read_sources
from stream_shim.destinations.entries import read_destinations
from tidemark.categories import CATEGORIES, required_fields
from tidemark.errors import ConfigurationError
from tidemark.secrets import fill
from tidemark.settings import Settings

WRONG = {
    "an unknown kind": ("one:\n  kind: carrier_pigeon\n", ["line 2", "one", "carrier_pigeon"]),
    "an unknown key": (
        "one:\n  kind: feed\n  url: https://x/\n  event_publisher: y\n  unit: z\n  colour: red\n",
        ["line 6", "colour"],
    ),
    "a missing key": ("one:\n  kind: ccxt\n", ["line 1", "one", "exchange"]),
    "a wrong type": ("one:\n  kind: ccxt\n  exchange: binance\n  order_book:\n    symbols: 7\n", ["line 5", "symbols"]),
    "a literal credential": (
        "one:\n  kind: databento\n  dataset: d\n  trades: [A]\n  credentials: {key: db-literal}\n",
        ["line 5", "one.credentials.key", "`credentials.key` as ${NAME}"],
    ),
    "no YAML": ("one: [", ["expected YAML"]),
    "no entries": ("- one\n", ["expected entries by name"]),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_source_is_refused_with_its_line_and_key(kind: str, tmp_path: Path) -> None:
    text, named = WRONG[kind]
    (tmp_path / "sources.yml").write_text(text)
    with pytest.raises(ConfigurationError) as refused:
        read_sources(tmp_path / "sources.yml")
    for part in named:
        assert part in str(refused.value)
    assert "db-literal" not in str(refused.value)


def test_the_files_of_the_project_are_accepted() -> None:
    settings = Settings()
    assert {"binance", "sec_edgar", "fred"} <= set(read_sources(settings.sources_file))
    assert read_destinations(settings.destinations_file)["realtime"].kind == "postgres"
    assert len(read_topics(settings.topics_file)) == 4


def test_a_source_is_its_own_source_system_unless_it_says_otherwise(tmp_path: Path) -> None:
    (tmp_path / "s.yml").write_text(
        "one: {kind: ccxt, exchange: kraken, trades: [A/B], source_system: simulated}\n"
        "two: {kind: ccxt, exchange: kraken, trades: [A/B]}\n"
    )
    assert [s.source_system for s in read_sources(tmp_path / "s.yml").values()] == ["simulated", "two"]


def test_a_credential_comes_from_the_environment_or_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("s3cret\n")
    assert fill("k=${KEY}", {"KEY": "a"}) == "k=a"
    assert fill("k=${KEY}", {"KEY_FILE": str(tmp_path / "key")}) == "k=s3cret"
    with pytest.raises(ConfigurationError, match="KEY"):
        fill("k=${KEY}", {})
    with pytest.raises(ConfigurationError, match=r"expected KEY_FILE to name a file .*none"):
        fill("k=${KEY}", {"KEY_FILE": str(tmp_path / "none")})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("one:\n  kind: postgres\n  topics: [market_tick]\n  bootstrap: nonsense\n",
         "line 4, one.bootstrap: expected no `bootstrap` for kind postgres, received 'nonsense'"),
        ("one: {kind: lake, topics: [market_tick], prefix: copy.}\n",
         "line 1, one.prefix: expected no `prefix` for kind lake"),
        ("one: {kind: kafka, topics: [market_tick], bootstrap: 'b:1', path: p}\n", "expected no `path` for kind kafka"),
        ("one: {kind: kafka, topics: [market_tick]}\n", "one.bootstrap: expected host:port"),
        ("one: {kind: postgres, topics: [market_tick]}\ntwo: {kind: postgres, topics: [market_tick]}\n",
         "expected one destination of kind postgres, received one, two"),
    ],
)  # fmt: skip
def test_a_wrong_destination_is_refused(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "destinations.yml").write_text(text)
    with pytest.raises(ConfigurationError) as refused:
        read_destinations(tmp_path / "destinations.yml")
    assert said in str(refused.value)


def test_a_topic_that_is_no_category_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.yml").write_text("binance_trades: {partitions: 1}\n")
    with pytest.raises(ConfigurationError, match="market_tick"):
        read_topics(tmp_path / "t.yml")


def test_a_topic_renames_columns_of_its_category_and_its_schema_follows(tmp_path: Path) -> None:
    text = "".join(f"{topic}: {{}}\n" for topic in CATEGORIES if topic != "market_tick")
    (tmp_path / "t.yml").write_text(
        text + "market_tick: {rename: {size: quantity}, attributes: {fee: {type: number}}}\n"
    )
    entry = read_topics(tmp_path / "t.yml")["market_tick"]
    assert entry.mapping == {name: name for name in required_fields("market_tick")} | {"size": "quantity"}
    assert entry.schema["required"] == list(entry.mapping.values())
    assert entry.schema["properties"]["quantity"] == {"type": "number"}
    assert entry.schema["properties"]["attributes"]["properties"] == {"fee": {"type": "number"}}
    (tmp_path / "t.yml").write_text(text + "market_tick: {rename: {amount: quantity}}\n")
    with pytest.raises(ConfigurationError, match=r"market_tick\.rename: expected columns of .*received \['amount'\]"):
        read_topics(tmp_path / "t.yml")
