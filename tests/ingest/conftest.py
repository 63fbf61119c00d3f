"""Batch lane on the shared stack: a warehouse without tables and a state folder of the test's own."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

from tests.conftest import Stack, take_over_parsed
from tidemark.settings import Settings

KEY = "0123456789abcdef0123456789abcdef"

Query = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def settings(clean_warehouse: Stack, tmp_path: Path) -> Settings:
    """Settings of the shared servers with an empty lake; nothing answers where the sources should be."""
    home = tmp_path / "höme (a+b@c) [x] #1?"  # whatever a path may hold; of % dlt makes a format
    home.mkdir()
    shutil.copytree(clean_warehouse.settings.home / "credentials", home / "credentials")
    take_over_parsed(clean_warehouse, home)
    nobody = "http://127.0.0.1:9"
    return clean_warehouse.with_settings(
        home=home, ecb_url=nobody, fred_url=nobody, fred_api_key=SecretStr(KEY), retry_seconds=(0.01, 0.01)
    )


@pytest.fixture
def warehouse(clean_warehouse: Stack) -> Query:
    """Run a query in the warehouse and give all of its rows."""

    def query(text: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(clean_warehouse.dsn("warehouse")) as connection:
            return connection.execute(text, values).fetchall()

    return query
