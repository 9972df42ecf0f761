"""Keeps what is due in paused queues out of the way of the other queues."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from itertools import groupby

from django.db import DatabaseError

from taskbridge.delivery.paused import PausedQueues
from taskbridge.store import Due, Store

logger = logging.getLogger("taskbridge")

LOOK_EVERY_S = 5


class Parking:
    """Parks what is due in queues that are paused, instead of pushing it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._paused = PausedQueues(store)

    def park(self, due: Sequence[Due]) -> tuple[int, list[Due], list[str]]:
        """Park what is to be parked among READY records.

        Returns:
            How many were parked, those that are to be taken, and the ids of others
            that could not be parked now: somebody has locked them, or their queue was
            resumed. What is cancelled is to be taken, since that ends it.
        """
        names = self._paused.names()
        held = sorted((d for d in due if d.queue_name in names), key=_queue_name)
        moved, left = 0, []
        for queue_name, group in groupby(held, key=_queue_name):
            ids = [each.id for each in group]
            parked = self._park(ids, queue_name)
            moved += parked
            if parked < len(ids):
                left += ids
        cancelled = self._cancelled(left)
        free = [e for e in due if e.queue_name not in names or e.id in cancelled]
        return moved, free, [each for each in left if each not in cancelled]

    def _cancelled(self, ids: Sequence[str]) -> set[str]:
        return {e.id for e in self._store.standing(ids) if e.cancelled_by}

    def _park(self, ids: Sequence[str], queue_name: str) -> int:
        """Park records; one whose row cannot be written holds no other up."""
        try:
            return self._store.park(ids, queue_name)
        except DatabaseError:
            if len(ids) == 1:
                return 0
        return sum(self._park([each], queue_name) for each in ids)


class Unparking:
    """Makes due what is still parked in queues that were resumed, in portions."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._look_at = 0.0

    def step(self) -> int | None:
        """Look for it, now and then; return how many records were moved."""
        if time.monotonic() < self._look_at:
            return None
        moved = self._store.unpark_left_over()
        self._look_at = time.monotonic() + (0 if moved else LOOK_EVERY_S)
        if moved:
            logger.info("%s tasks were still parked, and are due.", moved)
        return moved


def _queue_name(due: Due) -> str:
    return due.queue_name
