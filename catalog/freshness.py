"""Of which tables a contract may ask for fresh rows: only where somebody is to send them that often."""

from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import sql

from catalog.contracts import Contract

REPLAY_IS_OLD = "the rows of a replay are as old as its recording"
Silence = Mapping[str, float]  # a topic that sources feed, and after how many seconds the first of them is too silent


def unasked(
    contract: Contract, connection: psycopg.Connection[dict[str, Any]], replay: bool, silence: Silence | None
) -> str | None:
    """Why the contract's freshness is not asked; None where it is, as also where nobody knows the sources.

    A topic without a source in sources.yml is asked while it has rows: somebody else sends them.
    """
    if contract.fresh_seconds is None:
        return None
    if replay:
        return REPLAY_IS_OLD
    if silence is None:
        return None
    if (most := silence.get(contract.table)) is not None:
        said = "are asked now and then" if most == float("inf") else f"may be silent for {most:,.0f} s"
        return f"its sources {said}, by sources.yml" if most > contract.fresh_seconds else None
    query = sql.SQL("select from {} limit 1").format(sql.Identifier(contract.schema, contract.table))
    return None if connection.execute(query).fetchall() else "no source of this category is in sources.yml"
