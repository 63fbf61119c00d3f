"""What a demo did, as rows of one table; what in it is wrong; and where to look next."""

import shlex
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click

from demo.watch import Seen
from flows.account import Balance
from loopback.session import Session
from tidemark.categories import CATEGORIES
from tidemark.connections import prefect_url
from tidemark.output import print_table
from tidemark.settings import Settings
from tidemark.stack import serve


@dataclass(frozen=True)
class Stage:
    """One stage's work on one source or topic; None where a stage has no rows."""

    stage: str
    source: str
    rows_in: int | None = None
    rows_out: int | None = None
    quarantined: int | None = None
    seconds: float = 0.0


@dataclass
class Report:
    """All of a demo. `problems` are sentences; a demo with one has failed."""

    session: str
    stages: list[Stage] = field(default_factory=list)
    account: list[Balance] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    look: list[tuple[str, str]] = field(default_factory=list)  # what it shows, and the line to paste
    seconds: float = 0.0

    @property
    def balance(self) -> int:
        """How many records nobody can account for, over all partitions, missing and surplus alike."""
        return sum(abs(balance.balance) for balance in self.account)

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "session": self.session,
            "stages": [asdict(stage) for stage in self.stages],
            "account": [asdict(balance) for balance in self.account],
            "balance": self.balance,
            "problems": self.problems,
            "look": [{"shows": shows, "line": line} for shows, line in self.look],
            "seconds": round(self.seconds, 1),
        }


def streaming_stages(
    session: Session, seen: Seen, seconds: dict[str, float], quarantined: dict[str, int]
) -> list[Stage]:
    """Connectors, buffer and processor. A connector's rows in are counted from the raw files, by none of its code."""
    trades = sum(count for days in session.trades.values() for count in days.values())
    levels = seen.sent["binance"].get("order_book_l2", 0)
    counts = (
        ("binance", "trades", trades, seen.sent["binance"].get("market_tick", 0)),
        ("binance", "book updates → levels", session.book_updates["BTC/USDT"], levels),
        ("sec_edgar", "filings", len(session.edgar_entries), sum(seen.sent["sec_edgar"].values())),
        ("fred", "observations", sum(session.fred_sent(2)), sum(seen.sent["fred"].values())),
    )
    taken = seconds.get
    connectors = [
        Stage("connector", f"{name}, {what}", rows_in, rows_out, seen.rejected[name], taken(name, 0))
        for name, what, rows_in, rows_out in counts
    ]
    buffer = [
        Stage("buffer", topic, seen.sent_by_topic[topic], seen.held.get(topic, 0), None, taken(f"held {topic}", 0))
        for topic in CATEGORIES
    ]
    processor = [
        Stage(
            "processor", topic, seen.consumed.get(topic, 0), seen.consumed.get(topic, 0) - quarantined[topic],
            quarantined[topic], taken(f"consumed {topic}", 0),
        )
        for topic in CATEGORIES
    ]  # fmt: skip
    return [*connectors, *buffer, *processor]


def problems(report: Report, seen: Seen) -> Iterator[str]:
    """A sentence for each count that is not what it must be. Zero of nothing is no success."""
    for balance in report.account:
        if balance.balance:
            yield f"expected a balance of 0, received {balance}"
    for topic in CATEGORIES:
        sent, held, consumed = seen.sent_by_topic[topic], seen.held.get(topic, 0), seen.consumed.get(topic, 0)
        if not sent == held == consumed:
            yield f"{topic}: expected as many sent as held as consumed, received {sent:,}, {held:,}, {consumed:,}"
    for stage in report.stages:
        where = f"{stage.stage}, {stage.source}"
        if stage.rows_out == 0:
            yield f"{where}: expected rows, received none"
        elif stage.stage in {"connector", "promote"} and "→" not in stage.source and stage.rows_in != stage.rows_out:
            yield f"{where}: expected {stage.rows_in:,} rows out, received {stage.rows_out:,}"
    if sum(balance.promoted for balance in report.account) == 0:
        yield "expected a day to be promoted, received none"


def _variables(settings: Settings) -> list[str]:
    """What another shell must be told to find this stack: state folder and ports, where they are not the usual."""
    usual = Settings.model_construct()
    ports = [name for name in Settings.model_fields if name.endswith("_port")]
    return [
        f"TIDEMARK_{name.upper()}={shlex.quote(str(getattr(settings, name)))}"
        for name in ["home", *ports]
        if getattr(settings, name) != getattr(usual, name)
    ]


def _command(settings: Settings) -> str:
    """`tidemark` of this installation, for this stack."""
    return " ".join([*_variables(settings), shlex.quote(str(Path(sys.executable).parent / "tidemark"))])


def pages(settings: Settings) -> list[tuple[str, str]]:
    """The pages, as look_next gives them."""
    api = serve.address(settings)
    return [
        ("whether all is well, in a browser, open to anyone", f"# {api}/"),
        ("a key of the read API", f"{_command(settings)} access key bi_reader --expires 7d"),
        ("candles, books, events and series, in a browser (it asks for that key)", f"# {api}/live"),
        ("what the read API has, in a browser", f"# {api}/docs"),
    ]


def look_next(settings: Settings) -> list[tuple[str, str]]:
    """(what it shows, a line that can be pasted into a shell; an address for a browser is a comment there)."""
    tidemark = _command(settings)
    return [
        *pages(settings),
        ("the environment for what follows", f'eval "$({tidemark} env)"'),
        ("last prices, live", 'psql -d realtime -c "select * from live.last_price"'),
        ("minutes of 2024-08-09, live", 'psql -d realtime -c "select * from live.bars_1m limit 10"'),
        ("minutes of 2024-08-08, promoted", 'psql -c "select * from marts.fct_bars_1m limit 10"'),
        ("where every record is", f"{tidemark} account"),
        (
            "flows, in a browser (it asks for $PREFECT_API_AUTH_STRING)",
            f"# {prefect_url(settings).removesuffix('/api')}",
        ),
        ("what comes from where, contracts and models, in a browser", f"# {settings.home.resolve()}/docs/index.html"),
        ("the end of it", f"{tidemark} down"),
    ]


def print_report(report: Report) -> None:
    """The table and the lines, to standard output."""
    stages = [*report.stages, Stage("all", f"balance {report.balance}", seconds=report.seconds)]
    rows = [asdict(stage) | {"seconds": round(stage.seconds, 1)} for stage in stages]
    print_table(f"Tidemark demo: {report.session}", rows, grouped=True)
    click.echo("\nLook at:")
    for shows, line in report.look:
        click.echo(f"  # {shows}\n  {line}")
