"""All that is looked at, each thing independent of the others: the one list that a page, a command and alerts read."""

import time
from collections.abc import Sequence
from concurrent.futures import TimeoutError as NotYet
from functools import partial

from stream_shim.running.causes import Polled
from tidemark.connections import DATABASES
from tidemark.settings import Settings
from watch import batch, credentials, databases, fresh, guarded, kafka_logs, lane, servers
from watch.observation import WORST_FIRST, Look, Observation
from watch.rounds import LOOK_SECONDS, begin

CONSEQUENCES = (kafka_logs.LAG,)  # of whatever else fails as badly, which is to be mended first


def looks() -> tuple[Look, ...]:
    """Each look anew, with what it remembers of earlier ones; how often the watcher takes it is by what it costs.

    In the order in which one causes another: what is first of the failing ones is the one to mend first.
    """
    return (
        Look("no state", "state folder", "home", servers.folder, False, 60),
        Look(servers.DISK, "disk", "home", lambda of: servers.disks(of, databases.day_bytes(of)), False, 60),
        Look(servers.DOWN, "server", "all", servers.servers, False, 5),
        *(
            Look(databases.NO_ANSWER, "database", database, partial(databases.look, database=database), True, 5)
            for database in DATABASES
        ),
        Look(kafka_logs.ENDED, "topic", "all", kafka_logs.look, True, 15),
        Look(lane.LANE, "lane", "supervisor", partial(lane.look, polled=Polled()), True, 5),
        Look("low head-room", "database", "realtime", databases.head_room, True, 60),
        Look("balance is not 0", "account", "realtime", databases.balance, True, 300),  # it counts every row
        Look("growing quarantine", "account", "realtime", databases.quarantine, True, 15),
        Look(guarded.ENDED, "guard", "nobody", guarded.look, True, 15),
        Look(batch.UNREACHED, "server", "prefect", batch.Batch().look, True, 30),
        Look(batch.NO_SUCCESS, "flow", "all", batch.successes, True, 60),
        Look("check failed", "contracts", "quality", databases.checks, True, 60),
        Look("dbt failed", "models", "all", batch.dbt_runs, False, 60),
        Look("newest row", "feed", "all", fresh.feeds, True, 60),
        Look(fresh.SOURCE, "source table", "all", fresh.sources, True, 60),
        Look(fresh.MART, "mart", "all", fresh.marts, True, 60),
        Look(credentials.ENDS, "credential", "all", credentials.look, False, 600),
    )


LOOKS = looks()


def observe(settings: Settings, looks: Sequence[Look] = LOOKS, seconds: float = LOOK_SECONDS) -> list[Observation]:
    """All observations, worst first. It writes nothing, asks nobody for a password, and ends within `seconds`.

    Of a stack that was ended on purpose that is said alone, and what needs no server.
    """
    is_down = servers.down_since(settings) is not None
    asked = [(look, begin(settings, look)) for look in looks if not (is_down and look.needs_stack)]
    deadline = time.monotonic() + seconds
    seen: list[Observation] = []
    for look, answer in asked:
        try:
            seen += answer.result(max(0.0, deadline - time.monotonic()))
        except NotYet:
            seen.append(look.unknown(f"none within {seconds:.0f} s"))
    return sorted(seen, key=lambda one: (WORST_FIRST.index(one.state), one.name in CONSEQUENCES))
