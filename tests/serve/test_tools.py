"""What charting libraries and workspaces ask, as their own clients ask it."""

import hashlib
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest

from serve.live.router import CHARTS, FILES
from serve.udf.sessions import Sessions, Terms
from tests.conftest import Stack
from tests.serve.conftest import Served
from tests.serve.market import EVIL, Market

SYMBOL = "venue:A/B"


def udf(served: Served, path: str, **parameters: Any) -> Any:
    """As the library's own datafeed: it reads JSON, whatever the status, and looks at `s`."""
    return httpx.get(
        f"{served.url}/udf/{path}", params=parameters, headers={"X-API-Key": served.keys["analyst1"]}, timeout=30
    ).json()


def seconds(at: datetime) -> int:
    return int(at.timestamp())


def test_udf_says_what_it_can_and_finds_symbols(served: Served, market: Market) -> None:
    config = udf(served, "config")
    assert (config["supports_search"], config["supports_group_request"]) == (True, False)
    assert {"value": "venue", "name": "venue", "desc": "venue"} in config["exchanges"]
    found = udf(served, "search", query="a/b", type="", exchange="venue", limit=30)
    assert [(one["symbol"], one["ticker"], one["exchange"]) for one in found] == [("A/B", SYMBOL, "venue")]
    one = udf(served, "symbols", symbol=SYMBOL)
    assert "s" not in one  # by which its client knows that it was found
    assert (one["ticker"], one["minmov"], one["session"], one["timezone"]) == (SYMBOL, 1, "24x7", "Etc/UTC")
    assert one["pricescale"] == 10_000
    assert set(one["supported_resolutions"]) == set(config["supported_resolutions"])
    assert udf(served, "symbols", symbol=f"venue:{EVIL}")["name"] == EVIL
    assert (
        int(httpx.get(f"{served.url}/udf/time", params={"apikey": served.keys["analyst1"]}, timeout=60).text)
        > 1_700_000_000
    )


def test_udf_has_the_bars_of_both_sides_each_once(served: Served, market: Market) -> None:
    start = market.today - timedelta(hours=2)
    begin = seconds(start)
    asked = {"symbol": SYMBOL, "resolution": "1", "from": begin, "to": seconds(market.today) + 600}
    bars = udf(served, "history", **asked)
    assert bars["s"] == "ok"
    assert [len(bars[name]) for name in "tohlcv"] == [30] * 6
    assert bars["t"] == sorted(set(bars["t"]))
    direct = served.get(
        "/v1/bars",
        params={
            "source": "venue",
            "symbol": "A/B",
            "interval": "1m",
            "from": start.isoformat(),
            "to": (market.today + timedelta(minutes=10)).isoformat(),
        },
    ).json()
    assert [bar["close"] for bar in direct] == bars["c"]
    hours = asked | {"to": seconds(market.today) + 3_600}
    minutes, longer = (udf(served, "history", **hours | {"resolution": one}) for one in ("1", "60"))
    assert sum(longer["v"]) == pytest.approx(sum(minutes["v"]))
    day = udf(served, "history", **asked | {"resolution": "1D", "from": begin - 86_400})
    assert day["t"] == [seconds(market.today) - 86_400, seconds(market.today)]


def test_udf_counts_back_over_the_tidemark_however_early_that_is(served: Served, market: Market) -> None:
    end = seconds(market.today) + 600
    asked = {"symbol": SYMBOL, "resolution": "1", "from": end - 60, "to": end}
    whole = udf(served, "history", **asked | {"countback": 300})
    assert len(whole["t"]) == 30
    some = udf(served, "history", **asked | {"countback": 15})
    assert some["t"] == whole["t"][-15:]
    assert udf(served, "history", **asked | {"to": 4_102_444_800, "from": 1, "countback": 2})["s"] == "ok"


def test_udf_says_where_earlier_bars_are(served: Served, market: Market) -> None:
    start = seconds(market.today) + 600
    for resolution, newest in {"1": start - 60, "5": start - 300, "60": start - 600, "1D": start - 600}.items():
        asked = {"symbol": SYMBOL, "resolution": resolution, "from": start, "to": start + 60}
        nothing = udf(served, "history", **asked)
        assert nothing == {"s": "no_data", "nextTime": newest}
    before = udf(served, "history", symbol=SYMBOL, resolution="1", countback=5, **{"from": 86_400, "to": 172_800})
    assert before == {"s": "no_data"}


