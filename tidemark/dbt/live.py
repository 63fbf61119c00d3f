"""The views of schema `live`: made where they are missing or a model has changed."""

from hashlib import sha256

from tidemark.connections import connect
from tidemark.dbt.project import DBT_PROJECT, ROLE, artifacts
from tidemark.dbt.running import run
from tidemark.settings import Settings


def ensure_live(settings: Settings) -> bool:
    """Make the views of schema `live` where one is missing or a model has changed since; whether it did.

    It takes seconds, so not with every start. StackError where `realtime` does not answer; DbtError as `run`.
    """
    models = sorted((DBT_PROJECT / "models" / "live").glob("live_*.sql"))
    files = [*models, *sorted((DBT_PROJECT / "macros").rglob("*.sql"))]
    digest = sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
    built = artifacts(settings, "realtime") / "live.sha256"
    with connect(settings, "realtime", ROLE) as connection:
        found = connection.execute("select viewname from pg_views where schemaname = 'live'").fetchall()
    whole = {model.stem.removeprefix("live_") for model in models} <= {name for (name,) in found}
    if whole and built.exists() and built.read_text() == digest:
        return False
    run(settings, ["run"], target="realtime")
    built.write_text(digest)
    return True
