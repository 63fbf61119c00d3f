"""The system's Chromium, headless, and pictures of what it shows."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

from tidemark.settings import PROJECT

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
SCREENSHOTS = PROJECT / ".screenshots"
PHONE, DESK = 390, 1280
expect.set_options(timeout=60_000)  # playwright waits 5 s, which a busy machine takes for a page


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser; while it is there, this thread runs no other event loop."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def opened(
    browser: Browser,
    url: str,
    width: int = DESK,
    scheme: str = "light",
    *,
    says: str = "",
    clock: bool = False,
    **options: object,
) -> Iterator[Page]:
    """A page of its own context. It fails where it said what is not `says`, or asked another server for anything."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **options)  # type: ignore[arg-type]
    if clock:
        context.clock.install()  # a clock that a test may set forward
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(url)
    yield page
    origin = "/".join(url.split("/")[:3])
    said = [each for each in said if not says or says not in each]
    assert (said, [each for each in asked if not each.startswith((origin, "data:"))]) == ([], [])
    context.close()


def picture(page: Page, name: str) -> Path:
    """Keep what is seen, whole, below the git-ignored folder."""
    SCREENSHOTS.mkdir(exist_ok=True)
    path = SCREENSHOTS / f"{name}.png"
    page.screenshot(path=path, full_page=True)
    return path
