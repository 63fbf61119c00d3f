"""A strict stand-in for an OpenMetadata server: `python -m tests.catalog.openmetadata_double` prints its port.

It accepts a body only if the ingestion package's own model of that request does, keeps entities by their fully
qualified name, refuses (404) what names an owner, a domain, a tag or a parent that is not there, raises an entity's
version only where something of it changed, and refuses (501) any route that it lacks. A lineage edge names entities and
columns that are there, or is refused (400).

GET /_double tells what it keeps and everything that was wrong: a test asserts that nothing was. PUT /_double sets how
it behaves from then on: `version`; `drop_edge`, the number of the edge that it answers for and never keeps, or, with
`drop_column`, keeps without its last column; `refuse`, a path with the status that it gets; `die_after`, how many
further changes it takes before it answers nobody. DELETE /_double forgets all.
"""

import json
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from uuid import NAMESPACE_URL, uuid5

import jsonpatch
from metadata.generated.schema.api.lineage.addLineage import AddLineageRequest
from metadata.generated.schema.api.tests.createTestCaseResult import CreateTestCaseResult
from metadata.generated.schema.entity.data.pipeline import PipelineStatus
from metadata.generated.schema.type.bulkDeleteStaleRequest import BulkDeleteStaleRequest
from metadata.generated.schema.type.entityLineage import EntityLineage


def _model(path: str) -> Any:
    module, name = path.split(":")
    return getattr(import_module(f"metadata.generated.schema.{module}"), name)


# Collection: the models of the request and of the entity, its type, the field that names the parent, its collection.
COLLECTIONS: dict[str, tuple[Any, Any, str, str, str]] = {
    collection: (_model(request), _model(entity), kind, field, parent)
    for collection, request, entity, kind, field, parent in (
        ("services/databaseServices", "api.services.createDatabaseService:CreateDatabaseServiceRequest",
         "entity.services.databaseService:DatabaseService", "databaseService", "", ""),
        ("databases", "api.data.createDatabase:CreateDatabaseRequest", "entity.data.database:Database",
         "database", "service", "services/databaseServices"),
        ("databaseSchemas", "api.data.createDatabaseSchema:CreateDatabaseSchemaRequest",
         "entity.data.databaseSchema:DatabaseSchema", "databaseSchema", "database", "databases"),
        ("tables", "api.data.createTable:CreateTableRequest", "entity.data.table:Table",
         "table", "databaseSchema", "databaseSchemas"),
        ("services/pipelineServices", "api.services.createPipelineService:CreatePipelineServiceRequest",
         "entity.services.pipelineService:PipelineService", "pipelineService", "", ""),
        ("pipelines", "api.data.createPipeline:CreatePipelineRequest", "entity.data.pipeline:Pipeline",
         "pipeline", "service", "services/pipelineServices"),
        ("services/messagingServices", "api.services.createMessagingService:CreateMessagingServiceRequest",
         "entity.services.messagingService:MessagingService", "messagingService", "", ""),
        ("topics", "api.data.createTopic:CreateTopicRequest", "entity.data.topic:Topic",
         "topic", "service", "services/messagingServices"),
        ("services/storageServices", "api.services.createStorageService:CreateStorageServiceRequest",
         "entity.services.storageService:StorageService", "storageService", "", ""),
        ("containers", "api.data.createContainer:CreateContainerRequest", "entity.data.container:Container",
         "container", "service", "services/storageServices"),
        ("services/apiServices", "api.services.createApiService:CreateApiServiceRequest",
         "entity.services.apiService:ApiService", "apiService", "", ""),
        ("apiCollections", "api.data.createAPICollection:CreateAPICollectionRequest",
         "entity.data.apiCollection:APICollection", "apiCollection", "service", "services/apiServices"),
        ("apiEndpoints", "api.data.createAPIEndpoint:CreateAPIEndpointRequest",
         "entity.data.apiEndpoint:APIEndpoint", "apiEndpoint", "apiCollection", "apiCollections"),
        ("classifications", "api.classification.createClassification:CreateClassificationRequest",
         "entity.classification.classification:Classification", "classification", "", ""),
        ("tags", "api.classification.createTag:CreateTagRequest", "entity.classification.tag:Tag",
         "tag", "classification", "classifications"),
        ("glossaries", "api.data.createGlossary:CreateGlossaryRequest", "entity.data.glossary:Glossary",
         "glossary", "", ""),
        ("glossaryTerms", "api.data.createGlossaryTerm:CreateGlossaryTermRequest",
         "entity.data.glossaryTerm:GlossaryTerm", "glossaryTerm", "glossary", "glossaries"),
        ("teams", "api.teams.createTeam:CreateTeamRequest", "entity.teams.team:Team", "team", "", ""),
        ("domains", "api.domains.createDomain:CreateDomainRequest", "entity.domains.domain:Domain", "domain", "", ""),
        ("dataQuality/testDefinitions", "api.tests.createTestDefinition:CreateTestDefinitionRequest",
         "tests.testDefinition:TestDefinition", "testDefinition", "", ""),
        ("dataQuality/testCases", "api.tests.createTestCase:CreateTestCaseRequest", "tests.testCase:TestCase",
         "testCase", "", ""),
    )
}  # fmt: skip
TYPES = {kind: collection for collection, (_, _, kind, _, _) in COLLECTIONS.items()}
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
KEPT_FROM_REQUEST = (
    "name", "columns", "tableType", "serviceType", "description", "tableConstraints", "partitions", "messageSchema",
    "dataModel", "fullPath", "responseSchema", "domainType", "teamType", "entityType", "testPlatforms", "displayName",
    "entityLink", "mutuallyExclusive",
)  # fmt: skip
NAMED_LATER = ("owners", "domains", "tags")  # a PUT that does not say them leaves them


