"""Publishes to OpenMetadata: the workflows of catalog/openmetadata, each in a process of its own.

One process a workflow, because the ingestion package dies in a thread and doubles lineage when it runs twice
in one process. Secrets reach it in its environment, which it puts into a file's text as it reads it: no file
holds one.
"""

import json
import os
import re
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

from tidemark.bounded import json_value
from tidemark.connections import (
    DATABASES,
    Database,
    postgres_server,
    prefect_url,
)
from tidemark.credentials import credential
from tidemark.dbt import artifacts
from tidemark.dbt import run as run_dbt
from tidemark.errors import ConfigurationError, TidemarkError
from tidemark.http import NoAnswer, ask_now
from tidemark.kafka import librdkafka, reachable_kafka, require_rights, security
from tidemark.process_environment import of_a_part
from tidemark.settings import Settings
from tidemark.stack.prefect import prefect_login, refusal

FOLDER = Path(__file__).parent / "openmetadata"
ROLE = "catalog_reader"
# The order counts: dbt and lineage add to tables that are there already.
WORKFLOWS = (
    "postgres_realtime", "postgres_warehouse", "lineage_realtime", "lineage_warehouse",
    "dbt_realtime", "dbt_warehouse", "kafka", "prefect",
)  # fmt: skip

_ERROR = re.compile(r"\] ERROR |Error: ")  # a line of its log, or the last one of a trace


class CatalogError(TidemarkError):
    """OpenMetadata does not answer, or a workflow did not end well; the message names it and its log."""


def publish(settings: Settings, names: Sequence[str] = (), progress: Callable[[str], None] | None = None) -> list[str]:
    """Run the named workflows (all by default) against the server of the settings; those that ran.

    The first that fails stops the rest. ConfigurationError where no server, no token or no such workflow is.
    """
    url = _server(settings)
    chosen = [name for name in WORKFLOWS if not names or name in names]
    if unknown := set(names) - set(WORKFLOWS):
        expected = ", ".join(WORKFLOWS)
        raise ConfigurationError(f"expected a workflow of {expected}, received {', '.join(sorted(unknown))}")
    _reach(settings, url)
    environment = of_a_part(os.environ) | variables(settings)
    for name in chosen:
        if progress:
            progress(name)
        if name == "kafka":  # without its rights it would find no topic, and say that all went well
            with reachable_kafka(settings, ROLE):
                require_rights(settings, ROLE)
        if name.startswith("dbt_"):
            _describe(settings, "realtime" if name == "dbt_realtime" else "warehouse")
        more = _prefect_variables(settings) if name == "prefect" else {}
        _ingest(name, environment | more, settings.home / "logs" / f"catalog_{name}.log")
    return chosen


def _server(settings: Settings) -> str:
    if settings.openmetadata_url is None or settings.openmetadata_token is None:
        variable, what = (
            ("URL", "the API URL of an OpenMetadata server (it ends in /api)")
            if settings.openmetadata_url is None
            else ("TOKEN", "the token of the server's ingestion-bot (Settings, Bots)")
        )
        raise ConfigurationError(
            f"TIDEMARK_OPENMETADATA_{variable}: expected {what}, found none; "
            "without a server, `tidemark catalog docs` builds static pages"
        )
    return settings.openmetadata_url.rstrip("/")


def _reach(settings: Settings, url: str) -> None:
    """One request, so that a wrong address is a sentence at once and not a stack trace a minute later."""
    try:
        answer = ask_now(settings, f"{url}/v1/system/version", seconds=10)
        if answer.status != HTTPStatus.OK:
            raise NoAnswer(f"HTTP {answer.status}")
        json_value(answer.body)["version"]
    except (NoAnswer, ValueError, KeyError, TypeError) as error:
        raise CatalogError(
            f"TIDEMARK_OPENMETADATA_URL: expected an OpenMetadata server at {url}, received: {error}; "
            "start it, or correct the URL (it ends in /api)"
        ) from error


def variables(settings: Settings) -> dict[str, str]:
    """What the workflow files name with `$`, as it may stand between the quotes of a YAML string."""
    token = settings.openmetadata_token
    values = {
        "TIDEMARK_OPENMETADATA_URL": (settings.openmetadata_url or "").rstrip("/"),
        "TIDEMARK_OPENMETADATA_TOKEN": token.get_secret_value() if token else "",
        "CATALOG_PREFECT_URL": prefect_url(settings),
    }
    for database in DATABASES:
        values |= _database_variables(settings, database)
    return _quoted(values) | {
        "CATALOG_KAFKA_CONNECTION": _yaml(_kafka_connection(settings)),
        **{f"CATALOG_{database.upper()}_ARGUMENTS": _yaml(_arguments(settings, database)) for database in DATABASES},
        "PGPASSWORD": credential(settings, ROLE),
    }


