"""Whether a server that a variable names answers: asked of it, as the part that may do least there."""

from tidemark.connections import DATABASES, connect, is_local
from tidemark.errors import TidemarkError
from tidemark.settings import Settings
from tidemark.stack import kafka, postgres, prefect

SECONDS = 5
READER = "catalog_reader"


def silence(settings: Settings, server: str) -> str:
    """Why the server does not answer, in a sentence; empty where it does."""
    ask = {postgres.NAME: _ask_postgres, kafka.NAME: _ask_kafka, prefect.NAME: _ask_prefect}[server]
    try:
        ask(settings)
    except TidemarkError as error:
        return str(error)
    return ""


def _ask_postgres(settings: Settings) -> None:
    for database in DATABASES:
        if not is_local(settings, database):
            connect(settings, database, READER, connect_timeout=SECONDS).close()


def _ask_kafka(settings: Settings) -> None:
    from tidemark.kafka import admin, reachable_kafka

    with reachable_kafka(settings, READER):
        client = admin(settings, READER, bootstrap_timeout_ms=SECONDS * 1000)
        try:
            client.describe_cluster()
        finally:
            client.close()


def _ask_prefect(settings: Settings) -> None:
    prefect.ask(settings, "admin/version", seconds=SECONDS)
