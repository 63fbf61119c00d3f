"""The project's own rules of dbt, over manifest.json; CONTRIBUTING.md says them."""

from collections.abc import Iterator
from itertools import pairwise

from tests.dbt_project.project import Finding, Node, Project, folders, is_table, layer, name, primary_key

ORDER = {"key": 0, "text": 1, "number": 2, "boolean": 3, "date": 4, "timestamptz": 5}
NUMBERS = ("smallint", "integer", "bigint", "numeric", "double precision")


def a_description_opens_with_the_grain(project: Project) -> Iterator[Finding]:
    for model in project.models:
        if not model["description"].startswith("One row per "):
            yield name(model), "its description does not open with `One row per`"


def a_column_has_a_type(project: Project) -> Iterator[Finding]:
    for model in project.models:
        for column in model["columns"].values():
            if not column["data_type"]:
                yield name(model), f"column {column['name']} has no data_type"


def a_table_has_a_contract_and_a_primary_key(project: Project) -> Iterator[Finding]:
    for model in filter(is_table, project.models):
        if not model["config"]["contract"]["enforced"]:
            yield name(model), "a table without a contract"
        if primary_key(model) is None:
            yield name(model), "a table without a primary key"
        elif primary_key(model) != model["config"]["unique_key"]:
            yield (
                name(model),
                f"its unique_key is {model['config']['unique_key']}, its primary key {primary_key(model)}",
            )


def a_view_has_a_unique_test(project: Project) -> Iterator[Finding]:
    for model in project.models:
        if not is_table(model) and not project.tests(model, "unique_combination"):
            yield name(model), "a view without a unique test"


def no_model_grants_or_takes_away_what_default_privileges_give(project: Project) -> Iterator[Finding]:
    for model in project.models:
        if model["config"].get("grants"):
            yield name(model), f"it grants {model['config']['grants']}: dbt would take from every team what is not there"


def a_mart_has_owner_group_access_and_version(project: Project) -> Iterator[Finding]:
    for model in project.marts():
        config = model["config"]
        if not (project.groups.get(config["group"] or "") or {}).get("owner", {}).get("name"):
            yield name(model), "no group with an owner"
        if model["access"] != "public":
            yield name(model), f"its access is {model['access']}, not public"
        if not config["contract"]["enforced"]:
            yield name(model), "no contract"
        if not isinstance(config["meta"].get("version"), int):
            yield name(model), "its meta says no version of its contract"


def staging_and_intermediate_are_private(project: Project) -> Iterator[Finding]:
    for model in project.models:
        if layer(model) in ("staging", "intermediate") and model["access"] == "public":
            yield name(model), "it is public"


def staging_is_views_named_after_their_source(project: Project) -> Iterator[Finding]:
    for model in project.models:
        if layer(model) == "staging" and is_table(model):
            yield name(model), "staging only renames and casts: a table"
        if layer(model) == "staging" and not model["name"].startswith(f"stg_{folders(model)[-1]}__"):
            yield name(model), f"its name is not of {folders(model)[-1]}"


def a_mart_reads_its_own_domain(project: Project) -> Iterator[Finding]:
    """Of other domains their public dimensions; staging of none."""
    for model in project.marts():
        for parent in project.parents(model):
            if layer(parent) == "staging":
                yield name(model), f"reads {name(parent)} past intermediate"
            if layer(parent) == "marts" and folders(parent) != folders(model) and not name(parent).startswith("dim_"):
                yield name(model), f"reads {name(parent)} of another domain"


def columns_are_in_their_order(project: Project) -> Iterator[Finding]:
    """Keys, text, numbers, booleans, dates, timestamps; what is none of them, such as an array, is where it fits."""
    for model in project.models:
        ranks = {
            column["name"]: rank for column in model["columns"].values() if (rank := _rank(model, column)) is not None
        }
        for (before, rank), (after, next_rank) in pairwise(ranks.items()):
            if next_rank < rank:
                yield name(model), f"column {after} is after {before}"


