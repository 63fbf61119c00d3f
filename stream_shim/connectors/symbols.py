"""The one name of each symbol that a ccxt entry asks for: ccxt's own, under which its caches and its data are kept."""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from stream_shim.buffer.health import Health


def resolve(exchange: Any, health: Health, names: Iterable[str]) -> list[str]:
    """The symbols that these names mean, each once; a name that means none, or several, degrades its source alone.

    A name is ccxt's symbol (BTC/USDT) or the venue's id (BTCUSDT), which linear, inverse and spot markets may share.
    """
    symbols: dict[str, None] = {}
    for name in names:
        found = [name] if name in exchange.markets else [market["symbol"] for market in _of_id(exchange, name)]
        if len(found) == 1:
            health.mend(name)
            symbols[found[0]] = None
        elif found:
            health.degrade(
                name, f"expected the name of one market, received the id of {len(found)}: write {' or '.join(found)}"
            )
        else:
            near = ", ".join(get_close_matches(name.upper(), exchange.symbols)) or "`fetchMarkets` may leave it out"
            health.degrade(name, f"expected a symbol of {exchange.id} ({near}), received {name!r}")
    return list(symbols)


def _of_id(exchange: Any, name: str) -> list[dict[str, Any]]:
    return list(exchange.markets_by_id.get(name, ()))


class Blame:
    """Whom of several streams a venue's error is about: a venue tells all of a connection what one has caused."""

    def __init__(self, exchange: Any, symbols: Iterable[str]) -> None:
        self._patterns = {
            symbol: re.compile(
                rf"(?<![\w/-])({re.escape(str(exchange.market(symbol)['id']))}|{re.escape(symbol)})(?![/:-]?\w)",
                re.IGNORECASE,
            )
            for symbol in symbols
        }

    def names_another(self, text: str, symbol: str) -> bool:
        """Whether the text names symbols of these streams, and this one is not among them."""
        named = {one for one, pattern in self._patterns.items() if pattern.search(text)}
        return bool(named) and symbol not in named
