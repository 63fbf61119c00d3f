"""dlt as this lane uses it: names as the source has them, text stays text, nobody is told that it ran."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dlt
from dlt.common.storages.load_storage import LoadItemStorage
from dlt.extract.storage import ExtractorItemStorage
from dlt.pipeline.exceptions import PipelineStepFailed

from ingest import names
from tidemark.errors import TidemarkError
from tidemark.settings import Settings

# Classes of SQLSTATE that say nothing of what was sent: connection, resources, locks, an operator, the system, rights.
OF_THE_SERVER = ("08", "28", "40", "42501", "53", "55", "57", "58")

os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"  # before dlt reads it: its first destination begins to tell

OF_THE_SYSTEM = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.EIO, errno.ENOMEM, errno.EROFS)


class PipelineError(TidemarkError):
    """dlt could not store or load; whatever it was amid is finished or undone by the next run.

    `of_the_server`: whatever was sent, it would have failed.
    """

    retriable = True

    def __init__(self, message: str, of_the_server: bool = False) -> None:
        super().__init__(message)
        self.of_the_server = of_the_server


def pipelines_folder(settings: Settings) -> str:
    """Where dlt keeps its working state."""
    return str(settings.home.resolve() / "dlt")


def _escape_folders() -> None:
    """Let dlt work in a folder whose path has a percent sign: it names its files by a format made of that path."""
    for storage in (ExtractorItemStorage, LoadItemStorage):
        if not hasattr(storage, "escapes"):
            storage.escapes, storage._get_data_item_path_template = True, _escaped(storage._get_data_item_path_template)


def _escaped(template: Callable[..., str]) -> Callable[..., str]:
    def escaping(*arguments: Any) -> str:
        folder, separator, name = template(*arguments).rpartition("/")  # %s, for a number, is in the name
        return folder.replace("%", "%%") + separator + name

    return escaping


def pipeline(settings: Settings, name: str, destination: Any, dataset: str) -> Any:
    """A dlt pipeline whose state lives below the home."""
    dlt.config["schema.naming"] = names.__name__
    # A state of a version that let dlt clean names goes on: a lake has no columns, and every staged table is new.
    dlt.config["schema.allow_identifier_change_on_table_with_data"] = True
    dlt.config["normalize.max_table_nesting"] = 0
    _escape_folders()
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
            f"source {source}: expected dlt to {failure.step} {of.pipeline_name}, received {_sentence(failure)}: "
            f"run it again (`tidemark ingest run {source}`), nothing of it is counted twice",
            _of_the_server(failure),
        ) from failure
    _forget_loaded(Path(of.working_dir))


def _forget_loaded(working: Path) -> None:
    """What was loaded stands where it was loaded to; dlt would keep all of it here a second time, for ever."""
    for package in (working / "load" / "loaded").glob("*"):
        shutil.rmtree(package)


def _plain_schema(name: str) -> Any:
    """A dlt schema that detects no types: what looks like a time stays the text it is."""
    schema = dlt.Schema(name)
    for detection in list(schema.settings["detections"]):
        schema.remove_type_detection(detection)
    return schema


def _ours(failure: BaseException) -> TidemarkError | None:
    return next((error for error in causes(failure) if isinstance(error, TidemarkError)), None)


def causes(failure: BaseException) -> Iterator[BaseException]:
    """The error, what it came of, and so on to the innermost."""
    error: BaseException | None = failure
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _of_the_server(failure: BaseException) -> bool:
    """Whether the database or a disk is the cause, by the codes of psycopg2, ADBC and the system."""
    return any(
        str(getattr(error, "pgcode", None) or getattr(error, "sqlstate", None) or "").startswith(OF_THE_SERVER)
        # What DB-API calls beyond the programmer's control, of either driver; a lost connection has no code.
        or type(error).__name__ == "OperationalError"
        or isinstance(error, MemoryError)
        or (isinstance(error, OSError) and error.errno in OF_THE_SYSTEM)
        for error in causes(failure)
    )


def _sentence(failure: PipelineStepFailed) -> str:
    """The first line of the innermost cause: dlt wraps it in a trace of many."""
    *_, cause = causes(failure)
    return f"{type(cause).__name__}: {str(cause).partition(chr(10))[0]}"