def _rank(model: Node, column: Node) -> int | None:
    if column["name"].endswith("_key") or column["name"] == primary_key(model):
        return ORDER["key"]
    kind = str(column["data_type"])
    return ORDER.get("number" if kind in NUMBERS else kind)


def a_column_says_its_type_by_its_name(project: Project) -> Iterator[Finding]:
    endings = {"timestamptz": ("_at",), "date": ("_date",)}
    for model in project.models:
        for column in model["columns"].values():
            ending = endings.get(column["data_type"] or "")
            if ending and not column["name"].endswith(ending):
                yield name(model), f"{column['name']} is a {column['data_type']}"
            if column["data_type"] == "boolean" and not column["name"].startswith(("is_", "has_", "was_")):
                yield name(model), f"{column['name']} is a boolean"


def a_model_ends_with_its_final_rows(project: Project) -> Iterator[Finding]:
    for model in project.models:
        if not model["raw_code"].rstrip().endswith("select * from final"):
            yield name(model), "it does not end with `select * from final`"


def absence_is_asked_by_not_exists(project: Project) -> Iterator[Finding]:
    for model in project.models:
        if "not in (select" in " ".join(model["raw_code"].split()):
            yield name(model), "not in (select ..)"


def there_is_no_snapshot_and_no_package(project: Project) -> Iterator[Finding]:
    for node in project.nodes.values():
        if node["resource_type"] == "snapshot" or node["package_name"] != "tidemark":
            yield name(node), f"a {node['resource_type']} of {node['package_name']}"


def a_source_that_is_late_is_an_error(project: Project) -> Iterator[Finding]:
    for source in project.of("source"):
        if layer(source) == "staging" and not ((source["freshness"] or {}).get("error_after") or {}).get("count"):
            yield name(source), "its freshness has no error_after"


def a_key_of_a_dimension_is_tested_to_be_there(project: Project) -> Iterator[Finding]:
    """In a fact or report, but where a dimension that it is tested to have has the key too, and tests it."""
    dimensions = {primary_key(model): model for model in project.marts() if model["name"].startswith("dim_")}
    related = {
        model["unique_id"]: {test["test_metadata"]["kwargs"]["column"] for test in project.tests(model, "related")}
        for model in project.marts()
    }
    for model in filter(is_table, project.marts()):
        if name(model).startswith("dim_"):
            continue
        tested = related[model["unique_id"]]
        through = {key for column in tested & dimensions.keys() for key in related[dimensions[column]["unique_id"]]}
        for column in sorted(model["columns"].keys() & dimensions.keys() - {primary_key(model)} - tested - through):
            yield name(model), f"nothing tests that its {column} is in {name(dimensions[column])}"


def a_mart_is_read_by_somebody(project: Project) -> Iterator[Finding]:
    for model in filter(is_table, project.marts()):
        if not project.is_exposed(model):
            yield name(model), "no exposure names it"


def an_exposure_says_where_and_whose_it_is(project: Project) -> Iterator[Finding]:
    for exposure in project.of("exposure"):
        if not (exposure["description"] and exposure["owner"]["name"] and exposure["url"] and exposure["label"]):
            yield name(exposure), "it lacks a label, a description, an owner or a url"


RULES = (
    a_description_opens_with_the_grain, a_column_has_a_type, a_table_has_a_contract_and_a_primary_key,
    a_view_has_a_unique_test, a_mart_has_owner_group_access_and_version, no_model_grants_or_takes_away_what_default_privileges_give, staging_and_intermediate_are_private,
    staging_is_views_named_after_their_source, a_mart_reads_its_own_domain, columns_are_in_their_order,
    a_column_says_its_type_by_its_name, a_model_ends_with_its_final_rows, absence_is_asked_by_not_exists,
    there_is_no_snapshot_and_no_package, a_source_that_is_late_is_an_error, a_key_of_a_dimension_is_tested_to_be_there,
    a_mart_is_read_by_somebody, an_exposure_says_where_and_whose_it_is,
)  # fmt: skip
