"""dbt in this process: runs of `dbt_project/` over the databases of the settings, and its docs as a file."""

from tidemark.dbt.docs import docs_page, overview
from tidemark.dbt.live import ensure_live
from tidemark.dbt.project import (
    DBT_PROJECT,
    PLATFORM,
    ROLE,
    artifacts,
    environment_by_hand,
    tests_of_batch_inputs,
    version_of_project,
)
from tidemark.dbt.running import DbtError, compiled, declared, run

__all__ = [
    "DBT_PROJECT",
    "PLATFORM",
    "ROLE",
    "DbtError",
    "artifacts",
    "compiled",
    "declared",
    "docs_page",
    "ensure_live",
    "environment_by_hand",
    "overview",
    "run",
    "tests_of_batch_inputs",
    "version_of_project",
]
