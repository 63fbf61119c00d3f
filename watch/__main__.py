"""The watcher's process, until SIGTERM. `tidemark up` starts it."""

import importlib.util
import logging
import signal
import sys
import threading

from tidemark.errors import StackError
from tidemark.left_out import leave_out

log = logging.getLogger("tidemark.watch")

# httpx's command line, HTTP/2, and codecs of Kafka's records, of which it reads none: with Kafka's clients 15 MB.
UNUSED = ("httpx._main", "h2", "cramjam", "crc32c", "lz4", "zstandard")


def leave_out_kafka_clients() -> None:
    """The package itself imports its consumer and its producer: what asks of Kafka is the administrator's client."""
    spec = importlib.util.find_spec("kafka")
    if spec is None:
        raise StackError("expected the package kafka-python to be installed, found none: `make setup` installs it")
    sys.modules["kafka"] = importlib.util.module_from_spec(spec)


def main() -> int:
    """Watch until a signal; 1 where another watches, or a thread of it ended, which only a fault of its own does."""
    leave_out(*UNUSED)
    leave_out_kafka_clients()
    from tidemark.lock_file import try_lock
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
    settings = load()
    try:
        _, is_ours = try_lock(settings.home / "run" / "watcher.lock")
    except OSError as error:  # a disk that takes nothing is to be watched, too
        log.error("expected to make %s, received %s: it looks all the same", error.filename, error.strerror)
        is_ours = True
    if not is_ours:
        log.error("expected to watch %s alone, another watcher runs there: `tidemark up` ends it", settings.home)
        return 1
    Watcher(settings).run(stop)
    return 0


if __name__ == "__main__":
    sys.exit(main())
