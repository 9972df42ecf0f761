"""`Wakeups`: an idle worker hears of new rows of its queues, sooner than it looks.

PostgreSQL tells it: whoever inserts rows notifies the channel of their queue, and a
worker listens. SQLite and MariaDB tell nobody, so there a worker asks, by a query that
reads only rows newer than those it knows of. It may miss some (a row whose transaction
took longer than that of a newer one; LISTEN behind a pooler that hands its connection
to others hears nothing), so workers go on looking at their tables every POLL seconds.
"""

from __future__ import annotations

import hashlib
import logging
import math
import select
import sqlite3
import time
from collections.abc import Collection, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, ClassVar, Protocol
from weakref import WeakSet

from django.db import OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from .connecting import new_connection

logger = logging.getLogger("taskbridge")

CONNECT_TIMEOUT_S = 3
"""While it connects, a worker does nothing else."""
FIRST_PAUSE_S = 2.0
LONGEST_PAUSE_S = 60.0
"""How long to be deaf after a failure: twice as long after each one in a row."""
QUIET_AFTER_S = 10.0
"""How long after the last new row a worker asks less often."""

BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def channels_of(table: str, queues: Collection[str]) -> list[str]:
    """Return the channels of PostgreSQL that new rows of these queues notify.

    Args:
        table: that which holds the rows.
        queues: their names in the table. A name that nobody else uses makes a channel
            that nobody else listens to.
    """
    names = [f"{table}:{queue}".encode() for queue in sorted(set(queues))]
    # Hashed, since a channel has at most 63 bytes, and needs no quotes then.
    return [f"taskbridge_{hashlib.sha256(name).hexdigest()[:40]}" for name in names]


class Wakeups:
    """Waits for new rows; opens a connection of its own when it first waits.

    That connection must not go over a fork: `close_all` ends it, and the next wait
    opens another.
    """

    def __init__(
        self, database: str, table: str, column: str, queues: Collection[str]
    ) -> None:
        """Listen to nothing yet.

        Args:
            database: an alias of DATABASES.
            table: its name, which needs no quotes; new rows have higher ids.
            column: that which says in which queue a row is.
            queues: their names in that column.
        """
        self._database = database
        self._what = table, column, tuple(queues)
        self._ear: _Ear | None = None
        self._pause_s = FIRST_PAUSE_S
        self._deaf_until = 0.0
        self._has_failed = False

    def wait(self, for_s: float, others: Sequence[Connection] = ()) -> list[Connection]:
        """Wait until a row may be new, one of the others answers, or time is up.

        Failures of the database are logged, and make it wait for the time alone.

        Args:
            for_s: seconds.
            others: what else to wait for.

        Returns:
            those of the others that are ready.
        """
        deadline = time.monotonic() + for_s
        if self._opens():
            return _ready(others, 0)  # rows may have come before it could hear
        files: list[Any] = [*others, *(self._ear.files if self._ear else ())]
        poller = _poller(files)
        while self._ear is not None:
            left_s = max(0.0, deadline - time.monotonic())
            ready = _polled(poller, min(left_s, self._ear.ask_again_s))
            if self._hears(ready) or ready or left_s == 0:
                return [each for each in others if each.fileno() in ready]
        return _ready(others, max(0.0, deadline - time.monotonic()))

    def close(self) -> None:
        """Close the connection; the next wait opens another."""
        _open.discard(self)
        ear, self._ear = self._ear, None
        if ear is not None:
            ear.close()

    def _opens(self) -> bool:
        """Open the connection if it is time to; return whether it was opened."""
        if self._ear is not None or time.monotonic() < self._deaf_until:
            return False
        kind = _EARS.get(connections[self._database].vendor)
        if kind is None or _is_in_memory(connections[self._database]):
            self._deaf_until = float("inf")
            return False
        ear = kind(connections[self._database], *self._what)
        try:
            ear.open()
        except Exception as exc:  # noqa: BLE001 - rows are found without it, too
            ear.close()
            self._fail(exc)
            return False
        self._ear = ear
        _open.add(self)
        return True

    def _hears(self, ready: Collection[int]) -> bool:
        """Return whether rows may be new."""
        ear = self._ear
        if ear is None or (ear.files and ear.files[0].fileno() not in ready):
            return False
        try:
            heard = ear.hears()
        except Exception as exc:  # noqa: BLE001 - see above
            self._fail(exc)
            return False
        if heard:
            self._note_success()
        return heard

    def _fail(self, exc: Exception) -> None:
        self.close()
        if not self._has_failed:
            logger.warning(
                "New rows of %s in the database %r wake nobody here (%s); until they "
                "do again, they are found every POLL seconds.",
                self._what[0],
                self._database,
                " ".join(str(exc).split()),  # drivers say it in several lines
            )
        self._has_failed = True
        self._deaf_until = time.monotonic() + self._pause_s
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    def _note_success(self) -> None:
        """Have the next failure logged; one of a connection that heard nothing is not.

        A server may end what is idle, again and again.
        """
        if self._has_failed:
            logger.info("New rows of %s wake this worker again.", self._what[0])
        self._has_failed = False
        self._pause_s = FIRST_PAUSE_S


_open: WeakSet[Wakeups] = WeakSet()


def close_all() -> None:
    """Close what this process has open, before it forks; it opens again in time."""
    for each in list(_open):
        each.close()


def _poller(files: Sequence[Any]) -> select.poll:
    """Return what waits for files; `wait` would make another one for each question."""
    poller = select.poll()
    for file in files:
        poller.register(file, select.POLLIN)
    return poller


