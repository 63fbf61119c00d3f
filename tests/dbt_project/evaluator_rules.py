"""The rules of dbt-project-evaluator, each under its own name and with its own thresholds, over manifest.json.

https://dbt-labs.github.io/dbt-project-evaluator/latest/rules/ says what each is for. `live` reads the streaming database's
tables, so that its models are the staging of that database.
"""

import re
from collections import Counter
from collections.abc import Iterator

from tests.dbt_project.project import (
    KINDS, Finding, Node, Project, distances, folders, is_table, layer, name, primary_key
)  # fmt: skip

FANOUT, JOINS, CHAINED_VIEWS = 3, 7, 5
_RELATION = re.compile(r"(?i)(?<!distinct )\b(?:from|join)\s+([a-z_]+\.[a-z_]+)\b")
_STAGING = ("staging", "live")


def _sources(project: Project, model: Node) -> list[Node]:
    return [parent for parent in project.parents(model) if parent["resource_type"] == "source"]


def direct_join_to_source(project: Project) -> Iterator[Finding]:
    for model in project.models:
        if (sources := _sources(project, model)) and len(sources) < len(project.parents(model)):
            yield name(model), "reads a source and a model"


def marts_or_intermediate_dependent_on_source(project: Project) -> Iterator[Finding]:
    for model in project.models:
        if layer(model) not in _STAGING and (sources := _sources(project, model)):
            yield name(model), f"reads {name(sources[0])} past staging"


def duplicate_sources(project: Project) -> Iterator[Finding]:
    places = Counter((node["database"], node["schema"], node["identifier"]) for node in project.of("source"))
    for node in project.of("source"):
        if places[node["database"], node["schema"], node["identifier"]] > 1:
            yield name(node), "another source is the same table"


def hard_coded_references(project: Project) -> Iterator[Finding]:
    for model in project.models:
        for relation in _RELATION.findall(re.sub(r"(?s)\{[{#%].*?[}#%]\}|--[^\n]*", " ", model["raw_code"])):
            yield name(model), f"names {relation} without ref() or source()"


def model_fanout(project: Project) -> Iterator[Finding]:
    for model in project.models:
        leaves = [name(child) for child in project.children(model) if not project.is_read(child)]
        if len(leaves) >= FANOUT:
            yield name(model), f"{len(leaves)} leaves read it: {', '.join(sorted(leaves))}"


def multiple_sources_joined(project: Project) -> Iterator[Finding]:
    for model in project.models:
        if len(sources := _sources(project, model)) > 1:
            yield name(model), f"reads {len(sources)} sources"


def rejoining_of_upstream_concepts(project: Project) -> Iterator[Finding]:
    for model in project.models:
        parents = {parent["unique_id"] for parent in project.parents(model)}
        for between in project.parents(model):
            rejoined = [name(above) for above in project.parents(between) if above["unique_id"] in parents]
            if rejoined and len(project.children(between)) == 1:
                yield (
                    name(model),
                    f"reads {', '.join(rejoined)} itself and through {name(between)}, which it alone reads",
                )


def root_models(project: Project) -> Iterator[Finding]:
    for model in project.models:
        if not project.parents(model):
            yield name(model), "reads nothing"


def source_fanout(project: Project) -> Iterator[Finding]:
    for source in project.of("source"):
        if len(children := project.children(source)) > 1:
            yield name(source), f"{len(children)} models read it"


def staging_dependent_on_staging(project: Project) -> Iterator[Finding]:
    for model in project.models:
        if layer(model) == "staging" and any(layer(parent) == "staging" for parent in _models_above(project, model)):
            yield name(model), "reads a staging model"


def staging_dependent_on_marts_or_intermediate(project: Project) -> Iterator[Finding]:
    for model in project.models:
        above = {layer(parent) for parent in _models_above(project, model)}
        if layer(model) == "staging" and above & {"intermediate", "marts"}:
            yield name(model), "reads what comes after staging"


def _models_above(project: Project, model: Node) -> list[Node]:
    return [parent for parent in project.parents(model) if parent["resource_type"] == "model"]


def unused_sources(project: Project) -> Iterator[Finding]:
    for source in project.of("source"):
        if not project.children(source):
            yield name(source), "nothing reads it"


def too_many_joins(project: Project) -> Iterator[Finding]:
    for model in project.models:
        if len(parents := project.parents(model)) >= JOINS:
            yield name(model), f"reads {len(parents)} models"


