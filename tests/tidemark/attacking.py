"""A reader at its worst: bi_reader lifts every limit that it may, and then holds what it can."""

import contextlib
import select
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg import Connection
from psycopg.sql import SQL, Identifier, Literal

from tests.conftest import Stack

LIFTED = ("statement_timeout", "idle_in_transaction_session_timeout", "lock_timeout", "transaction_timeout")
CONNECTIONS = 97
OTHER_PASSWORD = "another one"
PAUSE_SECONDS = 0.05
LIVE = "select count(1) from live.last_price; select count(1) from live.bars_1m; select count(1) from live.top_of_book"

# What a session does in a transaction that it then keeps open: database, statements.
HOLDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "reads live": ("realtime", (LIVE,)),
    "locks live": ("realtime", ("lock table live.last_price, live.bars_1m, live.book in access share mode",)),
    "exports a snapshot": ("realtime", ("set transaction isolation level repeatable read", LIVE)),
    "a cursor": ("realtime", ("declare c cursor for select * from live.bars_1m", "fetch 1 from c")),
    "reads marts": ("warehouse", ("select count(1) from marts.fct_market_ticks, marts.dim_instruments",)),
    "reads marts, and changes itself": (
        "warehouse",
        ("select from marts.fct_market_ticks", "alter role current_user in database warehouse set work_mem to '1GB'"),
    ),
    "grants itself the database": ("realtime", ("grant connect on database realtime to bi_reader",)),
    "changes its own role": ("warehouse", ("alter role current_user set work_mem to '2GB'",)),
}
# Statements that do not end by themselves.
STATEMENTS: dict[str, tuple[str, str]] = {
    "sleeps over live": ("realtime", "select pg_sleep(600), (select count(1) from live.last_price)"),
    "sleeps over marts": ("warehouse", "select pg_sleep(600), (select count(1) from marts.fct_market_ticks)"),
    "counts for ever": ("warehouse", "select count(1) from generate_series(1, 100000000000)"),
    "sorts": ("realtime", "select n from generate_series(1, 100000000) as n order by random()"),
}


class Attack:
    """Runs until the block ends; `did` counts by name what was done, and `ended` how often it was ended."""

    def __init__(self, stack: Stack) -> None:
        self.did: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self._stack, self._stop = stack, threading.Event()
        self._threads = [
            *(threading.Thread(target=self._hold, args=(name, *what)) for name, what in HOLDS.items()),
            *(threading.Thread(target=self._state, args=(name, *what)) for name, what in STATEMENTS.items()),
            threading.Thread(target=self._fill),
        ]

    def connect(self, database: str) -> Connection[Any]:
        """A session with the password that was given, or the one that it was changed to, and without any limit."""
        dsn = self._stack.dsn(database, "bi_reader")
        try:
            connection = psycopg.connect(dsn, autocommit=True)
        except psycopg.OperationalError as error:
            if "password authentication failed" not in str(error):
                raise
            connection = psycopg.connect(dsn, password=OTHER_PASSWORD, autocommit=True)
        for setting in LIFTED:
            connection.execute(SQL("set {} to 0").format(Identifier(setting)))
        return connection

    def change_the_role(self) -> None:
        """Lift the limits for every session to come, and change the password."""
        with self.connect("realtime") as connection:
            for setting in LIFTED:
                connection.execute(SQL("alter role current_user set {} to 0").format(Identifier(setting)))
                connection.execute(
                    SQL("alter role current_user in database warehouse set {} to 0").format(Identifier(setting))
                )
            connection.execute(SQL("alter role current_user password {}").format(Literal(OTHER_PASSWORD)))

    def __enter__(self) -> "Attack":
        self.change_the_role()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        print(self.did, self.ended, self.refused, sep="\n")  # pytest shows it where the test fails

    def _again(self, name: str, database: str, body: Callable[[Connection[Any]], None]) -> None:
        while not self._stop.is_set():
            try:
                with contextlib.closing(self.connect(database)) as connection:
                    body(connection)
            except psycopg.errors.AdminShutdown:
                self.ended[name] += 1
            except psycopg.Error as error:
                self.refused[f"{name}: {type(error).__name__}: {str(error).splitlines()[-1][-100:]}"] += 1
                self._stop.wait(PAUSE_SECONDS)

    def _hold(self, name: str, database: str, statements: tuple[str, ...]) -> None:
        def body(connection: Connection[Any]) -> None:
            connection.execute("begin")
            for statement in statements:
                connection.execute(statement.encode())
            self.did[name] += 1
            while not self._stop.is_set():
                if select.select([connection.fileno()], [], [], PAUSE_SECONDS)[0]:
                    connection.execute("select 1")  # says why it was ended

        self._again(name, database, body)

    def _state(self, name: str, database: str, statement: str) -> None:
        def body(connection: Connection[Any]) -> None:
            threading.Thread(target=self._cancel_at_the_end, args=(connection,)).start()
            self.did[name] += 1
            connection.execute(statement.encode())

        self._again(name, database, body)

    def _cancel_at_the_end(self, connection: Connection[Any]) -> None:
        while not connection.closed and not self._stop.wait(PAUSE_SECONDS):
            pass
        with contextlib.suppress(psycopg.Error):
            connection.cancel_safe(timeout=5)

    def _fill(self) -> None:
        """Take as many connections as there are, and never give one back."""
        with contextlib.ExitStack() as taken:
            for number in range(CONNECTIONS):
                try:
                    taken.enter_context(contextlib.closing(self.connect(("realtime", "warehouse")[number % 2])))
                    self.did["takes a connection"] += 1
                except psycopg.Error:
                    self.refused["takes a connection"] += 1
            self._stop.wait()
