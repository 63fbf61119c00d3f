"""`tidemark ingest`."""

import json

from click.testing import CliRunner, Result

from ingest import sources
from tests.conftest import Stack
from tests.ingest.loopback import serving, zipped
from tidemark.categories import CATEGORIES
from tidemark.cli import main
from tidemark.settings import Settings


def tidemark(stack: Stack, *arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(main, arguments, env=stack.environ | environ)


def test_every_resource_declares_a_category_or_that_it_is_reference() -> None:
    declared = {resource.category for name in sources.names() for resource in sources.resources(name)}
    assert declared
    assert declared <= {*CATEGORIES, "reference"}


def test_run_and_rebuild_report_what_they_loaded(clean_warehouse: Stack, settings: Settings) -> None:
    with serving(lambda path, query: zipped("Date,USD,\n2024-01-02,1.10,\n")) as source:
        here = {"TIDEMARK_HOME": str(settings.home), "TIDEMARK_ECB_URL": source.url}
        ran = tidemark(clean_warehouse, "ingest", "run", "ecb", "--json", **here)
        rebuilt = tidemark(clean_warehouse, "ingest", "rebuild", "ecb", **here)
    (resource,) = json.loads(ran.stdout)["resources"]
    assert (resource["table"], resource["rows_in"], resource["rows_loaded"]) == ("ecb__reference_rates", 1, 1)
    assert "ecb__reference_rates" in rebuilt.stdout
    assert (ran.exit_code, rebuilt.exit_code, ran.stderr, rebuilt.stderr) == (0, 0, "", "")


def test_a_failed_source_is_one_sentence_and_exit_code_1(clean_warehouse: Stack, settings: Settings) -> None:
    here = {
        "TIDEMARK_HOME": str(settings.home),
        "TIDEMARK_ECB_URL": settings.ecb_url,
        "TIDEMARK_RETRY_SECONDS": "[0.01]",
    }
    failed = tidemark(clean_warehouse, "ingest", "run", "ecb", **here)
    assert failed.exit_code == 1
    assert failed.stderr.startswith("tidemark: source ecb: expected a zip")
    assert failed.stderr.count("\n") == 1


def test_an_unknown_source_and_realtime_itself_are_wrong_usage(clean_warehouse: Stack) -> None:
    unknown = tidemark(clean_warehouse, "ingest", "run", "nope")
    assert (unknown.exit_code, "ecb" in unknown.stderr) == (2, True)
    promoted = tidemark(clean_warehouse, "ingest", "run", "realtime")
    assert (promoted.exit_code, "tidemark promote" in promoted.stderr) == (2, True)
