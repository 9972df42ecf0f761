"""`Absent`: tells of messages whose records are not there; nobody else notices."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from django.db import DatabaseError

from taskbridge import events
from taskbridge.exceptions import StoreUnavailable
from taskbridge.handles import TaskResult
from taskbridge.store import Record, Store

Ask = Callable[[Callable[[], list[Record]]], list[Record]]

LOOK_EVERY_S = 60
"""A message that cannot be claimed is nearly always a duplicate; they cost no query."""
TELL_EVERY_S = 600


class Absent:
    """Looks now and then whether what could not be claimed has a record at all."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._look_at = 0.0

    def look(self, results: Sequence[TaskResult[Any]], ask: Ask) -> None:
        """Log it if there are no records of these tasks, once in a while.

        Args:
            results: of tasks that could not be claimed.
            ask: calls a query where records are claimed.
        """
        now = time.monotonic()
        if not results or now < self._look_at:
            return
        self._look_at = now + LOOK_EVERY_S
        ids = [result.id for result in results]
        try:
            there = {record.id for record in ask(lambda: self._store.get(ids))}
        except (StoreUnavailable, DatabaseError):
            return  # nothing depends on it
        absent = [result for result in results if result.id not in there]
        if absent:
            self._look_at = now + TELL_EVERY_S
            events.absent(absent, self._store)
