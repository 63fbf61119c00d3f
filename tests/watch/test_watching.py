"""What the watcher says and keeps: unknown, never well, where nobody looked, in the file and in history."""

import json
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from stream_shim.claims import claim_lane
from stream_shim.reports import report_path, write_process_report
from tests.stream_shim.conftest import until
from tests.stream_shim.test_causes import CONNECTOR, PROCESSOR
from tidemark.settings import Settings
from tidemark.stack import watcher
from tidemark.state_file import StateFile
from watch import lane
from watch.alert import kept
from watch.channels import Payload
from watch.forecasts import Expected, Forecasts, Rates, expected
from watch.history import BROKEN_FILES, DAY_SECONDS, History, Thing, connect, numbers, path, reading, spans
from watch.observation import Look, Observation, State
from watch.page import timeline
from watch.rounds import Rounds
from watch.status_file import VALID_SECONDS, Seen, content, read_status
from watch.watcher import KEEP_AGAIN_SECONDS, Watcher

NOON = 1_700_000_000 // DAY_SECONDS * DAY_SECONDS + DAY_SECONDS / 2
ONE = Thing("lag", "destination", "realtime market_tick")


def seen(state: State, thing: Thing = ONE, sentence: str = "why", **more: Any) -> Observation:
    return Observation(*thing, state, sentence, **more)


# --- the file


def written(settings: Settings, now: datetime, state: State = "ok") -> None:
    found = [Seen.of(seen(state), now)]
    text = content(settings, found, now, pid=1, configuration="x", kind="live", marts=[{"mart": "m", "state": "ok"}])
    path = watcher.status_path(settings.home)
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(text))


def test_a_file_says_how_things_are_until_it_is_too_old_and_then_all_is_unknown(tmp_path: Path) -> None:
    settings, now = Settings(home=tmp_path), datetime.now(UTC).replace(microsecond=0)
    assert "it has said nothing yet" in read_status(settings).unknown
    assert read_status(settings).summary["state"] == "unknown"
    written(settings, now)
    status = read_status(settings, now + timedelta(seconds=VALID_SECONDS))
    assert (status.unknown, status.summary["state"], status.observed_at) == ("", "ok", now)
    for moment in (now + timedelta(seconds=VALID_SECONDS + 1), now - timedelta(seconds=VALID_SECONDS + 1)):
        status = read_status(settings, moment)
        assert status.unknown.startswith("the watcher does not run: nothing was seen since ")
        assert [one.state for one in status.observations] == ["unknown"]
        assert status.observations[0].sentence == "not seen since then; last it was ok: why"
        assert [mart["state"] for mart in status.marts] == ["unknown"]
        assert status.summary["state"] == "unknown"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"schema": 1}', "null"])
