"""Says for a worker that it is there: its supervisor asks nobody anything."""

from __future__ import annotations

import time

from taskbridge.store import Store, Worker

SAY_EVERY_S = 10
FORGET_EVERY_S = 600


class Presence:
    """Keeps the row of a worker fresh, and removes those of workers that are gone."""

    def __init__(self, store: Store, worker: Worker) -> None:
        self._store = store
        self._worker = worker
        self._say_at = 0.0
        self._forget_at = 0.0

    def step(self) -> int | None:
        """Do what it is time for; None: nothing."""
        now = time.monotonic()
        if now < self._say_at:
            return None
        self._say_at = now + SAY_EVERY_S  # also if this fails
        self._store.see(self._worker)
        if now >= self._forget_at:
            self._forget_at = now + FORGET_EVERY_S
            self._store.forget_silent()
        return 0

    def end(self) -> None:
        """Say that the worker ends."""
        self._store.leave(self._worker.id)
