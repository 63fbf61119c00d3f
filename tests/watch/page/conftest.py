"""A state folder that only a watcher has written to, and the page of it as files behind a server of files."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser import chromium
from tests.serving import in_a_thread
from tests.watch.page.platform import live_for_90_days
from tidemark.settings import Settings
from watch import history
from watch.publish import Place, publish

Published = Callable[..., str]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A state folder of its own."""
    return Settings(home=tmp_path / "home")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium."""
    with chromium() as found:
        yield found


@pytest.fixture(scope="session")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a watcher that has looked for 90 days, until now."""
    of = Settings(home=tmp_path_factory.mktemp("lived"))
    live_for_90_days(of, datetime.now(UTC))
    return history.path(of).parent


class Files(SimpleHTTPRequestHandler):
    """Files of a folder, without a line a request."""

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def published(settings: Settings, tmp_path: Path) -> Iterator[Published]:
    """Publishes the page, and says where it is."""
    folder = tmp_path / "site"
    folder.mkdir()
    with in_a_thread(ThreadingHTTPServer(("127.0.0.1", 0), partial(Files, directory=str(folder)))) as server:
        url = f"http://127.0.0.1:{server.server_address[1]}/"

        def again(seconds: float = 60.0) -> str:
            publish(settings, Place(settings, str(folder)), seconds)
            return url

        yield again
