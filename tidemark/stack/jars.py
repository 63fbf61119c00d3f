"""Kafka's jars: fetched once from a Maven repository into a folder that all state folders share, verified by sha256.

`kafka.sha256` is their lock file (paths as Maven has them, so `sha256sum -c` reads it); `python -m tidemark.stack.jars`
writes it anew for the versions named here. Whoever else needs jars has a lock of their own.
"""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tidemark.errors import StackError
from tidemark.settings import Settings

LOCK = Path(__file__).with_name("kafka.sha256")
# Kafka logs through slf4j 1.7; this binding needs nothing more than the Java runtime.
ENDPOINT = "org.apache.kafka:kafka_2.13:4.4.0+org.slf4j:slf4j-jdk14:1.7.36"


def parse_lock(text: str) -> dict[str, str]:
    """Path below the repository (group/artifact/version/file) to sha256."""
    return {path: digest for digest, path in (line.split() for line in text.splitlines())}


def coordinates(path: str) -> tuple[str, str, str]:
    """group, artifact, version of a path in a Maven repository."""
    *group, artifact, version, _ = path.split("/")
    return ".".join(group), artifact, version


def class_path(settings: Settings, lock: Path = LOCK) -> list[Path]:
    """Every jar of the lock, there and verified; what is missing or damaged is fetched."""
    folder = settings.cache / "maven"
    wanted = parse_lock(lock.read_text())
    missing = [path for path, digest in wanted.items() if _sha256(folder / path) != digest]
    if missing:
        _fetch(settings, folder, missing)
    for path in missing:
        found = _sha256(folder / path)
        if found != wanted[path]:
            (folder / path).unlink(missing_ok=True)
            raise StackError(
                f"expected {path} with sha256 {wanted[path]}, the Maven repository gave {found}: "
                "set TIDEMARK_MAVEN_URL to a repository that you trust"
            )
    return [folder / path for path in wanted]


def _sha256(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None


def _context(settings: Settings, folder: Path) -> Any:
    from jgo.constants import MAVEN_CENTRAL_URL
    from jgo.maven import MavenContext

    return MavenContext(
        repo_cache=folder, remote_repos={"central": settings.maven_url or MAVEN_CENTRAL_URL}, timeout=30
    )


def _fetch(settings: Settings, folder: Path, paths: list[str]) -> None:
    import requests

    context = _context(settings, folder)

    def fetch(path: str) -> None:
        group, artifact, version = coordinates(path)
        (folder / path).unlink(missing_ok=True)
        context.project(group, artifact).at_version(version).artifact().resolve()

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(fetch, paths))
    except (requests.RequestException, RuntimeError) as error:
        raise StackError(
            f"expected to fetch {len(paths)} jars of Kafka from a Maven repository, it did not answer "
            f"({type(error).__name__}): set TIDEMARK_MAVEN_URL to a mirror that this machine reaches, "
            "or TIDEMARK_KAFKA_BOOTSTRAP to a Kafka that runs elsewhere"
        ) from None
    except OSError as error:
        raise StackError(
            f"expected to keep Kafka's jars in {folder}, it cannot be written ({error.strerror}): "
            "set TIDEMARK_CACHE to a folder of your own"
        ) from None


def write_lock(settings: Settings, endpoint: str = ENDPOINT, lock: Path = LOCK) -> int:
    """Resolve the endpoint, and write the sha256 of all its jars; how many there are."""
    import tempfile

    from jgo.env import EnvironmentBuilder, LinkStrategy

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "maven"
        builder = EnvironmentBuilder(
            context=_context(settings, folder),
            cache_dir=Path(scratch) / "jgo",
            link_strategy=LinkStrategy.HARD,
        )
        builder.from_endpoint(endpoint)
        jars = sorted(folder.rglob("*.jar"))
        lock.write_text("".join(f"{_sha256(jar)}  {jar.relative_to(folder).as_posix()}\n" for jar in jars))
    return len(jars)


if __name__ == "__main__":
    from tidemark.settings import load

    print(write_lock(load()), "jars")
