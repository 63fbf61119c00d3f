"""The server's process: uvicorn on loopback, until SIGTERM. `tidemark up` starts it."""

import gc
import logging
import resource
import sys

from serve.app import create_app
from serve.protocol import patient
from tidemark.left_out import leave_out
from tidemark.output import VisibleFormatter
from tidemark.settings import Settings, load

SPARE_FILES = 200  # beside the connections of clients
END_SECONDS = 5


def run(settings: Settings) -> None:
    """Serve until a signal."""
    import uvicorn

    # pyarrow imports both where they are installed, the first as soon as a time becomes an object: 67 MB and 1.4 s of
    # the first answer; and 12 MB.
    leave_out("pandas", "numpy")
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(VisibleFormatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    _allow_files(settings.api_clients + SPARE_FILES)
    app = create_app(settings)
    gc.collect()  # or the garbage of the start would stay, too
    gc.freeze()  # what is here stays: the collector takes 45 ms to look through it, of whatever answer it befalls
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=settings.api_port,
        http=patient(settings.api_slow_seconds, settings.api_clients),
        ws="none",
        access_log=False,  # its lines would hold the key of a query
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=END_SECONDS,
        backlog=1024,
    )


def _allow_files(needed: int) -> None:
    """As many open files as the connections need, as far as the system lets."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < needed:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (needed if hard == resource.RLIM_INFINITY else min(needed, hard), hard)
        )


if __name__ == "__main__":
    run(load())
