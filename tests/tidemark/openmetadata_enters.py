"""OpenMetadata's own client of Postgres, in a process of its own: who enters by a workflow's file.

Arguments: the files. Input: a JSON object of environments by name. Output: for each, what every file opened.
"""

import json
import os
import sys
from pathlib import Path

import yaml
from metadata.generated.schema.entity.services.connections.database.postgresConnection import PostgresConnection
from metadata.ingestion.source.database.postgres.connection import PostgresConnection as Client
from metadata.utils.ssl_manager import check_ssl_and_init


def entered(path: str) -> str:
    """The role, the database, and whether it was by TLS."""
    file = yaml.safe_load(os.path.expandvars(Path(path).read_text()))
    connection = PostgresConnection.model_validate(file["source"]["serviceConnection"]["config"])
    assert check_ssl_and_init(connection) is None
    with Client(connection).client.connect() as session:
        query = "select current_user, current_database(), ssl from pg_stat_ssl where pid = pg_backend_pid()"
        return " ".join(map(str, session.exec_driver_sql(query).fetchone()))


found = {}
for name, environment in json.load(sys.stdin).items():
    os.environ.update(environment)
    found[name] = [entered(path) for path in sys.argv[1:]]
print(json.dumps(found))
