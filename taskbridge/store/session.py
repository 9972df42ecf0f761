"""`Session`: a connection of TaskBridge's own, on which workers claim and finish.

Whatever a task has done to its connections (``SET ROLE``, a schema, a transaction, a
read-only session) does not reach it. A process has one for each database, so the lease
of a task is extended on the connection that claimed it, and that will finish it: there
is no task without a connection for its lease, and a finish finds one that has just been
in use, however long the task took.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from taskbridge.connecting import new_connection
from taskbridge.exceptions import StoreUnavailable

from . import prepared

CONNECT_TIMEOUT_S = 10
"""How long connecting may take, if DATABASES does not say."""
MOST_DOUBLINGS = 6
LONGEST_WAIT_S = 600
"""How long a thread waits for another one of its process."""


class Session:
    """One connection, used by one thread of a process at a time.

    A statement that is not answered in time is cut off, since its connection may have
    gone silent (a firewall, a pooler), which no driver notices. The next one has twice
    the time, for the database may be waiting for a lock: those that were cut off still
    wait there, and must not become many.
    """

    def __init__(self, database: str) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._connection: BaseDatabaseWrapper | None = None
        self._socket: socket.socket | None = None
        """That of the connection, to cut it off from another thread."""
        self._asked_at: float | None = None
        """time.monotonic() when the current statement began."""
        self._answer_s = 0.0
        self._was_cut = False
        """Whether the current statement was cut off."""
        self._cuts = 0
        """How many statements were cut off in a row."""

    @contextlib.contextmanager
    def taken(self, *, answer_s: float) -> Iterator[None]:
        """Have the session for a statement, which is to be answered in so many seconds.

        Raises:
            StoreUnavailable: another thread waits for an answer all the time.
        """
        self._acquire()
        self._answer_s, self._was_cut = answer_s, False
        self._asked_at = began = time.monotonic()
        try:
            yield
            self._cuts = 0
        except BaseException as exc:
            self._close()  # a fresh one for the next try, whatever ails this one
            prepared.note_error(self._database, exc)
            if self._was_cut and isinstance(exc, StoreUnavailable):
                exc.waited_s = time.monotonic() - began
            raise
        finally:
            self._asked_at = None
            self._lock.release()

    def opened(self, like: BaseDatabaseWrapper) -> BaseDatabaseWrapper:
        """Return the connection, opened as another one would be; it has to be taken.

        Raises:
            django.db.Error: there is no connection to be had.
        """
        name = like.settings_dict["NAME"]
        if self._connection and self._connection.settings_dict["NAME"] != name:
            self._close()  # the database of a test
        own = self._connection
        if own is None or own.connection is None:
            own = self._connect(like)
        # Whoever counts or logs the statements of the thread sees these as well.
        own.execute_wrappers = like.execute_wrappers
        own.force_debug_cursor = like.force_debug_cursor
        own.queries_log = like.queries_log
        return own

    def _connect(self, like: BaseDatabaseWrapper) -> BaseDatabaseWrapper:
        if not prepared.prepares(like):
            return self._open(_new(like))
        own = self._open(_new(like, **prepared.OPTIONS))
        with own.wrap_database_errors:
            if prepared.is_direct(own.connection):
                return own
        prepared.stop_preparing(self._database)
        self._close()
        return self._open(_new(like))

    def _open(self, own: BaseDatabaseWrapper) -> BaseDatabaseWrapper:
        self._connection = own
        with own.wrap_database_errors:  # connect() raises those of the driver
            own.connect()
        self._drop_socket()
        self._socket = _socket_of(own.connection)
        self._asked_at = time.monotonic()
        return own

    def cut_if_silent(self) -> None:
        """Cut off a statement that waits too long; call it from any thread."""
        asked_at, to_cut = self._asked_at, self._socket
        if to_cut is None or asked_at is None:
            return
        if time.monotonic() - asked_at >= self._patience_s:
            self._asked_at = time.monotonic()
            self._was_cut = True
            self._cuts = min(self._cuts + 1, MOST_DOUBLINGS)
            with contextlib.suppress(OSError):
                to_cut.shutdown(socket.SHUT_RDWR)

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Cut off what takes too long inside, if no other thread may be there to."""
        timer = threading.Timer(self._patience_s + 0.05, self.cut_if_silent)
        timer.daemon = True
        try:
            timer.start()
        except RuntimeError:  # the system is short of threads: do without
            yield
            return
        try:
            yield
        finally:
            timer.cancel()

    def _acquire(self) -> None:
        give_up_at = time.monotonic() + LONGEST_WAIT_S
        while not self._lock.acquire(timeout=1):
            self.cut_if_silent()
            if time.monotonic() > give_up_at:
                raise StoreUnavailable(
                    f"The database {self._database!r} has not answered another thread "
                    f"of this process for {LONGEST_WAIT_S} s."
                )

    def close(self) -> None:
        """Close the connection; the next statement opens another."""
        if self._lock.acquire(timeout=1):
            try:
                self._close()
            finally:
                self._lock.release()

    @property
    def _patience_s(self) -> float:
        return self._answer_s * (1 << self._cuts)

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):  # it may be broken in any way
                connection.close()
        self._drop_socket()

    def _drop_socket(self) -> None:
        dropped, self._socket = self._socket, None
        if dropped is not None:
            dropped.close()


_sessions: dict[tuple[int, str, int], Session] = {}
"""By process, database and thread. What a fork inherits stays here, untouched: closing
it would end the session of the parent."""


def session_of(database: str, thread: int = 0) -> Session:
    """Return the session of this process for an alias in DATABASES.

    Args:
        database: the alias.
        thread: 0: that which the threads of a worker share; else a thread's own.
    """
    key = (os.getpid(), database, thread)
    found = _sessions.get(key)
    return found or _sessions.setdefault(key, Session(database))


def close_sessions() -> None:
    """Close the sessions of this process; the next statement opens them again."""
    for (pid, *_), session in list(_sessions.items()):
        if pid == os.getpid():
            session.close()


def _new(like: BaseDatabaseWrapper, **options: Any) -> BaseDatabaseWrapper:
    return new_connection(like, connect_timeout_s=CONNECT_TIMEOUT_S, **options)


def _socket_of(connection: Any) -> socket.socket | None:
    """Return a second handle of the socket below a driver's connection."""
    try:
        inner = getattr(connection, "_sock", connection)  # PyMySQL has no fileno()
        return socket.socket(fileno=os.dup(inner.fileno()))
    except (AttributeError, OSError):  # SQLite, or a driver that hides it
        return None
