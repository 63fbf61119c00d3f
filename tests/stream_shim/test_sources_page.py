"""docs/sources.md has every key of every kind, and entries that work: each is run here as it stands there."""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args
from urllib.parse import unquote

import msgspec
import pytest
import yaml
from aiohttp import web

from stream_shim.commands.preview import preview
from stream_shim.connectors import check
from stream_shim.connectors.entries import CcxtSource, FeedSource, PollSource, Source, SourceEntry, parse_sources
from tests.conftest import Stack
from tests.stream_shim.conftest import until
from tests.stream_shim.connecting import Wire
from tests.stream_shim.loopback import in_thread, listening
from tidemark.settings import PROJECT, Settings

PAGE = PROJECT / "docs" / "sources.md"
TEXT = PAGE.read_text()
BLOCKS = "\n".join(re.findall(r"^```yaml\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL))
# What each source answers, in its own format, and what its topics get: `attributes` are some of them.
CASES: dict[str, Any] = yaml.safe_load((Path(__file__).parents[1] / "cases" / "sources_page.yml").read_text())
VARIABLES = {
    "TIDEMARK_FRED_API_KEY": "f0123456789abcdef", "TIDEMARK_USER_AGENT": "Desk desk@example.com",
    "BLS_KEY": "b0123456789abcdef", "ALPACA_KEY": "a0123", "ALPACA_SECRET": "s0123", "DATABENTO_KEY": "d0123",
}  # fmt: skip


@dataclass
class World:
    """Answers for every source: `case` is whose turn it is."""

    port: int = 0
    case: dict[str, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    user_agents: set[str] = field(default_factory=set)

    async def answer(self, request: web.Request) -> web.Response:
        asked = unquote(request.raw_path) + (f" {await request.text()}" if request.method == "POST" else "")
        self.asked.append(asked)
        self.user_agents.add(request.headers["User-Agent"])
        for one in self.case["answers"]:
            if one["asked"] in asked:
                body = one["body"].encode(self.case.get("encoding", "utf-8"))
                return web.Response(
                    body=body, headers={"Content-Type": self.case.get("content_type", "application/json")}
                )
        return web.Response(status=404, text=f"not asked for: {asked}")

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[int]:
        async with listening(web.route("*", "/{path:.*}", self.answer)) as port:
            yield port

    def entry(self, name: str) -> SourceEntry:
        """The page's entry, asking here."""
        here = re.sub(r"https?://[^/\s]+", f"http://127.0.0.1:{self.port}", BLOCKS)
        self.case, self.asked, self.user_agents = CASES[name], [], set()
        return parse_sources(here, PAGE)[name]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    found = World()
    with in_thread(found.serve) as found.port:
        yield found


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)


def rows_of(name: str) -> list[dict[str, Any]]:
    return [{**row, "source_system": name} for row in CASES[name]["rows"]]


def with_known_attributes(found: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """The rows with those attributes alone that the case has."""
    assert len(found) == len(CASES[name]["rows"])
    return [
        {**row, "attributes": {key: row["attributes"].get(key) for key in case["attributes"]}}
        for row, case in zip(found, CASES[name]["rows"], strict=True)
    ]


@pytest.mark.parametrize("name", CASES)
def test_an_entry_of_the_page_gives_the_records_of_its_source(world: World, name: str, tmp_path: Path) -> None:
    found = preview(Settings(home=tmp_path / "home"), world.entry(name), 100, 30, tmp_path)
    assert with_known_attributes(found.rows, name) == rows_of(name)
    assert (found.refused, found.rejects, found.degraded) == (0, [], {})
    assert found.without_value == CASES[name].get("without_value", 0)
    assert len(world.asked) == len(CASES[name]["answers"])
    for asked, answer in zip(world.asked, CASES[name]["answers"], strict=True):
        assert answer["asked"] in asked
    if name == "edgar":
        assert world.user_agents == {VARIABLES["TIDEMARK_USER_AGENT"]}


@pytest.mark.parametrize("name", ["fred_rates", "edgar"])
def test_the_lane_sends_what_check_shows(world: World, name: str, stack: Stack) -> None:
    wire = Wire(stack.settings)
    entry = msgspec.structs.replace(world.entry(name), name=f"{name}_of_the_page")
    with wire.connected(entry) as publisher:
        until(lambda: publisher.sent.total() == len(rows_of(name)), "every record")
    topics = ("economic_event_text", "economic_event_numeric")
    sent = [{"topic": topic, **row} for topic in topics for row in wire.records(topic)]
    sent.sort(key=lambda row: [one["value"] for one in rows_of(name)].index(row["value"]))
    assert with_known_attributes(sent, name) == rows_of(name)


def test_every_entry_of_the_page_is_right_and_every_one_that_is_polled_is_tried() -> None:
    entries = parse_sources(BLOCKS, PAGE)
    for entry in entries.values():
        if isinstance(entry, CcxtSource):  # the others have nothing that only their client knows
            check(entry, BLOCKS, str(PAGE))
    assert {name for name, entry in entries.items() if isinstance(entry, PollSource | FeedSource)} == set(CASES)
    assert {type(entry) for entry in entries.values()} == set(get_args(SourceEntry))


# --- the tables of keys


def table(heading: str) -> dict[str, list[str]]:
    """Each key of the table below a heading, and the other cells of its row."""
    section = re.split(r"^##+ ", TEXT.partition(heading)[2], maxsplit=1, flags=re.MULTILINE)[0]
    rows = section.partition("| key |")[2].partition("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    return {key.strip("`"): others for key, *others in cells}


COMMON = ("kind", "name", "source_system")


def keys_of(type_: Any, above: str = "") -> dict[str, tuple[Any, list[float]]]:
    """Each key of a kind: its default, and the bounds of its type. A key that holds others is those."""
    found: dict[str, tuple[Any, list[float]]] = {}
    for part in type_.fields:
        if above == "" and part.name in COMMON:
            continue
        kinds = [part.type, *getattr(part.type, "types", ())]
        inner = next((one for one in kinds if isinstance(one, msgspec.inspect.StructType)), None)
        if inner is not None:
            found |= keys_of(inner, f"{part.name}.")
            continue
        default = part.default_factory() if part.default_factory is not msgspec.NODEFAULT else part.default
        bounds = [one for one in (getattr(part.type, "ge", None), getattr(part.type, "le", None)) if one is not None]
        found[f"{above}{part.name}"] = (default, bounds)
    return found


def said(default: Any) -> str:
    if default is msgspec.NODEFAULT:
        return "needed"
    if default == [{}]:
        return "one, empty"
    if isinstance(default, bool):
        return str(default).lower()
    return f"{default:,g}" if isinstance(default, int | float) else str(default or "none")


@pytest.mark.parametrize("kind", get_args(SourceEntry), ids=lambda kind: kind.__name__)
def test_the_table_of_a_kind_has_each_of_its_keys_with_default_and_bounds_and_no_other(kind: type[Source]) -> None:
    tag = kind.__struct_config__.tag
    keys, rows = keys_of(msgspec.inspect.type_info(kind)), table(f"### `{tag}`: ")
    assert rows.keys() == keys.keys()
    for key, (default, bounds) in keys.items():
        _, by_default, bounded = rows[key]
        assert by_default == said(default), key
        assert {f"{int(bound):,}" if bound == int(bound) else f"{bound}" for bound in bounds} <= set(
            re.findall(r"\d[\d,.]*\d|\d", bounded)
        ), key


def test_the_keys_of_every_kind_have_a_table_too() -> None:
    assert set(table("## Keys of every kind")) == {"kind", "source_system"}
    tags = {kind.__struct_config__.tag for kind in get_args(SourceEntry)}
    assert set(re.findall(r"^### `(\w+)`", TEXT, re.MULTILINE)) == tags