def _polled(poller: select.poll, for_s: float) -> set[int]:
    return {file for file, _ in poller.poll(math.ceil(for_s * 1000))}


def _ready(others: Sequence[Connection], for_s: float) -> list[Connection]:
    found = wait(others, for_s)
    return [each for each in others if each in found]


def _is_in_memory(connection: Any) -> bool:
    return connection.vendor == "sqlite" and bool(connection.is_in_memory_db())


class _Ear(Protocol):
    """How to hear of new rows in one kind of database."""

    files: Sequence[Any]
    """What is ready to be read when there is something to hear; empty: ask again."""

    @property
    def ask_again_s(self) -> float:
        """Seconds after which to ask again, whether a file is ready or not."""

    def __init__(
        self,
        like: BaseDatabaseWrapper,
        table: str,
        column: str,
        queues: Collection[str],
    ) -> None: ...

    def open(self) -> None:
        """Connect; what is committed from now on is heard."""

    def hears(self) -> bool:
        """Return whether there are new rows since the last call."""

    def close(self) -> None:
        """Disconnect, whatever state the connection is in."""


class _Listener:
    """A connection that listens to the channels of its queues."""

    ask_again_s = 3600.0  # it need not ask

    def __init__(
        self,
        like: BaseDatabaseWrapper,
        table: str,
        column: str,
        queues: Collection[str],
    ) -> None:
        # A peer that has vanished is noticed by keepalives alone: it is never asked.
        self._connection = new_connection(
            like,
            connect_timeout_s=CONNECT_TIMEOUT_S,
            keepalives_idle=30,
            keepalives_interval=10,
            keepalives_count=3,
        )
        self._connection.settings_dict["AUTOCOMMIT"] = True
        self._channels = channels_of(table, queues)
        self.files: Sequence[Any] = ()

    def open(self) -> None:
        with self._connection.cursor() as cursor:
            for channel in self._channels:
                cursor.execute(f"LISTEN {channel}")
        self.files = (self._connection.connection,)

    def hears(self) -> bool:
        driver = self._connection.connection
        with self._connection.wrap_database_errors:
            if hasattr(driver, "pgconn"):
                return _hears_psycopg(driver.pgconn)
            driver.poll()  # psycopg2
            heard = bool(driver.notifies)
            driver.notifies.clear()
            return heard

    def close(self) -> None:
        _close(self._connection)


def _hears_psycopg(connection: Any) -> bool:
    connection.consume_input()
    heard = False
    while connection.notifies():
        heard = True
    return heard


class _Reader:
    """A connection that asks for rows newer than the newest that it has seen."""

    files: Sequence[Any] = ()
    mark = "%s"
    """The driver's placeholder of a value."""
    brisk_s: ClassVar[float]
    quiet_s: ClassVar[float]

    def __init__(
        self,
        like: BaseDatabaseWrapper,
        table: str,
        column: str,
        queues: Collection[str],
    ) -> None:
        self._connection = new_connection(like, connect_timeout_s=CONNECT_TIMEOUT_S)
        self._connection.settings_dict["AUTOCOMMIT"] = True
        marks = ", ".join([self.mark] * len(queues)) or "NULL"
        name = self._connection.ops.quote_name(column)
        self._newest = f"SELECT COALESCE(MAX(id), 0) FROM {table}"  # noqa: S608 - no name comes from outside
        self._newer = (
            f"SELECT MAX(id), MAX(CASE WHEN {name} IN ({marks}) THEN 1 END) "  # noqa: S608 - see above
            f"FROM {table} WHERE id > {self.mark}"
        )
        self._queues = tuple(queues)
        self._seen = 0
        self._heard_at = time.monotonic()

    @property
    def ask_again_s(self) -> float:
        is_quiet = time.monotonic() - self._heard_at > QUIET_AFTER_S
        return self.quiet_s if is_quiet else self.brisk_s

    def open(self) -> None:
        self._connection.ensure_connection()  # connect() raises errors of the driver
        [self._seen] = self._ask(self._newest, ())

    def hears(self) -> bool:
        newest, is_ours = self._ask(self._newer, (*self._queues, self._seen))
        if newest is None:
            return False
        self._seen = newest
        if is_ours:
            self._heard_at = time.monotonic()
        return bool(is_ours)

    def close(self) -> None:
        _close(self._connection)

    def _ask(self, sql: str, parameters: tuple[Any, ...]) -> Any:
        with self._connection.wrap_database_errors:
            # Django's cursor would take longer than the query.
            cursor = self._connection.connection.cursor()
            cursor.execute(sql, parameters)
            [found] = cursor.fetchall()
            cursor.close()
        return found


class _SQLiteReader(_Reader):
    """Asks often: it takes some microseconds, and no server."""

    mark = "?"
    brisk_s = 0.01
    quiet_s = 0.025

    def open(self) -> None:
        super().open()
        with self._connection.cursor() as cursor:
            cursor.execute("PRAGMA busy_timeout = 0")

    def hears(self) -> bool:
        try:
            return super().hears()
        except OperationalError as exc:
            # Somebody is writing, without a WAL.
            if getattr(exc.__cause__, "sqlite_errorcode", None) in BUSY:
                return False
            raise


class _MySQLReader(_Reader):
    brisk_s = 0.025
    quiet_s = 0.05


def _close(connection: BaseDatabaseWrapper) -> None:
    try:
        connection.close()
    except Exception:
        logger.debug("A connection could not be closed.", exc_info=True)


_EARS: dict[str, type[_Ear]] = {
    "postgresql": _Listener,
    "sqlite": _SQLiteReader,
    "mysql": _MySQLReader,
}
