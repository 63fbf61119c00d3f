"""Ways in: whatever form the address of a server of others has, every client of ours enters by it."""

import json
import os
import string
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import pytest
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from catalog import check
from catalog.publish import FOLDER as FOLDER_OF_WORKFLOWS
from catalog.publish import variables
from ingest import load, plain_dlt
from tests.conftest import Stack, new_settings
from tests.tidemark.server_of_others import ServerOfOthers, server_of_others
from tests.tidemark.test_process_environment import ELSEWHERE
from tidemark import dbt
from tidemark.access import apply as access
from tidemark.connections import DATABASES, administrator, connect, postgres_server, without_credentials
from tidemark.credentials import FOLDER, ROLES, ensure_credentials
from tidemark.errors import ConfigurationError
from tidemark.settings import Settings
from tidemark.stack import checks, postgres

# Every printable character, and what a shell, Jinja, YAML, a format or a URL would read as theirs.
PASSWORD = f" {string.digits}{string.ascii_letters}{string.punctuation} é€😀 {{{{ 1 }}}} %(x)s %41 $HOME ${{X}} '' \\' "


@pytest.fixture(scope="module")
def others() -> Iterator[ServerOfOthers]:
    with server_of_others("boss", PASSWORD) as server:
        yield server


def forms(others: ServerOfOthers) -> dict[str, str]:
    """The address as people write it, by its form; the same server behind each."""
    boss, port = f"boss:{quote(PASSWORD, safe='')}", others.port
    tls = "&".join(f"{key}={quote(value, safe='')}" for key, value in others.tls.items())
    return {
        "socket": f"postgresql://{boss}@:{port}/?host={quote(str(others.socket), safe='')}",
        "Cloud SQL": f"postgresql://{boss}@{quote(str(others.socket), safe='')}:{port}/postgres",
        "IPv6": f"postgresql://{boss}@[::1]:{port}/?sslmode=disable&options=-c%20geqo%3Doff",
        "hosts of one port": f"postgresql://{boss}@127.0.0.1,[::1]:{port},{port}/?sslmode=disable",
        "hosts": f"postgresql://{boss}@127.0.0.1:1,[::1]:{port}/?sslmode=disable&target_session_attrs=read-write",
        "TLS": f"postgresql://{boss}@[::1]:{port}/?{tls}",
    }


FORMS = ("socket", "Cloud SQL", "IPv6", "hosts of one port", "hosts", "TLS")
# What the path through TLS says, and the others do not.
ENCRYPTED = "select ssl from pg_stat_ssl where pid = pg_backend_pid()"


@pytest.fixture(scope="module")
def entered(others: ServerOfOthers, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Settings]:
    """Settings by form, of one state folder, whose server is set up by its administrator; every password is awkward."""
    home = tmp_path_factory.mktemp("ways") / "home"
    checks.make_home(home)
    written = forms(others)
    found = {
        form: new_settings(home, realtime_url=SecretStr(written[form]), warehouse_url=SecretStr(written[form]))
        for form in FORMS
    }
    ensure_credentials(found["TLS"])
    for role in ROLES:
        (home / FOLDER / role).write_text(PASSWORD)
    access.apply(found["TLS"])
    return found


@pytest.mark.parametrize("form", FORMS)
def test_up_sets_up_and_every_role_enters(entered: Mapping[str, Settings], form: str) -> None:
    access.apply(entered[form])
    for role in ("owner", "bi_reader"):
        with connect(entered[form], "warehouse", role, options="-c lock_timeout=7s") as connection:
            assert connection.execute("show lock_timeout").fetchone() == ("7s",)
            assert connection.execute(ENCRYPTED).fetchone() == (form == "TLS",)
            assert connection.execute("show geqo").fetchone() == ("off" if form == "IPv6" else "on",)
    with connect(entered[form], "warehouse", "owner", dbname="postgres") as connection:
        assert connection.info.dbname == "postgres"


@pytest.mark.parametrize("form", FORMS)
def test_soda_enters(entered: Mapping[str, Settings], form: str) -> None:
    with check._soda_sources(entered[form]) as sources:
        for database in DATABASES:
            assert sources[database].execute_query("select current_database()").rows == [(database,)]


@pytest.mark.parametrize("form", FORMS)
def test_dlt_and_what_loads_for_it_enter(entered: Mapping[str, Settings], form: str) -> None:
    from adbc_driver_postgresql import dbapi

    pipeline = plain_dlt.pipeline(entered[form], "probe", load.destination(entered[form]), "probe")
    with pipeline.sql_client() as client:
        assert client.execute_sql("select current_user")[0][0] == "ingest_writer"
        assert client.execute_sql("show geqo")[0][0] == ("off" if form == "IPv6" else "on")
        with dbapi.connect(client.credentials.to_native_representation()) as loader, loader.cursor() as cursor:
            cursor.execute("select current_user")
            assert cursor.fetchone() == ("ingest_writer",)


@pytest.mark.parametrize("form", FORMS)
def test_dbt_enters_both_databases(entered: Mapping[str, Settings], form: str) -> None:
    for target in DATABASES:
        dbt.run(entered[form], ["debug", "--connection"], target)


