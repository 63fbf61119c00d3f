"""dlt as this lane uses it: names as the source has them, text stays text, nobody is told that it ran."""

from typing import Any

import dlt

from tidemark.settings import Settings


def plain_schema(name: str) -> Any:
    """A dlt schema that detects no types: what looks like a time stays the text it is."""
    schema = dlt.Schema(name)
    for detection in list(schema.settings["detections"]):
        schema.remove_type_detection(detection)
    return schema


def pipelines_folder(settings: Settings) -> str:
    """Where dlt keeps its working state."""
    return str(settings.home.resolve() / "dlt")


def pipeline(settings: Settings, name: str, destination: Any, dataset: str) -> Any:
    """A dlt pipeline whose state lives below the home."""
    dlt.config["schema.naming"] = "direct"
    dlt.config["runtime.dlthub_telemetry"] = False
    dlt.config["normalize.max_table_nesting"] = 0
    folder = pipelines_folder(settings)
    return dlt.pipeline(name, pipelines_dir=folder, destination=destination, dataset_name=dataset)
