"""A process of the pool, which runs one chunk of rows at a time."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Callable, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import TypeVar

from django.db import Error as DatabaseError
from django.db import connections

from taskbridge.adapter import let_tasks_finish
from taskbridge.attempt import flush_output
from taskbridge.execution import run
from taskbridge.patience import insist
from taskbridge.recycling import is_worn
from taskbridge.store.errors import is_away

from .table import Table

T = TypeVar("T")

logger = logging.getLogger("taskbridge")

DONE = b"done"
LAST = b"last"
"""What a process says when its rows are done; with the last ones it ends."""
INSIST_FOR_S = 60
"""How long a process tries to read a row, or to remove those that it has run."""


class Slot:
    """A process that runs one chunk of rows at a time, as its parent sees it."""

    def __init__(self, pid: int, connection: Connection) -> None:
        self.pid = pid
        self.connection = connection
        self.keys: list[int] = []
        """The rows that it runs; none: it is idle, or about to end."""
        self.is_worn = False
        """Whether it ends now, since it has run enough."""

    @property
    def is_idle(self) -> bool:
        """Whether it can be given rows."""
        return not self.keys and not self.is_worn

    @classmethod
    def fork(cls, table: Table, owner: str, siblings: Sequence[Slot]) -> Slot:
        """Start a process that runs rows until its pipe closes."""
        ours, theirs = Pipe()
        pid = os.fork()
        if pid == 0:
            # An end of a pipe that stays open here would hide the parent's death.
            for connection in (ours, *(slot.connection for slot in siblings)):
                connection.close()
            _exit_after(lambda: _serve(theirs, table, owner))
        theirs.close()
        return cls(pid, ours)

    def start(self, keys: list[int], body: str | None) -> None:
        """Give it rows to run.

        Args:
            keys: those of the rows.
            body: what they carry; None: it is to read its only row by itself.
        """
        self.keys = keys
        with contextlib.suppress(OSError):  # it died; has_ended() tells
            self.connection.send_bytes(json.dumps([keys, body]).encode())

    def receive(self) -> None:
        """Take note that its rows are done."""
        with contextlib.suppress(EOFError, OSError):  # it died; has_ended() tells
            self.is_worn = self.connection.recv_bytes() == LAST
            self.keys = []

    def receive_rest(self) -> None:
        """Take note of what it said before it ended."""
        if self.connection.poll():  # a child of its task may hold its end open
            self.receive()

    def has_ended(self) -> bool:
        """Whether it died."""
        # The end of the pipe does not tell: a child of its task may hold that open.
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self.pid, flags) is not None

    def close(self) -> None:
        """Let the process end, which it does when its pipe closes, and wait for it."""
        self.connection.close()
        os.waitpid(self.pid, 0)


def _exit_after(function: Callable[[], None]) -> None:
    """Run a forked process to its end, and never return into the parent's code."""
    status = 1
    try:
        function()
        status = 0
    except BaseException:
        logger.exception("A process of the pool failed.")
    finally:
        flush_output()
        os._exit(status)


def _serve(connection: Connection, table: Table, owner: str) -> None:
    let_tasks_finish()
    with contextlib.suppress(EOFError):
        is_last = False
        while not is_last:
            keys, body = json.loads(connection.recv_bytes())
            _serve_rows(table, keys, body, owner)
            is_last = is_worn()
            connection.send_bytes(LAST if is_last else DONE)
    connections.close_all()


def _serve_rows(table: Table, keys: list[int], body: object, owner: str) -> None:
    """Run rows and remove them; they stay locked if the database does not come back."""
    try:
        if body is None:
            [key] = keys
            row = _insist(lambda: table.read(key, owner))
            if row is None:
                logger.warning("Row %s was taken over before its task started.", key)
                return
            body = table.body_of(row)
        run(body)
        lost = len(keys) - _insist(lambda: table.finish(keys, owner))
        if lost > 0:
            logger.warning(
                "%s of %s taken over while its task ran here.", lost, named(keys)
            )
    except DatabaseError as exc:
        logger.error(
            "What is in %s cannot be read or removed (%s); it runs again when its lock "
            "expires, %.0f s after it was taken (%s).",
            named(keys),
            exc,
            table.lock_s,
            table.lock_setting,
        )


def named(keys: Sequence[int]) -> str:
    """Return what a log calls rows."""
    return f"row{'s' * (len(keys) > 1)} {', '.join(map(str, keys))}"


def _insist(query: Callable[[], T]) -> T:
    return insist(lambda _: query(), DatabaseError, for_s=INSIST_FOR_S, only=is_away)