def test_dbt_asks_for_the_authority_that_the_url_names(others: ServerOfOthers, entered: Mapping[str, Settings]) -> None:
    strange = SecretStr(forms(others)["TLS"].replace("ca.pem", "client.pem"))
    for target in DATABASES:
        with pytest.raises(dbt.DbtError):
            dbt.run(entered["TLS"].model_copy(update={f"{target}_url": strange}), ["debug", "--connection"], target)


def test_openmetadata_enters(entered: Mapping[str, Settings]) -> None:
    files = [str(FOLDER_OF_WORKFLOWS / f"{name}.yml") for name in ("postgres_realtime", "postgres_warehouse")]
    named = {form: variables(settings) for form, settings in entered.items()}
    program = [sys.executable, str(Path(__file__).with_name("openmetadata_enters.py")), *files]
    done = subprocess.run(program, input=json.dumps(named), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {
        form: [f"catalog_reader {database} {form == 'TLS'}" for database in DATABASES] for form in FORMS
    }


@pytest.mark.parametrize("form", FORMS)
def test_psql_enters_by_what_env_prints_whatever_the_shell_has(
    entered: Mapping[str, Settings], form: str, tmp_path: Path
) -> None:
    shell = dict(os.environ) | ELSEWHERE
    settings = entered[form]
    url = settings.warehouse_url
    assert url is not None
    named = {"TIDEMARK_REALTIME_URL": url.get_secret_value(), "TIDEMARK_WAREHOUSE_URL": url.get_secret_value()}
    done = Stack(settings).run("env", "--role", "bi_reader", **named)
    assert done.returncode == 0, done.stderr
    asked = '"$1" -Atc "select current_user, current_database()"'
    for lines in (done.stdout,):
        said = subprocess.run(
            ["bash", "-c", f"{lines}\n{asked}", "bash", postgres.programs() / "psql"],
            env=shell, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (said.stdout, said.stderr) == ("bi_reader|warehouse\n", "")


def test_a_file_of_passwords_is_read_where_the_url_names_it_and_not_because_it_is_there(
    others: ServerOfOthers, entered: Mapping[str, Settings], new_stack: Stack, tmp_path: Path
) -> None:
    escaped = PASSWORD.replace("\\", "\\\\").replace(":", "\\:")
    file = tmp_path / ".pgpass"
    file.write_text(f"*:*:*:boss:{escaped}\n")
    file.chmod(0o600)
    address = make_conninfo(host=str(others.socket), port=others.port, user="boss")
    nowhere = {"TIDEMARK_PREFECT_URL": "http://127.0.0.1:9/api", "TIDEMARK_KAFKA_BOOTSTRAP": "127.0.0.1:9"}
    named = {"TIDEMARK_REALTIME_URL": address, "TIDEMARK_WAREHOUSE_URL": address, "HOME": str(tmp_path)}
    done = new_stack.run("up", **named, **nowhere)
    assert (done.returncode, "no password supplied" in done.stderr) == (1, True), done.stderr
    url = SecretStr(make_conninfo(address, passfile=str(file)))
    access.apply(entered["socket"].model_copy(update={"realtime_url": url, "warehouse_url": url}))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (f"host=/{'long' * 30} user=boss", "at most 107 bytes, .* received one of 135"),
        ("host=one,two,three port=1,2 user=boss password=hidden", "a port for each of 3 hosts, received 2"),
        ("host=one,,two user=boss password=hidden", "no host in it"),
        ("host=one port=hidden user=boss", "cannot be read"),
        ("postgresql://boss:Ex@hidden@127.0.0.1:5432", "a host with a character that none has"),
        ("postgresql://boss:12/hidden@127.0.0.1:5432", "a host with a character that none has"),
        ("postgresql://boss:word@one,b@hidden:5432,5433", "a host with a character that none has"),
        ("host=one?hidden user=boss", "a host with a character that none has"),
        ("host='one hidden' user=boss", "a host with a character that none has"),
        ("host=one hostaddr=127.0.0.1#hidden user=boss", "a host with a character that none has"),
        ("host=one user=boss sslpassword=hidden", "no sslpassword, .* not encrypted"),
    ],
)
def test_an_address_that_libpq_would_not_take_is_refused_with_its_variable(tmp_path: Path, url: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=f"TIDEMARK_WAREHOUSE_URL: expected .*{said}") as refused:
        postgres_server(new_settings(tmp_path, warehouse_url=SecretStr(url)), "warehouse")
    assert "hidden" not in str(refused.value)


@pytest.mark.parametrize("proof", ["password", "passfile", "scram_client_key", "oauth_client_secret"])
def test_what_proves_who_the_administrator_is_reaches_no_other_role(tmp_path: Path, proof: str) -> None:
    url = make_conninfo(host="one", user="boss", **{proof: "hidden"})
    settings = new_settings(tmp_path, warehouse_url=SecretStr(url))
    assert administrator(settings, "warehouse").secret == {proof: "hidden"}
    assert "hidden" not in str(postgres_server(settings, "warehouse").parameters)
    assert "hidden" not in without_credentials(url)
    assert "sslpassword" not in without_credentials(f"{url} sslpassword=hidden")
