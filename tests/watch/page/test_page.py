"""What the page says of what the watcher saw: who is worst, since when, what it means, and nothing of the data."""

import json
import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import copytree

import feedparser
import pytest

from tests.watch.page.platform import change, everything, see, write
from tidemark.settings import Settings
from watch import announcements
from watch.conditions import ANYTHING, read_conditions
from watch.history import Span
from watch.observation import Observation
from watch.page import plots, timeline, view
from watch.page.files import File, files
from watch.page.parts import meaning, public

NOW = datetime(2026, 8, 8, 12, tzinfo=UTC)


def made(settings: Settings, now: datetime | None = None) -> tuple[view.Page, dict[str, File]]:
    """The page and its files."""
    page = view.read(settings, now)
    return page, files(page, "here")


def html(settings: Settings, now: datetime | None = None) -> str:
    """The page for people."""
    return made(settings, now)[1]["index.html"].content.decode()


def test_all_is_well_only_while_everything_was_seen_and_is_well(settings: Settings) -> None:
    write(settings, everything())
    page, _ = made(settings)
    assert (page.state, page.headline.partition(":")[0], page.wrong) == ("ok", "All is well", [])
    write(settings, change(everything(), "silent source", "kraken: BTC/USDT", state="unknown", sentence="no answer"))
    page, _ = made(settings)
    assert (page.state, page.headline) == ("unknown", f"1 of {len(page.parts)} parts unknown: kraken")


def test_what_is_not_well_comes_first_with_since_when_and_what_it_means(settings: Settings) -> None:
    since = datetime.now(UTC) - timedelta(minutes=5)
    found = change(
        everything(), "silent source", "okx: BTC/USDT", state="failing", sentence="nothing for 300 s", since=since
    )
    write(settings, change(found, "lag", "realtime market_tick", state="warning", sentence="12 wait"))
    page, written = made(settings)
    assert [each.part.name for each in page.wrong] == ["okx", "realtime"]
    assert page.headline == f"1 of {len(page.parts)} parts fails: okx"
    text = written["index.html"].content.decode()
    shown = text[text.index("What is not well") : text.index("The last 90 days")]
    for said in ("Sources: okx", f"{since:%Y-%m-%d %H:%M:%SZ}", meaning("silent source"), "nothing for 300 s"):
        assert said in shown


def test_every_kind_of_part_is_there_with_state_since_when_and_a_sentence(settings: Settings) -> None:
    write(settings, everything())
    page, _ = made(settings)
    assert [group for group, _ in page.groups] == [
        "Balance", "Sources", "Topics", "Destinations", "Databases", "Flows", "Contracts", "Marts", "Servers",
    ]  # fmt: skip
    assert all(each.part.since and each.part.sentence for each in page.parts)
    assert {each.promise for each in page.parts if each.part.group == "Marts"} == {"3 h old, promised within 26 h"}


@pytest.mark.parametrize("spoilt", ["no file", "past valid_until", "valid for years", "not JSON"])
def test_without_a_look_everything_is_unknown_with_the_reason(settings: Settings, spoilt: str) -> None:
    now = datetime.now(UTC)
    if spoilt != "no file":
        write(settings, everything(), now - timedelta(seconds=31 if "valid" in spoilt else 0))
    path = settings.home / "run" / "status.json"
    if spoilt == "valid for years":
        path.write_text(json.dumps(json.loads(path.read_text()) | {"valid_until": "2099-01-01T00:00:00Z"}))
    if spoilt == "not JSON":
        path.write_text("{")
    page, written = made(settings, now)
    assert (page.state, page.headline, page.valid_until) == ("unknown", "Nobody knows how things are", None)
    assert page.reason
    assert {each.part.state for each in page.parts} <= {"unknown"}
    summary = json.loads(written["api/v2/summary.json"].content)
    assert (summary["status"]["indicator"], page.reason in summary["status"]["description"]) == ("critical", True)
    assert {each["status"] for each in summary["components"]} <= {"major_outage"}


