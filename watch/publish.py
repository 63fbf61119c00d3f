"""The status page as static files at any fsspec URL, which outlive this host: they turn grey by the reader's clock."""

import logging
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

from tidemark import lake
from tidemark.errors import ConfigurationError, TidemarkError
from tidemark.settings import Settings
from watch.page import view
from watch.page.files import File, files

log = logging.getLogger("tidemark.watch")

EVERY_SECONDS = 60.0


class NotPublished(TidemarkError):
    """The place did not take the page; the next try may succeed."""

    retriable = True


class Place:
    """Where the page is written. ConfigurationError where the URL is none that can be written to."""

    def __init__(self, settings: Settings, url: str) -> None:
        import fsspec.implementations.local

        self._url = lake.without_login(url)
        self._is_s3 = url.startswith("s3://")
        of = {"endpoint_url": lake.endpoint(), "config_kwargs": lake.s3_client(settings)} if self._is_s3 else {}
        try:
            self._system, root = fsspec.core.url_to_fs(url, **of)
        except (ValueError, ImportError) as error:
            said = f"expected a URL that fsspec knows, such as s3://bucket/status, received {self._url}: {error}"
            raise ConfigurationError(said) from None
        self._is_local = isinstance(self._system, fsspec.implementations.local.LocalFileSystem)
        self._root = str(root).rstrip("/")

    def write(self, written: dict[str, File]) -> None:
        """Each file whole, in their order. NotPublished where the place does not take one."""
        for name, file in written.items():
            try:
                self._put(f"{self._root}/{name}", file)
            except Exception as error:  # a client of any store: what it raises is its own
                said = lake.without_login(" ".join(str(error.__cause__ or error).split())) or type(error).__name__
                raise NotPublished(f"expected {self._url} to take {name}, received: {said}") from error

    def _put(self, path: str, file: File) -> None:
        if self._is_s3:  # whole at once, and shown by a browser as what it is
            self._system.pipe_file(path, file.content, ContentType=file.media_type, CacheControl="no-cache")
            return
        folder = path.rpartition("/")[0]
        is_new = not self._system.exists(folder)
        self._system.makedirs(folder, exist_ok=True)
        with self._system.transaction, self._system.open(path, "wb") as opened:  # beside its place until it is whole
            opened.write(file.content)
        if self._is_local:  # a web server, which is another user, reads it
            Path(path).chmod(0o644)
            if is_new:
                Path(folder).chmod(0o755)


def publish(settings: Settings, place: Place, seconds: float = EVERY_SECONDS) -> dict[str, Any]:
    """Write the page once, as one that is written anew that often; its files' sizes, and what it says."""
    page = view.read(settings, spare=timedelta(seconds=seconds))
    written = files(page, str(settings.home.resolve()))
    place.write(written)
    return {
        "state": page.state, "headline": page.headline,
        "bytes": {name: len(file.content) for name, file in written.items()},
    }  # fmt: skip


def publish_on(settings: Settings, place: Place, stop: threading.Event, seconds: float = EVERY_SECONDS) -> None:
    """Write it that often until `stop`; a place that takes nothing is said once, and tried again each time."""
    refused = ""
    while not stop.is_set():
        try:
            publish(settings, place, seconds)
        except NotPublished as error:
            if str(error) != refused:
                log.error("%s: tried again every %.0f s", error, seconds)
            refused = str(error)
        else:
            if refused:
                log.warning("the status page is published again")
            refused = ""
        stop.wait(seconds)
