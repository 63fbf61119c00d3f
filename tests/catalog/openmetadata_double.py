"""A strict stand-in for an OpenMetadata server: `python -m tests.catalog.openmetadata_double` prints its port.

It accepts a body only if the ingestion package's own model of that request does, keeps entities by their fully
qualified name, answers with what the package's model of the entity accepts, and refuses (501) any route that it
lacks. GET /_double tells what it keeps and everything that was wrong: a test asserts that nothing was.
"""

import json
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import NAMESPACE_URL, uuid5

import jsonpatch
from metadata.generated.schema.api.classification.createClassification import CreateClassificationRequest
from metadata.generated.schema.api.classification.createTag import CreateTagRequest
from metadata.generated.schema.api.data.createDatabase import CreateDatabaseRequest
from metadata.generated.schema.api.data.createDatabaseSchema import CreateDatabaseSchemaRequest
from metadata.generated.schema.api.data.createPipeline import CreatePipelineRequest
from metadata.generated.schema.api.data.createTable import CreateTableRequest
from metadata.generated.schema.api.services.createDatabaseService import CreateDatabaseServiceRequest
from metadata.generated.schema.api.services.createPipelineService import CreatePipelineServiceRequest
from metadata.generated.schema.entity.classification.classification import Classification
from metadata.generated.schema.entity.classification.tag import Tag
from metadata.generated.schema.entity.data.database import Database
from metadata.generated.schema.entity.data.databaseSchema import DatabaseSchema
from metadata.generated.schema.entity.data.pipeline import Pipeline, PipelineStatus
from metadata.generated.schema.entity.data.table import Table
from metadata.generated.schema.entity.services.databaseService import DatabaseService
from metadata.generated.schema.entity.services.pipelineService import PipelineService
from metadata.generated.schema.type.bulkDeleteStaleRequest import BulkDeleteStaleRequest

# Collection: the request's model, the entity's model, the field that names the parent, the parent's type.
COLLECTIONS: dict[str, tuple[Any, Any, str, str]] = {
    "services/databaseServices": (CreateDatabaseServiceRequest, DatabaseService, "", ""),
    "databases": (CreateDatabaseRequest, Database, "service", "databaseService"),
    "databaseSchemas": (CreateDatabaseSchemaRequest, DatabaseSchema, "database", "database"),
    "tables": (CreateTableRequest, Table, "databaseSchema", "databaseSchema"),
    "services/pipelineServices": (CreatePipelineServiceRequest, PipelineService, "", ""),
    "classifications": (CreateClassificationRequest, Classification, "", ""),
    "tags": (CreateTagRequest, Tag, "classification", "classification"),
    "pipelines": (CreatePipelineRequest, Pipeline, "service", "pipelineService"),
}
FIXED: dict[str, Any] = {
    "/api/v1/services/testConnectionDefinitions/name/Postgres.testConnectionDefinition": {
        "id": str(uuid5(NAMESPACE_URL, "Postgres.testConnectionDefinition")),
        "name": "Postgres",
        "steps": [{"name": "CheckAccess", "description": "Connect.", "mandatory": True}],
    },
    "/api/v1/services/testConnectionDefinitions/name/Prefect.testConnectionDefinition": {
        "id": str(uuid5(NAMESPACE_URL, "Prefect.testConnectionDefinition")),
        "name": "Prefect",
        "steps": [{"name": "CheckAccess", "description": "Read one flow.", "mandatory": True}],
    },
    "/api/v1/search/fieldQuery": {"hits": {"total": {"value": 0}, "hits": []}},
}
KEPT_FROM_REQUEST = ("name", "columns", "tableType", "serviceType", "description", "tableConstraints")


