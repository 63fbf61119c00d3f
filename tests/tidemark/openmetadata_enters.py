"""OpenMetadata's own client of Postgres, in a process of its own: what each variable that is named lets it read."""

import json
import os
import sys

import yaml
from metadata.generated.schema.entity.services.connections.database.postgresConnection import PostgresConnection
from metadata.ingestion.source.database.postgres.connection import PostgresConnection as Client
from metadata.utils.ssl_manager import check_ssl_and_init

found = {}
for name in sys.argv[1:]:
    connection = PostgresConnection.model_validate(yaml.safe_load(os.path.expandvars(f"${name}")))
    assert check_ssl_and_init(connection) is None
    with Client(connection).client.connect() as session:
        found[name] = session.exec_driver_sql("select current_user || ' ' || current_database()").scalar()
print(json.dumps(found))
