"""The contracts of marts: of every one with a table its rows against an earlier day; of some, reconciliation too.

dbt's contract and tests own the columns and their rules. Here is only what one build cannot know.
"""

from collections.abc import Mapping
from typing import Any

from tidemark.dbt.tables import stored_marts

SCHEMA = "marts"
COUNTED = "rows are counted"
# Rows that were deleted on purpose (TIDEMARK_WAREHOUSE_TICK_DAYS) since the earlier count are no loss.
_EARLIER = """\
select counted.rows_now, earlier.measured as rows_then, earlier.checked_at
from (select count(1) as rows_now from marts.{mart}) as counted
cross join (
    select measured, checked_at
    from quality.results
    where dataset = 'warehouse.marts.{mart}'
      and check_name = '{counted}'
      and checked_at < date_trunc('day', now(), 'UTC')
    order by checked_at desc
    limit 1
) as earlier
where counted.rows_now + {deleted} < earlier.measured
"""
_DELETED = "(select coalesce(sum(row_count), 0) from ops.deleted_tick_day where deleted_at >= earlier.checked_at)"
_SHRINKS = ("fct_market_ticks",)


def documents(of_files: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """By database/schema/table, a contract of every mart; what its file has comes after its counts.

    A mart with a file keeps every row, so that fewer are an error; of any other they are a warning.
    """
    found = {}
    for mart, columns in stored_marts():
        place = f"warehouse/{SCHEMA}/{mart}"
        found[place] = _with_counts(mart, next(iter(columns)), of_files.get(place))
    return found


def _with_counts(mart: str, key: str, said: dict[str, Any] | None) -> dict[str, Any]:
    level = {"level": "fail" if said else "warn", "must_be": 0}
    query = _EARLIER.format(mart=mart, counted=COUNTED, deleted=_DELETED if mart in _SHRINKS else 0)
    checks = [
        {"row_count": {"name": COUNTED, "threshold": {"must_be_greater_than_or_equal": 0}}},
        {
            "failed_rows": {
                "qualifier": "yesterday",
                "name": "no fewer rows than on an earlier day",
                "query": query,
                "threshold": level,
            }
        },
    ]
    whole = said or {
        "dataset": f"warehouse/warehouse/{SCHEMA}/{mart}",
        "description": "How many rows it has against an earlier day; what they are, dbt's file of the model says.",
        "columns": [{"name": key}],
    }
    return {**whole, "checks": [*checks, *whole.get("checks", ())]}
