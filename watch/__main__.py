"""The watcher's process, until SIGTERM. `tidemark up` starts it."""

import logging
import signal
import sys
import threading


def main() -> int:
    """Watch until a signal; 1 where a thread of it ended, which only a fault of the watcher itself does."""
    # httpx's command line, for which rich and pygments come, and HTTP/2: 8 MB of a process that runs for ever.
    for name in ("httpx._main", "h2"):
        sys.modules[name] = None  # type: ignore[assignment]
    from tidemark.output import VisibleFormatter
    from tidemark.process_environment import forget_libpq
    from tidemark.settings import load
    from watch.watcher import Watcher

    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(VisibleFormatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("kafka").setLevel(logging.CRITICAL)  # that a broker does not answer is an observation
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    forget_libpq()
    Watcher(load()).run(stop)
    return 0


if __name__ == "__main__":
    sys.exit(main())
