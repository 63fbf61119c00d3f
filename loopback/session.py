"""A session to replay, recorded or generated, and what must come of it, counted from its files.

The SOURCE.txt beside each recording gives the formats. Nothing here imports a connector, a server or a pipeline.
"""

import csv
import gzip
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from zipfile import ZipFile

from loopback.simulated import MARKER, SEED, simulate
from tidemark.errors import ConfigurationError

AS_OF = date(2024, 8, 12)  # with x = 3 the day 2024-08-08 is due, and 2024-08-09 stays
_NEEDED = ("binance_ws_hftbacktest", "crypto_ws_cryptofeed", "sec_edgar", "fred_api", "ecb")
_ATOM = "{http://www.w3.org/2005/Atom}"

Level = tuple[Decimal, Decimal]  # price, size


@dataclass(frozen=True)
class FredSeries:
    """How many observations of one series in one recording are numbers, and how many are not ("." )."""

    numeric: int
    text: int


@dataclass(frozen=True)
class Session:
    """A folder of recordings. `simulated`: every row of it must say so in its source_system."""

    folder: Path
    simulated: bool

    @cached_property
    def trades(self) -> dict[str, Counter[date]]:
        """Market (`BTC/USDT`) to its trades by the UTC day of the trade's own time `T`."""
        found: dict[str, Counter[date]] = {}
        for market, message in self._binance():
            if message.get("e") == "trade":
                day = datetime.fromtimestamp(message["T"] / 1000, UTC).date()
                found.setdefault(market, Counter())[day] += 1
        return found

    @cached_property
    def book_updates(self) -> Counter[str]:
        """Market to its recorded book updates."""
        return Counter(market for market, message in self._binance() if message.get("e") == "depthUpdate")

    def book_at(self, market: str, time_ms: int | None = None, depth: int = 10) -> tuple[list[Level], list[Level]]:
        """Bids and asks, best first, after the last update whose event time is at most `time_ms` (None: the last)."""
        sides: dict[str, dict[Decimal, Decimal]] = {"b": {}, "a": {}}
        after = None  # the snapshot's number; updates before it wait for it, and those that it contains are passed over
        waiting: list[dict[str, object]] = []
        for name, message in self._binance():
            if name != market or message.get("e") == "trade":
                continue
            if "lastUpdateId" in message and after is None:
                after = message["lastUpdateId"]
                _apply(sides, {"b": message["bids"], "a": message["asks"]})
            elif message.get("e") == "depthUpdate" and (time_ms is None or message["E"] <= time_ms):
                waiting.append(message)
            for update in waiting if after is not None else []:
                if update["u"] > after:  # type: ignore[operator]
                    _apply(sides, update)
            waiting = [] if after is not None else waiting
        return sorted(sides["b"].items(), reverse=True)[:depth], sorted(sides["a"].items())[:depth]

    @cached_property
    def edgar_entries(self) -> set[tuple[str, str]]:
        """(id, title) of every entry of the first pages, over the polls of 2025-12-12."""
        found: set[tuple[str, str]] = set()
        for path in sorted((self.folder / "sec_edgar").glob("getcurrent_20251212T*_start0000.atom.gz")):
            found |= self.entries_of(gzip.decompress(path.read_bytes()))
        return found

    @staticmethod
    def entries_of(page: bytes) -> set[tuple[str, str]]:
        """(id, title) of every entry of a page of EDGAR's feed."""
        entries = ElementTree.fromstring(page).iter(f"{_ATOM}entry")
        return {(one.findtext(f"{_ATOM}id", ""), one.findtext(f"{_ATOM}title", "")) for one in entries}

    @cached_property
    def fred_observations(self) -> list[dict[tuple[str, str], str]]:
        """Of each recording, in order: (series, date) to value as sent; the series as they are, no other vintage."""
        by_day: dict[str, dict[tuple[str, str], str]] = {}
        for path in sorted((self.folder / "fred_api").glob("series_observations_*_recorded*.json.gz")):
            match = re.fullmatch(r"series_observations_([A-Z0-9]+)_recorded(\d+)\.json\.gz", path.name)
            if match is not None:
                values = by_day.setdefault(match[2], {})
                for one in json.loads(gzip.decompress(path.read_bytes()))["observations"]:
                    values[match[1], one["date"]] = one["value"]
        return [by_day[day] for day in sorted(by_day)]

    def fred_counts(self, recording: int) -> dict[str, FredSeries]:
        """Series to its counts in one recording."""
        observations = self.fred_observations[recording]
        text = Counter(series for (series, _), value in observations.items() if value == ".")
        total = Counter(series for series, _ in observations)
        return {series: FredSeries(total[series] - text[series], text[series]) for series in total}

    def fred_sent(self, recordings: int) -> tuple[int, int]:
        """(numeric, text) events of a reader that sends what is new or revised, over the first `recordings`."""
        known: dict[tuple[str, str], str] = {}
        sent = Counter[bool]()
        for observations in self.fred_observations[:recordings]:
            sent.update(value == "." for key, value in observations.items() if known.get(key) != value)
            known |= observations
        return sent[False], sent[True]

    @cached_property
    def ecb_rows(self) -> list[list[str]]:
        """The history as the CSV has it, header first, then a row a day, without the empty field at the end of each."""
        with ZipFile(self.folder / "ecb" / "eurofxref-hist.zip") as packed:
            text = packed.read("eurofxref-hist.csv").decode()
        return [row[:-1] for row in csv.reader(text.splitlines()) if row]

    @property
    def ecb_rates(self) -> int:
        """Cells of the history that hold a rate, not `N/A`."""
        header, *days = self.ecb_rows
        currencies = [at for at, name in enumerate(header) if name not in {"Date", "source_system"}]
        return sum(day[at] not in {"", "N/A"} for day in days for at in currencies)

    def _binance(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for path in sorted((self.folder / "binance_ws_hftbacktest").glob("spot_*.gz")):
            market = path.name.split("_")[1].upper().replace("USDT", "/USDT")
            with gzip.open(path, "rt") as text:
                for line in text:
                    if "bookTicker" not in line:
                        message = json.loads(line.partition(" ")[2])
                        yield market, message.get("data", message)


def _apply(sides: dict[str, dict[Decimal, Decimal]], update: dict[str, Any]) -> None:
    for side in ("b", "a"):
        for price, size in update[side]:
            if Decimal(size):
                sides[side][Decimal(price)] = Decimal(size)
            else:
                sides[side].pop(Decimal(price), None)


def open_session(recordings: Path | None, generated: Path, seed: int = SEED) -> Session:
    """The recordings in that folder, or, where it is None, a session generated into `generated`.

    ConfigurationError where the folder lacks a recording.
    """
    folder = recordings if recordings is not None else simulate(generated, seed)
    missing = [name for name in _NEEDED if not (folder / name).is_dir()]
    if missing:
        raise ConfigurationError(
            f"TIDEMARK_RECORDINGS: expected the folders {', '.join(_NEEDED)} in {folder}, "
            f"found no {', '.join(missing)}; leave it unset to replay a generated session"
        )
    return Session(folder, simulated=(folder / MARKER).exists())
