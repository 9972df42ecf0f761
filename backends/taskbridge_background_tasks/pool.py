"""A prefork worker over the table of django-background-tasks.

The library's own command loads the whole queue to pick one task, sleeps between tasks
and dies at once on SIGTERM. Here one parent looks for rows that are due, claims one for
each idle process, and passes it down a pipe; the process runs it and removes the row.
"""

import contextlib
import json
import logging
import os
import signal
import time
from collections import deque
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait

from django.db import Error as DatabaseError
from django.db import close_old_connections, connections

from taskbridge.execution import run, worker_id
from taskbridge.worker import WorkerOptions

from .rows import Rows

logger = logging.getLogger("taskbridge")

LOOK_AHEAD = 50
"""Rows read for each process at a look; reading them locks nothing."""
LOOK_AHEAD_FOR_S = 0.5
"""How long they count; a newcomer of higher priority waits no longer than this."""
FINISH_FOR_S = 60
"""How long a process tries to remove the row of a task that it has run."""
RESPAWN_PAUSE_S = 1


class Pool:
    """Runs due rows in `concurrency` processes until SIGTERM, or until burst ends."""

    def __init__(self, rows: Rows, options: WorkerOptions, *, poll_s: float) -> None:
        self._rows = rows
        self._options = options
        self._poll_s = poll_s
        self._owner = worker_id()
        self._slots: list[_Slot] = []
        self._ahead: deque[tuple[int, str]] = deque()
        self._ahead_until = 0.0
        self._kept_at = time.monotonic()
        self._stopping = False

    def run(self) -> None:
        """Work until asked to stop; running tasks are waited for."""
        signal.signal(signal.SIGTERM, self._on_sigterm)
        for _ in range(self._options.concurrency):
            self._spawn()
        self._options.ready()
        try:
            while not self._is_done():
                self._wait(self._poll_s if self._idle() else None)
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
                picked = [self._ahead.popleft() for _ in idle[: len(self._ahead)]]
                claimed = self._rows.claim([key for key, _ in picked], self._owner)
                mine = [(key, params) for key, params in picked if key in claimed]
                for slot, (key, params) in zip(idle, mine, strict=False):
                    slot.start(key, params)
                started += len(mine)
        except DatabaseError as exc:
            logger.warning("The table of background tasks cannot be read: %s", exc)
            close_old_connections()
            return None
        return started

    def _look_ahead(self, at_least: int) -> None:
        now = time.monotonic()
        if len(self._ahead) >= at_least and now < self._ahead_until:
            return
        close_old_connections()
        limit = LOOK_AHEAD * self._options.concurrency
        self._ahead = deque(self._rows.due(self._options.queues, limit))
        self._ahead_until = now + LOOK_AHEAD_FOR_S

    def _wait(self, timeout_s: float | None) -> None:
        """Wait for a process to finish or die; a signal is seen within the timeout."""
        connection_slots = {slot.connection: slot for slot in self._slots}
        timeout_s = self._poll_s if timeout_s is None else timeout_s
        for connection in wait(list(connection_slots), timeout_s):
            slot = connection_slots[connection]  # type: ignore[index]  # a Connection
            if not slot.receive():
                self._replace(slot)

    def _keep_locks(self) -> None:
        now = time.monotonic()
        if now - self._kept_at < self._rows.max_run_time_s / 4:
            return
        running = [slot.key for slot in self._slots if slot.key is not None]
        try:
            self._rows.keep(running, self._owner)
            self._kept_at = now
        except DatabaseError as exc:
            logger.warning("The locks of running tasks cannot be renewed: %s", exc)

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

    def start(self, key: int, params: str) -> None:
        self.key = key
        with contextlib.suppress(OSError):  # it died; receive() tells
            self.connection.send_bytes(json.dumps([key, params]).encode())

    def receive(self) -> bool:
        """Take the word that the row is done; False if the process died."""
        try:
            self.connection.recv_bytes()
        except (EOFError, OSError):
            return False
        self.key = None
        return True

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
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            key, params = json.loads(connection.recv_bytes())
        except EOFError:
            break
        (body, *_), _kwargs = json.loads(params)
        run(body)
        _finish(rows, key, owner)
        connection.send_bytes(b"done")
    connections.close_all()


def _finish(rows: Rows, key: int, owner: str) -> None:
    """Remove the row; a database that is busy or away must not make the task rerun."""
    deadline = time.monotonic() + FINISH_FOR_S
    pause_s = 0.05
    while True:
        try:
            if not rows.finish(key, owner):
                logger.warning("Row %s was taken over while its task ran here.", key)
            return
        except DatabaseError as exc:
            if time.monotonic() > deadline:
                logger.error(
                    "Row %s was run but cannot be removed (%s); it runs again when its "
                    "lock expires.",
                    key,
                    exc,
                )
                return
            close_old_connections()
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, 2)
