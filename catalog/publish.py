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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from catalog.edges import Lineage
from catalog.lineage import lineage as expected_lineage
from catalog.publish_governance import publish_governance
from catalog.publish_lineage import publish_lineage
from catalog.publish_places import publish_places
from catalog.publish_results import publish_results
from catalog.server import CatalogError, Server, ServerGone, address, server
from tidemark.connections import DATABASES, Database, postgres_server, prefect_url
from tidemark.credentials import credential
from tidemark.errors import ConfigurationError, TidemarkError
from tidemark.http import NoAnswer
from tidemark.process_environment import of_a_part
from tidemark.settings import Settings
from tidemark.stack import prefect

FOLDER = Path(__file__).parent / "openmetadata"
ROLE = "catalog_reader"
# OpenMetadata's own, in processes of theirs; then ours, which add to what those made. The order counts.
WORKFLOWS = ("postgres_realtime", "postgres_warehouse", "prefect")
OURS = ("places", "governance", "lineage", "results")
STEPS = (*WORKFLOWS, *OURS)

_ERROR = re.compile(r"\] ERROR |Error: ")  # a line of its log, or the last one of a trace

Progress = Callable[[str], None]


def publish(settings: Settings, names: Sequence[str] = (), progress: Progress | None = None) -> list[str]:
    """Run the named steps (all by default) against the server of the settings; those that ran.

    Each fails alone: the others run, and CatalogError then names every one that failed. Where the server no longer
    answers, the rest is not tried. ConfigurationError where no server, no token or no such step is.
    """
    address(settings)
    if unknown := set(names) - set(STEPS):
        raise ConfigurationError(f"expected a step of {', '.join(STEPS)}, received {', '.join(sorted(unknown))}")
    chosen = [name for name in STEPS if not names or name in names]
    failures: list[str] = []
    with server(settings) as reached:
        reached.check_version()
        run = _Run(settings, reached, progress or (lambda _: None))
        for name in chosen:
            try:
                run.step(name)
            except ServerGone:
                raise
            except TidemarkError as error:
                failures.append(f"{name}: {error}")
                reached.check_version()  # else every further step would say the same
    if failures:
        raise CatalogError(f"{len(failures)} of {len(chosen)} steps failed: " + "; ".join(failures))
    return chosen


class _Run:
    """The steps of one publication; what they share is computed once, when the first asks."""

    def __init__(self, settings: Settings, reached: Server, progress: Progress) -> None:
        self.settings, self.server, self.progress = settings, reached, progress
        self._lineage: Lineage | None = None

    @property
    def lineage(self) -> Lineage:
        if self._lineage is None:
            self.progress("lineage of the models")
            self._lineage = expected_lineage(self.settings).without_absent()
        return self._lineage

    def step(self, name: str) -> None:
        """Run one step to its end."""
        self.progress(name)
        if name in WORKFLOWS:
            more = _prefect_variables(self.settings) if name == "prefect" else {}
            environment = of_a_part(os.environ) | variables(self.settings) | more
            _ingest(name, environment, self.settings.home / "logs" / f"catalog_{name}.log")
        elif name == "places":
            publish_places(self.settings, self.server, self.lineage, self.progress)
        elif name == "governance":
            publish_governance(self.server, self.lineage, self.progress)
        elif name == "lineage":
            publish_lineage(self.server, self.lineage, self.progress)
        else:
            publish_results(self.settings, self.server, self.lineage, self.progress)


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
        **{f"CATALOG_{database.upper()}_ARGUMENTS": _yaml(_arguments(settings, database)) for database in DATABASES},
        "PGPASSWORD": credential(settings, ROLE),
    }


def _arguments(settings: Settings, database: Database) -> dict[str, str]:
    """How OpenMetadata enters a database: libpq's own words, host and port again among them."""
    return dict(postgres_server(settings, database).parameters)


def _yaml(value: object) -> str:
    """JSON that is YAML too, which does not join the two escapes of a letter beyond the first 65,536."""
    return json.dumps(value, ensure_ascii=False)


def _quoted(values: Mapping[str, str]) -> dict[str, str]:
    return {name: _yaml(value)[1:-1] for name, value in values.items()}


def _prefect_variables(settings: Settings) -> dict[str, str]:
    """What opens Prefect, for its workflow alone: who has it may run code as the server's owner."""
    try:
        prefect.ask(settings, "flows/filter", method="POST", json={"limit": 1})
    except NoAnswer as error:
        raise CatalogError(f"expected a Prefect server at {prefect_url(settings)}, received: {error}") from None
    return _quoted({"CATALOG_PREFECT_AUTH_STRING": prefect.prefect_login(settings) or ""})


def _database_variables(settings: Settings, database: Database) -> dict[str, str]:
    """What the files say of a database. Their `hostPort` goes into a URL, which knows no socket and one host."""
    host, port = postgres_server(settings, database).hosts[0]
    name = "localhost" if host.startswith("/") else f"[{host}]" if ":" in host else host
    password = credential(settings, ROLE)
    prefix = f"CATALOG_{database.upper()}_"
    return {
        prefix + "HOST_PORT": f"{name}:{port}",
        prefix + "PASSWORD": "" if " " in password else password,  # which it reads as a plus: libpq has PGPASSWORD
    }


def _ingest(name: str, environment: Mapping[str, str], log: Path) -> None:
    """One workflow to its end; what it prints is its log. Its exit code decides, since optional steps log errors too:
    what it left out for all that, our own steps miss.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "metadata", "ingest", "-c", str(FOLDER / f"{name}.yml")]
    with log.open("w") as output:
        done = subprocess.run(command, env=environment, stdout=output, stderr=subprocess.STDOUT, check=False)
    if done.returncode != 0:
        errors = [line.strip() for line in log.read_text().splitlines() if _ERROR.search(line)]
        said = errors[-1][:300] if errors else f"exit code {done.returncode}"
        raise CatalogError(f"expected the workflow to publish everything, received: {said}; see {log}")
