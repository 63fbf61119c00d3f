"""The local stack, run for real: it keeps what it holds, says what is wrong in a sentence, leaves nothing behind."""

import json
import os
import re
import shutil
import socket
import stat
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import psutil
import psycopg
import pytest

from tests.conftest import Stack, new_settings
from tests.stream_shim.conftest import suspend, until
from tidemark.connections import local_prefect_auth_string
from tidemark.credentials import KAFKA_ADMINISTRATOR, ensure_credentials
from tidemark.errors import StackError
from tidemark.guard.logs import Logs
from tidemark.kafka import kafka_client
from tidemark.settings import Settings
from tidemark.stack import checks, jars, kafka, local, postgres, process
from tidemark.stack.ports import free_ports


@pytest.fixture
def postgres_only(stack: Stack, tmp_path: Path) -> Iterator[Stack]:
    """A stack of the test's own that starts no more than Postgres, in a folder that only the caller may enter."""
    tmp_path.chmod(0o700)
    settings = new_settings(tmp_path / "home", **_shared(stack, "kafka_bootstrap", "prefect_url"))
    yield Stack(settings)
    local.down(settings)


def _shared(stack: Stack, *names: str) -> dict[str, str]:
    addresses = {
        "kafka_bootstrap": f"127.0.0.1:{stack.settings.kafka_port}",
        "prefect_url": f"http://127.0.0.1:{stack.settings.prefect_port}/api",
    }
    return {name: addresses[name] for name in names}


def _states(stack: Stack) -> dict[str, str]:
    return {server.name: server.state for server in local.status(stack.settings)}


def there(server: psutil.Process) -> list[psutil.Process]:
    """Its processes that last: sessions of who looks come and go."""
    return [server, *(each for each in server.children(recursive=True) if "catalog_reader" not in " ".join(line(each)))]


def line(process: psutil.Process) -> list[str]:
    with suppress(psutil.NoSuchProcess):
        return process.cmdline()
    return ["catalog_reader"]  # one that was gone at once


def test_every_server_runs_and_shared_memory_is_counted_once(stack: Stack) -> None:
    found = {server["name"]: server for server in json.loads(stack.run("status", "--json").stdout)}
    assert [server["state"] for server in found.values()] == ["running"] * len(local.SERVERS)
    running = psutil.Process(found["postgres"]["pid"])
    whole = [each.memory_info().rss for each in there(running)]
    assert max(whole) / 2 < found["postgres"]["resident_bytes"] < 0.9 * sum(whole)


def test_status_says_of_a_server_that_a_signal_stopped_how_it_goes_on_and_fails(stack: Stack) -> None:
    running = process.find(stack.settings.home, "guard")
    assert running is not None
    assert stack.run("status").returncode == 0
    suspend(running)
    try:
        done = stack.run("status")
    finally:
        running.resume()
    assert done.returncode == 1
    assert "running, does not answer" in done.stdout
    assert f"its process {running.pid} was stopped by a signal: `kill -CONT {running.pid}`" in done.stdout


def test_servers_listen_on_loopback_only(stack: Stack) -> None:
    listening = [
        connection.laddr[0]
        for server in local.status(stack.settings)
        for each in there(psutil.Process(server.pid))
        for connection in each.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) >= 4
    assert {address.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}


def test_no_server_is_given_a_secret_of_the_caller(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TIDEMARK_FRED_API_KEY", "PGPASSWORD", "DBT_PASSWORD", "PREFECT_API_AUTH_STRING", "VENUE_KEY"):
        monkeypatch.setenv(name, "hidden")
    for server in local.SERVERS:
        assert "hidden" not in server.prepare(stack.settings).env.values()


def test_passwords_are_generated_and_readable_by_the_owner_alone(stack: Stack) -> None:
    paths = list((stack.settings.home / "credentials").iterdir())
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths} == {0o600}
    passwords = [path.read_text() for path in paths]
    assert len(set(passwords)) == len(passwords)
    assert min(map(len, passwords)) >= 32


