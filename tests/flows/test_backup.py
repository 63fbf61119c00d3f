"""A backup taken while the lane runs, restored onto an empty machine: every identity once, or its loss said."""

import json
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from psycopg.sql import SQL, Identifier
from pydantic import SecretStr

from flows.backup.create import create
from flows.backup.topics import ABSENT, TO_OPEN, Outcome, go_on
from tests.conftest import Stack, new_home, new_settings
from tests.stream_shim.conftest import Lane, lane, tick, until
from tests.tidemark.test_access import Foreign, foreign
from tidemark.connections import DATABASES
from tidemark.credentials import KAFKA_ADMINISTRATOR, LOCAL_ADMINISTRATOR, credential
from tidemark.kafka import kafka_client
from tidemark.stack import checks, local

__all__ = ["foreign", "lane"]  # fixtures of other tests

FIRST, BEHIND, LATER = 2000, 40, 30  # records before a backup, not yet read, of a new Kafka


def identities(lane: Lane) -> list[tuple[Any, ...]]:
    """Each row's epoch, offset and the id that its record had, in order."""
    return lane.query(
        "select log_epoch, kafka_offset, (attributes ->> 'id')::bigint from realtime.market_tick order by 1, 2, 3"
    )


def of_epoch(epoch: int, first_id: int, count: int) -> list[tuple[int, int, int]]:
    return [(epoch, offset, first_id + offset) for offset in range(count)]


def ticks(first: int, count: int) -> list[bytes | dict[str, Any] | None]:
    return [tick(first + number) for number in range(count)]


def the_same_kafka(lane: Lane) -> dict[str, str]:
    """The variables by which another machine enters the lane's Kafka, and its Prefect."""
    settings = lane.settings
    return {
        "TIDEMARK_KAFKA_BOOTSTRAP": f"127.0.0.1:{settings.kafka_port}",
        "TIDEMARK_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "TIDEMARK_KAFKA_USERNAME": KAFKA_ADMINISTRATOR,
        "TIDEMARK_KAFKA_PASSWORD": credential(settings, KAFKA_ADMINISTRATOR),
        **prefect_of(lane),
    }


def prefect_of(lane: Lane) -> dict[str, str]:
    return {"TIDEMARK_PREFECT_URL": f"http://127.0.0.1:{lane.settings.prefect_port}/api"}


@contextmanager
def producing_on(lane: Lane, first: int) -> Iterator[list[int]]:
    """Records with the ids from `first` on, one after the other for as long as the block takes; the ids sent."""
    sent: list[int] = []
    done = threading.Event()

    def produce() -> None:
        with closing(KafkaProducer(**kafka_client(lane.settings, KAFKA_ADMINISTRATOR), linger_ms=0)) as kafka:
            while not done.wait(0.002):
                kafka.send("market_tick", msgspec.json.encode(tick(first + len(sent))), b"key", partition=0)
                sent.append(first + len(sent))

    thread = threading.Thread(target=produce)
    thread.start()
    try:
        until(lambda: sent, "a first record to be sent")
        yield sent
    finally:
        done.set()
        thread.join()


@contextmanager
def another_machine(
    folder: Path, variables: dict[str, str], ended_once: bool = False
) -> Iterator[tuple[Lane, dict[str, Any]]]:
    """An empty state folder, filled from a backup by the command; what the command said."""
    with new_home() as home:
        stack = Stack(new_settings(home))
        try:
            if ended_once:
                end_amid(stack, folder, **variables)
            done = stack.run("restore", "--json", str(folder), **variables)
            assert done.returncode == 0, done.stderr
            yield Lane(stack), json.loads(done.stdout)
        finally:
            local.down(stack.settings)