def test_the_history_says_unknown_for_the_time_in_which_nobody_looked(settings: Settings, lived: Path) -> None:
    copytree(lived, settings.home / "watch")
    now = write(settings, everything())
    page, _ = made(settings, now)
    states = [state for state, _ in page.overall.shapes]
    assert {"unknown", "failing", "ok"} <= set(states)
    okx = next(each for each in page.parts if each.part.name == "okx")
    assert "unknown 6" in okx.days.label or "unknown 5" in okx.days.label, okx.days.label
    # Nobody looks on: the day goes on as unknown, never as it was.
    later = now + timedelta(hours=2)
    stale, _ = made(settings, later)
    okx = next(each for each in stale.parts if each.part.name == "okx")
    state, begin, end = okx.lasted[-1]
    assert (state, end) == ("unknown", later.timestamp())
    assert begin <= now.timestamp() + 30


def test_no_bar_has_green_for_a_day_of_which_nothing_well_was_seen() -> None:
    shapes = dict(plots.bars([{"unknown": 86_000.0, "failing": 30.0}, {}, {"ok": 80_000.0, "unknown": 1.0}]).shapes)
    assert shapes["ok"] == "M2 1h1v23h-1z"
    assert shapes["unknown"] == "M0 1h1v23h-1zM2 0h1v1h-1z"  # the second of the third day is seen
    assert shapes["failing"] == "M0 0h1v1h-1z"


def test_a_part_was_at_each_moment_as_bad_as_the_worst_that_was_seen_of_it() -> None:
    of_another = [Span("ok", 10, 30, ""), Span("failing", 30, 40, ""), Span("ok", 40, 100, "")]
    found = timeline.worst([[Span("ok", 0, 100, "")], of_another])
    assert found == [("ok", 0, 30), ("failing", 30, 40), ("ok", 40, 100)]
    assert timeline.buckets(found, 0, 100, 25) == ["ok", "failing", "ok", "ok"]
    assert timeline.worst([[Span("ok", 0, 10, "")], [Span("unknown", 20, 30, "")]]) == [
        ("ok", 0, 10),
        ("unknown", 20, 30),
    ]


def test_every_condition_that_raises_an_alert_says_what_it_means() -> None:
    assert [name for name in read_conditions() if name != ANYTHING and not meaning(name)] == []


@pytest.mark.parametrize(
    "sentence",
    [
        'it stopped: null value violates not-null constraint\nDETAIL:  Failing row contains (61234.5, BTC/USDT).',
        "expected realtime to answer at 10.1.2.3:15432/realtime, received no answer at db.example.org:15432",
        "the disk of /srv/tidemark/postgres ends; see https://user:secret@host/x",
    ],
)  # fmt: skip
def test_no_value_of_a_row_and_no_address_or_path_is_on_the_page(settings: Settings, sentence: str) -> None:
    found = change(everything(), "stopped processor", "realtime", state="failing", sentence=sentence)
    write(settings, change(found, "disk ends", "/srv/tidemark", state="failing", sentence=sentence))
    for file in made(settings)[1].values():
        text = file.content.decode()
        assert [each for each in ("61234.5", "10.1.2.3", "db.example.org", "/srv/", "secret@") if each in text] == []
    assert public("expected 3 of realtime.market_tick at 12:00:01Z, 1.5 s", settings.home) == (
        "expected 3 of realtime.market_tick at 12:00:01Z, 1.5 s"
    )


def test_names_of_people_roles_and_keys_are_not_on_the_page(settings: Settings) -> None:
    of_people: list[Observation] = [
        see("guard: ended a session", "guard", "slow query, analyst7", "warning", said="guard: analyst7: select 1"),
        see("the guard does not run", "server", "guard", "warning", said="temporary files of analyst7 are not limited"),
        see("credential ends", "api key", "analyst7", "warning", said="it ends at 2026-08-08"),
    ]
    write(settings, [*everything(), *of_people])
    for name, file in made(settings)[1].items():
        assert b"analyst7" not in file.content, name


