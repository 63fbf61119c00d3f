"""`python -m bench stream | marts | warehouse | api | demo`: run benchmarks, print a table and, last, one JSON line."""

import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from bench.report import Measure, print_report
from bench.stack import forget_settings
from tidemark.proxies import pass_loopback_by_proxies

STREAM = ("sink", "scale", "latency", "read", "connector")


@click.group()
def main() -> None:
    """Benchmarks against a peer or a limit. Each starts servers of its own on loopback, and ends them."""
    logging.getLogger("kafka").setLevel(logging.ERROR)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    forget_settings()
    pass_loopback_by_proxies()


@main.command()
@click.option("--only", type=click.Choice(STREAM), multiple=True, help="Only this one; may be given more than once.")
@click.option("--rounds", default=3, show_default=True, help="How often ours and the peer alternate.")
@click.option("--records", default=1_000_000, show_default=True, help="Ticks in the topic, of sink and scale.")
@click.option("--whole", is_flag=True, help="The venue's message whole in the records of sink and scale, not 80 bytes.")
@click.option("--seconds", default=60, show_default=True, help="How long latency sends.")
@click.option("--ticks", default=10_000_000, show_default=True, help="Rows that read asks.")
@click.option("--queries", default=200, show_default=True, help="Queries of each kind and round.")
def stream(
    *, only: Sequence[str], rounds: int, records: int, whole: bool, seconds: int, ticks: int, queries: int
) -> None:
    """The streaming lane: sink, scale, latency, read and connector, one after the other.

    \b
    Examples:
      python -m bench stream
      python -m bench stream --only sink --records 100000 --rounds 1
    """
    run: dict[str, Callable[[], list[Measure]]] = {
        "sink": lambda: _module("sink").measure(records, rounds, whole),
        "scale": lambda: _module("scale").measure(records, rounds, whole),
        "latency": lambda: _module("latency").measure(seconds),
        "read": lambda: _module("read").measure(ticks, queries, rounds),
        "connector": lambda: _module("connector").measure(rounds),
    }
    found: list[Measure] = []
    for name in only or STREAM:
        click.echo(f"{name}: {_module(name).__doc__.splitlines()[0]}", err=True)
        found += run[name]()
    print_report("Streaming lane", found)


@main.command()
@click.option("--rounds", default=1, show_default=True, help="How often the demo runs.")
def demo(rounds: int) -> None:
    """The demo: its seconds, and what the stack that it leaves up has resident."""
    print_report("Demo", _module("demo").measure(rounds))


@main.command()
@click.option("--held", default=20_000_000, show_default=True, help="Ticks that the mart holds.")
@click.option("--fresh", default=1_000_000, show_default=True, help="Ticks that come onto none, and onto those.")
@click.option("--few", default=28_000, show_default=True, help="Ticks that a small mart holds.")
@click.option("--many", default=2_000_000, show_default=True, help="Ticks that come onto those few.")
@click.option("--plans", type=click.Path(path_type=Path), help="A file for the plans of the statements, as they ran.")
def marts(*, held: int, fresh: int, few: int, many: int, plans: Path | None) -> None:
    """The market marts: new ticks onto none, onto many and onto few; 20 GB of disk at its full size."""
    print_report("Marts", _module("marts").measure(held, fresh, few, many, plans))


@main.command()
@click.option("--fresh", default=1_000_000, show_default=True, help="Ticks that come onto none, and onto those held.")
@click.option("--held", default=20_000_000, show_default=True, help="Ticks that the mart holds.")
@click.option("--vintages", default=500_000, show_default=True, help="Vintages that the as-of queries look through.")
@click.option("--rounds", default=3, show_default=True, help="How often ours and the limit alternate, onto none.")
def warehouse(*, fresh: int, held: int, vintages: int, rounds: int) -> None:
    """The warehouse: full build, nothing new, new ticks against a bare load, as-of; 45 GB of disk at its full size."""
    recordings = os.environ.get("TIDEMARK_RECORDINGS")
    found = _module("warehouse").measure(fresh, held, vintages, rounds, Path(recordings) if recordings else None)
    print_report("Warehouse", found)


@main.command()
@click.option("--ticks", default=1_000_000, show_default=True, help="Ticks that are read as Arrow, half on each side.")
@click.option("--rate", default=1_000, show_default=True, help="Requests a second that are offered for last prices.")
@click.option("--seconds", default=20, show_default=True, help="How long they are offered, each round.")
@click.option("--queries", default=200, show_default=True, help="Queries for bars, each round.")
@click.option("--rounds", default=3, show_default=True, help="Rounds of each.")
def api(*, ticks: int, rate: int, seconds: int, queries: int, rounds: int) -> None:
    """The read API: last prices, bars and ticks across the tidemark, and what its process has resident."""
    print_report("Read API", _module("api").measure(ticks, rate, seconds, queries, rounds))


def _module(name: str) -> Any:
    from importlib import import_module

    return import_module(f"bench.{name}_bench")


if __name__ == "__main__":
    main()
