"""The guard's process: one watch and one mender a server, until SIGTERM. `tidemark up` starts it.

As it runs wherever servers of the local stack do, it also keeps their logs from growing.
"""

import logging
import os
import signal
import sys
import threading
import time
from typing import Any

from tidemark.access.access_file import read_access
from tidemark.guard.journal import Journal
from tidemark.guard.logs import Logs
from tidemark.guard.mend import Mender
from tidemark.guard.watch import Watch
from tidemark.output import VisibleFormatter
from tidemark.settings import load
from tidemark.stack.guard import beat_path, configuration, servers
from tidemark.state_file import StateFile

log = logging.getLogger("tidemark.guard")

BEAT_SECONDS = 1.0
FRESH_SECONDS = 10.0


def main() -> int:
    """Watch until a signal; 1 where a thread of it ended, which only a fault of the guard itself does."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(VisibleFormatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    settings, stop = load(), threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    started_with = configuration(settings)  # before what it digests is read: a change meanwhile is seen by `up`
    access, journal = read_access(settings.access_file), Journal(settings)
    watches = [Watch(settings, server, access, journal, stop) for server in servers(settings)]
    menders = [Mender(settings, server, access, journal, stop) for server in servers(settings)]
    for thread in (*watches, *menders):
        thread.start()
    beat, logs = StateFile(beat_path(settings.home), log), Logs(settings)
    while not stop.wait(BEAT_SECONDS):
        journal.flush()
        beat.write(_life(started_with, watches))
        logs.keep_short()
        if ended := [thread.name for thread in (*watches, *menders) if not thread.is_alive()]:
            log.error("expected to go on, %s ended", ", ".join(ended))
            return 1
    journal.close()
    return 0


def _life(started_with: str, watches: list[Watch]) -> dict[str, Any]:
    """That it lives, over whom it watches, and what falls short."""
    now = time.monotonic()
    return {
        "pid": os.getpid(),
        "configuration": started_with,
        "watched": [watch.server.address for watch in watches if now - watch.seen_at < FRESH_SECONDS],
        "shortfalls": {watch.server.address: watch.shortfalls for watch in watches},
    }


if __name__ == "__main__":
    sys.exit(main())
