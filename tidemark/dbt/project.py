"""Where the dbt project lies, as whom it enters the databases, and what it writes where."""

import getpass
import os
import re
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict

from tidemark.connections import Database, dsn, for_one_port, libpq_variables, postgres_server
from tidemark.credentials import credential
from tidemark.settings import PROJECT, Settings

DBT_PROJECT = PROJECT / "dbt_project"
ROLE = "transformer"
PLATFORM = "+tag:platform"  # selects what the platform says about itself, which no source's models need
NO_BATCH_INPUT = ("realtime", "ops", "quality")  # folders of staging
LOCK_TIMEOUT = "60s"  # for a lock of the database: whoever holds one longer must not hold up a build, and all behind it
# What profiles.yml has a key for; empty is as if it were not there, and no other database's.
TLS = ("sslmode", "sslrootcert", "sslcert", "sslkey")
# How values become text, and text values, in dbt's sessions: keys and exact decimals are made of text, and a default of
# the role or of the database may be another.
SESSION = {
    "lock_timeout": LOCK_TIMEOUT, "timezone": "UTC", "datestyle": "ISO,MDY", "intervalstyle": "postgres",
    "extra_float_digits": "1",
}  # fmt: skip
_OF_THE_PROFILE = {"host", "hostaddr", "port", "user", "password", "dbname", *TLS}


def artifacts(settings: Settings, target: Database = "warehouse") -> Path:
    """Folder of manifest.json, run_results.json and catalog.json of our own runs; one per target: they never mix."""
    return settings.home.resolve() / "dbt" / target


def tests_of_batch_inputs() -> tuple[list[str], list[str]]:
    """Selectors of dbt's tests of staging models of batch sources, and of every other test.

    A folder of staging is a source; what was streamed, and what the platform notes of itself, is no batch input.
    """
    staging = sorted(path.name for path in (DBT_PROJECT / "models" / "staging").iterdir())
    batch = [f"staging/{name}" for name in staging if name not in NO_BATCH_INPUT]
    others = ["intermediate", "marts", *(f"staging/{name}" for name in staging if name in NO_BATCH_INPUT)]
    as_selectors = [[f"resource_type:test,path:models/{folder}" for folder in folders] for folders in (batch, others)]
    return as_selectors[0], as_selectors[1]


def dev_schema() -> str:
    """What the schemas of a dev target begin with: `dev_` and the user's name in letters that need no quotes."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        user = str(os.getuid())
    return f"dev_{re.sub('[^a-z0-9]+', '_', user.lower()).strip('_') or os.getuid()}"[:46]


@cache
def version_of_project() -> str:
    """Tidemark's version, and the commit of the checkout where git says one: `0.1.0+1a2b3c4`, `-dirty` if changed."""
    asked = ["git", "-C", str(PROJECT), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        commit = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=5).stdout.strip()
    except (OSError, subprocess.SubprocessError):  # no git here, or no checkout
        return version("tidemark")
    return f"{version('tidemark')}+{commit}"


def _server_environment(settings: Settings, database: Database, prefix: str) -> dict[str, str]:
    said = {"sslmode": "prefer", **postgres_server(settings, database).parameters}
    host, port = for_one_port(settings, database, ROLE)
    values = {"HOST": host, "PORT": str(port), "USER": ROLE, "PASSWORD": credential(settings, ROLE)}
    values |= {name.upper(): said.get(name, "") for name in TLS}
    return {prefix + name: value for name, value in values.items()}


def _libpq_environment(settings: Settings, database: Database) -> dict[str, str]:
    """What dbt's profile has no key for, of one database: libpq reads it from the environment."""
    options = " ".join(f"-c {name}={value}" for name, value in SESSION.items())
    parts = conninfo_to_dict(dsn(settings, database, ROLE, options=options))
    return libpq_variables({key: value for key, value in parts.items() if key not in _OF_THE_PROFILE})


def _project_environment() -> dict[str, str]:
    return {
        "DBT_PROJECT_DIR": str(DBT_PROJECT),
        "DBT_PROFILES_DIR": str(DBT_PROJECT),
        "DBT_DEV_SCHEMA": dev_schema(),
        "DBT_TIDEMARK_VERSION": version_of_project(),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    }


def environment_of_no_server() -> dict[str, str]:
    """What dbt needs where it asks no database: the variables of profiles.yml, with an address that is nobody's."""
    nowhere = {"HOST": "nowhere.invalid", "PORT": "1", "USER": ROLE, "PASSWORD": ""}
    servers = {prefix + name: value for prefix in ("DBT_", "DBT_REALTIME_") for name, value in nowhere.items()}
    return {**_project_environment(), **servers}


def dbt_environment(settings: Settings, target: Database = "warehouse") -> dict[str, str]:
    """What dbt needs to run from any folder: the variables of profiles.yml, and what its project asks for.

    `target`: whose server says what libpq is to ask for beside it (require_auth, target_session_attrs, ..).
    Both databases are entered as the transformer. It holds a password: never log it.
    """
    return {
        **_project_environment(),
        **_libpq_environment(settings, target),
        **_server_environment(settings, "warehouse", "DBT_"),
        **_server_environment(settings, "realtime", "DBT_REALTIME_"),
    }


def environment_by_hand(settings: Settings) -> dict[str, str]:
    """What dbt needs to run by hand on the warehouse: `dbt_environment`, and dbt's own folders.

    Those are apart from `artifacts`, so that a run by hand spoils none of ours, nor the results that are published. Our
    own runs have none of them: dbt would read the manifest that it may defer to, and parse anew in each state folder.
    """
    by_hand = settings.home.resolve() / "dbt" / "by_hand"
    return {
        **dbt_environment(settings),
        "DBT_ARTIFACTS": str(by_hand),  # dbt_project.yml adds the target
        "DBT_LOG_PATH": str(by_hand / "logs"),
        "DBT_DEFER_STATE": str(artifacts(settings)),
    }
