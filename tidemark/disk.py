"""Room on the disks of the state: what is free, and for how many days that lasts."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from tidemark.connections import is_local
from tidemark.lake import lake_url
from tidemark.settings import Settings

GROWTH_DAYS = 7  # whole days before today of which the growth is taken


@dataclass(frozen=True)
class FileSystem:
    """One disk that holds state here. `days_left` is None where what grows is on another machine, or nothing grew."""

    path: Path  # of the state on it
    free_bytes: int
    days_left: float | None


def bytes_a_day(sizes: Mapping[date, int]) -> float | None:
    """The mean of the last whole days that have a size, of sizes by day (UTC); None where there is none."""
    today = datetime.now(UTC).date()
    whole = [size for day, size in sizes.items() if today - timedelta(days=GROWTH_DAYS) <= day < today]
    return sum(whole) / len(whole) if whole else None


def file_systems(settings: Settings, day_bytes: float | None) -> list[FileSystem]:
    """The disks of the state folder and of a lake that is a folder, each once.

    `day_bytes` is what a day of `realtime` takes: a day takes as much again, or more, in the lake and in the warehouse
    once it is promoted, while `realtime` gives its place back.
    """
    url = lake_url(settings)
    folders = [settings.home, *([Path(url.removeprefix("file://"))] if url.startswith("file://") else [])]
    found: dict[int, FileSystem] = {}
    for folder in folders:
        if folder.exists() and (device := folder.stat().st_dev) not in found:
            free = shutil.disk_usage(folder).free
            grows = day_bytes if is_local(settings, "realtime") else None
            found[device] = FileSystem(folder, free, free / grows if grows else None)
    return list(found.values())
