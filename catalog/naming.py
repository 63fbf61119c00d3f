"""How a place of the lineage is called in OpenMetadata: its collection, its type, its fully qualified name."""

from catalog.edges import Kind, Place

LAKE = "tidemark_lake"
BUFFER = "tidemark_buffer"
SOURCES = "tidemark_sources"
FLOWS = "tidemark_flows"
COLLECTIONS: dict[Kind, str] = {
    "source": "apiEndpoints",
    "topic": "topics",
    "lake": "containers",
    "table": "tables",
    "flow": "pipelines",
}
TYPES: dict[Kind, str] = {
    "source": "apiEndpoint",
    "topic": "topic",
    "lake": "container",
    "table": "table",
    "flow": "pipeline",
}


def full_name(*parts: str) -> str:
    """Names one below the other, as OpenMetadata joins them: one that holds a dot is quoted."""
    return ".".join(f'"{part}"' if "." in part else part for part in parts)


def named(place: Place) -> str:
    """The fully qualified name of a place."""
    if place.kind == "table":
        database, _, table = place.name.partition(".")
        return f"tidemark_{database}.{database}.{table}"
    service = {"source": SOURCES, "topic": BUFFER, "lake": LAKE, "flow": FLOWS}[place.kind]
    if place.kind == "source":
        source, _, resource = place.name.rpartition(".")
        return full_name(service, source, resource)
    return full_name(service, place.name)


def column_named(place: Place, column: str) -> str:
    """The fully qualified name of a column or field of a place."""
    return f"{named(place)}.{full_name(column)}"
