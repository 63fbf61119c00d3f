"""The page /live in a browser: candles of both sides, which move; what is markup elsewhere is text there."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.serve.conftest import Served
from tests.serve.market import EVIL, Market

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
MOST_MS = 60_000
expect.set_options(timeout=MOST_MS)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        yield found
        found.close()


@pytest.fixture
def page(browser: Browser, served: Served, market: Market) -> Iterator[Page]:
    """The page with a key; what its scripts complain of is a failure."""
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark")
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("dialog", lambda dialog: wrong.append(dialog.message))
    page.goto(f"{served.url}/live")
    page.fill("#key", served.keys["analyst1"])
    page.click("#door button")
    expect(page.locator("#state")).to_have_text("live")
    yield page
    context.close()
    assert wrong == []


def choose(page: Page, symbol: str) -> None:
    page.select_option("#symbol", f"venue:{symbol}")
    expect(page.locator("#state")).to_have_text("live")
    expect(page.locator("#chart")).to_have_attribute("data-symbol", symbol)


def test_candles_of_both_sides_are_drawn_and_move_with_a_tick(page: Page, market: Market, tmp_path: Path) -> None:
    choose(page, "A/B")
    chart = page.locator("#chart")
    bars = int(chart.get_attribute("data-bars") or 0)
    assert bars >= 30
    assert page.locator("#chart canvas").count() > 0
    before = page.locator("#chart").screenshot()
    market.commit(market.rows(1, market.today + timedelta(minutes=40), 321))
    expect(chart).to_have_attribute("data-close", "321")
    expect(page.locator("#last")).to_have_text("321")
    assert int(chart.get_attribute("data-bars") or 0) == bars + 1
    assert page.locator("#chart").screenshot() != before
    assert page.evaluate("() => document.documentElement.scrollWidth") == 390


def test_a_symbol_that_is_markup_is_text(page: Page, market: Market) -> None:
    choose(page, EVIL)
    assert EVIL in page.locator("#coverage").inner_text().replace("\n", "")
    assert page.locator("main script").count() == 0


def test_the_line_of_the_tidemark_is_between_the_days(page: Page, market: Market) -> None:
    choose(page, "A/B")
    expect(page.locator("#chart")).to_have_attribute("data-tidemark", market.today.strftime("%Y-%m-%dT00:00:00.000Z"))


def test_after_a_logout_the_key_is_asked_again(page: Page) -> None:
    page.click("#leave")
    expect(page.locator("#door")).to_be_visible(timeout=MOST_MS)
    expect(page.locator("#room")).to_be_hidden()