def test_udf_dates_sessions_that_begin_the_day_before_and_scrolls_over_each_once(
    served: Served, market: Market
) -> None:
    """Of a symbol that the warehouse does not know yet, over the day on which its venue's clock is put back."""
    first, after_hole, *later = labels = [datetime(2024, 11, day, tzinfo=UTC) for day in (1, 3, 4, 5)]
    begins = [label - timedelta(hours=2 if label <= after_hole else 1) for label in labels]
    ticks = [market.rows(1, at, 20_000, "NQZ6")[0] for begin in begins for at in (begin, begin + timedelta(hours=22))]
    market.commit([row | {"source_system": "cme", "received_at": market.today} for row in ticks])
    asked = {"symbol": "cme:NQZ6", "resolution": "1D"}
    assert udf(served, "symbols", symbol="cme:NQZ6")["timezone"] == "America/Chicago"

    def days(from_: datetime, to: datetime, **more: int) -> Any:
        return udf(served, "history", **asked | {"from": seconds(from_), "to": seconds(to)} | more)

    scrolled: list[int] = []
    to = later[-1] + timedelta(days=1)
    while (answer := days(to - timedelta(days=3), to, countback=2))["s"] == "ok":
        assert max(answer["t"]) < seconds(to)
        scrolled = answer["t"] + scrolled
        to = datetime.fromtimestamp(answer["t"][0], UTC)
    assert (answer, scrolled) == ({"s": "no_data"}, [seconds(label) for label in labels])
    day, noon, size = timedelta(days=1), timedelta(hours=12), ticks[0]["size"]
    for label in labels:
        assert [days(label, label + day)[name] for name in "tv"] == [[seconds(label)], [2 * size]]
    for from_ in (first + day, first + noon):
        assert days(from_, first + day + noon) == {"s": "no_data", "nextTime": seconds(first)}


@pytest.mark.parametrize("hours", [0, 7, -6])
@pytest.mark.parametrize("zone", ["America/Chicago", "America/Havana", "America/Sao_Paulo", "Asia/Tokyo", "UTC"])
def test_a_session_begins_where_postgres_says(stack: Stack, zone: str, hours: int) -> None:
    """Through a year in which clocks were put at midnight, too."""
    shift = timedelta(hours=hours)
    sessions = Sessions((Terms(), Terms(datetime(1992, 6, 25, tzinfo=UTC), zone, shift)))
    with psycopg.connect(stack.dsn("warehouse", "transformer")) as warehouse:
        rows = warehouse.execute(
            "select day::date, (day - %s::interval) at time zone %s "
            "from generate_series(timestamp '2018-01-01', timestamp '2018-12-31', interval '1 day') as day",
            (shift, zone),
        ).fetchall()
    assert [sessions.begin_of(day) for day, _ in rows] == [begin for _, begin in rows]
    assert [sessions.date_of(begin) for _, begin in rows] == [day for day, _ in rows]
    assert [sessions.date_of(begin - timedelta(minutes=1)) for _, begin in rows[1:]] == [day for day, _ in rows[:-1]]


def test_a_venue_that_moved_has_the_sessions_of_each_time() -> None:
    moved = datetime(2024, 8, 1, tzinfo=UTC)
    sessions = Sessions((Terms(), Terms(moved, "Asia/Tokyo")))
    assert [sessions.begin_of(date(2024, month, day)) for month, day in ((7, 31), (8, 1), (8, 2))] == [
        moved - timedelta(hours=24), moved - timedelta(hours=9), moved + timedelta(hours=15),
    ]  # fmt: skip
    assert [sessions.date_of(moved - timedelta(hours=hours)).day for hours in (10, 9)] == [31, 1]


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        ("symbols", {"symbol": "venue:none"}), ("symbols", {"symbol": "none"}), ("symbols", {}),
        ("history", {"symbol": SYMBOL, "resolution": "7", "from": 1, "to": 2}),
        ("history", {"symbol": SYMBOL, "resolution": "1", "from": 5, "to": 2}),
        ("history", {"symbol": SYMBOL, "resolution": "1", "from": 1, "to": 10**12}),
        ("history", {"symbol": SYMBOL, "resolution": "1", "from": "x", "to": 2}),
        ("history", {"symbol": "'; drop table marts.x; --:a", "resolution": "1", "from": 1, "to": 2}),
    ],
)  # fmt: skip
def test_udf_refuses_so_that_its_client_shows_why(served: Served, market: Market, path: str, parameters: Any) -> None:
    answer = udf(served, path, **parameters)
    assert (answer["s"], bool(answer["errmsg"])) == ("error", True)
    assert 400 <= answer["status"] < 500


