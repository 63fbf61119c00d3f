"""Every setting, read once from the environment (`TIDEMARK_*`) into a frozen object; docs/configuration.md lists it."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from tidemark.bounded import MOST_BYTES
from tidemark.errors import ConfigurationError

FORMER_ACCESS_FILE = "TIDEMARK_PEOPLE_FILE"  # of limits alone, until there was one file of access
PROJECT = Path(__file__).resolve().parent.parent

MOST_DAYS = 36_500  # a hundred years: what is longer is a slip of the finger, or no date any more

Delay = Annotated[float, Field(ge=0, le=86_400)]
Port = Annotated[int, Field(ge=1, le=65535)]
SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism = Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"]


class Settings(BaseSettings):
    """Working defaults for a local stack; a `*_url` or `kafka_bootstrap` that is set replaces the local server."""

    model_config = SettingsConfigDict(env_prefix="TIDEMARK_", frozen=True, env_ignore_empty=True)

    home: Path = Field(PROJECT / ".tidemark", description="State of the local stack: data, passwords, logs, cursors")

    cache: Path = Field(Path("~/.cache/tidemark"), description="Downloaded jars, shared by all state folders")
    maven_url: str | None = Field(None, description="Maven repository of Kafka's jars; default: Maven Central")

    postgres_port: Port = Field(15432, description="Port of the local Postgres")
    postgres_tls: Path | None = Field(
        None,
        description="PEM file of a certificate with its chain, and of its key: the local Postgres speaks TLS",
    )
    postgres_listen: str | None = Field(
        None,
        description="Further addresses, `*` for all, on which the local Postgres listens: people of the access file "
        "enter there, by TLS alone",
    )
    kafka_port: Port = Field(19092, description="Port of the local Kafka broker")
    kafka_controller_port: Port = Field(19093, description="Port of the local Kafka controller")
    prefect_port: Port = Field(14200, description="Port of the local Prefect server and its UI")
    metrics_port: Port = Field(19400, description="Port of the streaming lane's Prometheus metrics")
    api_port: Port = Field(18080, description="Port of the read API, on loopback")

    realtime_url: SecretStr | None = Field(
        None,
        description="Postgres URL of an administrator on the server of `realtime`; replaces the local Postgres",
    )
    warehouse_url: SecretStr | None = Field(
        None,
        description="Postgres URL of an administrator on the server of `warehouse`; replaces the local Postgres",
    )
    kafka_bootstrap: str | None = Field(None, description="host:port of a Kafka cluster; replaces the local broker")
    kafka_security_protocol: SecurityProtocol | None = Field(
        None, description="How that cluster is spoken to; default: PLAINTEXT, nobody asks who calls"
    )
    kafka_sasl_mechanism: SaslMechanism | None = Field(
        None, description="How its user logs in; default: SCRAM-SHA-512; PLAIN only over SASL_SSL"
    )
    kafka_username: str | None = Field(None, description="The one account of that cluster, for every part")
    kafka_password: SecretStr | None = Field(None, description="Its password")
    kafka_ca_file: Path | None = Field(
        None, description="PEM file of the authority that signed that cluster's certificates; default: the system's"
    )
    kafka_certificate_file: Path | None = Field(None, description="PEM file of a client certificate, with its key file")
    kafka_key_file: Path | None = Field(None, description="PEM file of the client certificate's key, not encrypted")
    lake_url: str | None = Field(
        None, description="The lake: a folder's path, or `s3://bucket/prefix`; default: the folder `lake` in the home"
    )
    lake_path_style: bool | None = Field(
        None,
        description="Whether S3's bucket is named in the path (`true`) or in the host (`false`); default: in the path "
        "where a variable names the server, else AWS's way",
    )
    prefect_url: str | None = Field(None, description="Prefect API URL (ends in /api); replaces the local server")
    prefect_auth_string: SecretStr | None = Field(
        None,
        description="user:password for the server of `TIDEMARK_PREFECT_URL`; the local server's is generated",
    )
    openmetadata_url: str | None = Field(None, description="OpenMetadata API URL (ends in /api)")
    openmetadata_token: SecretStr | None = Field(None, description="Token of OpenMetadata's ingestion-bot")
    alert_webhook: SecretStr | None = Field(None, description="URL that receives a POST for every alert")
    alert_mail_to: str | None = Field(
        None, description="Mail addresses, parted by commas, to which every alert goes; needs `TIDEMARK_SMTP_URL`"
    )
    smtp_url: SecretStr | None = Field(
        None,
        description="`smtps://user:password@host:465`, or `smtp://..:587`, which must offer STARTTLS unless it is on "
        "loopback; a `?from=address` names the sender, who is else the user",
    )
    heartbeat_url: SecretStr | None = Field(
        None,
        description="URL that the watcher GETs each minute while it sees everything: whose owner misses it, says so",
    )

    api_origins: tuple[str, ...] = Field(
        (), description="Origins whose pages may call the read API (CORS), as a JSON list of `https://host`"
    )
    api_connections: Annotated[int, Field(ge=1, le=100)] = Field(
        4, description="Most connections of the read API to each database; 16 times as many requests may wait for one"
    )
    api_clients: Annotated[int, Field(ge=1, le=10_000)] = Field(
        500, description="Most open connections of clients to the read API"
    )
    api_statement_seconds: Annotated[float, Field(ge=0.001, le=3_600)] = Field(
        30, description="Most seconds of one query of the read API"
    )
    api_slow_seconds: Annotated[float, Field(gt=0, le=3_600)] = Field(
        30, description="Seconds within which a client of the read API must take what waits to be sent, or is cut off"
    )
    api_rows: Annotated[int, Field(ge=1, le=10_000_000)] = Field(
        100_000, description="Most rows of one answer of the read API; more are asked for page by page"
    )
    api_bytes: Annotated[int, Field(ge=1024, le=10**12)] = Field(
        250_000_000, description="Most bytes of one answer of the read API; four times as many wait to be sent in all"
    )

    keep_days: Annotated[int, Field(ge=1, le=MOST_DAYS)] = Field(
        3, description="x: how many whole days `realtime` keeps before today"
    )
    close_grace_minutes: Annotated[int, Field(ge=0, le=MOST_DAYS)] = Field(
        10, description="Minutes after a day's end before its end offsets are read and the day may leave"
    )

    flow_silence_seconds: Annotated[int, Field(ge=10, le=86_400)] = Field(
        90,
        description="Seconds without a sign of life after which a flow run is Crashed; its process gives one every 30",
    )
    flow_days: Annotated[int, Field(ge=7, le=MOST_DAYS)] = Field(
        90, description="Days that Prefect's local server keeps ended flow runs with their tasks and logs"
    )

    result_days: Annotated[int, Field(ge=30, le=MOST_DAYS)] = Field(
        400, description="Days that results of checks and what the guard did are kept in the databases"
    )
    dropped_days: Annotated[int, Field(ge=1, le=MOST_DAYS)] = Field(
        30,
        description="Days that what a person dropped from quarantine keeps its payload; that it was there is kept on",
    )
    warehouse_tick_days: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Days of trades that `fct_market_ticks` keeps, by the venue's clock; unset, all are kept"
    )
    log_bytes: Annotated[int, Field(ge=100_000, le=10**12)] = Field(
        10_000_000,
        description="Bytes of a log until it begins anew; one old one of a local server is kept, three of the lane",
    )

    sources_file: Path = Field(PROJECT / "stream_shim" / "sources.yml", description="The streaming sources")
    topics_file: Path = Field(
        PROJECT / "stream_shim" / "topics.yml", description="The topics, as far as one may choose"
    )
    destinations_file: Path = Field(PROJECT / "stream_shim" / "destinations.yml", description="The destinations")
    access_file: Path = Field(
        PROJECT / "tidemark" / "access" / "access.yml",
        description="Teams, people and services: what they read, and their limits",
    )
    fred_series_file: Path = Field(PROJECT / "ingest" / "fred_series.yml", description="The series of FRED")

    ecb_url: str = Field("https://www.ecb.europa.eu", description="Base URL of the ECB")
    fred_url: str = Field("https://api.stlouisfed.org", description="Base URL of FRED")
    fred_api_key: SecretStr | None = Field(None, description="FRED API key (free: fred.stlouisfed.org)")
    user_agent: str | None = Field(None, description="Who calls, with a mail address: SEC EDGAR requires it")
    retry_seconds: Annotated[tuple[Delay, ...], Field(min_length=1)] = Field(
        (1, 2, 4, 8), description="Delays between tries of an HTTP request, as a JSON list"
    )

    http_seconds: Annotated[float, Field(gt=0, le=86_400)] = Field(
        120,
        description="Most seconds of an HTTP request, to its last byte; a polled source has its timeout_seconds",
    )
    http_bytes: Annotated[int, Field(ge=1024, le=10**12)] = Field(
        MOST_BYTES,
        description="Most bytes of an answer over HTTP, as sent, as decoded and unzipped; 32 of them allow one value",
    )

    recordings: Path | None = Field(None, description="Folder of recorded sessions that the demo and the tests replay")

    @field_validator("*")
    @classmethod
    def _expand(cls, value: Any) -> Any:
        """A path that begins with ~ is below a home folder, whoever set it: no shell expands it between quotes."""
        if not isinstance(value, Path):
            return value
        try:
            return value.expanduser()
        except RuntimeError as error:  # ~nobody/..
            raise ValueError(f"expected a path that can be expanded, received {value} ({error})") from None


def load() -> Settings:
    """Read the environment; a wrong value raises ConfigurationError naming the variable and what was expected."""
    if os.environ.get(FORMER_ACCESS_FILE):
        raise ConfigurationError(
            f"{FORMER_ACCESS_FILE}: expected TIDEMARK_ACCESS_FILE in its place, a file of teams, people, services and "
            "their limits: docs/access.md says how one is written"
        )
    try:
        return Settings()
    except SettingsError as error:  # a list that is no JSON: the message names the field between quotes
        name = "TIDEMARK_" + str(error).split('"')[1].upper()
        raise ConfigurationError(f"{name}: expected JSON; docs/configuration.md lists every variable") from None
    except ValidationError as error:
        first = error.errors()[0]
        name = "TIDEMARK_" + "_".join(str(part) for part in first["loc"]).upper()
        raise ConfigurationError(f"{name}: {first['msg']}; docs/configuration.md lists every variable") from None
