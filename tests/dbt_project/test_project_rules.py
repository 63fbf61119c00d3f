"""The project's rules over manifest.json: those of dbt-project-evaluator under their own names, and our own."""

import csv
import json
from collections.abc import Callable
from fnmatch import fnmatchcase

import pytest

from serve.crossing import bars, events, ticks
from serve.crossing.rule import ACCOUNT
from tests.conftest import Stack
from tests.dbt_project import evaluator_rules, style_rules
from tests.dbt_project.project import Node, Project
from tidemark import dbt
from tidemark.connections import DATABASES
from tidemark.dbt import DBT_PROJECT
from tidemark.dbt.tables import holdings

RULES = {rule.__name__: rule for rule in (*evaluator_rules.RULES, *style_rules.RULES)}
SEED = DBT_PROJECT / "seeds" / "rule_exceptions.csv"
EXCEPTIONS = list(csv.DictReader(SEED.read_text().splitlines()))
MOST_EXCEPTIONS = 5


@pytest.fixture(scope="module")
def project(stack: Stack) -> Project:
    """Both targets as dbt parses them; no database is asked."""
    manifests = []
    for target in DATABASES:
        dbt.run(stack.settings, ["parse"], target)
        manifests.append(json.loads((dbt.artifacts(stack.settings, target) / "manifest.json").read_text()))
    return Project(*manifests)


def covers(exception: dict[str, str], resource: str) -> bool:
    return any(fnmatchcase(resource, pattern) for pattern in exception["resources"].split())


def excepted(rule: str, resource: str) -> bool:
    return any(rule in one["rules"].split() and covers(one, resource) for one in EXCEPTIONS)


@pytest.mark.parametrize("rule", RULES)
def test_the_project_keeps_the_rule(project: Project, rule: str) -> None:
    found = [f"{resource}: {problem}" for resource, problem in RULES[rule](project) if not excepted(rule, resource)]
    assert found == []


def test_a_test_that_keeps_a_mart_from_new_rows_is_of_a_batch_input(project: Project) -> None:
    """The flows build with these tests alone; every other one runs after all is built, so that it holds no day."""
    blocking, others = ([each.rpartition(":")[2] for each in part] for part in dbt.tests_of_batch_inputs())
    for test in project.of("test"):
        path = test["original_file_path"]
        if not path.startswith("models/live/"):
            assert [any(path.startswith(f"{one}/") for one in part) for part in (blocking, others)].count(True) == 1
    assert blocking == ["models/staging/ecb", "models/staging/fred"]


def test_a_promotion_builds_whatever_the_api_asks_of_the_warehouse_for_a_range(project: Project) -> None:
    """As one that is not there is answered 503: nothing says what it would have."""
    of_platform = [model["name"] for model in project.models if "platform" in model["config"]["tags"]]
    for kind in (ticks, bars, events):
        marts = {holdings()[topic].mart for topic in kind.TOPICS}
        below = closure(marts, project.children, project)
        built = closure(below | {*of_platform}, project.parents, project)
        asked = {ACCOUNT["warehouse"], *kind.RELATIONS["warehouse"]}
        assert {name.removeprefix("marts.") for name in asked} <= built, kind


def closure(names: set[str], onward: Callable[[Node], list[Node]], project: Project) -> set[str]:
    """The models of these names, and all that can be reached from them."""
    found = {model["name"]: model for model in project.models if model["name"] in names}
    waiting = list(found.values())
    while waiting:
        new = {one["name"]: one for one in onward(waiting.pop()) if one["name"] not in found}
        found |= new
        waiting += new.values()
    return {*found}


def test_each_exception_has_its_reason_and_is_one_still(project: Project) -> None:
    assert len(EXCEPTIONS) <= MOST_EXCEPTIONS
    for one in EXCEPTIONS:
        assert len(one["reason"]) > 20
        for rule in one["rules"].split():
            assert any(covers(one, resource) for resource, _ in RULES[rule](project)), (rule, one["resources"])
