"""A prefork pool over the table of a queue library, whose rows are messages.

One parent looks for rows that are due, claims a chunk for each idle process, and passes
it down a pipe; the process runs it and removes its rows. Most chunks are one row; where
many wait that are quick, several are one.
"""

from __future__ import annotations

import logging
import secrets
import signal
import time
from multiprocessing.connection import Connection, wait
from typing import Any

from django.db import Error as DatabaseError
from django.db import close_old_connections

from taskbridge.adapter import WorkerOptions
from taskbridge.merging import Merger
from taskbridge.patience import drop_connections
from taskbridge.wakeups import Wakeups
from taskbridge.worker_id import worker_id

from .ahead import Ahead
from .slot import Slot, named
from .table import Table

logger = logging.getLogger("taskbridge")

RESPAWN_PAUSE_S = 1
KEEP_AGAIN_S = 1
"""How soon to try again to renew locks after a failure."""


class Pool:
    """Runs due rows in `concurrency` processes until SIGTERM, or until burst ends."""

    def __init__(
        self,
        table: Table,
        options: WorkerOptions,
        *,
        poll_s: float,
        chunk: int = 1,
        wakeups: Wakeups | None = None,
    ) -> None:
        """Fork nothing yet.

        Args:
            table: the rows that it runs.
            options: what the supervisor asks for.
            poll_s: seconds after which it looks at the table, whatever it has heard.
            chunk: how many tasks may run as one; 1: nothing is joined. See `Merger`.
            wakeups: tell it sooner of new rows; None: nothing does.
        """
        self._table = table
        self._wakeups = wakeups
        self._options = options
        self._poll_s = poll_s
        # Random, too: processes in two containers may have the same name and id.
        self._owner = f"{worker_id()}:{secrets.token_hex(4)}"
        self._slots: list[Slot] = []
        processes = options.concurrency
        merger = Merger(chunk, processes)
        self._ahead = Ahead(table, options.queues, processes, merger)
        self._keep_at = time.monotonic() + table.lock_s / 4
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
            return all(not slot.keys for slot in self._slots)
        found = self._start_tasks()
        nothing_runs = len(self._idle()) == len(self._slots)
        return self._options.burst and nothing_runs and found == 0

    def _idle(self) -> list[Slot]:
        return [slot for slot in self._slots if slot.is_idle]

    def _start_tasks(self) -> int | None:
        """Give each idle process a chunk; return how many, None if unknown."""
        started = 0
        try:
            while idle := self._idle():
                if not self._ahead.is_enough(len(idle)):
                    self._look_ahead()
                if not self._ahead:
                    break
                started += self._claim_for(idle)
        except DatabaseError as exc:
            logger.warning("The table of %s cannot be read: %s", self._table, exc)
            # A claim may have succeeded although its answer was lost.
            self._may_hold_strays = True
            drop_connections()
            return None
        return started

    def _claim_for(self, idle: list[Slot]) -> int:
        """Claim the next chunk for each idle process; return how many could start."""
        chunks = self._ahead.take(len(idle))
        keys = [key for chunk in chunks for key in chunk]
        claimed = self._table.claim(keys, self._owner)
        mine = [[key for key in chunk if key in claimed] for chunk in chunks]
        ours = [chunk for chunk in mine if chunk]
        for slot, chunk in zip(idle, ours, strict=False):
            slot.start(chunk, self._ahead.body_of(chunk))
        return len(ours)

    def _running(self) -> list[int]:
        return [key for slot in self._slots for key in slot.keys]

    def _look_ahead(self) -> None:
        close_old_connections()
        if self._may_hold_strays:
            self._table.release_all_but(self._running(), self._owner)
            self._may_hold_strays = False
        self._ahead.look()

    def _wait(self) -> None:
        """Wait for a process to finish or die, until it is time for the next look."""
        answering = self._answering([slot.connection for slot in self._slots])
        for slot in self._slots:
            if slot.connection in answering:
                slot.receive()
        for slot in [slot for slot in self._slots if slot.has_ended()]:
            self._replace(slot)

    def _answering(self, connections: list[Connection]) -> list[Any]:
        if self._wakeups is None:
            return wait(connections, self._poll_s)
        return list(self._wakeups.wait(self._poll_s, connections))

    def _keep_locks(self) -> None:
        if time.monotonic() < self._keep_at:
            return
        try:
            self._table.keep(self._running(), self._owner)
            self._keep_at = time.monotonic() + self._table.lock_s / 4
        except DatabaseError as exc:
            logger.warning("The locks of running tasks cannot be renewed: %s", exc)
            self._keep_at = time.monotonic() + KEEP_AGAIN_S
            drop_connections()

    def _spawn(self) -> None:
        self._slots.append(Slot.fork(self._table, self._owner, self._slots))

    def _replace(self, slot: Slot) -> None:
        self._slots.remove(slot)
        slot.receive_rest()
        slot.close()
        if slot.keys:
            logger.error(
                "Process %s died while it ran %s. The record of a task says what "
                "becomes of it; without one (native delivery), it runs again when the "
                "lock expires, %.0f s after it was taken (%s).",
                slot.pid,
                named(slot.keys),
                self._table.lock_s,
                self._table.lock_setting,
            )
        elif not slot.is_worn:
            time.sleep(RESPAWN_PAUSE_S)  # it died without work: do not spin
        self._spawn()

    def _close(self) -> None:
        if self._wakeups is not None:
            self._wakeups.close()
        for slot in self._slots:
            slot.close()
