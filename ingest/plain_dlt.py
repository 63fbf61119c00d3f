"""dlt as this lane uses it: names as the source has them, text stays text, nobody is told that it ran."""

from typing import Any

import dlt
from dlt.pipeline.exceptions import PipelineStepFailed

from tidemark.errors import ConfigurationError, TidemarkError
from tidemark.settings import Settings


class PipelineError(TidemarkError):
    """dlt could not store or load; whatever it was amid is finished or undone by the next run."""

    retriable = True


def pipelines_folder(settings: Settings) -> str:
    """Where dlt keeps its working state. ConfigurationError where its path holds what dlt takes for a format."""
    folder = str(settings.home.resolve() / "dlt")
    if "%" in folder:
        raise ConfigurationError(
            f"expected a state folder whose path has no %, received {settings.home}: dlt names its files by a format "
            "made of it; set TIDEMARK_HOME to another folder"
        )
    return folder


def pipeline(settings: Settings, name: str, destination: Any, dataset: str) -> Any:
    """A dlt pipeline whose state lives below the home."""
    dlt.config["schema.naming"] = "direct"
    dlt.config["runtime.dlthub_telemetry"] = False
    dlt.config["normalize.max_table_nesting"] = 0
    folder = pipelines_folder(settings)
    return dlt.pipeline(name, pipelines_dir=folder, destination=destination, dataset_name=dataset)


def run(of: Any, source: str, resources: list[Any] | None, file_format: str) -> None:
    """Run a pipeline; without resources it finishes what a killed run began.

    An error of ours that a resource raised comes through as it is, any other as PipelineError.
    """
    try:
        of.run(resources, schema=None if resources is None else _plain_schema(source), loader_file_format=file_format)
    except PipelineStepFailed as failure:
        raise _ours(failure) or PipelineError(
            f"source {source}: expected dlt to {failure.step} {of.pipeline_name}, received {failure.exception}: "
            f"run it again (`tidemark ingest run {source}`), nothing of it is counted twice"
        ) from failure


def _plain_schema(name: str) -> Any:
    """A dlt schema that detects no types: what looks like a time stays the text it is."""
    schema = dlt.Schema(name)
    for detection in list(schema.settings["detections"]):
        schema.remove_type_detection(detection)
    return schema


def _ours(failure: BaseException) -> TidemarkError | None:
    error: BaseException | None = failure
    while error is not None and not isinstance(error, TidemarkError):
        error = error.__cause__ or error.__context__
    return error
