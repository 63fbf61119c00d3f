"""What needs a person, by what the lane's processes report: the watcher, and who shows sources, judge by it alike."""

from collections.abc import Collection, Iterable
from typing import Any

from tidemark.disk import FileSystem
from tidemark.home_kind import home_kind
from tidemark.settings import Settings
from tidemark.stack.checks import NEEDED_BYTES

HEADROOM_DAYS = 3
DISK_DAYS = 7  # fewer than so many are left
POLLS_WITHOUT_ANSWER = 3
CLIENT_ERROR_SECONDS = 300  # what a client library has logged degrades its source for so long

Causes = dict[str, str]  # a cause's name, and the sentence about it


def causes_of_connector(name: str, report: dict[str, Any], silence_seconds: float, now: float) -> Causes:
    """A source from which nothing came for too long since its process began."""
    silent = now - max(report["last_message_at"], report["started_at"])
    if silent <= silence_seconds:
        return {}
    return {
        f"silent source {name}": f"expected news of {name} every {_rounded(silence_seconds)} s, "
        f"none came for {_rounded(silent)} s"
    }


def causes_of_degraded(name: str, report: dict[str, Any], now: float) -> Causes:
    """The parts of a source that give nothing while the others go on, and what its client library only logged."""
    causes = {
        f"degraded source {name}: {part}": f"expected data of {part} from {name}: {why}"
        for part, why in report.get("degraded", {}).items()
    }
    if now - report.get("last_client_error_at", 0.0) <= CLIENT_ERROR_SECONDS:
        causes[f"degraded source {name}"] = (
            f"the client library of {name} says: {report['last_client_error']}; logs/connector-{name}.log has it all"
        )
    return causes


def _rounded(seconds: float) -> str:
    """Whole seconds, and hundredths of few: a source may be asked more often than once a second."""
    return f"{seconds:.0f}" if seconds >= 10 else f"{round(seconds, 2):g}"


class Polled:
    """Remembers since when polled sources fail: a process that begins anew forgets it, and no answer came by that."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}  # by source

    def causes(self, report: dict[str, Any], every_seconds: float, now: float) -> Causes:
        """A source that only fails, for as long as several polls. It is over once it answers, however long it waits."""
        name = report["source"]
        if report["answered_at"] > self._since.get(name, 0.0):
            self._since.pop(name, None)
        if report["failing_since"]:
            self._since.setdefault(name, report["failing_since"])
        failed = now - max(self._since.get(name, now), report["last_message_at"])
        if failed <= POLLS_WITHOUT_ANSWER * every_seconds:
            return {}
        return {
            f"failing source {name}": f"expected an answer to {name} every {_rounded(every_seconds)} s, "
            f"it only failed for {_rounded(failed)} s; logs/connector-{name}.log says why"
        }

    def keep(self, names: Collection[str]) -> None:
        """Forget the sources that the file has no more."""
        self._since = {name: since for name, since in self._since.items() if name in names}


def causes_of_processor(name: str, report: dict[str, Any]) -> Causes:
    """Rows that wait. What else may be wrong is asked of the database."""
    return {f"stopped processor {name}": report["waiting_for"]} if report["waiting_for"] else {}


def causes_of_oldest_day(settings: Settings, age_days: int | None) -> Causes:
    """Days that stay in `realtime`: promotion has had a whole day for the first of them. A replay's are old as such."""
    most = settings.keep_days + 1
    if age_days is None or age_days <= most or home_kind(settings) == "replay":
        return {}
    return {
        "oldest day past its time": f"expected the oldest day in realtime to be at most {most} days old, "
        f"it is {age_days}: promotion does not move it"
    }


def causes_of_disk(file_systems: Iterable[FileSystem]) -> Causes:
    """A disk whose room ends: by what is free, and by how days have grown."""
    causes = {}
    for each in file_systems:
        free = f"{each.free_bytes / 1e9:,.1f} GB are free"
        if each.days_left is not None and each.days_left < DISK_DAYS:
            said = f"expected room for {DISK_DAYS} days, {free}, which last {each.days_left:,.1f} days"
        elif each.free_bytes < NEEDED_BYTES:
            said = f"expected {NEEDED_BYTES / 1e9:,.1f} GB free, {free}"
        else:
            continue
        causes[f"disk ends {each.path}"] = said
    return causes
