"""All that is looked at, each thing independent of the others: the one list that a page, a command and alerts read."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from functools import partial

from tidemark.connections import DATABASES
from tidemark.settings import Settings
from watch import batch, databases, kafka_logs, lane, servers
from watch.observation import WORST_FIRST, Look, Observation

LOOK_SECONDS = 10.0  # after so long without an answer it is unknown
CONSEQUENCES = (kafka_logs.LAG,)  # of whatever else fails as badly, which is to be mended first

# In the order in which one causes another: what is first of the failing ones is the one to mend first.
LOOKS: tuple[Look, ...] = (
    Look("no state", "state folder", "home", servers.folder, needs_stack=False),
    Look(servers.DISK, "disk", "home", lambda settings: servers.disks(settings, databases.day_bytes(settings)), False),
    Look(servers.DOWN, "server", "all", servers.servers, needs_stack=False),
    *(
        Look(databases.NO_ANSWER, "database", database, partial(databases.look, database=database))
        for database in DATABASES
    ),
    Look(kafka_logs.ENDED, "topic", "all", kafka_logs.look),
    Look(lane.LANE, "lane", "supervisor", lane.look),
    Look("low head-room", "database", "realtime", databases.head_room),
    Look("balance is not 0", "account", "realtime", databases.balance),
    Look("growing quarantine", "account", "realtime", databases.quarantine),
    Look(batch.UNREACHED, "server", "prefect", batch.look),
    Look(batch.NO_SUCCESS, "flow", "all", batch.successes),
    Look("check failed", "contracts", "quality", databases.checks),
    Look("dbt failed", "models", "all", batch.dbt_runs, needs_stack=False),
)


def observe(settings: Settings, looks: Sequence[Look] = LOOKS, seconds: float = LOOK_SECONDS) -> list[Observation]:
    """All observations, worst first. It writes nothing, asks nobody for a password, and ends within `seconds`.

    Of a stack that was ended on purpose that is said alone, and what needs no server.
    """
    is_down = servers.down_since(settings) is not None
    asked = [(look, _ask(settings, look)) for look in looks if not (is_down and look.needs_stack)]
    deadline = time.monotonic() + seconds
    seen: list[Observation] = []
    for look, answer in asked:
        try:
            seen += answer.result(max(0.0, deadline - time.monotonic()))
        except NotYet:
            seen.append(look.unknown(f"none within {seconds:.0f} s"))
    return sorted(seen, key=lambda one: (WORST_FIRST.index(one.state), one.name in CONSEQUENCES))


def _ask(settings: Settings, look: Look) -> "Future[list[Observation]]":
    """In a thread of its own, which nobody waits for: what hangs keeps no other."""
    answer: Future[list[Observation]] = Future()
    threading.Thread(
        target=lambda: answer.set_result(look.run(settings)), name=f"look {look.name}", daemon=True
    ).start()
    return answer
