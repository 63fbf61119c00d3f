"""Whatever a folder is called: what is stored in the lake is found there, by each of the libraries that look."""

from pathlib import Path
from urllib.parse import quote

import pytest

from ingest.pipeline import rebuild, run
from tests.conftest import Stack
from tests.ingest.conftest import Query
from tests.ingest.loopback import serving, zipped
from tests.ingest.test_realtime import add, promote, tick
from tidemark.lake import file_system
from tidemark.settings import Settings

HISTORY = zipped("Date,USD,\n2024-01-02,1.10,\n2024-01-03,1.20,\n")
AWKWARD = "a b@c+d(e) [f] #1? é 100%25 100% {g} ~h;i&j=k'l\"m*"


@pytest.mark.parametrize("written", ["as a path", "as a URL"])
def test_a_lake_whose_path_holds_anything_has_every_row_on_every_way(
    written: str, clean_realtime: Stack, settings: Settings, warehouse: Query, tmp_path: Path
) -> None:
    lake = tmp_path / AWKWARD
    url = str(lake) if written == "as a path" else f"file://{quote(str(lake))}"
    with serving(lambda path, query: HISTORY) as source:
        here = settings.model_copy(update={"ecb_url": source.url, "lake_url": url})
        reports = [run(here, "ecb"), run(here, "ecb"), rebuild(here, "ecb")]
    assert [report.resources[0].rows_loaded for report in reports] == [2, 0, 2]
    add(clean_realtime, "market_tick", tick(1), tick(2))
    path, rows = promote(here, "market_tick", "p1")
    promoted = rebuild(here, "realtime")
    assert (rows, [(each.rows_loaded, each.files) for each in promoted.resources]) == (2, [(2, (path,))])
    assert warehouse("select count(*) from ingestion.ecb__reference_rates") == [(2,)]
    found = sorted(str(file.relative_to(lake)) for file in lake.rglob("*.gz"))
    assert [name.rpartition("/")[0] for name in found if "/_dlt" not in name] == [
        "ecb/reference_rates",
        "realtime/market_tick",
    ]
    system, root = file_system(here)
    assert (root, system.exists(root)) == (str(lake), True)
    assert not (settings.home / "lake").exists()
    assert {folder.name for folder in tmp_path.iterdir()} == {settings.home.name, AWKWARD}