def test_a_file_that_says_nothing_is_unknown(text: str, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    watcher.status_path(tmp_path).parent.mkdir()
    watcher.status_path(tmp_path).write_text(text)
    status = read_status(settings)
    assert str(watcher.status_path(tmp_path)) in status.unknown
    assert (status.summary["state"], list(status.observations)) == ("unknown", [])


# --- history


def test_a_state_lasts_until_it_changes_and_while_nobody_looked_it_is_unknown(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    history = History(connect(settings), 30)
    moments: list[tuple[float, State]] = [(0, "ok"), (20, "ok"), (40, "failing"), (60, "ok")]
    for after, state in moments:
        assert not history.note([seen(state)], NOON + after)
    history.close()
    again = History(connect(settings), 30)  # another watcher, an hour later
    assert again.note([seen("ok")], NOON + 3600)
    again.note([seen("ok")], NOON + 3620)
    again.note([], NOON + 3640)  # it is looked at no more
    with reading(settings) as connection:
        assert connection is not None
        found = spans(connection, NOON, NOON + 4000)
        assert [(one.state, one.begin - NOON, one.end - NOON) for one in found[ONE]] == [
            ("ok", 0, 40), ("failing", 40, 60), ("ok", 60, 90), ("unknown", 90, 3600), ("ok", 3600, 3640),
        ]  # fmt: skip
        [all_of_it] = spans(connection, timeline.first_day(NOON, 2), NOON + 4000).values()
        bars = timeline.days(timeline.worst([all_of_it]), NOON + 4000, 2)
        assert bars == [{}, {"ok": 110, "failing": 20, "unknown": 3510}]
        assert [state for (state,) in connection.execute("select state from change order by at")] == [
            "ok", "failing", "ok", "unknown", "ok", "gone",
        ]  # fmt: skip


def test_a_watcher_that_died_leaves_the_time_since_then_unknown_before_another_begins(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    History(connect(settings), 30).note([seen("ok")], NOON)
    with reading(settings) as connection:
        assert connection is not None
        found = spans(connection, NOON, NOON + 1000)[ONE]
    assert [(one.state, one.end - NOON) for one in found] == [("ok", 30), ("unknown", 1000)]


def test_a_clock_that_is_set_right_leaves_nothing_of_moments_to_come(tmp_path: Path) -> None:
    settings, history = Settings(home=tmp_path), History(connect(Settings(home=tmp_path)), 30)
    for after in (0, 20, 3620, 3640):  # an hour ahead meanwhile
        history.note([seen("ok")], NOON + after)
    for after in (50, 70):
        history.note([seen("failing")], NOON + after)
    with pytest.raises(sqlite3.OperationalError, match=r"a clock that says .* set the clock, or move the file"):
        history.note([seen("ok")], NOON - 2 * DAY_SECONDS)  # which is the one that is wrong
    with reading(settings) as connection:
        assert connection is not None
        states = [(one.state, one.begin - NOON) for one in spans(connection, NOON, NOON + 7200)[ONE]]
    assert states == [("ok", 0), ("failing", 50), ("unknown", 100)]


def test_history_is_kept_for_its_time_and_what_still_holds_stays(tmp_path: Path) -> None:
    settings, history = Settings(home=tmp_path), History(connect(Settings(home=tmp_path)), 1e9)
    other = Thing("lag", "destination", "other")
    for day in (0, 1, 2, 50):
        states: list[State] = ["ok", "failing"]
        history.note([seen(states[day % 2]), seen("ok", other)], NOON + day * DAY_SECONDS)
        history.note_numbers({"lag": float(day)}, NOON + day * DAY_SECONDS)
        history.note_numbers({"lag": 99.0}, NOON + day * DAY_SECONDS + 1)  # of the same minute
    history.note([seen("ok"), seen("ok", other)], NOON + 102.5 * DAY_SECONDS)
    with reading(settings) as connection:
        assert connection is not None
        kept = connection.execute("select identity, at from change order by at")
        assert [(identity, (at - NOON) / DAY_SECONDS) for identity, at in kept] == [
            ("other", 0), ("realtime market_tick", 2),
        ]  # fmt: skip
        assert numbers(connection, 0) == {}


# --- looks


def test_a_look_that_hangs_keeps_one_thread_and_what_it_saw_is_unknown_until_it_answers(tmp_path: Path) -> None:
    may_answer, asked = threading.Event(), list[float]()
    may_answer.set()

    def ask(settings: Settings) -> Iterator[Observation]:
        asked.append(time.monotonic())
        yield seen("ok")
        may_answer.wait(30)
        yield seen("ok", Thing("second", "k", "i"))

    rounds = Rounds(Settings(home=tmp_path), [Look("slow", "k", "all", ask, every_seconds=1)])
    assert [one.state for one in rounds.seen()] == ["unknown"]  # nobody has looked yet
    assert not rounds.is_whole
    until(lambda: rounds.turn(0.0), "the first answer")
    assert [one.state for one in rounds.seen()] == ["ok", "ok"]
    may_answer.clear()
    for now in range(2, 60):
        rounds.turn(float(now))
    until(lambda: len(asked) > 1, "the second look to have begun")
    assert len(asked) == 2
    assert len([one for one in threading.enumerate() if one.name == "look slow"]) == 1
    found = {one.name: one for one in rounds.seen()}
    assert {one.state for one in found.values()} == {"unknown"}
    assert found["lag"].sentence == "it could not be seen: expected an answer, received none within 10 s"
    may_answer.set()
    until(lambda: rounds.turn(60.0), "its answer")
    assert [one.state for one in rounds.seen()] == ["ok", "ok"]


def test_what_a_broken_part_no_longer_says_is_unknown_and_what_is_gone_is_forgotten(tmp_path: Path) -> None:
    answers: list[list[Observation]] = [
        [seen("ok", Thing("answers", "database", "realtime")), seen("failing", Thing("hangs", "database", "realtime")),
         seen("failing", Thing("silent", "source", "binance: BTC"))],
        [seen("failing", Thing("answers", "database", "realtime"))],
        [seen("ok", Thing("answers", "database", "realtime"))],
    ]  # fmt: skip
    rounds = Rounds(Settings(home=tmp_path), [Look("l", "k", "i", lambda of: answers.pop(0), every_seconds=0)])
    found = []
    for now in range(3):
        until(lambda: rounds.turn(float(now)), "an answer")  # noqa: B023
        found.append({one.name: one.state for one in rounds.seen()})
    assert found == [
        {"answers": "ok", "hangs": "failing", "silent": "failing"},
        {"answers": "failing", "hangs": "unknown"},
        {"answers": "ok"},
    ]


def turned(watching: Watcher, clock: Iterator[float]) -> Sequence[Seen]:
    """What it says after one more turn."""
    watching.turn(next(clock))
    return read_status(watching._settings).observations


def query_only(watching: Watcher) -> None:
    watching._history.connection.execute("pragma query_only = on")


def overwritten(watching: Watcher) -> None:
    """As by a disk that fails, while it is open."""
    for file in path(watching._settings).parent.iterdir():
        file.write_bytes(b"\xff" * file.stat().st_size)


def nothing(watching: Watcher) -> None:
    return


def no_database(file: Path) -> None:
    """And not the first one."""
    file.write_bytes(b"no database " * 1000)
    for number in range(BROKEN_FILES):
        file.with_name(f"{file.name}.broken-{number}Z").write_bytes(b"no database " * number)


def removed(mine: Watcher) -> None:
    path(mine._settings).unlink()


@pytest.mark.parametrize(
    ("before", "meanwhile", "is_kept"),
    [
        pytest.param(Path.touch, query_only, False, id="it takes no writes"),
        pytest.param(Path.touch, overwritten, False, id="it is overwritten"),
        pytest.param(Path.mkdir, nothing, False, id="it is a folder"),
        pytest.param(Path.touch, removed, False, id="it is removed"),
        pytest.param(no_database, nothing, True, id="it is no database"),
    ],
)
def test_a_history_that_is_broken_or_takes_nothing_stops_neither_the_file_nor_an_alert(
    before: Callable[[Path], object], meanwhile: Callable[[Watcher], None], is_kept: bool, tmp_path: Path
) -> None:
    settings, taken = Settings(home=tmp_path), list[str]()
    path(settings).parent.mkdir()
    before(path(settings))
    half, half_shown = "a symbol of others: \ud800", "a symbol of others: \\ud800"  # which no database takes
    looks = [
        Look("disk ends", "disk", "home", lambda of: [Observation("disk ends", "disk", "home", "failing", half)]),
    ]

    def refusing(of: Settings, payload: Payload) -> None:
        raise ValueError("a fault of the channel")

    mine = Watcher(settings, looks, {"other": refusing, "test": lambda of, payload: taken.append(payload["cause"])})
    meanwhile(mine)
    clock = count(time.monotonic(), 2.0)  # it does not come to try again
    until(lambda: turned(mine, clock) and "disk ends: home" in taken, "the alert")
    found = {one.title: one for one in read_status(settings).observations}
    assert [row["text"] for row in read_status(settings).alerts if row["condition"] == "disk ends"] == [half_shown]
    assert found["disk ends: home"].sentence == half_shown
    assert found["state not written: watcher"].state == ("ok" if is_kept else "failing")
    assert len(list(path(settings).parent.glob("history.sqlite.broken-*Z"))) == (BROKEN_FILES if is_kept else 0)
    assert ("state not written: watcher" in taken) != is_kept


def test_a_history_that_could_not_be_opened_is_kept_once_it_can_and_no_alert_is_doubled_or_stays_open(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings, disk, told = Settings(home=tmp_path), list[State](["failing"]), list[tuple[str, str]]()
    full = Thing("disk ends", "disk", "home")
    look = Look(*full, lambda of: [seen(disk[0], full)], every_seconds=1)
    raised, resolved = ("raised", "disk ends: home"), ("resolved", "disk ends: home")
    folder, aside = path(settings).parent, tmp_path / "aside"

    def begun() -> tuple[Watcher, Iterator[float]]:
        tell = {"test": lambda of, one: told.append((one["state"], one["cause"]))}
        return Watcher(settings, [look], tell), count(time.monotonic(), 10.0)

    mine, clock = begun()
    until(lambda: turned(mine, clock) and raised in told and not mine._alerts.waiting_for("test"), "the alert")
    folder.rename(aside)
    path(settings).mkdir(parents=True)
    other, clock = begun()  # which cannot know of it
    until(lambda: turned(other, clock) and told.count(raised) == 2, "the alert again")
    disk[0] = "ok"
    until(lambda: turned(other, clock) and resolved in told, "the word that it is over")
    for _ in range(3 * int(KEEP_AGAIN_SECONDS / 10)):
        assert turned(other, clock)[-1].state == "failing"
    assert len([one for one in caplog.messages if one.endswith("; tried again each minute")]) == 1
    path(settings).rmdir()
    folder.rmdir()
    aside.rename(folder)
    until(lambda: turned(other, clock)[-1].state == "ok", "the history to be kept")
    last, clock = begun()
    until(lambda: turned(last, clock)[0].state == "ok" and turned(last, clock), "it to be looked at again")
    assert (told.count(raised), told.count(resolved)) == (2, 1)
    with reading(settings) as connection:
        assert connection is not None
        assert sorted((one.condition, one.resolved_at is not None) for one in kept(connection, 10)) == [
            ("disk ends", True), ("state not written", True),
        ]  # fmt: skip


# --- forecasts


def test_a_destination_takes_what_its_two_processors_take() -> None:
    rates, busy = Rates(), PROCESSOR | {"rows": {"market_tick": 9 + 30_000}, "batch_seconds": 10.5}
    rates.see(100.0, {}, {"realtime": PROCESSOR, "realtime#2": PROCESSOR})
    rates.see(110.0, {}, {"realtime": busy, "realtime#2": busy})
    assert rates.takes == {"realtime": 6000.0}


def test_lag_is_forecast_from_what_arrives_and_is_taken_and_compared_with_what_came(tmp_path: Path) -> None:
    rates = Rates()
    busy = PROCESSOR | {"rows": {"market_tick": 9 + 30_000}, "batch_seconds": 10.5}
    rates.see(100.0, {"binance": CONNECTOR}, {"realtime": PROCESSOR})
    rates.see(110.0, {"binance": CONNECTOR | {"sent": {"market_tick": 10_005}}}, {"realtime": busy})
    lag = seen("ok", numbers={"records": 60_000})
    disk = Observation(
        "disk ends", "disk", "/data", "ok", "", numbers={"free_bytes": 10**12, "bytes_a_day": None, "days_left": None}
    )
    ahead = Observation("low head-room", "database", "realtime", "ok", "", numbers={"days_ahead": 7})
    found = {each.name: each for each in expected([lag, disk, ahead], {}, rates, DAY_SECONDS - 60.0)}
    assert found["lag"].more == {"arrives_per_second": 1000.0, "takes_per_second": 3000.0, "drained_in_seconds": 30.0}
    assert (found["lag"].now, found["lag"].expected) == (60_000, 0.0)
    assert found["disk"].more["bytes_a_day"] == 1000 * 200 * DAY_SECONDS
    assert found["partitions"].expected == 6  # midnight comes, and nobody makes another
    stands = expected([seen("failing", numbers={"records": 10})], {}, rates, 0.0)
    assert stands == [Expected("lag", ONE.identity, 10.0, 300_010.0, "records", {
        "arrives_per_second": 1000.0, "takes_per_second": 3000.0, "drained_in_seconds": None})]  # fmt: skip

    settings = Settings(home=tmp_path)
    forecasts = Forecasts(History(connect(settings), 30).connection)
    now = time.time()
    for minute in range(7):  # it grows by 10 a minute, which nothing foretells
        rows = forecasts.turn(settings, [seen("ok", numbers={"records": minute * 10})], now + 60 * minute)
    [row] = rows["lag"]
    assert (row["checked"], row["mean_error"], row["most_error"]) == (2, 50.0, 50.0)


# --- the lane


def test_a_process_that_was_just_begun_is_no_fault_one_that_dies_or_does_not_come_is(tmp_path: Path) -> None:
    (tmp_path / "sources.yml").write_text(
        "venue: {kind: feed, url: 'http://127.0.0.1:1/', event_publisher: x, unit: n}"
    )
    (tmp_path / "destinations.yml").write_text("{}\n")
    settings = Settings(
        home=tmp_path, sources_file=tmp_path / "sources.yml", destinations_file=tmp_path / "destinations.yml"
    )
    (tmp_path / "run").mkdir()
    report = StateFile(report_path(settings, "supervisor", "stream"), logging.getLogger())

    def states(**said: Any) -> list[tuple[str, str]]:
        write_process_report(report, {"restarts": {"connector venue": 0}, "dying": {}, "running_seconds": {}} | said)
        return [(one.state, one.sentence) for one in lane.look(settings) if one.name == lane.DIES]

    with claim_lane(settings):
        begun = {"running_seconds": {"connector venue": 20.0}}
        assert states(**begun) == [("ok", "it is being started")]
        assert [state for state, _ in states(**begun, dying={"connector venue": "it died"})] == ["failing"]
        assert [state for state, _ in states(running_seconds={"connector venue": 61.0})] == ["failing"]
        assert [state for state, _ in states()] == ["failing"]  # it waits until it is started again
