"""What a process holds: the credentials of its own part, in its environment and in its open files."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.conftest import Stack
from tests.stream_shim.conftest import until
from tests.tidemark.test_stack import there
from tidemark.credentials import ADMINISTRATOR, FOLDER, LOCAL_ADMINISTRATOR, credential
from tidemark.process_environment import of_a_part, without_administrators
from tidemark.stack.process import find

SOURCES = """\
first:
  kind: poll
  url: http://127.0.0.1:9/${FIRST_KEY}
  identity: [id]
second:
  kind: poll
  url: http://127.0.0.1:9/${SECOND_KEY}
  identity: [id]
"""
HIDDEN = {
    "TIDEMARK_FRED_API_KEY": "fred-hidden", "TIDEMARK_ALERT_WEBHOOK": "http://127.0.0.1:9/webhook-hidden",
    "TIDEMARK_OPENMETADATA_TOKEN": "token-hidden", "PGPASSWORD": "psql-hidden", "DBT_PASSWORD": "dbt-hidden",
    "FIRST_KEY": "first-hidden", "SECOND_KEY": "second-hidden",
}  # fmt: skip


def test_an_address_loses_its_user_and_password_and_nothing_else() -> None:
    url = "postgresql://boss:p%40ss%2Fword@db.example.org:6432/?sslmode=verify-full&sslrootcert=%2Fca%20file"
    clean = without_administrators({"TIDEMARK_REALTIME_URL": url, "PGPASSWORD": "x", "OTHER": "y"})
    assert clean == {
        "TIDEMARK_REALTIME_URL": "host=db.example.org port=6432 sslmode=verify-full sslrootcert='/ca file'",
        "OTHER": "y",
    }


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p@a:1,b:2/x", "postgresql://u:p@[::1]:5/a%25b", "postgresql:///x?host=/run", "no url",
        "postgresql://u:p@%2Fcloudsql%2Fa%3Ab%3Ac/x?passfile=/p", "host='/run/a b' user=u password=u:p",
        "postgresql://u:p@",
    ],
)  # fmt: skip
def test_an_address_that_lost_its_user_stays_as_it_is_and_is_never_empty(url: str) -> None:
    once = without_administrators({"TIDEMARK_REALTIME_URL": url})
    assert without_administrators(once) == once
    assert once["TIDEMARK_REALTIME_URL"]
    assert not [said for said in ("u:p", "user", "passfile") if said in once["TIDEMARK_REALTIME_URL"]]


def test_a_part_is_given_the_secrets_that_it_names_and_no_other_setting_that_is_one() -> None:
    kept = of_a_part({**HIDDEN, "TIDEMARK_HOME": "/h", "TIDEMARK_WAREHOUSE_URL": "postgresql://b:pw@h"}, ())
    assert kept == {
        "TIDEMARK_HOME": "/h", "TIDEMARK_WAREHOUSE_URL": "host=h",
        "FIRST_KEY": "first-hidden", "SECOND_KEY": "second-hidden",
    }  # fmt: skip
    assert "TIDEMARK_FRED_API_KEY" in of_a_part(HIDDEN, ["TIDEMARK_FRED_API_KEY"])


# What a shell may have for another server.
ELSEWHERE = {
    "PGHOST": "elsewhere.invalid", "PGHOSTADDR": "127.0.0.2", "PGPORT": "1", "PGSERVICE": "nowhere", "PGUSER": "nobody",
    "PGPASSWORD": "no", "PGDATABASE": "none", "PGSSLMODE": "verify-ca", "PGSSLROOTCERT": "/none", "PGSSLCERT": "/none",
    "PGOPTIONS": "-c default_transaction_read_only=on -c extra_float_digits=0", "PGGSSENCMODE": "require",
    "PGTARGETSESSIONATTRS": "standby", "PGCONNECT_TIMEOUT": "1", "PGREQUIREAUTH": "none", "PGPASSFILE": "/none",
    "PGCLIENTENCODING": "LATIN1", "PGTZ": "Asia/Tokyo", "PGDATESTYLE": "German", "PGCHANNELBINDING": "require",
}  # fmt: skip


@pytest.mark.parametrize(("command", "named"), [("account", False), ("up", False), ("account", True)])
def test_no_variable_of_libpq_keeps_a_command_from_the_databases(
    clean_realtime: Stack, command: str, named: bool
) -> None:
    url = clean_realtime.dsn("realtime") if named else ""
    done = clean_realtime.run(command, **ELSEWHERE, TIDEMARK_REALTIME_URL=url, TIDEMARK_WAREHOUSE_URL=url)
    assert done.returncode == 0, done.stderr


@contextmanager
def running(stack: Stack, *arguments: str, **environ: str) -> Iterator[psutil.Process]:
    """A long-running command of a person whose shell names the databases by their administrator."""
    owner = f"{LOCAL_ADMINISTRATOR}:{credential(stack.settings, ADMINISTRATOR)}"
    url = f"postgresql://{owner}@127.0.0.1:{stack.settings.postgres_port}/"
    urls = {"TIDEMARK_REALTIME_URL": url, "TIDEMARK_WAREHOUSE_URL": url}
    command = subprocess.Popen(
        [sys.executable, "-m", "tidemark.cli", *arguments], env=stack.environ | HIDDEN | urls | environ,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield psutil.Process(command.pid)
    finally:
        command.send_signal(signal.SIGTERM)
        command.wait(60)


def held(process: psutil.Process) -> str:
    """What /proc shows of a process: its environment, its arguments, and which files of credentials it has open."""
    folder = Path("/proc") / str(process.pid)
    opened = [f"{file.path}'" for file in process.open_files() if f"/{FOLDER}/" in file.path]
    return f"{(folder / 'environ').read_text()} {(folder / 'cmdline').read_text()} {opened}"


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    path = tmp_path / "sources.yml"
    path.write_text(SOURCES)
    return path


def test_each_process_of_the_lane_holds_its_own_parts_credentials_alone(clean_realtime: Stack, sources: Path) -> None:
    secret = credential(clean_realtime.settings, ADMINISTRATOR)
    files = {"TIDEMARK_SOURCES_FILE": str(sources), "TIDEMARK_METRICS_PORT": str(clean_realtime.settings.metrics_port)}
    with running(clean_realtime, "stream", "run", **files) as lane:
        until(lambda: len(lane.children()) == 3, "two connectors and a processor")
        until(lambda: all("stream" in child.cmdline() for child in lane.children()), "our commands")
        children = {child.cmdline()[-1]: held(child) for child in lane.children()}
        everything = held(lane) + "".join(children.values())
    assert secret not in everything
    assert "psql-hidden" not in everything
    assert "dbt-hidden" not in everything
    for child in children.values():
        assert not [word for word in ("fred-hidden", "webhook-hidden", "token-hidden") if word in child]
    assert [name for name, found in children.items() if "first-hidden" in found] == ["first"]
    assert [name for name, found in children.items() if "second-hidden" in found] == ["second"]
    assert f"/{FOLDER}/" not in everything  # read when it was needed, and closed


def test_no_server_shows_a_credential_but_the_one_that_opens_it(stack: Stack) -> None:
    folder = stack.settings.home / FOLDER
    secrets = {path.name: path.read_text() for path in folder.iterdir()}
    shown: dict[str, set[str]] = {}
    for name in ("postgres", "kafka", "prefect", "guard", "watcher"):
        server = find(stack.settings.home, name)
        assert server is not None
        text = "".join(held(each) for each in there(server))
        shown[name] = {role for role, secret in secrets.items() if secret in text or f"/{FOLDER}/{role}'" in text}
    assert shown == {"postgres": set(), "kafka": set(), "prefect": {"prefect"}, "guard": set(), "watcher": set()}


def test_what_serves_the_flows_holds_what_opens_prefect_and_no_administrator(stack: Stack) -> None:
    with running(stack, "flow", "serve") as served:
        until(lambda: served.num_threads() > 1, "the flows to be served")
        found = held(served)
    assert credential(stack.settings, ADMINISTRATOR) not in found
    assert "psql-hidden" not in found