class Refusal(Exception):
    """A status, and why."""


class Double(BaseHTTPRequestHandler):
    """One request; what it keeps is the class's."""

    token = ""
    entities: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in COLLECTIONS}  # noqa: RUF012
    edges: dict[tuple[str, str], dict[str, Any]] = {}  # noqa: RUF012 # by the ids of both ends
    results: list[tuple[str, int]] = []  # noqa: RUF012
    problems: list[str] = []  # noqa: RUF012
    connections: list[str] = []  # noqa: RUF012 # services that came with how to log in to them
    behaviour: dict[str, Any] = {}  # noqa: RUF012

    def do_GET(self) -> None:
        if self.path == "/_double":
            return self._answer(200, self._kept())
        return self._respond(self._get)

    def do_PUT(self) -> None:
        if self.path == "/_double":
            self.behaviour.clear()
            self.behaviour.update(self._json())
            return self._answer(200, self._kept())
        return self._respond(self._put)

    def do_POST(self) -> None:
        return self._respond(self._post)

    def do_PATCH(self) -> None:
        return self._respond(self._patch)

    def do_DELETE(self) -> None:
        if self.path == "/_double":
            self.results.clear()
            self.problems.clear()
            self.connections.clear()
            self.edges.clear()
            self.behaviour.clear()
            for entities in self.entities.values():
                entities.clear()
            return self._answer(200, {})
        return self._respond(self._delete)

    def _respond(self, method: Any) -> None:
        """Whatever comes: who asks is known, what was refused is noted, and how it is told to behave."""
        body = self._json()
        if self.headers.get("Authorization") != f"Bearer {self.token}":
            self.problems.append(f"{self.command} {self.path}: no token, or a wrong one")
            return self._answer(401, {"code": 401, "message": "not authorized"})
        path = unquote(urlsplit(self.path).path).removeprefix("/api/v1/")
        if path in (refused := self.behaviour.get("refuse", {})):
            return self._answer(refused[path], {"code": refused[path], "message": "told to refuse it"})
        if self.command != "GET" and "die_after" in self.behaviour:
            self.behaviour["die_after"] -= 1
        if self.behaviour.get("die_after", 0) < 0:
            self.close_connection = True
            return None
        try:
            return self._answer(200, method(path, body))
        except Refusal as refusal:
            status, why = refusal.args
        except ValueError as error:
            status, why = 400, str(error)
        if status != 404 or self.command != "GET":
            self.problems.append(f"{self.command} {self.path}: {status} {why}")
        return self._answer(status, {"code": status, "message": why})

    def _get(self, path: str, _body: Any) -> Any:
        if path == "system/version":
            return {"version": self.behaviour.get("version", "2.0.6"), "revision": "double", "timestamp": 0}
        if f"/api/v1/{path}" in FIXED:
            return FIXED[f"/api/v1/{path}"]
        if found := re.fullmatch(r"lineage/(\w+)/name/(.+)", path):
            return self._lineage_to(self._find(TYPES[found[1]], found[2]))
        if (found := re.fullmatch(r"(.+?)/name/(.+)", path)) and found[1] in COLLECTIONS:
            return self._find(found[1], found[2])
        if path == "dataQuality/testCases":
            return self._page(parse_qs(urlsplit(self.path).query))
        if path in COLLECTIONS:
            service = parse_qs(urlsplit(self.path).query)["service"][0]
            under = [one for name, one in self.entities[path].items() if name.startswith(f"{service}.")]
            return {"data": [one for one in under if not one.get("deleted")], "paging": {"total": len(under)}}
        raise Refusal(501, "no such route")

    def _page(self, query: dict[str, list[str]]) -> Any:
        """Test cases from the `after`th on, two at a time, fewer than asked for."""
        if query.get("fields") != ["testDefinition"] or not 0 < int(query["limit"][0]) <= 1000:
            raise Refusal(400, f"no such query: {query}")
        cases = [one for one in self.entities["dataQuality/testCases"].values() if not one.get("deleted")]
        begin = int(query.get("after", ["0"])[0])
        paging = {"total": len(cases)} | ({"after": str(begin + 2)} if begin + 2 < len(cases) else {})
        return {"data": cases[begin : begin + 2], "paging": paging}

    def _put(self, path: str, body: Any) -> Any:
        if path == "lineage":
            return self._keep_edge(body)
        if run := re.fullmatch(r"pipelines/(.+)/status(/bulk)?", path):
            return self._keep_runs(run[1], body if isinstance(body, list) else [body])
        collection, _, bulk = path.partition("/bulk")
        if collection not in COLLECTIONS or bulk:
            raise Refusal(501, "no such route")
        if isinstance(body, list):
            kept = [self._keep(collection, request) for request in body]
            return {"status": "success", "numberOfRowsProcessed": len(kept), "numberOfRowsPassed": len(kept)}
        return self._keep(collection, body)

    def _post(self, path: str, body: Any) -> Any:
        if found := re.fullmatch(r"dataQuality/testCases/testCaseResults/(.+)", path):
            case = self._find("dataQuality/testCases", found[1])
            CreateTestCaseResult.model_validate(body)
            case["testCaseResult"] = body
            self.results.append((found[1], body["timestamp"]))
            return body
        if path.startswith("usage/compute.percentile/pipeline/"):
            return {"status": "success"}
        raise Refusal(501, "no such route")

    def _patch(self, path: str, body: Any) -> Any:
        """A JSON patch of an entity: it names only what is there."""
        collection, _, identity = path.rpartition("/")
        found = [one for one in self.entities.get(collection, {}).values() if one["id"] == identity]
        if not found or self.headers["Content-Type"] != "application/json-patch+json":
            raise Refusal(404, "no such entity, or no JSON patch")
        entity = jsonpatch.JsonPatch(body).apply(found[0])
        self._refuse_unknown(entity)
        COLLECTIONS[collection][1].model_validate(entity)
        return self._store(collection, entity)

    def _delete(self, path: str, body: Any) -> Any:
        collection, _, action = path.rpartition("/")
        if found := re.fullmatch(r"lineage/\w+/([^/]+)/\w+/([^/]+)", path):
            return self.edges.pop((found[1], found[2]))
        if collection in COLLECTIONS and action == "deleteStale":
            request = BulkDeleteStaleRequest.model_validate(body)
            for name, entity in self.entities[collection].items():
                if name.startswith(f"{request.scopeFqn}.") and name not in request.seenFqns:
                    entity["deleted"] = True
            return {"status": "success"}
        for entity in self.entities.get(collection, {}).values():
            if entity["id"] == action:
                return self._store(collection, {**entity, "deleted": True})
        raise Refusal(501, "no such route")

    def _keep(self, collection: str, request: dict[str, Any]) -> dict[str, Any]:
        """The entity that the request makes, or changes."""
        request_model, entity_model, _, field, parents = COLLECTIONS[collection]
        request_model.model_validate(request)
        entity = {key: request[key] for key in KEPT_FROM_REQUEST if key in request}
        entity["fullyQualifiedName"] = _quoted(request["name"])
        if field and request.get(field):
            parent = self._find(parents, request[field])
            entity["fullyQualifiedName"] = f"{request[field]}.{_quoted(request['name'])}"
            entity |= {"service": parent["service"]} if "service" in parent else {}
            entity[field] = _reference(parents, parent)
        if collection == "dataQuality/testCases":
            entity |= self._tested(request)
        entity["id"] = str(uuid5(NAMESPACE_URL, f"{collection} {entity['fullyQualifiedName']}"))
        entity["version"] = 0.1
        before = self.entities[collection].get(entity["fullyQualifiedName"], {})
        entity = {key: before[key] for key in (*NAMED_LATER, "testCaseResult") if key in before} | entity
        self._refuse_unknown({**entity, **{key: request[key] for key in NAMED_LATER if request.get(key)}})
        entity_model.model_validate(entity)
        if request.get("connection"):
            self.connections.append(request["name"])
        return self._store(collection, entity)

    def _store(self, collection: str, entity: dict[str, Any]) -> dict[str, Any]:
        """Keep it; its version rises where it is another than before."""
        before = self.entities[collection].get(entity["fullyQualifiedName"])
        if before is not None:
            is_same = _content(before) == _content(entity)
            entity = {**entity, "version": before["version"] if is_same else round(before["version"] + 0.1, 1)}
        self.entities[collection][entity["fullyQualifiedName"]] = entity
        return entity

    def _find(self, collection: str, name: str) -> dict[str, Any]:
        entity = self.entities[collection].get(name)
        if entity is None or entity.get("deleted"):
            raise Refusal(404, f"{collection[:-1]} instance for {name} not found")
        return entity

    def _by_id(self, kind: str, identity: str) -> dict[str, Any]:
        for entity in self.entities[TYPES[kind]].values():
            if entity["id"] == identity and not entity.get("deleted"):
                return entity
        raise Refusal(404, f"{kind} instance for {identity} not found")

    def _refuse_unknown(self, entity: dict[str, Any]) -> None:
        for reference in [*(entity.get("owners") or []), *(entity.get("domains") or [])]:
            self._by_id(reference["type"], reference["id"])
        for tag in entity.get("tags") or []:
            self._find("glossaryTerms" if tag["source"] == "Glossary" else "tags", tag["tagFQN"])

    def _tested(self, request: dict[str, Any]) -> dict[str, Any]:
        """What a test case's link names: the table, and its column."""
        found = re.fullmatch(r"<#E::table::(.+?)(?:::columns::(.+))?>", request["entityLink"])
        if not found:
            raise ValueError(f"no entity link: {request['entityLink']}")
        table, definition = (
            self._find("tables", found[1]),
            self._find("dataQuality/testDefinitions", request["testDefinition"]),
        )
        if found[2] and found[2] not in _columns(table):
            raise ValueError(f"no such column: {found[2]}")
        owner = f"{found[1]}.{_quoted(found[2])}" if found[2] else found[1]
        return {
            "fullyQualifiedName": f"{owner}.{_quoted(request['name'])}",
            "testDefinition": _reference("dataQuality/testDefinitions", definition),
            "testSuite": {"id": str(uuid5(NAMESPACE_URL, found[1])), "type": "testSuite"},
        }

    def _keep_edge(self, body: Any) -> Any:
        edge = AddLineageRequest.model_validate(body).edge
        ends = [self._by_id(end.type, str(end.id.root)) for end in (edge.fromEntity, edge.toEntity)]
        for line in body["edge"]["lineageDetails"].get("columnsLineage") or []:
            for entity, columns in zip(ends, (line["fromColumns"], [line["toColumn"]]), strict=True):
                known = {f"{entity['fullyQualifiedName']}.{_quoted(column)}" for column in _columns(entity)}
                if unknown := set(columns) - known:
                    raise ValueError(f"Invalid column name {unknown.pop()}")
        key = (ends[0]["id"], ends[1]["id"])
        if "drop_edge" in self.behaviour:
            self.behaviour["drop_edge"] -= 1
            if self.behaviour["drop_edge"] == 0:
                self.behaviour["dropped"] = [end["fullyQualifiedName"] for end in ends]
                if not self.behaviour.get("drop_column"):
                    return {}
                lost = body["edge"]["lineageDetails"]["columnsLineage"].pop()
                self.behaviour["dropped"] = [lost["fromColumns"][0], lost["toColumn"]]
        self.edges[key] = {
            "fromEntity": key[0], "toEntity": key[1], "lineageDetails": body["edge"]["lineageDetails"],
            "from": edge.fromEntity.type,
        }  # fmt: skip
        return {}

    def _lineage_to(self, entity: dict[str, Any]) -> Any:
        found = [edge for (_, to), edge in self.edges.items() if to == entity["id"]]
        ends = [self._by_id(edge["from"], edge["fromEntity"]) for edge in found]
        answer = {
            "entity": {"id": entity["id"], "type": "table", "fullyQualifiedName": entity["fullyQualifiedName"]},
            "nodes": [
                {"id": end["id"], "type": edge["from"], "fullyQualifiedName": end["fullyQualifiedName"]}
                for edge, end in zip(found, ends, strict=True)
            ],
            "upstreamEdges": [{key: value for key, value in edge.items() if key != "from"} for edge in found],
            "downstreamEdges": [],
        }
        EntityLineage.model_validate(answer)
        return answer

    def _keep_runs(self, pipeline: str, runs: list[dict[str, Any]]) -> Any:
        """The states of a pipeline's runs; nothing is kept of them."""
        for run in runs:
            PipelineStatus.model_validate(run)
        return self._find("pipelines", pipeline)

    def _kept(self) -> dict[str, Any]:
        entities = {
            collection: {name: one for name, one in found.items() if not one.get("deleted")}
            for collection, found in self.entities.items()
        }
        names = {one["id"]: name for found in self.entities.values() for name, one in found.items()}
        return {
            "entities": entities,
            "deleted": [name for found in self.entities.values() for name, one in found.items() if one.get("deleted")],
            "edges": [
                [names[there], names[here], edge["lineageDetails"].get("columnsLineage") or []]
                for (there, here), edge in self.edges.items()
            ],
            "results": self.results, "problems": self.problems, "connections": self.connections,
            "behaviour": self.behaviour,
        }  # fmt: skip

    def _json(self) -> Any:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        return json.loads(body) if body else None

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: what was wrong is in /_double."""

    def _answer(self, status: int, body: Any) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _content(entity: dict[str, Any]) -> dict[str, Any]:
    """What a version is about: the place of a column is not, and the package sends it or not."""
    columns = [{**column, "ordinalPosition": 0} for column in entity.get("columns") or []]
    return {**entity, "version": 0, "columns": columns}


def _quoted(name: str) -> str:
    return f'"{name}"' if "." in name else name


def _reference(collection: str, entity: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": entity["id"],
        "type": COLLECTIONS[collection][2],
        "name": entity["name"],
        "fullyQualifiedName": entity["fullyQualifiedName"],
    }


def _columns(entity: dict[str, Any]) -> set[str]:
    """The columns or fields of a table, topic, container or endpoint."""
    held = entity.get("columns") or (entity.get("dataModel") or {}).get("columns")
    schema = entity.get("messageSchema") or entity.get("responseSchema") or {}
    return {column["name"] for column in held or schema.get("schemaFields") or []}


def main() -> None:
    """Serve on a free port of loopback until it is ended; the token is the first argument."""
    Double.token = sys.argv[1]
    server = ThreadingHTTPServer(("127.0.0.1", 0), Double)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