@pytest.mark.faults
def test_what_the_servers_hold_survives_down_and_up(stack: Stack, new_stack: Stack) -> None:
    from kafka import KafkaConsumer, KafkaProducer, TopicPartition
    from kafka.admin import KafkaAdminClient, NewTopic

    mine = Stack(new_stack.with_settings(**_shared(stack, "prefect_url")))
    local.up(mine.settings)
    broker = kafka_client(mine.settings, KAFKA_ADMINISTRATOR)
    with psycopg.connect(mine.dsn("warehouse")) as connection:
        connection.execute("create table public.kept as select 42 as answer")
    with closing(KafkaAdminClient(**broker)) as admin:
        admin.create_topics([NewTopic("kept", 1, 1)])
    with closing(KafkaProducer(**broker)) as producer:
        producer.send("kept", b"record").get(30)

    assert local.down(mine.settings) == ["Postgres", "Kafka", "the guard", "the read API", "the watcher"]
    ours = dict.fromkeys(("postgres", "kafka", "guard", "serve", "watcher"), "stopped")
    assert _states(mine) == ours | {"prefect": "external"}
    since = process.down_since(mine.settings.home)
    assert since is not None
    assert local.down(mine.settings) == []
    assert process.down_since(mine.settings.home) == since
    local.up(mine.settings)
    assert process.down_since(mine.settings.home) is None
    pids = [server.pid for server in local.status(mine.settings)]
    local.up(mine.settings)
    assert [server.pid for server in local.status(mine.settings)] == pids

    with psycopg.connect(mine.dsn("warehouse")) as connection:
        assert connection.execute("select answer from public.kept").fetchone() == (42,)
    with closing(KafkaConsumer(**broker)) as consumer:
        partition = TopicPartition("kept", 0)
        consumer.assign([partition])
        consumer.seek(partition, 0)
        assert [record.value for record in consumer.poll(30_000)[partition]] == [b"record"]


def test_a_port_in_use_is_said_with_its_holder_and_the_variable_to_set(postgres_only: Stack) -> None:
    with socket.create_server(("127.0.0.1", postgres_only.settings.postgres_port)):
        done = Stack.run(postgres_only, "up", **_external(postgres_only))
    assert done.returncode == 1
    assert re.fullmatch(
        rf"tidemark: expected port {postgres_only.settings.postgres_port} free for Postgres, it is held by \S+ "
        rf"\(pid {os.getpid()}\): set TIDEMARK_POSTGRES_PORT to a free port\n",
        done.stderr,
    )
    assert _states(postgres_only)["postgres"] == "stopped"


def _external(stack: Stack) -> dict[str, str]:
    settings = stack.settings
    return {
        "TIDEMARK_KAFKA_BOOTSTRAP": str(settings.kafka_bootstrap),
        "TIDEMARK_PREFECT_URL": str(settings.prefect_url),
    }


def test_an_initdb_that_was_killed_midway_is_made_anew(postgres_only: Stack) -> None:
    half = postgres_only.settings.home / "postgres" / "data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("17\n")
    local.up(postgres_only.settings)
    assert _states(postgres_only)["postgres"] == "running"
    assert not half.exists()


def test_kafka_runs_below_any_letters_whatever_locale_and_options_of_java_the_caller_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = new_settings(tmp_path / "Müller & Söhne 100%")
    monkeypatch.setenv("LC_ALL", "C")
    for name in ("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS"):
        monkeypatch.setenv(name, "-javaagent:/nowhere.jar")
    checks.make_home(settings.home)
    ensure_credentials(settings)
    launch = kafka.prepare(settings)  # formats its storage
    process.spawn(settings.home, kafka.NAME, launch, kafka.ports(settings))
    try:
        until(lambda: kafka.ready(settings), "Kafka to answer")
    finally:
        process.stop(settings.home, kafka.NAME, kafka.STOP_SIGNAL)


def test_a_cluster_with_parts_missing_is_kept_and_what_was_started_beside_it_ends(
    stack: Stack, new_stack: Stack
) -> None:
    mine = Stack(new_stack.with_settings(**_shared(stack, "kafka_bootstrap")))
    checks.make_home(mine.settings.home)
    shutil.copytree(stack.settings.home / "credentials", mine.settings.home / "credentials")
    data = mine.settings.home / "postgres" / "data"
    data.mkdir(parents=True)
    (data / "base").mkdir()
    with pytest.raises(StackError, match="expected a whole Postgres cluster"):
        local.up(mine.settings)
    assert (data / "base").exists()
    ours = dict.fromkeys(("postgres", "prefect", "guard", "serve", "watcher"), "stopped")
    assert _states(mine) == ours | {"kafka": "external"}
    assert not list((mine.settings.home / "run").glob("*.json"))


def test_lost_passwords_are_said_before_anything_starts(postgres_only: Stack) -> None:
    (postgres_only.settings.home / "postgres" / "data").mkdir(parents=True)
    with pytest.raises(StackError, match="restore it from a backup"):
        local.up(postgres_only.settings)


@pytest.mark.faults
def test_a_port_changed_while_the_server_runs_is_refused(postgres_only: Stack) -> None:
    local.up(postgres_only.settings)
    before = _states(postgres_only)
    with pytest.raises(StackError, match="run `tidemark down` first"):
        local.up(postgres_only.with_settings(postgres_port=postgres_only.settings.kafka_port))
    assert _states(postgres_only) == before


