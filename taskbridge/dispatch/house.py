"""Keeps the records of one backend in order."""

from __future__ import annotations

import logging
import time

from taskbridge.adapter import Adapter
from taskbridge.options import DurableOptions
from taskbridge.store import Pruned, Store

logger = logging.getLogger("taskbridge")

PRUNE_EVERY_S = 60
FIRST_BATCH = 1000
LEAST_BATCH = 100
MOST_IN_BATCH = 10_000
BATCH_S = 0.2
"""How long a batch may take: lost attempts wait for it."""


class Takeover:
    """Takes over, once, what was pushed to another queue before a change of TASKS."""

    def __init__(self, adapter: Adapter, store: Store) -> None:
        self._adapter = adapter
        self._store = store
        self._is_done = False

    def step(self) -> int | None:
        """Make what waits in another queue due now; return how many records."""
        if self._is_done:
            return None
        moved = self._store.redirect(self._adapter.channel)
        self._is_done = True
        if moved:
            logger.warning(
                "%s tasks that wait in another queue are delivered through %s.",
                moved,
                self._adapter,
            )
        return moved


class PruneBatch:
    """How many records to delete at once, so that it takes no longer than 0.2 s.

    That depends on the database, its disk, and what refers to the records.
    """

    def __init__(self) -> None:
        self.size = FIRST_BATCH

    def note(self, pruned: Pruned, took_s: float) -> None:
        """Take note of how long a batch took."""
        if took_s > BATCH_S:
            fitting = int(self.size * BATCH_S / took_s)
            self.size = max(min(fitting, self.size // 2), LEAST_BATCH)
        elif pruned.deleted == self.size and took_s < BATCH_S / 2:
            self.size = min(self.size * 2, MOST_IN_BATCH)


class Pruning:
    """Deletes records that finished long enough ago, one batch a step."""

    def __init__(self, store: Store, options: DurableOptions) -> None:
        self._store = store
        self._options = options
        self._next_at = 0.0
        self._kept = 0
        self._batch = PruneBatch()

    def step(self) -> int | None:
        """Delete a batch, if it is time to; return how many records.

        It is one batch a step, so that due tasks do not wait for all of them.
        """
        if time.monotonic() < self._next_at:
            return None
        began = time.monotonic()
        self._next_at = began + PRUNE_EVERY_S  # also if this fails
        pruned = self._store.prune(
            successful_s=self._options.retention_s,
            failed_s=self._options.failed_retention_s,
            limit=self._batch.size,
        )
        self._batch.note(pruned, time.monotonic() - began)
        self._kept += pruned.kept
        if pruned.more:
            self._next_at = 0.0
        elif self._kept:
            self._tell_of_kept()
        return pruned.deleted

    def _tell_of_kept(self) -> None:
        logger.info(
            "%s old records are kept, since rows of other tables refer to them.",
            self._kept,
        )
        self._kept = 0
