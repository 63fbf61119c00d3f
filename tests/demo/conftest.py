"""A generated session, and the recorded one where there is one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.servers.running import Servers, serving
from demo.session import Session, open_session


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Session:
    return open_session(None, tmp_path_factory.mktemp("generated"))


@pytest.fixture(scope="session")
def recorded(recordings: Path) -> Session:
    return open_session(recordings, Path("unused"))


@pytest.fixture
def generated_sources(generated: Session) -> Iterator[Servers]:
    with serving(generated.folder) as servers:
        yield servers


@pytest.fixture
def recorded_sources(recorded: Session) -> Iterator[Servers]:
    with serving(recorded.folder) as servers:
        yield servers