def test_a_pid_that_now_belongs_to_another_process_is_never_ended(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with subprocess.Popen(["sleep", "60"]) as other:
        started = psutil.Process(other.pid).create_time()
        record = {"pid": other.pid, "started_at": started - 3600, "ports": {}}
        process.record_path(tmp_path, "postgres").write_text(json.dumps(record))
        assert not process.stop(tmp_path, "postgres", local.SERVERS[0].STOP_SIGNAL)
        assert other.poll() is None
        process.record_path(tmp_path, "postgres").write_text(json.dumps(record | {"started_at": started}))
        assert process.stop(tmp_path, "postgres", local.SERVERS[0].STOP_SIGNAL)


def _ends_with(log: Path, line: str) -> bool:
    return log.read_text().endswith(line)


def test_a_log_is_cut_while_its_server_runs_and_no_line_of_either_half_is_lost(tmp_path: Path) -> None:
    for name in ("run", "logs"):
        (tmp_path / name).mkdir()
    log, old = process.log_path(tmp_path, "s"), process.log_path(tmp_path, "s").with_name("s.log.1")
    waits = "i=0; while [ $i -lt 60 ]; do echo line $i; i=$((i+1)); until [ -e go.$i ]; do sleep 0.01; done; done"
    running = process.spawn(
        tmp_path, "s", process.Launch(["sh", "-c", waits], process.server_environment(), tmp_path), {}
    )
    seen = []
    for number in range(60):
        until(partial(_ends_with, log, f"line {number}\n"), f"line {number}")
        process.rotate(tmp_path, "s", most=100)
        if log.stat().st_size == 0:
            seen += old.read_text().splitlines()
        (tmp_path / f"go.{number + 1}").touch()
    running.wait(60)
    assert seen + log.read_text().splitlines() == [f"line {number}" for number in range(60)]
    assert len(seen) > 40
    assert old.stat().st_size < 120


def test_a_log_that_an_older_version_opened_is_cut_at_the_next_start_alone(tmp_path: Path) -> None:
    for name in ("run", "logs"):
        (tmp_path / name).mkdir()
    log = process.log_path(tmp_path, "s")
    with log.open("wb") as output, subprocess.Popen(["sleep", "60"], stdout=output, start_new_session=True) as running:
        process.note(tmp_path, "s", running.pid, {})
        log.write_text("x" * 2000)
        process.rotate(tmp_path, "s", most=1000)
        assert log.stat().st_size == 2000
        running.kill()
    process.rotate(tmp_path, "s", most=1000)
    assert (log.stat().st_size, log.with_name("s.log.1").stat().st_size) == (0, 2000)


def test_a_log_that_a_full_disk_cannot_copy_stays_and_is_tried_again_in_a_minute_alone(tmp_path: Path) -> None:
    for name in ("run", "logs"):
        (tmp_path / name).mkdir()
    log = process.log_path(tmp_path, "postgres")
    log.write_text("x" * 200_000)
    copy = log.with_name("postgres.log.1.new")
    copy.symlink_to("/dev/full")
    logs = Logs(Settings(home=tmp_path, log_bytes=100_000))
    logs.keep_short()
    assert not copy.is_symlink()
    assert log.stat().st_size == 200_000
    logs.keep_short()
    assert log.stat().st_size == 200_000
    process.rotate(tmp_path, "postgres", 100_000)
    assert log.stat().st_size == 0


def test_who_keeps_the_servers_is_known_by_the_signature_and_nobody_is_held_up_by_who_asks(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    assert process.keeper(tmp_path) is None
    with process.keeping(tmp_path):
        assert process.keeper(tmp_path) == os.getpid()
        with pytest.raises(StackError, match=f"process {os.getpid()} is one"), process.keeping(tmp_path):
            pass
    signed = tmp_path / "run" / "stay.lock"
    signed.write_text(json.dumps({"pid": os.getpid(), "started_at": 1.0}))  # its pid is another process's by now
    assert process.keeper(tmp_path) is None


def test_two_ups_at_once_are_refused(stack: Stack) -> None:
    with process.exclusive(stack.settings.home):
        done = stack.run("up")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "another one runs" in done.stderr


def test_a_home_that_cannot_be_written_is_said(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = stack.run("up", TIDEMARK_HOME=str(tmp_path / "file" / "home"))
    assert done.returncode == 1
    assert done.stderr.startswith("tidemark: expected a state folder that can be written")
    assert "set TIDEMARK_HOME" in done.stderr


def test_a_full_disk_and_an_old_c_library_are_said(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="set TIDEMARK_HOME to a folder on another disk"):
        checks.require_space(tmp_path, needed=10**18)
    with pytest.raises(StackError, match=r"glibc 2\.34 or newer .* found 2\.31"):
        checks.require_glibc("2.31")
    checks.require_glibc()


def test_a_maven_repository_that_cannot_be_reached_is_said(stack: Stack, tmp_path: Path) -> None:
    nobody = f"http://127.0.0.1:{new_settings(tmp_path).kafka_port}"
    with pytest.raises(StackError, match="set TIDEMARK_MAVEN_URL to a mirror"):
        jars.class_path(stack.with_settings(cache=tmp_path, maven_url=nobody))


def test_the_lock_names_every_jar_as_maven_does() -> None:
    locked = jars.parse_lock(jars.LOCK.read_text())
    assert jars.coordinates("org/apache/kafka/kafka_2.13/4.4.0/kafka_2.13-4.4.0.jar") == (
        "org.apache.kafka",
        "kafka_2.13",
        "4.4.0",
    )
    for path in locked:
        _, artifact, version = jars.coordinates(path)
        assert path.endswith(f"/{artifact}-{version}.jar")
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in locked.values())


def test_the_pasted_env_line_opens_the_warehouse_for_psql_as_the_bi_reader(stack: Stack) -> None:
    script = 'eval "$("$1" -m tidemark.cli env)"; psql -Atc "select current_user, current_database()"; env'
    import sys

    done = subprocess.run(
        ["bash", "-c", script, "bash", sys.executable], env=stack.environ, capture_output=True, text=True, check=True
    )
    first, *variables = done.stdout.splitlines()
    assert first == "bi_reader|warehouse"
    names = {line.partition("=")[0] for line in variables}
    assert {"PGHOST", "DBT_PASSWORD", "DBT_REALTIME_PORT", "DBT_PROFILES_DIR", "PREFECT_API_URL"} <= names
    assert {name for name in names if name.startswith("TIDEMARK_")} == {
        name for name in stack.environ if name.startswith("TIDEMARK_")
    }


@pytest.mark.parametrize(("role", "database"), [("bi_reader", "warehouse"), ("stream_writer", "realtime")])
def test_env_of_a_role_lets_psql_enter_as_that_role(stack: Stack, role: str, database: str) -> None:
    lines = stack.run("env", "--role", role).stdout
    script = f'{lines}\n"$1" -Atc "select current_user, current_database()"'
    done = subprocess.run(
        ["bash", "-c", script, "bash", postgres.programs() / "psql"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == f"{role}|{database}"


def test_env_for_programs_gives_the_dsns_of_one_role(stack: Stack) -> None:
    found = json.loads(stack.run("env", "--json", "--role", "stream_writer").stdout)
    assert list(found) == ["realtime_dsn", "warehouse_dsn", "kafka_bootstrap", "kafka", "lake_url", "prefect_url"]
    with psycopg.connect(found["realtime_dsn"]) as connection:
        assert connection.info.user == "stream_writer"
    owner = json.loads(stack.run("env", "--json").stdout)
    with psycopg.connect(owner["warehouse_dsn"]) as connection:
        assert connection.info.parameter_status("is_superuser") == "on"


def test_env_before_up_says_what_to_do(new_stack: Stack) -> None:
    done = new_stack.run("env")
    assert done.returncode == 1
    assert "run `tidemark up` first" in done.stderr


def test_a_server_of_others_is_asked_whether_it_answers(stack: Stack, tmp_path: Path) -> None:
    shutil.copytree(stack.settings.home / "credentials", tmp_path / "home" / "credentials")
    mine = Stack(new_settings(tmp_path / "home"))
    nobody = f"127.0.0.1:{free_ports(1)[0]}"
    of_others = {
        "TIDEMARK_REALTIME_URL": f"postgresql://nobody:none@127.0.0.1:{stack.settings.postgres_port}",
        "TIDEMARK_WAREHOUSE_URL": f"postgresql://nobody:none@127.0.0.1:{stack.settings.postgres_port}",
        "TIDEMARK_KAFKA_BOOTSTRAP": nobody,
        "TIDEMARK_PREFECT_URL": f"http://127.0.0.1:{stack.settings.prefect_port}/api",
    }
    strings = {local_prefect_auth_string(stack.settings): "", "a:b": "expected the Prefect server at"}
    with ThreadPoolExecutor() as together:  # each waits for a Kafka that is none
        shown = together.submit(mine.run, "status", **of_others)
        asked = [
            (together.submit(mine.run, "status", "--json", TIDEMARK_PREFECT_AUTH_STRING=string, **of_others), said)
            for string, said in strings.items()
        ]
    for done, said in asked:
        found = {server["name"]: server for server in json.loads(done.result().stdout)}
        assert [server["state"] for server in found.values()] == [
            "external",
            "external",
            "external",
            "stopped",
            "stopped",
            "stopped",
        ]
        assert found["postgres"]["silence"] == ""
        assert nobody in found["kafka"]["silence"]
        assert found["prefect"]["silence"][: len(said) or None] == said
    assert "external, does not answer" in shown.result().stdout
