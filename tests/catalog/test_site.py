"""The catalog as a folder of static pages: from files alone, and with databases that hold what strangers wrote."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import psycopg
import pytest

from catalog.check import run as run_contracts
from catalog.lineage import lineage
from catalog.site.build import build
from tests.catalog.conftest import Rows
from tests.conftest import Stack, take_over_parsed
from tidemark.categories import CATEGORIES
from tidemark.credentials import ROLES, credential
from tidemark.errors import ConfigurationError
from tidemark.settings import PROJECT, Settings

HOSTILE = "<script>alert('x')</script>/../../out"
TICKS = "table/warehouse.marts.fct_market_ticks.html"


@dataclass
class Page(HTMLParser):
    """What a page holds: its tags with their attributes, its anchors, its text."""

    html: str
    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    text: str = ""

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    @property
    def links(self) -> list[str]:
        """What it links to, and what it loads."""
        found = [attributes.get("href") or attributes.get("src") for _, attributes in self.tags]
        return [link for link in found if link and not link.startswith("data:")]

    @property
    def anchors(self) -> set[str]:
        """The ids that a link may name."""
        return {identity for _, attributes in self.tags if (identity := attributes.get("id"))}


def read(folder: Path) -> dict[str, Page]:
    """The pages that are our own, by their path below the folder."""
    paths = [path for path in folder.rglob("*.html") if path.name != "dbt.html"]
    return {str(path.relative_to(folder)): Page(path.read_text()) for path in paths}


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a site."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def from_files(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site for which no server is asked."""
    home = tmp_path_factory.mktemp("home")
    take_over_parsed(stack, home)
    return build(Settings(home=home, postgres_port=9), asked=False).parent


@pytest.fixture(scope="module")
def pages(from_files: Path) -> dict[str, Page]:
    """The site's own pages."""
    return read(from_files)


def test_without_a_server_it_opens_on_the_overview_with_its_picture_and_shows_both_databases(
    from_files: Path, pages: dict[str, Page]
) -> None:
    first = pages["index.html"]
    assert ("img", {"src": "architecture.svg", "alt": "How data flow through Tidemark"}) in first.tags
    found = lineage(Settings(home=from_files.parent, postgres_port=9), asked=False)
    counted = f"Of {found.mart_columns} columns of marts, {found.of_sources} come from a field of a source"
    assert found.of_sources > 50
    assert "Two databases." in first.text and f"{counted}, {found.on_the_way} are written on the way" in first.text
    assert {TICKS, "table/realtime.live.bars_1m.html"} <= set(first.links)
    assert "No database was asked: no result of a contract is known" in pages["contracts.html"].text
    assert "price is there" in pages["contracts.html"].text
    assert all(f"topic/{topic}.html" in pages["topics.html"].links for topic in CATEGORIES)
    dbt = (from_files / "dbt.html").read_text()
    assert all(f'"model.tidemark.{name}"' in dbt for name in ("fct_bars_1m", "live_bars_1m"))
    assert "](data:image/svg+xml;base64," in dbt and "INLINE DATA" not in dbt


def test_a_column_of_a_mart_leads_back_to_the_topics_field_and_that_to_the_mart(pages: dict[str, Page]) -> None:
    assert "../topic/market_tick.html#price" in pages[TICKS].links
    assert "../table/warehouse.ingestion.realtime__market_tick.html#price" in pages[TICKS].links
    assert f"../{TICKS}#price" in pages["topic/market_tick.html"].links
    assert "the clock of the build that writes the row" in pages[TICKS].text


def _dead(pages: dict[str, Page], folder: Path) -> Iterator[str]:
    for name, page in pages.items():
        for link in page.links:
            path, _, anchor = link.partition("#")
            there = (folder / name).parent / unquote(path)
            known = pages.get(str(there.resolve().relative_to(folder)))
            if not there.exists() or (anchor and known and unquote(anchor) not in known.anchors):
                yield f"{name}: {link}"


def test_every_link_leads_to_a_page_of_the_folder_and_nothing_is_loaded_from_elsewhere(
    from_files: Path, pages: dict[str, Page]
) -> None:
    assert list(_dead(pages, from_files)) == []
    assert not [tag for page in pages.values() for tag, _ in page.tags if tag in ("script", "iframe", "object")]
    assert "@import" not in (style := (from_files / "style.css").read_text()) and "url(" not in style
    dbt = Page((from_files / "dbt.html").read_text())
    loaded = [attributes for tag, attributes in dbt.tags if tag in ("script", "link", "img")]
    assert not [each for each in loaded if re.match("(https?:)?//", each.get("src") or each.get("href") or "")]