def end_amid(stack: Stack, folder: Path, **variables: str) -> None:
    """Begin a restore and end it once its files are there: `up` refuses what it left."""
    marker = stack.settings.home / checks.RESTORING
    with subprocess.Popen(
        [sys.executable, "-m", "tidemark.cli", "restore", str(folder)], env=stack.environ | variables,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        until(lambda: marker.exists() and marker.read_text().endswith("files\n"), "the files to be there")
        process.terminate()
    refused = stack.run("up", **variables)
    assert (refused.returncode, f"run `tidemark restore {folder}` again" in refused.stderr) == (1, True), refused.stderr


def back_up(lane: Lane, folder: Path) -> dict[str, Any]:
    done = lane.stack.run("backup", "--json", str(folder))
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def write_cursor(lane: Lane) -> None:
    with closing(sqlite3.connect(lane.settings.home / "cursors" / "polled.sqlite")) as cursor, cursor:
        cursor.execute("create table if not exists sent (identity blob primary key, value blob)")


def test_a_restore_goes_on_exactly_once_from_the_same_kafka(lane: Lane, tmp_path: Path) -> None:
    lane.produce("market_tick", ticks(0, FIRST))
    write_cursor(lane)
    with lane.running("processor"):
        lane.until_consumed(1)
        with producing_on(lane, FIRST) as sent:
            made = back_up(lane, tmp_path / "backup")
        lane.until_consumed(FIRST + len(sent))
    assert made["cursors_are_covered"]
    assert not list(tmp_path.glob("*.part"))
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "backup").rglob("*") if path.is_file()}
    assert (modes, stat.S_IMODE((tmp_path / "backup").stat().st_mode)) == ({0o600}, 0o700)
    lane.produce("market_tick", ticks(FIRST + len(sent), BEHIND))
    everything = FIRST + len(sent) + BEHIND
    variables = the_same_kafka(lane)
    with another_machine(tmp_path / "backup", variables) as (machine, said):
        (outcome,) = [each for each in said["topics"] if each["topic"] == "market_tick"]
        assert (outcome["state"], outcome["offset"]) == ("continues", len(identities(machine))), outcome
        assert FIRST < outcome["offset"] < everything
        assert (machine.settings.home / "cursors" / "polled.sqlite").exists()
        assert not (machine.settings.home / "restoring").exists()
        with machine.running("processor", **variables):
            machine.until_consumed(everything)
        assert identities(machine) == of_epoch(1, 0, everything)
        assert machine.unbalanced() == []


@pytest.mark.faults
def test_where_kafka_is_gone_too_the_loss_is_said_and_a_new_epoch_goes_on(lane: Lane, tmp_path: Path) -> None:
    lane.produce("market_tick", ticks(0, FIRST))
    write_cursor(lane)
    with lane.running("processor"):
        lane.until_consumed(FIRST)
    lane.produce("market_tick", ticks(FIRST, BEHIND))
    assert not back_up(lane, tmp_path / "backup")["cursors_are_covered"]
    with another_machine(tmp_path / "backup", prefect_of(lane), ended_once=True) as (machine, said):
        (outcome,) = [each for each in said["topics"] if each["topic"] == "market_tick"]
        assert (outcome["state"], outcome["log_epoch"], outcome["offset"], outcome["lost"]) == (
            "new epoch", 2, 0, BEHIND,
        )  # fmt: skip
        assert f"{BEHIND} offsets from {FIRST} on are lost" in outcome["means"]
        assert "whatever came after the backup" in outcome["means"]
        assert any("cursors of pollers" in note for note in said["notes"])
        assert not (machine.settings.home / "cursors" / "polled.sqlite").exists()
        machine.produce("market_tick", ticks(FIRST + BEHIND, LATER))
        with machine.running("processor"):
            machine.until_consumed(FIRST + BEHIND + LATER)
        assert identities(machine) == of_epoch(1, 0, FIRST) + of_epoch(2, FIRST + BEHIND, LATER)
        balances = json.loads(machine.stack.run("account", "--json").stdout)
        assert [(each["epoch"], each["lost"]) for each in balances if each["topic"] == "market_tick"] == [
            (1, BEHIND),
            (2, 0),
        ]
        assert {each["balance"] for each in balances} == {0}


@pytest.mark.faults
def test_on_a_cluster_that_a_variable_names_nothing_is_given_up_by_itself(lane: Lane, tmp_path: Path) -> None:
    """Its log may be another's, or have expired: how many are missing is said, and a person opens the next epoch."""
    lane.produce("market_tick", ticks(0, 10))
    with lane.running("processor"):
        lane.until_consumed(10)
    lane.produce("market_tick", ticks(10, 20))
    made = create(lane.settings, tmp_path / "backup", with_lake=False)
    named = lane.stack.with_settings(
        kafka_bootstrap=f"127.0.0.1:{lane.settings.kafka_port}",
        kafka_security_protocol="SASL_PLAINTEXT",
        kafka_username=KAFKA_ADMINISTRATOR,
        kafka_password=SecretStr(credential(lane.settings, KAFKA_ADMINISTRATOR)),
    )
    with closing(KafkaAdminClient(**kafka_client(lane.settings, KAFKA_ADMINISTRATOR))) as client:
        client.delete_records({TopicPartition("market_tick", 0): 25})
        expired = outcome_of(go_on(named, made))
        client.delete_topics(["market_tick"])
        until(lambda: "market_tick" not in client.list_topics(), "the topic to be gone")
        absent = outcome_of(go_on(named, made))
    assert (expired.state, expired.lost, expired.offset) == (TO_OPEN, 15, None)
    assert "`tidemark stream epoch market_tick --yes`" in expired.means
    assert (absent.state, absent.lost) == (ABSENT, 20)
    assert lane.query("select max(log_epoch) from realtime.log_epoch where topic = 'market_tick'") == [(1,)]