def test_openbb_is_told_of_widgets_and_each_answers(served: Served, market: Market) -> None:
    """As the workspace: the file, the choices of each parameter, then each endpoint with its values."""
    widgets = served.get("/widgets.json").json()
    assert {"bars", "series_vintages", "mart_fct_bars_1m", "mart_rpt_coverage"} <= set(widgets)
    for widget in widgets.values():
        assert {"name", "description", "endpoint", "type"} <= widget.keys()
        for parameter in widget.get("params", []):
            if parameter["type"] == "endpoint":
                options = served.get("/" + parameter["optionsEndpoint"])
                assert all({"label", "value"} <= one.keys() for one in options.json()), options.text
    bars = widgets["bars"]
    assert udf(served, "symbols", symbol=bars["data"]["defaultSymbol"])["ticker"] == bars["data"]["defaultSymbol"]
    rows = served.get("/openbb/marts/fct_bars_1m", params={"symbol": SYMBOL, "limit": 5, "theme": "dark"}).json()
    assert len(rows) == 5
    fields = {column["field"] for column in widgets["mart_fct_bars_1m"]["data"]["table"]["columnsDefs"]}
    for row in [*rows, *served.get("/openbb/marts/rpt_coverage").json()]:
        assert not any(isinstance(value, dict | list) for value in row.values())
    assert set(rows[0]) == fields
    layout = served.get("/apps.json").json()[0]["tabs"]["overview"]["layout"]
    assert {one["i"] for one in layout} <= widgets.keys()


def test_openbb_may_send_the_key_as_a_parameter_and_sees_what_it_may(served: Served, market: Market) -> None:
    url = f"{served.url}/widgets.json"
    assert httpx.get(url, timeout=60).status_code == 401
    own = httpx.get(url, params={"apikey": served.keys["outsider1"]}, timeout=30)
    assert own.status_code == 200
    assert not [name for name in own.json() if name.startswith("mart_")]
    log = (served.settings.home / "logs" / "serve.log").read_text()
    assert served.keys["outsider1"] not in log


def test_a_key_in_the_cookie_reads_and_does_no_more(served: Served, market: Market) -> None:
    with httpx.Client(base_url=served.url, timeout=30) as browser:
        refused = browser.post("/live/session", headers={"X-API-Key": "tidemark_none_" + "a" * 43})
        assert (refused.status_code, refused.cookies.get("tidemark_key")) == (401, None)
        key = {"apikey": served.keys["analyst1"]}
        assert browser.post("/live/session", params=key).status_code == 401  # as a form of another site would
        foreign = {"Sec-Fetch-Site": "cross-site", "X-API-Key": served.keys["analyst1"]}
        for path in ("/live/session", "/live/session/end"):
            assert browser.post(path, headers=foreign).status_code == 403
        begun = browser.post("/live/session", headers={"X-API-Key": served.keys["analyst1"]})
        said = begun.headers["set-cookie"]
        assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(said.split("; "))
        assert browser.get("/v1/me").json()["name"] == "analyst1"
        assert browser.post("/live/session").status_code == 401
        assert browser.post("/v1/me").status_code == 405
        assert browser.post("/live/session/end").status_code == 204
        assert browser.get("/v1/me").status_code == 401


def test_the_page_is_strict_and_its_charts_are_the_published_ones(served: Served) -> None:
    page = httpx.get(f"{served.url}/live", timeout=60)
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "://" not in policy
    charts = FILES[CHARTS][0].read_bytes()
    assert hashlib.sha256(charts).hexdigest() == "e21cc5caa0226ef30bd8549c50b9ef926615f2a4ee6b4e486353477a55f598cf"
    assert b"Lightweight Charts\xe2\x84\xa2 v5.2.1" in charts[:200]
    for name in FILES:
        assert httpx.get(f"{served.url}/live/{name}", timeout=60).status_code == 200, name
    assert httpx.get(f"{served.url}/live/..%2Fgate.py", timeout=60).status_code == 404
