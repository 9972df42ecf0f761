"""A prefork worker over the table of django-background-tasks.

The library's own command loads the whole queue to pick one task, sleeps between tasks
and dies at once on SIGTERM. Here one parent looks for rows that are due, claims one for
each idle process, and passes it down a pipe; the process runs it and removes the row.
"""

import contextlib
import json
import logging
import os
import secrets
import signal
import time
from collections import deque
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import TypeVar

from django.db import Error as DatabaseError
from django.db import close_old_connections, connections

from taskbridge.execution import run
from taskbridge.worker import WorkerOptions, pass_over
from taskbridge.worker_id import worker_id

from .rows import Rows

logger = logging.getLogger("taskbridge")

T = TypeVar("T")

LOOK_AHEAD = 500
"""Keys read for each process at a look: more than it can use until the next. A look
costs as much for a few, since the database sorts all that are due; it locks nothing."""
LOOK_AHEAD_FOR_S = 0.5
"""How long they count; a newcomer of higher priority waits no longer than this."""
INSIST_FOR_S = 60
"""How long a process tries to read a row, or to remove the one that it has run."""
RESPAWN_PAUSE_S = 1
KEEP_AGAIN_S = 1
"""How soon it tries again to renew locks, after it could not."""


class Pool:
    """Runs due rows in `concurrency` processes until SIGTERM, or until burst ends."""

    def __init__(self, rows: Rows, options: WorkerOptions, *, poll_s: float) -> None:
        self._rows = rows
        self._options = options
        self._poll_s = poll_s
        # Random, too: processes of two containers may have one name and number.
        self._owner = f"{worker_id()}:{secrets.token_hex(4)}"
        self._slots: list[_Slot] = []
        self._ahead: deque[int] = deque()
        self._ahead_until = 0.0
        self._keep_at = time.monotonic() + rows.max_run_time_s / 4
        self._may_hold_strays = False
        self._stopping = False

    def run(self) -> None:
        """Work until asked to stop; running tasks are waited for."""
        signal.signal(signal.SIGTERM, self._on_sigterm)
        for _ in range(self._options.concurrency):
            self._spawn()
        self._options.ready()
        try:
            while not self._is_done():
                self._wait()
                self._keep_locks()
        finally:
            self._close()

    def _on_sigterm(self, *_: object) -> None:
        self._stopping = True

    def _is_done(self) -> bool:
        """Start what can be started; return whether the work is over."""
        if self._stopping:
            return all(slot.key is None for slot in self._slots)
        found = self._start_tasks()
        nothing_runs = len(self._idle()) == len(self._slots)
        return self._options.burst and nothing_runs and found == 0

    def _idle(self) -> list["_Slot"]:
        return [slot for slot in self._slots if slot.key is None]

    def _start_tasks(self) -> int | None:
        """Give each idle process a row; return how many started, None if unknown."""
        started = 0
        try:
            while idle := self._idle():
                self._look_ahead(len(idle))
                if not self._ahead:
                    break
                started += self._claim_for(idle)
        except DatabaseError as exc:
            logger.warning("The table of background tasks cannot be read: %s", exc)
            # A claim may have been taken although its answer was lost.
            self._may_hold_strays = True
            close_old_connections()
            return None
        return started

    def _claim_for(self, idle: list["_Slot"]) -> int:
        """Claim the next row for each idle process; return how many could start."""
        picked = [self._ahead.popleft() for _ in idle[: len(self._ahead)]]
        claimed = self._rows.claim(picked, self._owner)
        mine = [key for key in picked if key in claimed]
        for slot, key in zip(idle, mine, strict=False):
            slot.start(key)
        return len(mine)

    def _running(self) -> list[int]:
        return [slot.key for slot in self._slots if slot.key is not None]

    def _look_ahead(self, at_least: int) -> None:
        if len(self._ahead) >= at_least and time.monotonic() < self._ahead_until:
            return
        close_old_connections()
        if self._may_hold_strays:
            self._rows.release_all_but(self._running(), self._owner)
            self._may_hold_strays = False
        limit = LOOK_AHEAD * self._options.concurrency
        self._ahead = deque(self._rows.due(self._options.queues, limit))
        self._ahead_until = time.monotonic() + LOOK_AHEAD_FOR_S

    def _wait(self) -> None:
        """Wait for a process to finish or die, until it is time for the next look."""
        answering = wait([slot.connection for slot in self._slots], self._poll_s)
        for slot in self._slots:
            if slot.connection in answering:
                slot.receive()
        for slot in [slot for slot in self._slots if slot.has_ended()]:
            self._replace(slot)

    def _keep_locks(self) -> None:
        if time.monotonic() < self._keep_at:
            return
        try:
            self._rows.keep(self._running(), self._owner)
            self._keep_at = time.monotonic() + self._rows.max_run_time_s / 4
        except DatabaseError as exc:
            logger.warning("The locks of running tasks cannot be renewed: %s", exc)
            self._keep_at = time.monotonic() + KEEP_AGAIN_S
            close_old_connections()

    def _spawn(self) -> None:
        connections.close_all()
        self._slots.append(_Slot.fork(self._rows, self._owner, self._slots))

    def _replace(self, slot: "_Slot") -> None:
        self._slots.remove(slot)
        slot.close()
        if slot.key is None:
            time.sleep(RESPAWN_PAUSE_S)  # it died without work: do not spin
        else:
            logger.error(
                "Process %s died while it ran row %s; the task runs again when the "
                "lock expires, %.0f s after it was taken (MAX_RUN_TIME).",
                slot.pid,
                slot.key,
                self._rows.max_run_time_s,
            )
        self._spawn()

    def _close(self) -> None:
        for slot in self._slots:
            slot.close()
        connections.close_all()


