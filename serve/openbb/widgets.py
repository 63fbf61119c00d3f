"""`widgets.json`: a table a mart that the caller may read, the chart of bars, and a series with its vintages."""

from collections.abc import Sequence
from typing import Any

from serve.relations import Relation

SOURCE, CATEGORY = ["Tidemark"], "Tidemark"
# Their rows are many; whoever wants them asks /v1/ticks.
LEFT_OUT = {"fct_market_ticks", "fct_order_book_levels", "fct_book_snapshots"}
_NUMBERS, _DATES = {"numeric", "double precision", "real", "integer", "bigint", "smallint"}, {"date"}
_LIMIT = {
    "paramName": "limit", "label": "Rows", "type": "number", "value": 200,
    "description": "Most rows, the newest keys first",
}  # fmt: skip
_SYMBOL = {
    "paramName": "symbol", "label": "Symbol", "type": "endpoint", "optionsEndpoint": "openbb/symbols", "value": "",
    "description": "source:symbol; of all, where there is none",
}  # fmt: skip
_SERIES = {
    "paramName": "series", "label": "Series", "type": "endpoint", "optionsEndpoint": "openbb/series", "value": "",
    "description": "The series_key",
}  # fmt: skip


def of(relations: Sequence[Relation], symbol: str) -> dict[str, Any]:
    """Every widget by its id; `symbol` is what the chart of bars begins with."""
    tables = {f"mart_{each.name}": _table(each) for each in relations if each.name not in LEFT_OUT}
    return {"bars": _bars(symbol), "series_vintages": _vintages(), **tables}


def apps() -> list[dict[str, Any]]:
    """One dashboard to begin with: the chart above, the series with its vintages below."""
    places = {"bars": {"x": 0, "y": 0, "w": 40, "h": 18}, "series_vintages": {"x": 0, "y": 18, "w": 40, "h": 14}}
    layout = [{"i": name, **place} for name, place in places.items()]
    return [{
        "name": "Tidemark", "description": "Bars from both sides of the tidemark, and a series as it was known when.",
        "allowCustomization": True, "groups": [], "prompts": [],
        "tabs": {"overview": {"id": "overview", "name": "Overview", "layout": layout}},
    }]  # fmt: skip


def _table(mart: Relation) -> dict[str, Any]:
    params: list[dict[str, Any]] = [_LIMIT]
    if {"source_system", "symbol"} <= mart.columns.keys():
        params = [_SYMBOL, _LIMIT]
    return {
        "name": mart.name, "description": mart.description or mart.name, "category": CATEGORY, "subCategory": "Marts",
        "source": SOURCE, "type": "table", "endpoint": f"openbb/marts/{mart.name}", "gridData": {"w": 24, "h": 12},
        "params": params,
        "data": {"table": {"showAll": True, "columnsDefs": [
            {"field": each.name, "headerName": each.name, "cellDataType": _cell(each.type)}
            for each in mart.columns.values()
        ]}},
    }  # fmt: skip


def _cell(kind: str) -> str:
    if kind in _NUMBERS:
        return "number"
    return "dateString" if kind in _DATES else "boolean" if kind == "boolean" else "text"


def _bars(symbol: str) -> dict[str, Any]:
    return {
        "name": "Bars", "description": "Bars of a symbol, live and historical, each once.", "category": CATEGORY,
        "source": SOURCE, "type": "advanced_charting", "endpoint": "/udf", "gridData": {"w": 40, "h": 18},
        "data": {"defaultSymbol": symbol, "updateFrequency": 10_000},
    }  # fmt: skip


def _vintages() -> dict[str, Any]:
    return {
        "name": "Series with its vintages", "description": "A series as it was known at its newest publications.",
        "category": CATEGORY, "source": SOURCE, "type": "chart", "endpoint": "openbb/vintages",
        "gridData": {"w": 40, "h": 14}, "params": [_SERIES], "raw": True,
    }  # fmt: skip
