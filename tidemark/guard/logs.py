"""The logs of the local servers, kept from growing: the guard runs wherever those do."""

import logging
import time

from tidemark.settings import Settings
from tidemark.stack import guard, kafka, postgres, prefect, process, serve

log = logging.getLogger("tidemark.guard")

LOGGED = (postgres, kafka, prefect, guard, serve)
AGAIN_SECONDS = 60.0  # each attempt writes as much as a log holds


class Logs:
    """What keeps them short. A full disk is no reason to end: that is said once, and tried again in a minute."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._said = ""
        self._again_at = 0.0

    def keep_short(self) -> None:
        """Begin those anew that are full, unless that failed a moment ago."""
        if time.monotonic() < self._again_at:
            return
        try:
            for server in LOGGED:
                process.rotate(self._settings.home, server.NAME, self._settings.log_bytes)
        except OSError as error:
            self._again_at = time.monotonic() + AGAIN_SECONDS
            if str(error) != self._said:
                log.error("expected to keep the servers' logs short, received %s", error)
            self._said = str(error)
        else:
            self._said = ""
