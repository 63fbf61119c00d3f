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
# What a byte of a day of `realtime` becomes for good once it is promoted: the most of any record of docs/a-year.md.
LAKE_BYTES = 0.07
WAREHOUSE_BYTES = 4.0


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

    `day_bytes` is what a day of `realtime` takes. Once a day is promoted `realtime` gives its place back, and what the
    lake and the warehouse take of it stays for good: a disk grows by those of them that are on it.
    """
    url = lake_url(settings)
    grows = [(settings.home, WAREHOUSE_BYTES if is_local(settings, "warehouse") else 0.0)]
    if url.startswith("file://"):
        grows.append((Path(url.removeprefix("file://")), LAKE_BYTES))
    growth: dict[int, float] = {}
    folders: dict[int, Path] = {}
    for folder, factor in grows:
        if folder.exists():
            device = folder.stat().st_dev
            folders.setdefault(device, folder)
            growth[device] = growth.get(device, 0.0) + factor * (day_bytes or 0.0)
    free = {device: shutil.disk_usage(folder).free for device, folder in folders.items()}
    return [
        FileSystem(folder, free[device], free[device] / growth[device] if growth[device] else None)
        for device, folder in folders.items()
    ]
