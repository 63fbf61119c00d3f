"""People's roles are kept as they were set up: a changed password or setting is put back, and told.

A role may change both itself. The guard has ADMIN on the roles of people, on no other; whether a password is the one
that was given is found by trying it.
"""

import logging
import threading
from typing import Any

import psycopg
from psycopg import Connection
from psycopg.sql import SQL, Composed, Identifier, Literal

from tidemark.access.access_file import Access
from tidemark.access.people import HELD
from tidemark.connections import connect, is_wrong_password
from tidemark.credentials import API_READER, PEOPLE, credential
from tidemark.errors import StackError
from tidemark.guard.journal import Action, Journal
from tidemark.guard.watch import OPTIONS, Server
from tidemark.settings import Settings

log = logging.getLogger("tidemark.guard")

MEND_SECONDS = 15.0
RETRY_SECONDS = 1.0
WITH_A_PASSWORD = (*PEOPLE, API_READER)  # in `credentials/`; what others were given is kept nowhere
NOT_THEIRS = HELD  # a role cannot change them, nor can the guard

_SETTINGS = """
select coalesce(pg_database.datname, '') as database, entry as setting
from pg_db_role_setting
cross join lateral unnest(setconfig) as entry
left join pg_database on pg_database.oid = setdatabase
where setrole = (select oid from pg_roles where rolname = %s)
order by 1, 2
"""


class Mender(threading.Thread):
    """Looks after the roles of people on one server until `stop` is set."""

    def __init__(
        self, settings: Settings, server: Server, access: Access, journal: Journal, stop: threading.Event
    ) -> None:
        super().__init__(name=f"mend {server.address}", daemon=True)
        self._settings, self._server, self._access = settings, server, access
        self._journal, self._stop_asked = journal, stop

    def run(self) -> None:
        said = ""
        while not self._stop_asked.is_set():
            try:
                with connect(
                    self._settings, self._server.databases[0], "guard",
                    autocommit=True, application_name="tidemark-guard", options=OPTIONS,
                ) as connection:  # fmt: skip
                    while not self._stop_asked.is_set():
                        self._mend(connection)
                        said = ""
                        self._stop_asked.wait(MEND_SECONDS)
            except (StackError, psycopg.Error) as error:
                if str(error) != said:
                    said = str(error)
                    log.warning("%s: roles: %s; tried again", self._server.address, " ".join(said.split()))
                self._stop_asked.wait(RETRY_SECONDS)

    def _mend(self, connection: Connection[Any]) -> None:
        for role in self._there(connection):
            self._mend_settings(connection, role)
            if role in WITH_A_PASSWORD:
                self._mend_password(connection, role)

    def _there(self, connection: Connection[Any]) -> list[str]:
        names = [*WITH_A_PASSWORD, *self._access.members]
        found = connection.execute("select rolname from pg_roles where rolname = any(%s) order by 1", (names,))
        return [name for (name,) in found.fetchall()]

    def _mend_settings(self, connection: Connection[Any], role: str) -> None:
        rows = connection.execute(_SETTINGS, (role,)).fetchall()
        found = {(database, setting) for database, setting in rows if setting.partition("=")[0] not in NOT_THEIRS}
        wanted = self._access.limits_of(role).settings()
        strange = sorted(found ^ {("", f"{name}={value}") for name, value in wanted.items()})
        if not strange:
            return
        for statement in _settings_anew(role, sorted({database for database, _ in found}), wanted):
            connection.execute(statement)
        changed = ", ".join(f"{setting} {database}".strip() for database, setting in strange)
        self._journal.note(
            Action(role, ",".join(self._server.databases), "changed settings", f"put back what differed: {changed}")
        )

    def _mend_password(self, connection: Connection[Any], role: str) -> None:
        try:
            connect(self._settings, self._server.databases[0], role).close()
        except StackError as error:
            if not is_wrong_password(str(error)):
                return  # the password opened, all places are taken; or the server is away, which the next look meets
        else:
            return
        password = credential(self._settings, role).encode()
        verifier = connection.pgconn.encrypt_password(password, role.encode(), b"scram-sha-256").decode()
        connection.execute(SQL("alter role {} login password {}").format(Identifier(role), Literal(verifier)))
        text = f"put back the password of {role}, which was another than the one that it was given"
        self._journal.note(Action(role, ",".join(self._server.databases), "changed password", text))


def _settings_anew(role: str, databases: list[str], wanted: dict[str, str]) -> list[Composed]:
    name = Identifier(role)
    there = [
        SQL("alter role {} in database {} reset all").format(name, Identifier(database))
        for database in databases
        if database
    ]
    return [
        *there,
        SQL("alter role {} reset all").format(name),
        *(
            SQL("alter role {} set {} to {}").format(name, Identifier(setting), Literal(value))
            for setting, value in wanted.items()
        ),
    ]
