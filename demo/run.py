"""The demo's course: a fresh replay state, both lanes side by side, promote and trim, checks, docs, one table."""

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from demo import processes, report, state
from demo.errors import DemoFailed
from demo.report import Report, Stage
from demo.watch import Seen, Watch
from loopback.session import AS_OF, Session, open_session
from tidemark.categories import CATEGORIES
from tidemark.settings import Settings

Show = Callable[[str, int, int], None]  # told a step's name, how far it is, and how far it goes (0: unknown)


# What the pages and the API read of trades in the warehouse, and of its runs.
SEEN_ON_PAGES = ("+fct_bars_1m", "+fct_promotions", "+dim_instruments", "+dim_venues", "+rpt_coverage", "+fct_dbt_runs")


class Clock:
    """Seconds of each step; `report` gets a stage for those that have no rows of their own."""

    def __init__(self, result: Report, show: Show) -> None:
        self.result, self.show = result, show

    @contextmanager
    def step(self, stage: str, source: str, note: bool = True) -> Iterator[list[float]]:
        """Time a step; the list receives its seconds."""
        self.show(source, 0, 0)
        seconds, started = [0.0], time.monotonic()
        yield seconds
        seconds[0] = time.monotonic() - started
        self.show(source, 1, 1)
        if note:
            self.result.stages.append(Stage(stage, source, seconds=seconds[0]))


def run(settings: Settings, show: Show, say: Callable[[str], None]) -> Report:
    """Run it all; the report says in `problems` what came out wrong. The stack stays up, the lane is ended.

    `say` gets sentences for who looks on.
    """
    from tidemark.stack import checks

    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "ERROR")  # the bars and the table say what goes on
    logging.getLogger("kafka").setLevel(logging.ERROR)  # it warns where a loaded machine lets it wait
    started = time.monotonic()
    state.renew(settings)
    session = open_session(settings.recordings, settings.home / "session")
    name = "a generated session, all of it simulated" if session.simulated else f"the recordings in {session.folder}"
    result = Report(name)
    clock = Clock(result, show)
    checks.make_home(settings.home)
    with processes.sources(settings, session.folder.resolve()) as urls:
        replaying = processes.with_sources(settings, urls, session.simulated)
        with clock.step("stack", "servers"):
            _up(replaying)  # the watcher looks at the replay's sources
        with clock.step("live", "views and marts", note=False):
            _build_empty(settings)
        for shows, line in report.pages(settings):
            say(f"{shows}: {line.removeprefix('# ')}")
        say(
            f"candles move there, as the last {processes.PACED_SECONDS} s of trades come at the pace of their recording"
        )
        seen = _both_lanes(replaying, urls, session, clock)
    _promote(settings, clock)
    _verify_and_describe(settings, clock)
    _conclude(settings, result, seen)
    result.seconds = time.monotonic() - started
    return result


def _up(settings: Settings) -> None:
    from tidemark.stack import local

    local.up(settings)


def _both_lanes(settings: Settings, urls: dict[str, str], session: Session, clock: Clock) -> Seen:
    """The streaming lane replays while the batch lane loads; FRED is asked again once it has revised a number."""
    from flows import deployments

    started = time.monotonic()
    show = _showing(session, clock.show)
    with processes.stream(settings) as stream, Watch(settings, urls, session, stream, show) as watch:
        deployments.deploy(settings)
        batch = [_ingest(settings, "ecb", clock, build=False), _ingest(settings, "fred", clock, build=False)]
        with clock.step("live", "views of realtime", note=False) as seconds:
            _test_live(settings)
        watch.next_recording()
        batch.append(_ingest(settings, "fred", clock, ", revised, and marts"))  # builds what reads the ECB's too
        seen = watch.until_through()
    taken = {name: at - started for name, at in watch.changed_at.items()}
    clock.result.stages += report.streaming_stages(session, seen, taken, _quarantined(settings))
    clock.result.stages += [*batch, Stage("live", "views of realtime", seconds=seconds[0])]
    return seen


def _showing(session: Session, show: Show) -> Callable[[Seen], None]:
    def look(seen: Seen) -> None:
        served = seen.served["binance"]
        sent, recorded = served["sent"], served["recorded"]
        trades = [name for name in recorded if name.endswith("@trade")]
        books = [name for name in recorded if "@depth" in name]
        show("trades", sum(sent[name] for name in trades), sum(recorded[name] for name in trades))
        show("book updates", sum(sent[name] for name in books), sum(recorded[name] for name in books))
        show("records in realtime", sum(seen.consumed.values()), sum(seen.sent_by_topic.values()))

    return look


def _ingest(settings: Settings, source: str, clock: Clock, what: str = "", build: bool = True) -> Stage:
    from flows.running import run_flow

    with clock.step("ingest", f"{source}{what}", note=False) as seconds:
        loaded: Any = run_flow(settings, "ingest", source=source, build=build)
    rows_in = sum(resource.rows_in for resource in loaded.resources)
    rows_out = sum(resource.rows_loaded for resource in loaded.resources)
    return Stage("ingest", f"{source}{what}", rows_in, rows_out, None, seconds[0])


def _build_empty(settings: Settings) -> None:
    """Before the first row comes, so that it is seen to come, on pages too."""
    from tidemark import dbt

    dbt.ensure_live(settings)
    dbt.run(settings, ["run", "--select", *SEEN_ON_PAGES])


def _test_live(settings: Settings) -> None:
    from tidemark import dbt

    dbt.run(settings, ["test"], target="realtime")


def _quarantined(settings: Settings) -> dict[str, int]:
    from flows.account import account

    found = dict.fromkeys(CATEGORIES, 0)
    for balance in account(settings):
        found[balance.topic] += balance.quarantined + balance.dropped
    return found


def _promote(settings: Settings, clock: Clock) -> None:
    from datetime import UTC, datetime
    from datetime import time as midnight

    from flows.errors import NotPromoted
    from flows.running import run_flow

    as_of = datetime.combine(AS_OF, midnight(), UTC)
    with clock.step("promote", "promote and trim", note=False) as seconds:
        try:
            rows = run_flow(settings, "promote", as_of=as_of)
        except NotPromoted as error:
            rows = error.rows
            clock.result.problems.append(str(error))
    moved = [row for row in rows if row["rows_in"] or row["rows_out"]]
    clock.result.stages += [
        Stage("promote", f"{row['topic']} {row['day']}", row["rows_in"], row["rows_out"], None, row["seconds"])
        for row in moved
    ]
    own = sum(row["seconds"] for row in rows)
    clock.result.stages.append(Stage("promote", "dbt build of the marts", seconds=max(0.0, seconds[0] - own)))


def _verify_and_describe(settings: Settings, clock: Clock) -> None:
    from catalog.site.build import build
    from flows.errors import CheckFailed
    from flows.running import run_flow

    with clock.step("quality", "contracts"):
        try:
            run_flow(settings, "check")
        except CheckFailed as error:
            clock.result.problems.append(str(error))
    with clock.step("catalog", "site"):
        build(settings)


def _conclude(settings: Settings, result: Report, seen: Seen) -> None:
    from flows.account import account

    result.account = account(settings)
    result.problems += report.problems(result, seen)
    result.look = report.look_next(settings)


def failed(result: Report) -> DemoFailed | None:
    """What a demo with problems ends in."""
    return DemoFailed("; ".join(result.problems)) if result.problems else None
