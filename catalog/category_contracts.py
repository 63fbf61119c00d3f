"""The contracts of the four categories' tables, in `realtime` and as text in `ingestion`: of their typed shapes."""

from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from tidemark.categories import CATEGORIES, Name, required_fields, table_columns

Document = dict[str, Any]  # a contract, as its YAML says it

IDENTITY = {"identity": {"default": "log_epoch, kafka_partition, kafka_offset"}}
SODA_TYPES = {"timestamptz": "timestamp with time zone"}  # Soda's word for Postgres's type, where they differ
NEVER_CLOSED = ("market_tick", "order_book_l2")  # some of their venues never are: rows at any hour
NOT_NEGATIVE = ("size",)
_TEXT = {  # how each type is written as text, and what people call that
    "timestamptz": (r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$", "is a time, UTC, with microseconds"),
    "double precision": (r"^-?\d+(\.\d+)?(e[-+]\d+)?$", "is a finite number"),
    "smallint": (r"^\d+$", "is a whole number"),
    "bigint": (r"^\d+$", "is a whole number"),
}


def documents() -> dict[str, Document]:
    """By database/schema/table, every contract that a category has."""
    found = {}
    for topic in CATEGORIES:
        found[f"realtime/realtime/{topic}"] = _streamed(topic)
        found[f"warehouse/ingestion/realtime__{topic}"] = _promoted(topic)
    return found


def _streamed(topic: str) -> Document:
    hints = get_type_hints(CATEGORIES[topic], include_extras=True)
    columns = []
    for name, kind in table_columns(topic).items():
        checks = [_missing(name)] if name in (*required_fields(topic), "received_at") else []
        checks += [_rows(said, wrong) for said, wrong in _rules(name, hints.get(name))]
        columns.append({"name": name, "data_type": SODA_TYPES.get(kind, kind), "checks": checks})
    # More columns: what the database derives for an index.
    checks = [{"schema": {"name": "the columns of the category", "allow_extra_columns": True}}]
    if topic in NEVER_CLOSED:
        limit = {"unit": "minute", "must_be_less_than": 15}
        checks.append(
            {"freshness": {"name": "a row in the last 15 minutes", "column": "received_at", "threshold": limit}}
        )
    said = f"One row per record of the topic {topic}: the days that have not been promoted yet. {_grain(topic)}"
    return _document(f"realtime/realtime/realtime/{topic}", said, columns, checks)


def _promoted(topic: str) -> Document:
    columns = []
    for name, kind in table_columns(topic).items():
        checks = [_missing(name)]
        if kind in _TEXT:
            pattern, said = _TEXT[kind]
            checks.append(_rows(f"{name} {said}", f"{name} !~ '{pattern}'"))
        columns.append({"name": name, "data_type": "text", "checks": checks})
    kinds = {"load_id": "text", "file_name": "text", "loaded_at": "timestamp with time zone"}
    columns += [{"name": name, "data_type": kind, "checks": [_missing(name)]} for name, kind in kinds.items()]
    more = {"allow_extra_columns": True, "allow_other_column_order": True}
    table = f"realtime__{topic}"
    checks = [
        {"schema": {"name": "the columns of the category, as text", **more}},
        _query("once", "a record is promoted once", _ONCE.format(table=table)),
        _query("whole", "every promotion has its rows", _WHOLE.format(table=table, topic=topic)),
    ]
    said = f"One row per promoted row of realtime.{topic}, as text. Its identity is the record's place in the topic."
    return _document(f"warehouse/warehouse/ingestion/{table}", said, columns, checks)


def _grain(topic: str) -> str:
    return (CATEGORIES[topic].__doc__ or "").strip()


def _document(dataset: str, description: str, columns: list[Document], checks: list[Document]) -> Document:
    columns = [{key: value for key, value in column.items() if value} for column in columns]
    return {
        "dataset": dataset, "description": description, "variables": IDENTITY, "columns": columns, "checks": checks
    }  # fmt: skip


def _rules(name: str, hint: Any) -> list[tuple[str, str]]:
    """What a required field's type asks beyond its column's: in words, and the condition of a row that breaks it."""
    if hint is Name:
        return [(f"{name} is not blank", f"btrim({name}) = ''")]
    if hint is float:
        wrong, said = f"{name} in ('NaN', 'Infinity', '-Infinity')", f"a finite {name}"
        return [(f"{said}, not negative", f"{wrong} or {name} < 0")] if name in NOT_NEGATIVE else [(said, wrong)]
    if get_origin(hint) is Literal:
        known = get_args(hint)
        return [(f"{name} is {' or '.join(known)}", f"{name} not in ({', '.join(map(repr, known))})")]
    if get_origin(hint) is Annotated and get_args(hint)[0] is int:
        (least,) = {meta.ge for meta in get_args(hint)[1:]}
        return [(f"{name} is {least} or more", f"{name} < {least}")]
    return []


def _missing(name: str) -> Document:
    return {"missing": {"name": f"{name} is there"}}


def _rows(name: str, expression: str) -> Document:
    return {"failed_rows": {"name": name, "expression": expression}}


def _query(qualifier: str, name: str, query: str) -> Document:
    return {"failed_rows": {"qualifier": qualifier, "name": name, "query": query}}


_ONCE = """\
select log_epoch, kafka_partition, kafka_offset, count(1) as times
from ingestion.{table}
group by log_epoch, kafka_partition, kafka_offset
having count(1) > 1
"""
_WHOLE = """\
select
    promotion.day,
    promotion.log_epoch,
    promotion.kafka_partition,
    promotion.row_count,
    count(loaded.kafka_offset) as loaded_rows
from ops.promotion as promotion
left join ingestion.{table} as loaded
    on loaded.log_epoch = promotion.log_epoch::text
    and loaded.kafka_partition = promotion.kafka_partition::text
    and left(loaded.received_at, 10) = promotion.day::text
    and loaded.kafka_offset::bigint between promotion.first_offset and promotion.last_offset
where promotion.topic = '{topic}' and promotion.verified_at is not null
group by
    promotion.promotion_id,
    promotion.day,
    promotion.log_epoch,
    promotion.kafka_partition,
    promotion.row_count
having count(loaded.kafka_offset) < promotion.row_count
"""
