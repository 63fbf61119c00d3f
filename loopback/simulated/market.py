"""Generated Binance spot sessions across midnight UTC: trades, a snapshot and its updates, the markets' description."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random

from loopback.simulated.files import write_text

STARTS_AT = datetime(2024, 8, 8, 23, 55, tzinfo=UTC)
SECONDS = 600
MIDNIGHT_MS = int(datetime(2024, 8, 9, tzinfo=UTC).timestamp() * 1000)
RECEIPT_MS = 40  # a message arrives so much after its event time
UPDATE_MS = 1_000
LEVELS = 40  # a side


@dataclass(frozen=True)
class Market:
    """One symbol: its first price, and how many trades it has in the session."""

    base: str
    quote: str
    price_cents: int
    trades: int

    @property
    def symbol(self) -> str:
        return self.base + self.quote


MARKETS = (Market("BTC", "USDT", 6_183_764, 4_000), Market("ETH", "USDT", 268_251, 2_000))


@dataclass
class Book:
    """Price in cents to size, by side; `number` is the venue's number of the last change."""

    number: int
    sides: dict[str, dict[int, str]] = field(default_factory=lambda: {"b": {}, "a": {}})

    def move_to(self, mid_cents: int, random: Random) -> dict[str, object]:
        """Move the whole book around a new middle; the update (U, u, b, a) that says how."""
        first = self.number + 1
        changes: dict[str, list[list[str]]] = {"b": [], "a": []}
        for side, step in (("b", -1), ("a", 1)):
            wanted = {mid_cents + step * (1 + 3 * level) for level in range(LEVELS)}
            now = self.sides[side]
            for price in sorted(set(now) - wanted):
                del now[price]
                changes[side].append([decimal(price), "0.00000000"])
            for price in sorted(wanted):
                if price not in now or random.random() < 0.1:
                    now[price] = f"{random.uniform(0.001, 4):.5f}000"
                    changes[side].append([decimal(price), now[price]])
        self.number += max(1, len(changes["b"]) + len(changes["a"]))
        return {"U": first, "u": self.number, **changes}

    def snapshot(self) -> dict[str, object]:
        """GET /api/v3/depth's body: best first."""
        bids = [[decimal(price), size] for price, size in sorted(self.sides["b"].items(), reverse=True)]
        asks = [[decimal(price), size] for price, size in sorted(self.sides["a"].items())]
        return {"lastUpdateId": self.number, "bids": bids, "asks": asks}


def decimal(cents: int) -> str:
    """The venue's text of a price."""
    return f"{cents // 100}.{cents % 100:02d}000000"


def _messages(market: Market, random: Random) -> Iterator[tuple[int, dict[str, object]]]:
    """(receive time in ms, message): each update of the book, then the trades until the next one."""
    start_ms = int(STARTS_AT.timestamp() * 1000)
    stream, symbol = market.symbol.lower(), market.symbol
    book, mid, trade_id = Book(number=50_093_239_188), market.price_cents, 3_735_683_258
    trade_times = sorted(random.randrange(start_ms, start_ms + SECONDS * 1000) for _ in range(market.trades))
    for step in range(SECONDS * 1000 // UPDATE_MS):
        at = start_ms + step * UPDATE_MS
        mid += random.randint(-40, 40)
        update = {"e": "depthUpdate", "E": at, "s": symbol, **book.move_to(mid, random)}
        yield at + RECEIPT_MS, {"stream": f"{stream}@depth@100ms", "data": update}
        if step == 1:  # as a client does: the first updates, then the snapshot that they lead to
            yield at + RECEIPT_MS + 1, book.snapshot()
        while trade_times and trade_times[0] < at + UPDATE_MS:
            trade_id += 1
            traded = trade_times.pop(0)
            yield (
                traded + RECEIPT_MS,
                {"stream": f"{stream}@trade", "data": _trade(market, trade_id, traded, mid, random)},
            )


def _trade(market: Market, number: int, time_ms: int, mid_cents: int, random: Random) -> dict[str, object]:
    """One trade at the best price: `m` says that the buyer was there first, so that somebody sold."""
    sold = random.random() < 0.5
    price = decimal(mid_cents - 1 if sold else mid_cents + 1)
    size = f"{random.lognormvariate(-5, 1.5) + 0.00001:.5f}000"
    return {
        "e": "trade", "E": time_ms + 1, "s": market.symbol, "t": number, "p": price, "q": size,
        "T": time_ms, "m": sold, "M": True,
    }  # fmt: skip


def _listed(market: Market) -> dict[str, object]:
    return {
        "symbol": market.symbol,
        "status": "TRADING",
        "baseAsset": market.base,
        "baseAssetPrecision": 8,
        "quoteAsset": market.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": ["LIMIT", "MARKET"],
        "icebergAllowed": True,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "1000000.00", "tickSize": "0.01"},
            {"filterType": "LOT_SIZE", "minQty": "0.00001000", "maxQty": "9000.00000000", "stepSize": "0.00001000"},
            {"filterType": "MIN_NOTIONAL", "minNotional": "10.00000000", "applyToMarket": True, "avgPriceMins": 5},
        ],
        "permissions": ["SPOT"],
    }  # fmt: skip


def write_binance(recordings: Path, seed: int) -> None:
    """A day's file on each side of midnight for each market, and the exchange's description of the markets."""
    for market in MARKETS:
        days: dict[str, list[str]] = {"20240808": [], "20240809": []}
        messages = sorted(_messages(market, Random(f"{seed} {market.symbol}")), key=lambda one: one[0])
        for received_ms, message in messages:
            day = "20240808" if received_ms < MIDNIGHT_MS else "20240809"
            days[day].append(f"{received_ms * 1_000_000} {json.dumps(message, separators=(',', ':'))}\n")
        for day, lines in days.items():
            name = f"spot_{market.symbol.lower()}_{day}.gz"
            write_text(recordings / "binance_ws_hftbacktest" / name, "".join(lines))
    limits = [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 1200}]
    body = {"timezone": "UTC", "serverTime": MIDNIGHT_MS, "rateLimits": limits, "exchangeFilters": []}
    info = json.dumps(body | {"symbols": [_listed(market) for market in MARKETS]}, separators=(",", ":"))
    first = f"https://api.binance.com/api/v3/exchangeInfo -> {MIDNIGHT_MS / 1000}: {info}\n"
    write_text(recordings / "crypto_ws_cryptofeed" / "BINANCE.0.gz", first)