def outcome_of(outcomes: list[Outcome]) -> Outcome:
    (found,) = [outcome for outcome in outcomes if outcome.topic == "market_tick"]
    return found


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_backup_that_is_ended_amid_it_has_no_name_and_the_next_one_is_whole(
    stack: Stack, tmp_path: Path, how: signal.Signals
) -> None:
    folder, part = tmp_path / "backup", tmp_path / "backup.part"
    with psycopg.connect(stack.dsn("warehouse")) as held:
        held.execute("lock table ops.promotion in access exclusive mode")
        with subprocess.Popen(
            [sys.executable, "-m", "tidemark.cli", "backup", str(folder)], env=stack.environ, stderr=subprocess.DEVNULL
        ) as process:
            until((part / "home" / "credentials").exists, "the backup to be on its way")
            process.send_signal(how)
    assert process.returncode != 0
    assert not folder.exists()
    assert part.exists() == (how == signal.SIGKILL)
    if part.exists():
        refused = Stack(new_settings(tmp_path / "home")).run("restore", str(part))
        assert (refused.returncode, "no manifest.json" in refused.stderr) == (1, True), refused.stderr
    done = stack.run("backup", str(folder))
    assert (done.returncode, folder.exists(), part.exists()) == (0, True, False), done.stderr
    named = json.loads((folder / "manifest.json").read_text())["secrets"]
    assert "TIDEMARK_USER_AGENT" in named  # what sources.yml needs, though it is no secret setting


def test_what_cannot_be_restored_is_refused_and_nothing_is_made(stack: Stack, tmp_path: Path) -> None:
    folder, other = tmp_path / "backup", Stack(new_settings(tmp_path / "home"))
    assert stack.run("backup", str(folder)).returncode == 0
    again = stack.run("backup", str(folder))
    assert (again.returncode, "is there already" in again.stderr) == (2, True), again.stderr
    taken = stack.run("restore", str(folder))
    assert (taken.returncode, "expected an empty state folder" in taken.stderr) == (2, True), taken.stderr
    dump = folder / "warehouse.dump"
    dump.write_bytes(dump.read_bytes()[:-1] + b"?")
    damaged = other.run("restore", str(folder))
    assert (damaged.returncode, "warehouse.dump has other bytes" in damaged.stderr) == (1, True), damaged.stderr
    assert not other.settings.home.exists()


@pytest.mark.faults
def test_servers_of_others_take_a_backup_of_the_local_one_and_a_persons_role_has_no_password(
    lane: Lane, foreign: Foreign, tmp_path: Path
) -> None:
    """As an administrator that is no superuser, and has another name than the one who administrated the first."""
    with psycopg.connect(f"{foreign.superuser}/postgres", autocommit=True) as connection:
        connection.execute("create role provider superuser login password 'provider'")
        address = f"{connection.info.host}:{connection.info.port}"
    with psycopg.connect(f"postgresql://provider:provider@{address}/postgres", autocommit=True) as connection:
        connection.execute(SQL("alter role {} rename to former").format(Identifier(LOCAL_ADMINISTRATOR)))
    with psycopg.connect(lane.stack.dsn("warehouse"), autocommit=True) as connection:
        connection.execute("create role alice login password 'alice'; grant bi_reader to alice")
        connection.execute("create schema team; create table team.note as select 1 as id")
        connection.execute("grant usage on schema team to alice")
    try:
        back_up(lane, tmp_path / "backup")
    finally:
        with psycopg.connect(lane.stack.dsn("warehouse"), autocommit=True) as connection:
            connection.execute("drop schema team cascade; drop owned by alice; drop role alice")
    urls = {f"TIDEMARK_{database.upper()}_URL": foreign.plain for database in DATABASES}
    with another_machine(tmp_path / "backup", the_same_kafka(lane) | urls) as (machine, said):
        assert any("alice" in note and "without a password" in note for note in said["notes"]), said
        again = machine.stack.run("up", **the_same_kafka(lane), **urls)
        assert again.returncode == 0, again.stderr
    with psycopg.connect(f"{foreign.plain}/warehouse") as connection:
        found = connection.execute("select nspname, nspowner::regrole::text from pg_namespace").fetchall()
        owners: dict[str, str] = dict(found)
        assert (owners["team"], owners["ops"], owners["migration"]) == ("boss", "promoter", "boss")
        assert connection.execute("select pg_has_role('alice', 'bi_reader', 'member')").fetchall() == [(True,)]
        assert connection.execute("select id from team.note").fetchall() == [(1,)]