@pytest.mark.faults  # it compiles both databases' models again
def test_the_same_files_give_the_same_bytes_and_they_name_no_folder_of_the_machine(
    from_files: Path, tmp_path: Path
) -> None:
    again = Settings(home=from_files.parent, postgres_port=9)
    other = build(again, tmp_path / "site", asked=False).parent
    assert contents(other) == contents(from_files)
    for text in contents(other).values():
        assert not [path for path in (str(tmp_path), str(from_files.parent), str(PROJECT)) if path.encode() in text]


def test_what_is_no_longer_written_goes_and_a_folder_of_others_is_refused(tmp_path: Path) -> None:
    from catalog.site.build import _refuse_other_content, _write

    _write(tmp_path, {"index.html": "", "topic/gone.html": ""})
    (tmp_path / "notes.txt").write_text("mine")
    _refuse_other_content(tmp_path)
    _write(tmp_path, {"index.html": ""})
    assert sorted(contents(tmp_path)) == [".tidemark_site", "index.html", "notes.txt"]
    (tmp_path / ".tidemark_site").unlink()
    with pytest.raises(ConfigurationError, match="holds a site of an earlier build, found something else"):
        _refuse_other_content(tmp_path)


def test_a_table_says_who_answers_for_it_and_whether_it_is_about_persons(from_files: Path) -> None:
    text = " ".join(Page((from_files / TICKS).read_text()).text.split())
    assert "ownerdata_platform" in text
    assert "PIINot about persons." in text


def test_a_folder_that_cannot_be_written_to_is_one_sentence(from_files: Path, tmp_path: Path) -> None:
    settings = Settings(home=from_files.parent, postgres_port=9)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="expected to write the site there, received Not a directory"):
        build(settings, tmp_path / "file" / "site", asked=False)
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigurationError, match=r"expected a folder, received a link to .*nowhere"):
        build(settings, tmp_path / "link", asked=False)


@pytest.fixture
def strangers(rows: Rows) -> Stack:
    """Databases with names, columns and results that are markup, a result that failed, and one that holds a path."""
    stack = rows.stack
    rows.good()
    rows.realtime("market_tick", price=float("nan"), symbol="<b>A/B</b>")
    with psycopg.connect(stack.dsn("realtime")) as connection:
        connection.execute(
            "insert into realtime.feed (topic, source_system, name) values ('market_tick', %s, 'x')", (HOSTILE,)
        )
    with psycopg.connect(stack.dsn("warehouse", "ingest_writer")) as connection:
        connection.execute('create table ingestion.venue__trades ("<b onclick=x>" text, load_id text)')
    run_contracts(stack.settings, ["realtime.market_tick"])
    with psycopg.connect(stack.dsn("warehouse")) as connection:
        connection.execute(
            "update quality.results set outcome = 'failed', detail = %s where check_name = 'symbol is there'",
            (f"{HOSTILE} in {stack.settings.home.resolve()}/lake",),
        )
    return stack


def test_what_strangers_wrote_is_shown_as_text_and_no_secret_is_in_any_file(strangers: Stack, tmp_path: Path) -> None:
    done = strangers.run("catalog", "site", str(tmp_path / "site"))
    assert done.returncode == 0, done.stderr
    site = tmp_path / "site"
    assert done.stdout.strip() == str(site / "index.html")
    pages = read(site)
    assert not [tag for page in pages.values() for tag, _ in page.tags if tag in ("script", "b")]
    assert list(_dead(pages, site)) == []
    assert list(tmp_path.iterdir()) == [site]
    results = pages["contracts.html"].text
    assert "a finite price" in results and '"symbol": "<b>A/B</b>"' not in results
    assert f"{HOSTILE} in …/lake" in results
    assert f"{HOSTILE}.market_tick" in pages["places.html"].text
    assert "<b onclick=x>" in pages["table/warehouse.ingestion.venue__trades.html"].text
    secrets = [credential(strangers.settings, role) for role in ROLES]
    files = contents(site)
    assert not [name for name, text in files.items() if any(secret.encode() in text for secret in secrets)]
    assert not [name for name, text in files.items() if str(strangers.settings.home.resolve()).encode() in text]
    assert b"<script>alert" not in files["dbt.html"]
