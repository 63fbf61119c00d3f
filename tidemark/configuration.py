"""docs/configuration.md: the table of every setting, from the descriptions in tidemark/settings.py."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from tidemark.settings import PROJECT, Settings

PAGE = PROJECT / "docs" / "configuration.md"

HEAD = """\
# Configuration

Every setting is an environment variable, read once when a command starts. Nothing needs to be set: without any, the
local stack is used. `make docs` writes this page from `tidemark/settings.py`. What days and bytes of it mean for a disk
stands in [a-year.md](a-year.md).

| variable | default | meaning |
|---|---|---|
"""

OF_OTHERS = {
    "The lake on S3": (
        """\
`TIDEMARK_LAKE_URL=s3://bucket/prefix` puts the lake on AWS S3 or on a server that speaks its protocol (MinIO,
Cloudflare R2, Ceph). Who calls and where the server is, the lake finds as AWS's own tools do: in these variables, in
`~/.aws/config` and `~/.aws/credentials`, or in the role of the machine. [ingest.md](ingest.md#where-the-lake-is) says
what the role needs.
""",
        {
            "AWS_ACCESS_KEY_ID": "Whose key it is; reaches only the processes that read or write the lake",
            "AWS_SECRET_ACCESS_KEY": "The key's secret",
            "AWS_SESSION_TOKEN": "The token of a key that expires",
            "AWS_PROFILE": "The section of `~/.aws/credentials` and `~/.aws/config` to take instead",
            "AWS_DEFAULT_REGION": "The bucket's region; `auto` on R2, any on MinIO",
            "AWS_ENDPOINT_URL_S3": "`https://host:port` of a server of others, before `AWS_ENDPOINT_URL`; default: AWS",
            "AWS_CA_BUNDLE": "PEM file of the authority that signed that server's certificate; default: the system's",
        },
    ),
    "Proxies": (
        """\
Sources, the lake on S3, OpenMetadata and Kafka's jars are asked through the proxy that the environment names. Servers
on `localhost`, `127.0.0.1` and `::1`, ours among them, never are, whatever `NO_PROXY` says. Each name counts in lower
case too. A SOCKS proxy serves the sources over HTTP and Prefect; exchanges, web sockets and S3 need one for HTTP.
Databento's and Alpaca's live feeds, Kafka and Postgres take no proxy.
""",
        {
            "HTTP_PROXY": "`http://user:password@host:port`, for `http://` and `ws://`",
            "HTTPS_PROXY": "The same, for `https://` and `wss://`",
            "ALL_PROXY": "What stands for either where it is not set; may be `socks5://host:port`",
            "NO_PROXY": "Hosts and `.domains` to ask without, parted by commas; `*` for all",
        },
    ),
}


def page() -> str:
    """The whole page."""
    rows = (_row(f"TIDEMARK_{name.upper()}", field) for name, field in Settings.model_fields.items())
    return HEAD + "".join(rows) + "".join(_of_others(title, *rest) for title, rest in OF_OTHERS.items())


def _of_others(title: str, text: str, variables: Mapping[str, str]) -> str:
    rows = "".join(f"| `{name}` | {meaning} |\n" for name, meaning in variables.items())
    return f"\n## {title}\n\n{text}\n| variable | meaning |\n|---|---|\n{rows}"


def _row(variable: str, field: FieldInfo) -> str:
    return f"| `{variable}` | {_default(field.default)} | {field.description} |\n"


def _default(value: Any) -> str:
    match value:
        case None | SecretStr():
            return ""
        case Path() if value.is_relative_to(PROJECT):
            return f"`{value.relative_to(PROJECT)}` in the checkout"
        case tuple():
            return f"`{json.dumps(value)}`"
    return f"`{value}`"


if __name__ == "__main__":
    PAGE.write_text(page())
