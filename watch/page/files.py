"""The page as files, by their path below the site's root: the same for a server and for a bucket."""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from markupsafe import Markup

from tidemark.output import iso, utc, visible
from tidemark.pages import STYLE, environment
from watch.page import feed, summary
from watch.page.view import Page, duration

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"
# Everything of the page is of its own place; nothing in it runs but its one script.
POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; base-uri 'none'"
MOST_OPEN, MOST_WRONG, MOST_CONDITIONS = 10, 12, 40
WORDS = {"ok": "well", "waiting": "waiting", "warning": "warning", "failing": "failing", "unknown": "unknown"}


class File(NamedTuple):
    """One file."""

    content: bytes
    media_type: str


def files(page: Page, site: str, links: Sequence[tuple[str, str]] = ()) -> dict[str, File]:
    """All of them, index.html last: what it names is there before it.

    `site`: what tells this Tidemark from others, for the identities of the feed. `links`: address and name of others.
    """
    identity = feed.site_id(site)
    document = json.dumps(summary.summary(page, identity), indent=1, ensure_ascii=False)
    return {
        "tidemark.css": File(_style(), "text/css; charset=utf-8"),
        "status.js": File((TEMPLATES / "status.js").read_bytes(), "text/javascript; charset=utf-8"),
        "status.atom": File(_atom(page, identity), "application/atom+xml; charset=utf-8"),
        "api/v2/summary.json": File(document.encode(), "application/json"),
        "index.html": File(_html(page, links), "text/html; charset=utf-8"),
    }


def _style() -> bytes:
    return STYLE.read_bytes() + (TEMPLATES / "status.css").read_bytes()


def _html(page: Page, links: Sequence[tuple[str, str]]) -> bytes:
    text = _environment().get_template("status.html").render(
        page=page, now=page.made_at.timestamp(), links=links, policy=POLICY, words=WORDS, most_open=MOST_OPEN,
        most_wrong=MOST_WRONG, most_conditions=MOST_CONDITIONS,
    )  # fmt: skip
    return text.encode()


def _atom(page: Page, identity: Any) -> bytes:
    entries = feed.entries(page, identity)
    updated = max([each.at for each in entries], default=(page.observed_at or page.made_at).timestamp())
    text = _environment().get_template("status.atom").render(id=identity, updated=updated, entries=entries)
    return text.encode()


@cache
def _environment() -> "Environment":
    made = environment(TEMPLATES)
    made.filters |= {
        "iso": iso,
        "utc": utc,
        "duration": duration,
        "visible": _lines,
        "capitalize_first": lambda text: text[:1].upper() + text[1:],
    }
    return made


def _lines(text: str) -> Markup:
    """A person's text: its lines stay, and nothing in it is a tag."""
    return Markup("<br>").join(visible(text, lines=True).split("\n"))
