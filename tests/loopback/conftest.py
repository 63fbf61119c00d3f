"""The sources of a generated session, and of the recorded one where there is one."""

from collections.abc import Iterator

import pytest

from loopback.serving import Servers, serving
from loopback.session import Session


@pytest.fixture
def generated_sources(generated: Session) -> Iterator[Servers]:
    with serving(generated.folder) as servers:
        yield servers


@pytest.fixture
def recorded_sources(recorded: Session) -> Iterator[Servers]:
    with serving(recorded.folder) as servers:
        yield servers
