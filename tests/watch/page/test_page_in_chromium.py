"""The page as people see it: a phone and a desk, light and dark; grey by the reader's clock; text stays text."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import copytree

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import DESK, PHONE, opened, picture
from tests.watch.page.conftest import Published
from tests.watch.page.platform import change, everything, see, write
from tidemark.settings import Settings
from watch import announcements

BLIND = "Nobody knows how things are"


def colour(page: Page, selector: str) -> str:
    """Of what the first such element is filled with."""
    return str(page.locator(selector).first.evaluate("each => getComputedStyle(each).borderLeftColor"))


@pytest.fixture
def troubled(settings: Settings, lived: Path) -> Settings:
    """90 days, a source that fails, one that nobody sees, an incident that goes on and maintenance to come."""
    now = datetime.now(UTC)
    copytree(lived, settings.home / "watch")
    since = now - timedelta(minutes=12)
    said = "expected news every 60 s, none came for 720 s"
    found = change(everything(), "silent source", "okx: BTC/USDT", state="failing", sentence=said, since=since)
    found = change(found, "lag", "realtime market_tick", state="warning", sentence="12,000 records wait")
    write(settings, change(found, "mart is late", "rpt_3", state="unknown", sentence="no answer within 10 s"), now)
    at = now.timestamp()
    announcements.say(settings, "We look at it.", at - 500, incident=None, title="One venue is silent", resolve=False)
    announcements.say(
        settings, "Its own page says that it is down.", at - 100, incident=None, title=None, resolve=False
    )
    announcements.plan(settings, at + 3600, at + 7200, "The host gets more memory; nothing is lost.", at)
    return settings


@pytest.mark.parametrize(("width", "scheme"), [(PHONE, "light"), (PHONE, "dark"), (DESK, "light"), (DESK, "dark")])
def test_the_first_screen_says_what_is_not_well_since_when_and_what_it_means(
    troubled: Settings, published: Published, browser: Browser, width: int, scheme: str
) -> None:
    with opened(browser, published(), width, scheme) as page:
        picture(page, f"status-troubled-{width}-{scheme}")
        expect(page.locator("h1")).to_have_text("1 of 43 parts fails: okx; 1 unknown")
        for said in ("One venue is silent", "Its own page says that it is down."):
            assert page.get_by_text(said).evaluate("each => each.getBoundingClientRect().bottom") < 900
        assert page.evaluate("document.documentElement.scrollWidth") == width  # nothing is cut or scrolled aside
        card = page.locator("article", has_text="Sources: okx")
        expect(card).to_contain_text("for 12 min")
        expect(card).to_contain_text("This source has sent nothing for longer than it should")
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (ground == "rgb(255, 255, 255)") == (scheme == "light")


def test_every_picture_says_in_words_what_it_shows(troubled: Settings, published: Published, browser: Browser) -> None:
    with opened(browser, published()) as page:
        labels = page.locator("svg title").all_text_contents()
        assert len(labels) == page.locator("svg").count() >= 80
        assert [
            each for each in labels if not each.startswith("the last") and ", the last 24 hours: " not in each
        ] == []


def test_60_observations_that_are_well_fit_on_a_phone_and_open_by_a_tap(
    settings: Settings, lived: Path, published: Published, browser: Browser
) -> None:
    copytree(lived, settings.home / "watch")
    write(settings, everything())
    with opened(browser, published(), PHONE, has_touch=True) as page:
        picture(page, f"status-well-{PHONE}")
        assert page.evaluate("document.documentElement.scrollHeight") < 5_000
        marts = page.locator(".group", has=page.get_by_role("heading", name="Marts"))
        expect(marts.get_by_text("fct_bars_1m")).to_be_hidden()
        marts.locator("summary").first.tap()
        marts.get_by_text("fct_bars_1m").tap()
        expect(marts.locator(".part[open] .more-of")).to_contain_text("3 h old, promised within 26 h")


def test_it_turns_grey_by_the_readers_clock_alone(settings: Settings, published: Published, browser: Browser) -> None:
    write(settings, everything())
    with opened(browser, published(), clock=True) as page:
        expect(page.locator("h1")).to_contain_text("All is well")
        green = colour(page, ".verdict")
        page.clock.fast_forward(60_000)  # of 60 s until it is written anew, and 30 s; to open it takes some
        expect(page.locator("h1")).to_contain_text("All is well")
        page.clock.fast_forward(35_000)
        expect(page.locator("h1")).to_have_text(BLIND)
        expect(page).to_have_title("Unknown: Tidemark's status")
        assert set(page.locator(".group .word").all_text_contents()) == {"unknown"}
        assert set(page.locator(".count").all_text_contents()) == {"unknown"}
        assert page.locator('[data-state="ok"]').count() == 0
        assert colour(page, ".verdict") != green
        picture(page, "status-old")


def test_without_script_it_says_as_of_when_it_is(settings: Settings, published: Published, browser: Browser) -> None:
    at = write(settings, everything())
    with opened(browser, published(), java_script_enabled=False) as page:
        said = page.locator(".verdict").inner_text()
        assert f"Seen at {at:%Y-%m-%d %H:%M:%SZ}, which counts until" in said
        assert "when your clock is later, nobody knows how things are" in said


def test_it_reads_itself_anew_and_keeps_what_is_open(
    settings: Settings, published: Published, browser: Browser
) -> None:
    write(settings, everything(), datetime.now(UTC) - timedelta(seconds=5))
    with opened(browser, published()) as page:
        page.locator(".part summary", has_text="kraken").click()
        write(
            settings,
            change(everything(), "silent source", "kraken: BTC/USDT", state="failing", sentence="nothing came"),
        )
        published()
        page.evaluate("again()")
        expect(page.locator("h1")).to_contain_text("1 of 43 parts fails: kraken")
        assert page.locator(".part[open]").count() == 1


def test_a_watcher_that_was_never_there_is_grey_not_green(
    settings: Settings, published: Published, browser: Browser
) -> None:
    with opened(browser, published(), PHONE) as page:
        picture(page, "status-blind")
        expect(page.locator("h1")).to_have_text(BLIND)
        expect(page.locator(".reason")).to_contain_text("the watcher does not run")
        assert page.locator('[data-state="ok"]').count() == 0


def test_a_script_in_a_name_a_sentence_or_an_incident_is_text(
    settings: Settings, published: Published, browser: Browser
) -> None:
    script = "<script>document.title='taken'</script><img src=x onerror=document.title='taken'>"
    write(settings, [*everything(), see("silent source", "source", script, "failing", said=script)])
    announcements.say(settings, script, time.time(), incident=None, title=script, resolve=False)
    announcements.plan(settings, time.time() + 60, time.time() + 90, script, time.time())
    with opened(browser, published()) as page:
        assert "taken" not in page.title().split(":")[0] and page.title() != "taken"
        assert (page.locator("main script").count(), page.locator("main img").count()) == (0, 0)
        assert page.get_by_text(script).count() >= 3


def test_what_is_no_file_of_the_page_is_not_run(settings: Settings, published: Published, browser: Browser) -> None:
    write(settings, everything())
    with opened(browser, published(), says="Content Security Policy") as page:
        ran = page.evaluate(
            """() => new Promise(done => {
                document.addEventListener("securitypolicyviolation", event => done(event.violatedDirective));
                const script = document.createElement("script");
                script.textContent = "window.taken = true";
                document.body.append(script);
            })"""
        )
        assert (ran, page.evaluate("window.taken")) == ("script-src-elem", None)
