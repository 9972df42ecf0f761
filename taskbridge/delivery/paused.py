"""What a worker does with messages of queues that are paused."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Sequence
from itertools import groupby
from typing import Any

from django.db import DatabaseError

from taskbridge.exceptions import StoreUnavailable
from taskbridge.handles import TaskResult
from taskbridge.store import Store

logger = logging.getLogger("taskbridge")

LOOK_EVERY_S = 1.0


class PausedQueues:
    """The names of the queues that are paused, as they were a second ago."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._names: Collection[str] = ()
        self._look_at = 0.0

    def names(self) -> Collection[str]:
        """Return them.

        Raises:
            StoreUnavailable, DatabaseError: nobody knows.
        """
        if time.monotonic() >= self._look_at:
            self._names = set(self._store.paused())
            self._look_at = time.monotonic() + LOOK_EVERY_S
        return self._names


class Refused:
    """Parks what was not claimed because its queue is paused: its message is used up.

    What it does not know of a pause that is younger than a second, or cannot write, is
    left to the dispatcher.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._paused = PausedQueues(store)

    def park(
        self,
        results: Sequence[TaskResult[Any]],
        ask: Callable[[Callable[[], Any]], Any],
    ) -> list[TaskResult[Any]]:
        """Park tasks whose queue is paused; return the others.

        Args:
            results: of tasks that were started equally often, and not claimed.
            ask: calls a query where records are claimed.
        """
        try:
            names = ask(self._paused.names) if results else ()
            held = [each for each in results if each.task.queue_name in names]
            for queue_name, group in groupby(sorted(held, key=_queue), key=_queue):
                some = list(group)
                self._park(queue_name, some, ask)
        except (StoreUnavailable, DatabaseError) as exc:
            logger.info("What a paused queue holds is left to the dispatcher: %s", exc)
            return list(results)
        return [each for each in results if each.task.queue_name not in names]

    def _park(
        self,
        queue_name: str,
        results: Sequence[TaskResult[Any]],
        ask: Callable[[Callable[[], Any]], Any],
    ) -> None:
        ids = [each.id for each in results]
        attempt = len(results[0].worker_ids)
        ask(lambda: self._store.park_refused(ids, queue_name, attempt=attempt))


def _queue(result: TaskResult[Any]) -> str:
    return result.task.queue_name
