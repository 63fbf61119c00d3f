"""The ledger of loads, on the shared stack."""

from ingest import loads
from ingest.lake import LakeFile
from tests.ingest.conftest import Query
from tidemark.connections import connect
from tidemark.settings import Settings

TABLE = "ecb__reference_rates"
NOTED = "select file_name, load_id, row_count, changed_at > noted_at from ops.load order by 1"
WRITTEN = "select file_name, xmin::text from ops.load order by 1"


def note(settings: Settings, **rows: int) -> None:
    files = [LakeFile(f"ecb/reference_rates/{name}", f"1732{number}.5") for number, name in enumerate("abc")]
    with connect(settings, "warehouse", "ingest_writer") as warehouse:
        loads.note(
            warehouse, "ecb", TABLE, files, {f"ecb/reference_rates/{name}": count for name, count in rows.items()}
        )


def test_only_a_file_that_is_new_or_has_another_count_is_written(settings: Settings, warehouse: Query) -> None:
    note(settings, a=1, b=2)
    before = warehouse(WRITTEN)
    note(settings, a=1, b=2)
    assert warehouse(WRITTEN) == before
    note(settings, a=1, b=3, c=4)
    a, b, c = warehouse(NOTED)
    assert [a[1:], b[1:], c[1:]] == [("17320.5", 1, False), ("17321.5", 3, True), ("17322.5", 4, False)]
    assert warehouse(WRITTEN)[0] == before[0]


def test_a_file_that_the_table_has_no_more_is_not_in_the_ledger(settings: Settings, warehouse: Query) -> None:
    note(settings, a=1, b=2)
    note(settings, b=2)
    assert [name for name, *_ in warehouse(NOTED)] == ["ecb/reference_rates/b"]
    note(settings)
    assert warehouse(NOTED) == []
