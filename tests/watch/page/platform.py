"""A platform as the watcher would have seen it: status.json and 90 days of history, without any server."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from tidemark.settings import Settings
from tidemark.stack import watcher
from watch.history import History, connect
from watch.observation import Observation, State
from watch.status_file import VALID_SECONDS, Seen, content

VENUES = ("binance", "bitstamp", "bybit", "coinbase", "gemini", "kraken", "kucoin", "okx")
TOPICS = ("economic_event_numeric", "economic_event_text", "market_tick", "order_book_l2")
FLOWS = ("ingest ecb", "ingest fred", "promote", "check", "ingest edgar", "ingest alfred")
MARTS = tuple(f"fct_bars_{each}" for each in ("1m", "5m", "1h", "1d")) + tuple(f"rpt_{n}" for n in range(10))


def see(
    name: str, kind: str, identity: str, state: State = "ok", *, said: str = "it is as it should be", **more: Any
) -> Observation:
    """One observation."""
    return Observation(name, kind, identity, state, said, **more)


def everything() -> list[Observation]:
    """60 observations, all well."""
    found = [
        see("balance is not 0", "account", "realtime", said="all 45,864 offsets that were consumed are accounted for"),
        see("disk ends", "disk", "/srv/tidemark", said="24.2 GB are free", numbers={"free_bytes": 24e9}),
        *(see("server does not run", "server", each) for each in ("postgres", "kafka", "prefect")),
        *(see("database does not answer", "database", each) for each in ("realtime", "warehouse")),
        *(see("connections are taken", "database", each, numbers={"taken": 9}) for each in ("realtime", "warehouse")),
        *(see("silent source", "source", f"{each}: BTC/USDT", said="it gives and takes") for each in VENUES),
        *(see("reports no more", "connector", each) for each in VENUES),
        *(see("log cannot be read on", "topic", each) for each in TOPICS),
        *(see("lag", "destination", f"realtime {each}", numbers={"records": 0}) for each in TOPICS),
        see("stopped processor", "processor", "realtime"), see("reports no more", "processor", "realtime"),
        *(see("flow run failed", "flow", each, said="its last run ended well") for each in FLOWS),
        see("check failed", "contracts", "quality", said="120 checks"), see("dbt failed", "models", "warehouse"),
        *(see("mart is late", "mart", each, said="it was built today") for each in MARTS),
    ]  # fmt: skip
    return [*found, *(see("guard: put back", "guard", f"n{n}") for n in range(60 - len(found)))]


def change(found: Sequence[Observation], name: str, identity: str, **changes: Any) -> list[Observation]:
    """The same, but for one of them."""
    changed = [replace(one, **changes) if (one.name, one.identity) == (name, identity) else one for one in found]
    assert changed != list(found)
    return changed


def write(settings: Settings, found: Iterable[Observation], now: datetime | None = None) -> datetime:
    """What the watcher writes when it has seen that; the moment of it."""
    now = now or datetime.now(UTC)
    seen = [replace(Seen.of(one, now), state_since=now - timedelta(hours=3)) for one in found]
    marts: list[dict[str, Any]] = [
        {"mart": one.identity, "state": one.state, "age_seconds": 3 * 3600.0, "promised_seconds": 26 * 3600.0}
        for one in seen
        if one.kind == "mart"
    ]
    path = watcher.status_path(settings.home)
    path.parent.mkdir(parents=True, exist_ok=True)
    row = content(settings, seen, now, pid=1, configuration="", kind="live", marts=marts)
    path.write_text(json.dumps(row))
    return now


def live_for_90_days(settings: Settings, now: datetime) -> None:
    """Looked at by day alone, as a machine that sleeps, so that each day has two states at least; with faults."""
    history, today = History(connect(settings), VALID_SECONDS), now.timestamp()
    well = everything()
    for day in range(89, 0, -1):
        begin = (today // 86_400 - day) * 86_400 + 8 * 3600
        history.note(well, begin)
        venue = VENUES[day % len(VENUES)]
        ill = change(well, "silent source", f"{venue}: BTC/USDT", state="failing", sentence="nothing came for 72 s")
        ill = change(ill, "lag", "realtime market_tick", state="warning", sentence="12,000 records wait")
        for hour in range(0, 8, 2):
            until(history, begin + hour * 3600)
            history.note(ill if hour % 4 else well, begin + hour * 3600)
        until(history, begin + 9 * 3600)
    history.note(well, today - 20 * 3600)
    for minute in range(20 * 60, 0, -1):
        at = today - minute * 60
        until(history, at)
        waits = float(max(0, 40 - abs(minute - 600)) * 300)
        history.note_numbers({f"lag: realtime {each} records": waits for each in TOPICS}, at)
        history.note_numbers({"connections are taken: realtime taken": float(9 + minute % 7)}, at)
    until(history, today)
    history.note(well, today)
    history.close()


def until(history: History, at: float) -> None:
    """That somebody looked until then, all the while."""
    with history.writing() as connection:
        connection.execute("update watched set until_at = ?", (at,))
