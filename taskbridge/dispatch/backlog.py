"""`Backlog`: tells messages that still wait in their queue from those that are lost."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Sequence

from taskbridge.store import Due, Store

from .pushing import Pushing

logger = logging.getLogger("taskbridge")

LONGEST_REDELIVER_S = 3600
"""How long a message may wait, at most, before it is pushed again all the same."""
DOUBTS_AFTER = 4
"""How many times REDELIVER passes, at most, while it cannot be told what is lost."""
ASK_EVERY_S = 1
SHARE = 20
"""Asking takes at most one part in so many of the time, however long the backlog is."""
POSTPONED_PER_S = 500
"""How many records are looked at again a second, at most: each costs a write."""


class Backlog:
    """Sees to records whose messages wait for longer than REDELIVER.

    A queue that holds as many messages as it has records has lost none of them, and
    pushing them again would only make it longer. If it holds fewer, the difference is
    lost, or a worker has just taken it; those that have waited longest are pushed.
    """

    def __init__(self, adapter: Pushing, store: Store) -> None:
        self._adapter = adapter
        self._store = store
        self._options = adapter.durable_options
        self._records: dict[str, int] = {}
        """How many were pushed and not claimed, by queue."""
        self._missing: dict[str, int] = {}
        """How many of them have no message; not there: any may have none."""
        self._doubtful: set[str] = set()
        """Queues that hold fewer messages than tasks wait."""
        self._ask_at = 0.0
        self._waits_since: dict[str, float] = {}
        """Since when a queue has held all its messages, on time.monotonic()."""

    def split(self, due: Sequence[Due]) -> tuple[dict[float, list[str]], list[Due]]:
        """Return those whose messages wait, by how long to let them, and the others.

        Args:
            due: READY, the longest overdue first.
        """
        self._ask_if_it_is_time()
        waiting: defaultdict[float, list[str]] = defaultdict(list)
        others: list[Due] = []
        for each in due:
            if each.pushes and self._still_waits(each.queue_name):
                waiting[self._pause_s(each.queue_name)].append(each.id)
            else:
                others.append(each)
        return waiting, others

    def _still_waits(self, queue_name: str) -> bool:
        """Whether the next of a queue has a message there; it is counted off."""
        missing = self._missing.get(queue_name)
        if missing is None:
            return False
        if missing:
            self._missing[queue_name] -= 1
            return False
        # Messages of others in the same queue may hide that ours are lost.
        now = time.monotonic()
        for_s = now - self._waits_since.setdefault(queue_name, now)
        longest_s = self._longest_s(queue_name)
        if for_s > longest_s + self._pause_s(queue_name):
            del self._waits_since[queue_name]  # each had its turn
        return for_s <= longest_s

    def _longest_s(self, queue_name: str) -> float:
        """Return how long a queue that seems to hold all its messages is believed.

        If it holds fewer messages than there are tasks, each may carry several, or
        some are lost.
        """
        if queue_name not in self._doubtful:
            return LONGEST_REDELIVER_S
        return min(DOUBTS_AFTER * self._options.redeliver_s, LONGEST_REDELIVER_S)

    def _pause_s(self, queue_name: str) -> float:
        return max(
            min(self._options.redeliver_s, LONGEST_REDELIVER_S),
            min(self._records[queue_name] / POSTPONED_PER_S, LONGEST_REDELIVER_S),
        )

    def _ask_if_it_is_time(self) -> None:
        began = time.monotonic()
        if began < self._ask_at:
            return
        self._missing = self._ask()
        self._waits_since = {
            queue_name: since
            for queue_name, since in self._waits_since.items()
            if queue_name in self._missing
        }
        now = time.monotonic()
        self._ask_at = now + max(ASK_EVERY_S, SHARE * (now - began))

    def _ask(self) -> dict[str, int]:
        try:
            depths = self._adapter.queue_depths()
            if not any(depths.values()):
                return {}
            horizon_s = max(self._options.redeliver_s, LONGEST_REDELIVER_S)
            self._records = self._store.waiting(horizon_s=horizon_s)
        except Exception as exc:  # noqa: BLE001 - also a bug of an adapter
            logger.info("%s cannot tell what waits: %s", self._adapter, exc)
            return {}
        known = {n: d for n, d in depths.items() if d and n in self._records}
        self._doubtful = {n for n, depth in known.items() if depth < self._records[n]}
        return {
            name: max(0, self._records[name] - depth * self._options.chunk)
            for name, depth in known.items()
        }
