"""Publishes the last results of Soda's checks and of dbt's tests as results of test cases, each once."""

from collections.abc import Callable, Collection, Iterator
from typing import Any

from catalog.edges import Lineage
from catalog.naming import named
from catalog.results import DataTest, Result, of_contracts, of_dbt, results_of_dbt, results_of_soda
from catalog.server import Server, in_path
from tidemark.connections import DATABASES
from tidemark.settings import Settings

CASES = "dataQuality/testCases"
MOST = 1000  # test cases in one answer


def publish_results(
    settings: Settings, server: Server, lineage: Lineage, progress: Callable[[str], None] | None = None
) -> None:
    """The last result of every test of a table that the lineage has; one that the server has already is not sent.

    A test case of ours whose test, table or column is gone is marked deleted there.
    """
    for platform in ("Soda", "dbt"):
        for kind in ("TABLE", "COLUMN"):
            body = {
                "name": f"{platform.lower()}{kind.capitalize()}Test", "entityType": kind, "testPlatforms": [platform],
                "description": f"A test of {platform}, run by Tidemark.",
            }  # fmt: skip
            server.send("PUT", "dataQuality/testDefinitions", body)
    results = [result for result in [*results_of_soda(settings), *results_of_dbt(settings)] if _is_of(lineage, result)]
    for result in results:
        if progress:
            progress(result.full_name)
        _publish(server, result)
    _delete_others(settings, server, _existing(settings, lineage, results))


def _is_of(lineage: Lineage, test: DataTest) -> bool:
    columns = lineage.columns.get(test.table)
    return columns is not None and (not test.column or test.column in columns)


def _existing(settings: Settings, lineage: Lineage, results: Collection[Result]) -> set[str]:
    """The full names of all tests that there are, those of the last results among them, run lately or not."""
    of_models = [test for database in DATABASES for test in of_dbt(settings, database) or ()]
    tests = [*results, *(test for test in [*of_contracts(), *of_models] if _is_of(lineage, test))]
    return {test.full_name for test in tests}


def _delete_others(settings: Settings, server: Server, existing: Collection[str]) -> None:
    built = [f"tidemark_{database}." for database in DATABASES if of_dbt(settings, database) is not None]
    ours = {"soda": ("tidemark_",), "dbt": tuple(built)}  # where dbt never ran, its tests are not known
    begins = {f"{platform}{kind}Test": begin for platform, begin in ours.items() for kind in ("Column", "Table")}
    for case in list(_cases(server)):
        name = case["fullyQualifiedName"]
        if name.startswith(begins.get(case["testDefinition"]["name"], ())) and name not in existing:
            server.send("DELETE", f"{CASES}/{case['id']}")


def _cases(server: Server) -> Iterator[dict[str, Any]]:
    """Every test case that the server shows, page by page."""
    after = ""
    while True:
        found = server.get(f"{CASES}?fields=testDefinition&limit={MOST}{after}") or {}
        yield from found.get("data") or []
        following = (found.get("paging") or {}).get("after")
        if not following:
            return
        after = f"&after={in_path(following)}"


def _publish(server: Server, result: Result) -> None:
    link = f"<#E::table::{named(result.table)}{f'::columns::{result.column}' if result.column else ''}>"
    path = f"{CASES}/name/{in_path(result.full_name)}?fields=testCaseResult"
    case = server.get(path)
    if case is None:
        body = {"name": result.name, "displayName": result.test[:200], "testDefinition": result.definition}
        case = server.send("PUT", CASES, {**body, "entityLink": link})
    at = int(result.at.timestamp() * 1000)
    if int((case.get("testCaseResult") or {}).get("timestamp") or 0) >= at:
        return
    found: dict[str, Any] = {
        "timestamp": at,
        "testCaseStatus": result.status,
        "result": result.said,
        "testResultValue": [],
    }
    server.send("POST", f"{CASES}/testCaseResults/{in_path(result.full_name)}", found)