class _Slot:
    """A process that runs one row at a time, as its parent sees it."""

    def __init__(self, pid: int, connection: Connection) -> None:
        self.pid = pid
        self.connection = connection
        self.key: int | None = None
        """The row that it runs; None: it is idle."""

    @classmethod
    def fork(cls, rows: Rows, owner: str, siblings: list["_Slot"]) -> "_Slot":
        ours, theirs = Pipe()
        pid = os.fork()
        if pid == 0:
            # An end of a pipe that stays open here would hide the parent's death.
            for connection in (ours, *(slot.connection for slot in siblings)):
                connection.close()
            _exit_after(lambda: _serve(theirs, rows, owner))
        theirs.close()
        return cls(pid, ours)

    def start(self, key: int) -> None:
        self.key = key
        with contextlib.suppress(OSError):  # it died; has_ended() tells
            self.connection.send_bytes(str(key).encode())

    def receive(self) -> None:
        """Take the word that the row is done."""
        with contextlib.suppress(EOFError, OSError):  # it died; has_ended() tells
            self.connection.recv_bytes()
            self.key = None

    def has_ended(self) -> bool:
        # Not by the end of the pipe: a child of its task may hold that open.
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self.pid, flags) is not None

    def close(self) -> None:
        """Let the process end, which it does when its pipe closes, and wait for it."""
        self.connection.close()
        os.waitpid(self.pid, 0)


def _exit_after(function: Callable[[], None]) -> None:
    """Run the life of a forked process, and never return into the parent's code."""
    status = 1
    try:
        function()
        status = 0
    except BaseException:
        logger.exception("A worker process of background tasks failed.")
    finally:
        os._exit(status)


def _serve(connection: Connection, rows: Rows, owner: str) -> None:
    # The parent decides when to stop; a signal to the group must not cut off a task.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, pass_over)
    with contextlib.suppress(EOFError):
        while True:
            _serve_row(rows, int(connection.recv_bytes()), owner)
            connection.send_bytes(b"done")
    connections.close_all()


def _serve_row(rows: Rows, key: int, owner: str) -> None:
    """Run a row and remove it; it stays locked if the database does not come back."""
    try:
        parameters = _insist(lambda: rows.parameters(key, owner))
        if parameters is None:
            logger.warning("Row %s was taken over before its task started.", key)
            return
        run(_body(parameters))
        if not _insist(lambda: rows.finish(key, owner)):
            logger.warning("Row %s was taken over while its task ran here.", key)
    except DatabaseError as exc:
        logger.error(
            "Row %s cannot be read or removed (%s); it runs again when its lock "
            "expires, %.0f s after it was taken (MAX_RUN_TIME).",
            key,
            exc,
            rows.max_run_time_s,
        )


def _body(parameters: str) -> object:
    """Return the body in a row's parameters; `run` refuses what is none."""
    try:
        [[body], _kwargs] = json.loads(parameters)
    except ValueError:
        return None
    return body


def _insist(query: Callable[[], T]) -> T:
    """Ask again while the database is busy or away: the task must not run again."""
    deadline = time.monotonic() + INSIST_FOR_S
    pause_s = 0.05
    while True:
        try:
            return query()
        except DatabaseError:
            if time.monotonic() > deadline:
                raise
            close_old_connections()
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, 2)
