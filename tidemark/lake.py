"""The lake, on a disk or on S3: one file system for every part, files whole or not there, errors as sentences."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from gzip import BadGzipFile
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, unquote

from tidemark.errors import ConfigurationError, TidemarkError
from tidemark.settings import Settings

# What a server of others is named by, for S3 alone or for all that AWS's clients call; its own file may name it too.
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
# What S3 answers to credentials that it does not take.
REFUSED = {
    "403", "AccessDenied", "ExpiredToken", "InvalidAccessKeyId", "InvalidClientTokenId", "InvalidToken",
    "RequestTimeTooSkewed", "SignatureDoesNotMatch",
}  # fmt: skip
NO_BUCKET = "NoSuchBucket"
SECONDS = 10  # to connect, and for each answer's next bytes
TRIES = 3

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
_UNFIT_PREFIX = re.compile(r"[?#\x00-\x1f]|/\.{0,2}/(?!$)|/\.{1,2}/$")

_answered: set[tuple[str, str | None]] = set()


class LakeError(TidemarkError):
    """The lake's server did not do what was asked: no fault of any file, and the next try may succeed."""

    retriable = True


def lake_url(settings: Settings) -> str:
    """The lake's root: an fsspec URL without a slash at its end; a local path stands in it as it is (fsspec's way)."""
    path = _lake_path(settings)
    return (settings.lake_url or "").rstrip("/") if path is None else f"file://{path}"


def encoded_lake_url(settings: Settings) -> str:
    """The same for who decodes a URL, as dlt does."""
    path = _lake_path(settings)
    return lake_url(settings) if path is None else f"file://{quote(str(path))}"


def _lake_path(settings: Settings) -> Path | None:
    """The absolute path of a lake on this machine; None for another. Only in a URL is a percent sign an escape."""
    url = settings.lake_url or ""
    scheme, separator, rest = url.partition(":")
    if not url:
        path = settings.home / "lake"
    elif not separator or "/" in scheme:
        path = Path(url)
    elif scheme in {"file", "local"}:
        path = Path(unquote(rest.removeprefix("//localhost").removeprefix("//")))
    elif scheme == "s3":
        _refuse_no_place_on_s3(rest)
        return None
    else:
        raise ConfigurationError(
            f"TIDEMARK_LAKE_URL: expected a folder's path, file:///folder or s3://bucket/prefix, received {scheme}:, "
            "where this version cannot store"
        )
    try:
        return path.expanduser().resolve()
    except RuntimeError as error:  # ~nobody/..
        raise ConfigurationError(f"TIDEMARK_LAKE_URL: expected a path or a URL, received {url} ({error})") from None


def _refuse_no_place_on_s3(rest: str) -> None:
    """ConfigurationError where it is no //bucket/prefix; no message holds any of it: a key may be in it."""
    bucket, _, prefix = rest.removeprefix("//").partition("/")
    if not rest.startswith("//") or not _BUCKET.fullmatch(bucket):
        raise ConfigurationError(
            "TIDEMARK_LAKE_URL: expected s3://bucket/prefix, received no bucket's name there (credentials go into "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, another server into AWS_ENDPOINT_URL)"
        )
    if _UNFIT_PREFIX.search(f"/{prefix.rstrip('/')}/"):
        raise ConfigurationError(
            "TIDEMARK_LAKE_URL: expected s3://bucket/prefix whose prefix names folders, none of them empty, . or .., "
            "without ? and #, received another"
        )


def on_s3(settings: Settings) -> bool:
    """Whether the lake is on S3, or on a server that speaks its protocol."""
    return lake_url(settings).startswith("s3://")


def endpoint() -> str | None:
    """The server that the environment names; None: AWS's, or what ~/.aws/config says. ConfigurationError: no URL."""
    named = next((name for name in ENDPOINTS if os.environ.get(name)), None)
    if named is None:
        return None
    if not re.match(r"https?://[^/\s]", os.environ[named]):
        raise ConfigurationError(f"{named}: expected https://host:port of a server of S3, received no such URL")
    return os.environ[named]


def s3_client(settings: Settings) -> dict[str, Any]:
    """botocore's configuration of the lake's client; who calls, and the region, it finds as AWS's own tools do."""
    config: dict[str, Any] = {
        "connect_timeout": SECONDS,
        "read_timeout": SECONDS,
        "retries": {"mode": "standard", "max_attempts": TRIES},
    }
    named, path_style = endpoint(), settings.lake_path_style
    if path_style or (named and path_style is None):
        config["s3"] = {"addressing_style": "path"}
    if named:  # not every server of others knows the check sums that AWS's clients add
        config |= dict.fromkeys(("request_checksum_calculation", "response_checksum_validation"), "when_required")
    return config


