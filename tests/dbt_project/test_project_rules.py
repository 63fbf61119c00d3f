"""The project's rules over manifest.json: those of dbt-project-evaluator under their own names, and our own."""

import csv
import json

from fnmatch import fnmatchcase

import pytest

from tests.conftest import Stack
from tests.dbt_project import evaluator_rules, style_rules
from tests.dbt_project.project import Project
from tidemark import dbt
from tidemark.connections import DATABASES
from tidemark.dbt import DBT_PROJECT

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


def test_each_exception_has_its_reason_and_is_one_still(project: Project) -> None:
    assert len(EXCEPTIONS) <= MOST_EXCEPTIONS
    for one in EXCEPTIONS:
        assert len(one["reason"]) > 20
        for rule in one["rules"].split():
            assert any(covers(one, resource) for resource, _ in RULES[rule](project)), (rule, one["resources"])
