"""The catalog as one folder of static pages: no server makes them be seen, and nothing is asked of the network.

Our own pages show what comes from where, column by column; dbt's own page the models' files, graph and search.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from catalog.edges import Lineage
from catalog.kept import ROLE
from catalog.lineage import lineage
from catalog.results import Result, of_contracts, of_dbt, results_of_dbt, results_of_soda
from catalog.site import pages
from catalog.site.ways import ways
from tidemark import dbt
from tidemark.connections import DATABASES, connect
from tidemark.errors import ConfigurationError, StackError
from tidemark.pages import STYLE, environment
from tidemark.secrets import hide
from tidemark.settings import PROJECT, Settings

TEMPLATES = Path(__file__).parent / "templates"
PICTURE = PROJECT / "docs" / "architecture.svg"
MARK = ".tidemark_site"  # names the files that we wrote, so that those may go which are written no more


def build(settings: Settings, folder: Path | None = None, asked: bool = True) -> Path:
    """Build the site, by default in the state folder; the path of its first page.

    `asked`: whether the databases say what is there and what checks last found; else only files do. The same databases
    and files give the same bytes. ConfigurationError where a named folder holds something else; StackError where a
    database does not answer; else as `lineage`.
    """
    if folder and folder.is_symlink():
        raise ConfigurationError(f"{folder}: expected a folder, received a link to {folder.readlink()}: name that one")
    if folder:
        _refuse_other_content(folder)
    folder = (folder or settings.home / "docs").resolve()
    if asked:
        _refuse_absent(settings)
    manifests = {database: dbt.declared(settings, database) for database in DATABASES}
    found = lineage(settings, manifests, asked)
    tests = pages.tested(
        [*of_contracts(), *(test for database in DATABASES for test in of_dbt(settings, database) or ())],
        [_shown(settings, result) for result in _results(settings, asked) if result.table in found.columns],
    )
    written = _Site(found, asked, tests).render(settings, manifests)
    tables = {
        tuple(place.name.split(".")): columns for place, columns in found.columns.items() if place.kind == "table"
    }
    written["dbt.html"] = dbt.docs_page(manifests, tables)
    written["architecture.svg"] = PICTURE.read_text()
    written["style.css"] = STYLE.read_text() + (TEMPLATES / "style.css").read_text()
    try:
        _write(folder, written)
    except OSError as error:
        raise ConfigurationError(
            f"{error.filename or folder}: expected to write the site there, received {error.strerror}: name a folder "
            "that is yours"
        ) from None
    return folder / "index.html"


def _refuse_absent(settings: Settings) -> None:
    """StackError where a database does not answer, before anything is compiled."""
    try:
        for database in DATABASES:
            connect(settings, database, ROLE).close()
    except StackError as error:
        raise StackError(f"{error}; with --from-files no database is asked") from None


def _results(settings: Settings, asked: bool) -> list[Result]:
    return [*(results_of_soda(settings) if asked else ()), *results_of_dbt(settings)]


def _shown(settings: Settings, result: Result) -> Result:
    """Without a secret, and without a folder of this machine."""
    return replace(result, said=_clean(settings, result.said), detail=_clean(settings, result.detail or "") or None)


def _clean(settings: Settings, text: str) -> str:
    return hide(text).replace(str(settings.home.resolve()), "…").replace(str(PROJECT), "…")


class _Site:
    """The pages that are our own."""

    def __init__(self, found: Lineage, asked: bool, tests: list[pages.Tested]) -> None:
        self.lineage, self.tests = found, tests
        self.environment = environment(TEMPLATES)
        self.environment.filters |= {
            "code": _code,
            "name": _name,
            "address": pages.address,
            "slug": pages.slug,
            "json": _json,
        }
        self.environment.globals |= {"asked": asked, "lineage": found}

    def render(self, settings: Settings, manifests: Mapping[Any, Mapping[str, Any]]) -> dict[str, str]:
        """Each page by its name below the folder."""
        ways_of = ways(self.lineage)
        shown = pages.place_pages(self.lineage, ways_of, pages.descriptions(manifests), self.tests)
        marts = [page for page in shown if page.place.name.startswith("warehouse.marts.")]
        common: dict[str, Any] = {"pages": shown, "counts": Counter(each.outcome for each in self.tests)}
        written = {
            "index.html": self._page("index.html", overview=_markdown(dbt.overview(manifests["warehouse"])), **common),
            "places.html": self._page("places.html", groups=_groups(shown)),
            "topics.html": self._page("topics.html", topics=pages.topics(settings)),
            "lake.html": self._page("lake.html", **common),
            "contracts.html": self._page(
                "contracts.html", contracts=pages.contracts(self.tests), tests=self.tests, **common
            ),
            "lineage.html": self._page("lineage.html", marts=marts),
        }
        return written | {pages.address(page.place): self._page("place.html", root="../", page=page) for page in shown}

    def _page(self, template: str, root: str = "", **content: Any) -> str:
        return self.environment.get_template(template).render(root=root, here=template, **content)


def _groups(shown: Iterable[pages.PlacePage]) -> dict[str, list[pages.PlacePage]]:
    groups: dict[str, list[pages.PlacePage]] = {}
    for page in shown:
        group = page.place.name.rpartition(".")[0] if page.place.kind == "table" else page.place.kind
        groups.setdefault(group, []).append(page)
    return groups


def _code(text: str) -> Any:
    """A description with what stands between backticks as code, all else as it is."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # escaped before: the tags are ours


def _name(text: str) -> Any:
    """A name that may go on in the next line behind a dot or an underscore."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"([._]+)", r"\1<wbr>", str(escape(text))))  # no entity holds either


def _json(value: object) -> str:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)


def _markdown(text: str) -> Any:
    """Markdown as HTML, its own tags escaped; the picture lies beside the page."""
    from markdown_it import MarkdownIt
    from markupsafe import Markup

    rendered = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    return Markup(rendered.replace('src="assets/', 'src="'))


def _refuse_other_content(folder: Path) -> None:
    if folder.exists() and not (folder / MARK).exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigurationError(
            f"{folder}: expected a folder that is empty, is not there, or holds a site of an earlier build, found "
            "something else: name another"
        )


def _write(folder: Path, written: Mapping[str, str]) -> None:
    mark = folder / MARK
    former = mark.read_text().splitlines() if mark.exists() else []
    folder.mkdir(parents=True, exist_ok=True)
    mark.write_text("\n".join(sorted({*former, *written})))  # before them: an end half-way leaves none unknown
    for name, text in written.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    for name in set(former) - set(written):
        (folder / name).unlink(missing_ok=True)
    mark.write_text("\n".join(sorted(written)))