def file_system(settings: Settings) -> tuple[Any, str]:
    """The lake's fsspec file system, which remembers nothing of it, and the root's path in it.

    LakeError where its server does not answer, knows no such bucket, or does not let us in; a process asks once.
    """
    import fsspec

    if not on_s3(settings):
        system, root = fsspec.core.url_to_fs(lake_url(settings))
        system.invalidate_cache()
        return system, root.rstrip("/")
    with reaching(settings):
        system, root = fsspec.core.url_to_fs(
            lake_url(settings),
            endpoint_url=endpoint(),
            config_kwargs=s3_client(settings),
            use_listings_cache=False,
            fixed_upload_size=True,  # Cloudflare takes no parts of different sizes
        )
        bucket, _, key = root.rstrip("/").partition("/")
        if (root, endpoint()) not in _answered:
            system.call_s3("list_objects_v2", Bucket=bucket, Prefix=f"{key}/" if key else "", MaxKeys=1)
            _answered.add((root, endpoint()))
    return system, root.rstrip("/")


@contextmanager
def new_file(settings: Settings, path: str) -> Iterator[IO[bytes]]:
    """A file below the lake's root that has its name when it is whole; who is ended amid it leaves none of that name.

    On a disk it is written beside its place, and on the disk before it has its name; S3 shows a file when it has all.
    """
    system, root = file_system(settings)
    final = f"{root}/{path}"
    if not on_s3(settings):
        system.makedirs(final.rpartition("/")[0], exist_ok=True)
        with _beside(Path(final)) as file:
            yield file
        return
    with reaching(settings):
        file = system.open(final, "wb")
        try:
            yield file
            file.close()
        except BaseException:
            file.closed = True  # else the collector would close it, which gives half a file its name
            with suppress(Exception):  # what matters is said already
                file.discard()
            raise


@contextmanager
def _beside(final: Path) -> Iterator[IO[bytes]]:
    part = final.with_name(f"{final.name}.part")
    with part.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    part.replace(final)
    folder = os.open(final.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def reaching(settings: Settings) -> Iterator[None]:
    """LakeError, a sentence, for what S3 or the way to it says; what a file says, or a local disk, comes as it is."""
    try:
        yield
    except Exception as error:
        file_itself = isinstance(error, FileNotFoundError | BadGzipFile)
        if (file_itself and _code(error) != NO_BUCKET) or not (
            of_s3(settings, error) or (on_s3(settings) and isinstance(error, OSError))
        ):
            raise
        raise LakeError(said(settings, error)) from None


def of_s3(settings: Settings, error: BaseException) -> bool:
    """Whether it is S3's client that raised it."""
    if not on_s3(settings):
        return False
    from aiohttp import ClientError as HttpError
    from botocore.exceptions import BotoCoreError, ClientError

    return isinstance(error, BotoCoreError | ClientError | HttpError)


def said(settings: Settings, error: BaseException) -> str:
    """What S3 or the way to it said, and what to do."""
    from botocore.exceptions import NoCredentialsError, PartialCredentialsError

    place = f"expected the lake at {lake_url(settings)} ({_server()}) to answer"
    code = _code(error)
    if code == NO_BUCKET:
        bucket = lake_url(settings).split("/")[2]
        return (
            f"expected a bucket {bucket} for the lake at {_server()}, it has none: make it there, or mend "
            "TIDEMARK_LAKE_URL"
        )
    if isinstance(error.__cause__ or error, NoCredentialsError | PartialCredentialsError):
        return (
            f"{place}, found no credentials for it: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, "
            "or run where a role gives them"
        )
    received = " ".join(without_login(str(error) or type(error).__name__).split())[:300]
    if code in REFUSED or isinstance(error, PermissionError):
        why = f"{code or 'no right'}: {received}"
        return f"{place}, it refuses the credentials ({why}): look at AWS_ACCESS_KEY_ID, its secret and its rights"
    if code:
        return f"{place}, received {code} ({received})"
    return f"{place}, received no answer ({received}): look at AWS_ENDPOINT_URL and at the server, then run it again"


def _code(error: BaseException) -> str:
    """The code that S3 answered with; nothing where it did not answer. s3fs raises errors of the system for them."""
    return str(getattr(error.__cause__ or error, "response", {}).get("Error", {}).get("Code", ""))


def _server() -> str:
    return without_login(endpoint() or "AWS S3")


def without_login(text: str) -> str:
    """A text whose URLs have no user and password."""
    return re.sub(r"(//)[^/@\s\"']+@", r"\1", text)
