"""What a processor waits for before it can begin."""

import logging
import time

from stream_shim.buffer.entries import TopicEntry
from stream_shim.reports import supervisor_is_gone, write_process_report
from tidemark.errors import StackError
from tidemark.settings import Settings
from tidemark.state_file import StateFile

log = logging.getLogger("tidemark.processor")

RETRY_SECONDS = 5
LOOK_SECONDS = 1


def apply_schemas_in_time(settings: Settings, name: str, topics: dict[str, TopicEntry], file: StateFile) -> bool:
    """Record the topics' schemas, and wait for a database that takes nothing now, as for one that takes no rows.

    What is waited for stands in the report. False where the lane that started this process has ended meanwhile;
    StackError where waiting does not help.
    """
    import psycopg

    from stream_shim.buffer.topic_schema import apply_schemas
    from stream_shim.processor.counts import Counts
    from tidemark.refusals import explained

    counts, said = Counts(name), ""
    while True:
        try:
            apply_schemas(settings, topics)
            if said:
                log.info("%s: the database answers; it begins", name)
            return True
        except (StackError, psycopg.Error) as error:
            sentence = explained(error, "the database realtime") if isinstance(error, psycopg.Error) else error
            if not sentence.retriable:  # as a table or a right that is not there
                if sentence is error:
                    raise
                raise StackError(f"{sentence}; `tidemark up` applies the migrations and gives the rights") from error
            why = str(sentence)
        if why != said:
            said = why
            log.warning("%s: %s; nothing was read, trying again every %s s", name, why, RETRY_SECONDS)
        counts.wait("destination", why)
        for _ in range(RETRY_SECONDS // LOOK_SECONDS):
            if supervisor_is_gone():
                return False
            write_process_report(file, counts.report(None))
            time.sleep(LOOK_SECONDS)