def _arguments(settings: Settings, database: Database) -> dict[str, str]:
    """How OpenMetadata enters a database: libpq's own words, host and port again among them."""
    return dict(postgres_server(settings, database).parameters)


def _kafka_connection(settings: Settings) -> dict[str, Any]:
    """OpenMetadata keeps what it is given: the password is in the field that it encrypts, never in consumerConfig."""
    how, options = security(settings, ROLE), librdkafka(settings, ROLE)
    login = {
        "saslUsername": how.username,
        "saslPassword": how.password,
        "saslMechanism": how.sasl_mechanism,
    }
    return {
        "type": "Kafka",
        "bootstrapServers": options.pop("bootstrap.servers"),
        **{key: value for key, value in login.items() if value is not None},
        "consumerConfig": {key: value for key, value in options.items() if not key.startswith("sasl.")},
    }


def _yaml(value: Any) -> str:
    """JSON that is YAML too, which does not join the two escapes of a letter beyond the first 65,536."""
    return json.dumps(value, ensure_ascii=False)


def _quoted(values: Mapping[str, str]) -> dict[str, str]:
    return {name: _yaml(value)[1:-1] for name, value in values.items()}


def _prefect_variables(settings: Settings) -> dict[str, str]:
    """What opens Prefect, for its workflow alone: who has it may run code as the server's owner."""
    auth_string = prefect_login(settings) or ""
    login = {"Authorization": f"Basic {b64encode(auth_string.encode()).decode()}"} if auth_string else {}
    try:
        answer = ask_now(
            settings, f"{prefect_url(settings)}/flows/filter", method="POST", headers=login, json={"limit": 1},
            seconds=10,
        )  # fmt: skip
    except NoAnswer as error:
        raise CatalogError(f"expected a Prefect server at {prefect_url(settings)}, received: {error}") from None
    if answer.status in {401, 403}:
        raise refusal(settings, answer.status)
    return _quoted({"CATALOG_PREFECT_AUTH_STRING": auth_string})


def _database_variables(settings: Settings, database: Database) -> dict[str, str]:
    """What the files say of a database. Their `hostPort` goes into a URL, which knows no socket and one host."""
    host, port = postgres_server(settings, database).hosts[0]
    name = "localhost" if host.startswith("/") else f"[{host}]" if ":" in host else host
    password = credential(settings, ROLE)
    prefix = f"CATALOG_{database.upper()}_"
    return {
        prefix + "HOST_PORT": f"{name}:{port}",
        prefix + "PASSWORD": "" if " " in password else password,  # which it reads as a plus: libpq has PGPASSWORD
        f"CATALOG_DBT_{database.upper()}": str(artifacts(settings, database)),
    }


def _describe(settings: Settings, database: Database) -> None:
    """dbt's catalog.json, made anew beside the manifest and the results of the last build."""
    folder = artifacts(settings, database)
    for artifact in ("manifest.json", "run_results.json"):
        if not (folder / artifact).exists():
            raise CatalogError(
                f"workflow dbt_{database}: expected {artifact} of a dbt build in {folder}, found none; "
                f"run a flow that builds {database}, or `make demo`, first"
            )
    # Compiling would overwrite the tests' results.
    run_dbt(settings, ["docs", "generate", "--no-compile"], database)


def _ingest(name: str, environment: Mapping[str, str], log: Path) -> None:
    """One workflow to its end; what it prints is its log. What it logs as an error has failed, whatever its exit code:
    the package goes on without an answer of the search, and says that all went well.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "metadata", "ingest", "-c", str(FOLDER / f"{name}.yml")]
    with log.open("w") as output:
        done = subprocess.run(command, env=environment, stdout=output, stderr=subprocess.STDOUT, check=False)
    errors = [line.strip() for line in log.read_text().splitlines() if _ERROR.search(line)]
    if done.returncode != 0 or errors:
        said = errors[-1][:300] if errors else f"exit code {done.returncode}"
        raise CatalogError(f"workflow {name}: expected it to publish everything, received: {said}; see {log}")