def missing_primary_key_tests(project: Project) -> Iterator[Finding]:
    for model in project.models:
        if primary_key(model) is None and not project.tests(model, "unique_combination"):
            yield name(model), "neither a primary key nor a unique test"


def sources_without_freshness(project: Project) -> Iterator[Finding]:
    for source in project.of("source"):
        freshness = source["freshness"] or {}
        if not (source["loaded_at_field"] and (freshness.get("warn_after") or {}).get("count")):
            yield name(source), "its freshness is not checked"


def test_coverage(project: Project) -> Iterator[Finding]:
    for model in project.models:
        if not project.tests(model):
            yield name(model), "no test"


def documentation_coverage(project: Project) -> Iterator[Finding]:
    for model in project.models:
        for column in model["columns"].values():
            if not column["description"]:
                yield name(model), f"column {column['name']} has no description"


def undocumented_models(project: Project) -> Iterator[Finding]:
    yield from ((name(model), "no description") for model in project.models if not model["description"])


def undocumented_sources(project: Project) -> Iterator[Finding]:
    yield from ((name(one), "no description") for one in project.of("source") if not one["source_description"])


def undocumented_source_tables(project: Project) -> Iterator[Finding]:
    yield from ((name(one), "no description") for one in project.of("source") if not one["description"])


def model_naming_conventions(project: Project) -> Iterator[Finding]:
    for model in project.models:
        if KINDS.get(model["name"].partition("_")[0]) != layer(model):
            yield name(model), f"its prefix is not of {layer(model)}"


def model_directories(project: Project) -> Iterator[Finding]:
    for model in project.models:
        if layer(model) == "staging":
            if {source["source_name"] for source in _sources(project, model)} != {folders(model)[-1]}:
                yield name(model), f"it is not in the folder of the source that it reads, but in {folders(model)[-1]}"
        elif KINDS.get(model["name"].partition("_")[0]) not in folders(model):
            yield name(model), f"it is in {'/'.join(folders(model))}"


def source_directories(project: Project) -> Iterator[Finding]:
    for source in project.of("source"):
        if layer(source) == "staging" and folders(source)[-1] != source["source_name"]:
            yield name(source), f"it is defined in {'/'.join(folders(source))}"


def test_directories(project: Project) -> Iterator[Finding]:
    for model in project.models:
        for test in project.tests(model):
            if folders(test) != folders(model):
                yield name(test), f"it is not beside {name(model)}"


def chained_views_dependencies(project: Project) -> Iterator[Finding]:
    for model in project.models:
        for parent, distance, between in distances(project, model):
            if distance >= CHAINED_VIEWS and not any(is_table(one) for one in between):
                yield name(model), f"{distance - 1} views in a row up to {name(parent)}"


def exposure_parents_materializations(project: Project) -> Iterator[Finding]:
    for exposure in project.of("exposure"):
        for parent in project.parents(exposure):
            if parent["resource_type"] == "source" or not is_table(parent):
                yield name(exposure), f"{name(parent)} is no table"


def public_models_without_contract(project: Project) -> Iterator[Finding]:
    for model in project.models:
        if model["access"] == "public" and not model["config"]["contract"]["enforced"]:
            yield name(model), "it is public without a contract"


def undocumented_public_models(project: Project) -> Iterator[Finding]:
    for model in project.models:
        undescribed = [column for column in model["columns"].values() if not column["description"]]
        if model["access"] == "public" and (not model["description"] or not model["columns"] or undescribed):
            yield name(model), "it is public, and not all of it is described"


def exposures_dependent_on_private_models(project: Project) -> Iterator[Finding]:
    for exposure in project.of("exposure"):
        for parent in _models_above(project, exposure):
            if parent["access"] != "public":
                yield name(exposure), f"{name(parent)} is not public"


RULES = (
    direct_join_to_source, duplicate_sources, hard_coded_references, marts_or_intermediate_dependent_on_source,
    model_fanout, multiple_sources_joined, rejoining_of_upstream_concepts, root_models, source_fanout,
    staging_dependent_on_marts_or_intermediate, staging_dependent_on_staging, too_many_joins, unused_sources,
    missing_primary_key_tests, sources_without_freshness, test_coverage, documentation_coverage, undocumented_models,
    undocumented_source_tables, undocumented_sources, model_directories, model_naming_conventions, source_directories,
    test_directories, chained_views_dependencies, exposure_parents_materializations,
    exposures_dependent_on_private_models, public_models_without_contract, undocumented_public_models,
)  # fmt: skip
