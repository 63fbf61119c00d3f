"""A stack without a fault: what earlier tests left is taken away, and what is wrong all the same is known."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from stream_shim.reports import forget_reports
from tests.conftest import Stack, empty_realtime, empty_warehouse
from tests.stream_shim.conftest import Lane, made, until
from tidemark.settings import Settings
from watch.observation import WELL
from watch.observations import observe


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """No source, and one destination of one topic."""
    folder = tmp_path_factory.mktemp("entries")
    (folder / "sources.yml").write_text("{}\n")
    (folder / "destinations.yml").write_text("realtime: {kind: postgres, topics: [market_tick]}\n")
    return {"sources_file": folder / "sources.yml", "destinations_file": folder / "destinations.yml"}


def forget(settings: Settings) -> None:
    """What processes of the lane left in the state folder."""
    for path in [*(settings.home / "run").glob("*.lock"), *(settings.home / "run").glob("supervisor-*.json")]:
        path.unlink()
    for kind in ("connector", "processor"):
        for path in (settings.home / "run").glob(f"{kind}-*.json"):
            forget_reports(settings, kind, path.stem.removeprefix(f"{kind}-").partition("#")[0])
    (settings.home / "logs" / "processor-realtime.log").unlink(missing_ok=True)


@pytest.fixture
def lane(stack: Stack, files: dict[str, Path]) -> Iterator[Lane]:
    """The session's stack, empty, and as if no lane had ever run on it."""
    lane = Lane(Stack(stack.with_settings(**files)))
    forget(lane.settings)
    empty_realtime(stack)
    until(lambda: made(lane.settings), "the topics")
    yield lane
    forget(lane.settings)


@pytest.fixture(scope="session")
def known(stack: Stack, files: dict[str, Path]) -> set[str]:
    """What is wrong without any fault: other tests leave flows and schedules in Prefect."""
    empty_warehouse(stack)
    empty_realtime(stack)
    settings = stack.with_settings(**files)
    forget(settings)
    until(lambda: made(settings), "the topics")
    return {one.title for one in observe(settings) if one.state not in WELL}