def test_what_anybody_named_is_text_in_every_file(settings: Settings) -> None:
    script = "<script>alert(1)</script>&\x00\x1b"
    spoilt = see("silent source", "source", script, "failing", said=f"expected {script}")
    write(settings, [*everything(), spoilt])
    announcements.say(
        settings, "</title><script>alert(2)</script>]]>", 1.0, incident=None, title=script[:-1], resolve=False
    )
    announcements.plan(settings, 2e9, 2.1e9, "<img src=x onerror=alert(3)>", time.time())
    _, written = made(settings)
    text = written["index.html"].content.decode()
    assert re.findall(r"<(script|img)[^>]*>", text) == ["script"]
    assert "alert(1)" in text and "alert(2)" in text and "alert(3)" in text
    feed = feedparser.parse(written["status.atom"].content)
    assert not feed.bozo, feed.get("bozo_exception")
    assert any("alert(2)" in each.content[0].value for each in feed.entries)
    assert any("alert(1)" in each["name"] for each in json.loads(written["api/v2/summary.json"].content)["components"])


def test_the_feed_has_each_word_of_an_incident_and_a_stable_identity(settings: Settings) -> None:
    write(settings, everything())
    now = time.time()
    announcements.say(settings, "We look.", now - 60, incident=None, title="A venue is silent", resolve=False)
    first = feedparser.parse(made(settings)[1]["status.atom"].content)
    announcements.say(settings, "It is back.", now, incident=None, title=None, resolve=True)
    feed = feedparser.parse(made(settings)[1]["status.atom"].content)
    assert not feed.bozo
    assert [each.title for each in feed.entries] == ["Over: A venue is silent", "Incident: A venue is silent"]
    assert feed.entries[1].id == first.entries[0].id
    assert {each.id for each in feed.entries}.isdisjoint({feed.feed.id})
    assert feed.feed.updated_parsed == feed.entries[0].updated_parsed


def test_the_summary_has_the_shape_of_statuspage(settings: Settings) -> None:
    found = change(everything(), "silent source", "okx: BTC/USDT", state="failing", sentence="nothing for 300 s")
    found = change(found, "silent source", "bybit: BTC/USDT", state="unknown", sentence="no answer")
    write(settings, change(found, "lag", "realtime market_tick", state="warning", sentence="12 wait"))
    now = time.time()
    announcements.say(settings, "We look.", now, incident=None, title="A venue is silent", resolve=False)
    announcements.plan(settings, now - 5, now + 50, "More memory", now)
    summary = json.loads(made(settings)[1]["api/v2/summary.json"].content)
    assert summary.keys() == {"page", "components", "incidents", "scheduled_maintenances", "status"}
    of = {each["name"]: each for each in summary["components"] if not each["group"]}
    assert {name: of[name]["status"] for name in ("okx", "bybit", "kraken")} == {
        "okx": "major_outage", "bybit": "major_outage", "kraken": "operational",
    }  # fmt: skip
    assert of["bybit"]["description"].startswith("unknown: no answer")
    assert summary["status"]["indicator"] == "major"
    assert (summary["incidents"][0]["status"], summary["incidents"][0]["incident_updates"][0]["body"]) == (
        "investigating",
        "We look.",
    )
    assert summary["scheduled_maintenances"][0]["status"] == "in_progress"


def test_90_days_of_60_observations_are_at_most_200_kb_and_made_within_200_ms(settings: Settings, lived: Path) -> None:
    copytree(lived, settings.home / "watch")
    now = write(settings, everything())
    assert len(everything()) == 60
    made(settings, now)  # the templates are compiled
    took = []
    for _ in range(5):
        began = time.process_time()
        page, written = made(settings, now)
        took.append(time.process_time() - began)
    size = sum(
        len(file.content) for name, file in written.items() if name in ("index.html", "tidemark.css", "status.js")
    )
    print(f"{len(page.parts)} parts: {size:,} bytes, {min(took) * 1000:.0f} ms of processor")
    assert size <= 200_000
    assert min(took) <= 0.2