class Double(BaseHTTPRequestHandler):
    """One request; what it keeps is the class's."""

    token = ""
    entities: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in COLLECTIONS}  # noqa: RUF012
    problems: list[str] = []  # noqa: RUF012
    connections: list[str] = []  # noqa: RUF012 # services that came with how to log in to them

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if path == "/_double":
            kept = {collection: sorted(entities) for collection, entities in self.entities.items()}
            return self._answer(200, {**kept, "problems": self.problems, "connections": self.connections})
        if path == "/api/v1/system/version":
            return self._answer(200, {"version": "2.0.6", "revision": "double", "timestamp": 0})
        if not self._is_authorized():
            return None
        if path in FIXED:
            return self._answer(200, FIXED[path])
        found = re.fullmatch(r"/api/v1/(.+)/name/(.+)", path)
        if not found or found[1] not in COLLECTIONS:
            return self._refuse()
        entity = self.entities[found[1]].get(found[2])
        return self._answer(200 if entity else 404, entity or {"code": 404, "message": "not found"})

    def do_PUT(self) -> None:
        collection, _, bulk = urlsplit(self.path).path.removeprefix("/api/v1/").partition("/bulk")
        requests = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        if run := re.fullmatch(r"pipelines/(.+)/status(/bulk)?", collection + bulk):
            return self._keep_runs(unquote(run[1]), requests if isinstance(requests, list) else [requests])
        if collection not in COLLECTIONS or bulk:
            return self._refuse()
        if not self._is_authorized():
            return None
        is_bulk = isinstance(requests, list)
        kept = [self._keep(collection, request) for request in (requests if is_bulk else [requests])]
        if None in kept:
            return self._answer(400, {"code": 400, "message": self.problems[-1]})
        result = {"status": "success", "numberOfRowsProcessed": len(kept), "numberOfRowsPassed": len(kept)}
        return self._answer(200, result if is_bulk else kept[0])

    def do_DELETE(self) -> None:
        collection, _, action = urlsplit(self.path).path.removeprefix("/api/v1/").rpartition("/")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if collection not in COLLECTIONS or action != "deleteStale":
            return self._refuse()
        if not self._is_authorized():
            return None
        request = BulkDeleteStaleRequest.model_validate_json(body)
        kept = self.entities[collection]
        for name in [name for name in kept if name.startswith(f"{request.scopeFqn}.")]:
            if name not in request.seenFqns:
                del kept[name]
        return self._answer(200, {"status": "success"})

    def do_POST(self) -> None:
        if not self.path.startswith("/api/v1/usage/compute.percentile/pipeline/"):
            return self._refuse()
        if self._is_authorized():
            self._answer(200, {"status": "success"})
        return None

    def do_PATCH(self) -> None:
        """A JSON patch of a table: its constraints, once the tables that they point to are there."""
        collection, _, identity = urlsplit(self.path).path.removeprefix("/api/v1/").rpartition("/")
        patch = jsonpatch.JsonPatch(json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0)))))
        found = [entity for entity in self.entities.get(collection, {}).values() if entity["id"] == identity]
        if not found:
            return self._refuse()
        if not self._is_authorized():
            return None
        entity = patch.apply(found[0])
        COLLECTIONS[collection][1].model_validate(entity)
        self.entities[collection][entity["fullyQualifiedName"]] = entity
        return self._answer(200, entity)

    def _keep_runs(self, pipeline: str, runs: list[dict[str, Any]]) -> None:
        """The states of a pipeline's runs; nothing is kept of them."""
        if pipeline not in self.entities["pipelines"]:
            return self._refuse()
        if not self._is_authorized():
            return None
        for run in runs:
            PipelineStatus.model_validate(run)
        return self._answer(200, self.entities["pipelines"][pipeline])

    def _keep(self, collection: str, request: dict[str, Any]) -> dict[str, Any] | None:
        """The entity that the request makes; None, and a problem, where a model of the package refuses either."""
        request_model, entity_model, parent_field, parent_type = COLLECTIONS[collection]
        try:
            request_model.model_validate(request)
            entity = _entity(request, parent_field, parent_type)
            entity_model.model_validate(entity)
        except ValueError as error:
            self.problems.append(f"{self.command} {self.path}: {error}")
            return None
        self.entities[collection][entity["fullyQualifiedName"]] = entity
        if request.get("connection"):
            self.connections.append(request["name"])
        return entity

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: what was wrong is in /_double."""

    def _is_authorized(self) -> bool:
        if self.headers.get("Authorization") == f"Bearer {self.token}":
            return True
        self.problems.append(f"{self.command} {self.path}: no token, or a wrong one")
        self._answer(401, {"code": 401, "message": "not authorized"})
        return False

    def _refuse(self) -> None:
        self.problems.append(f"{self.command} {self.path}: no such route")
        self._answer(501, {"code": 501, "message": f"no such route: {self.path}"})

    def _answer(self, status: int, body: Any) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _entity(request: dict[str, Any], parent_field: str, parent_type: str) -> dict[str, Any]:
    """The entity that a request makes: an id of its name, its place, and what it says of itself."""
    parent = request.get(parent_field) if parent_field else None
    name = f"{parent}.{request['name']}" if parent else request["name"]
    entity = {field: request[field] for field in KEPT_FROM_REQUEST if field in request}
    entity |= {"id": str(uuid5(NAMESPACE_URL, name)), "fullyQualifiedName": name, "version": 0.1}
    if parent:
        reference = {"id": str(uuid5(NAMESPACE_URL, parent)), "type": parent_type, "fullyQualifiedName": parent}
        entity[parent_field] = reference
        if parent_field in {"database", "databaseSchema"}:
            entity["service"] = {**reference, "type": "databaseService"}
    return entity


def main() -> None:
    """Serve on a free port of loopback until it is ended; the token is the first argument."""
    Double.token = sys.argv[1]
    server = ThreadingHTTPServer(("127.0.0.1", 0), Double)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
