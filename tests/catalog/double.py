"""The stand-in for an OpenMetadata server as a process, and what a test asks of it."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

TOKEN = "a token"


class DoubleProcess:
    """A stand-in that runs; `url` ends in /api."""

    def __init__(self, port: str) -> None:
        root = f"http://127.0.0.1:{port}"
        self._http = httpx.Client(base_url=root, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60)
        self.url = f"{root}/api"
        self.environ = {"TIDEMARK_OPENMETADATA_URL": self.url, "TIDEMARK_OPENMETADATA_TOKEN": TOKEN}

    def kept(self) -> dict[str, Any]:
        """Entities by collection, edges, results, problems."""
        found: dict[str, Any] = self._http.get("/_double").json()
        return found

    def behave(self, **behaviour: Any) -> None:
        """How it answers from now on."""
        self._http.put("/_double", json=behaviour).raise_for_status()

    def forget(self) -> None:
        """As if it had just started."""
        self._http.delete("/_double").raise_for_status()

    def put(self, collection: str, **body: Any) -> None:
        """Keep an entity that somebody else published."""
        self._http.put(f"/api/v1/{collection}", json=body).raise_for_status()

    def close(self) -> None:
        """Its connection."""
        self._http.close()


@contextmanager
def running_double() -> Iterator[DoubleProcess]:
    """A stand-in that knows TOKEN, ended afterwards."""
    command = [sys.executable, "-m", "tests.catalog.openmetadata_double", TOKEN]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            double = DoubleProcess(process.stdout.readline().strip())
            yield double
            double.close()
        finally:
            process.terminate()
