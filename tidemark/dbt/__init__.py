"""dbt in this process: runs of `dbt_project/` over the databases of the settings, and its docs as a file."""

from tidemark.dbt.docs import docs_page, overview
from tidemark.dbt.live import ensure_live
from tidemark.dbt.project import DBT_PROJECT, ROLE, artifacts, dbt_environment, version_of_project
from tidemark.dbt.running import DbtError, compiled, declared, run

__all__ = [
    "DBT_PROJECT",
    "ROLE",
    "DbtError",
    "artifacts",
    "compiled",
    "dbt_environment",
    "declared",
    "docs_page",
    "ensure_live",
    "overview",
    "run",
    "version_of_project",
]
