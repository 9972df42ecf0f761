"""`Ahead`: the rows that the pool will claim next, and which of them run as a chunk."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Sequence

from taskbridge.merging import Merger, joined

from .table import Table

LOOK_AHEAD = 500
"""Keys read for each process at a time, more than it can use before the next look.
Reading few costs as much, since the database sorts all due rows; nothing is locked."""
LOOK_AHEAD_FOR_S = 0.5
"""How long these keys are used; a new row of higher priority waits no longer."""
LONGEST_ROW = 100_000
"""Characters; a longer row is alone, and only the process that runs it reads it."""


class Ahead:
    """Keys of rows that are due, in order; that they are here locks nothing.

    Args:
        table: where they are.
        queues: names of queues, as the table has them.
        processes: how many chunks may run at once.
        merger: which rows are one chunk.
    """

    def __init__(
        self, table: Table, queues: Collection[str], processes: int, merger: Merger
    ) -> None:
        self._table = table
        self._queues = queues
        self._merger = merger
        self._limit = LOOK_AHEAD * processes
        self._keys: deque[int] = deque()
        self._is_all = True
        """Whether nothing was due behind the keys that were read."""
        self._until = 0.0
        self._bodies: dict[int, str | None] = {}
        """Those that were read, by key; None: its process is to read the row."""

    def __bool__(self) -> bool:
        return bool(self._keys)

    def is_enough(self, processes: int) -> bool:
        """Whether so many processes can be given rows without another look."""
        each = 1 if self._is_all else self._merger.reach(self._limit)
        is_fresh = time.monotonic() < self._until
        return is_fresh and len(self._keys) >= processes * each

    def look(self) -> None:
        """Read which rows are due; those of before are forgotten."""
        self._keys = deque(self._table.due(self._queues, self._limit))
        self._is_all = len(self._keys) < self._limit
        self._until = time.monotonic() + LOOK_AHEAD_FOR_S
        if self._bodies:
            known = {key: self._bodies.get(key) for key in self._keys}
            self._bodies = {key: body for key, body in known.items() if body}

    def take(self, processes: int) -> list[list[int]]:
        """Remove and return the next rows for so many processes: a chunk for each."""
        waiting = len(self._keys) if self._is_all else self._limit
        each = self._merger.reach(waiting)
        count = min(len(self._keys), processes * each)
        keys = [self._keys.popleft() for _ in range(count)]
        if each == 1:
            return [[key] for key in keys]
        self._read([key for key in keys if key not in self._bodies])
        groups = self._merger.groups([self._bodies[key] for key in keys], waiting)
        chunks = [[keys[index] for index in group] for group in groups]
        # What has no process is nobody's yet: a process of another pool may be idle.
        left = [key for chunk in chunks[processes:] for key in chunk]
        self._keys.extendleft(reversed(left))
        return chunks[:processes]

    def body_of(self, chunk: Sequence[int]) -> str | None:
        """Return what the rows of a chunk carry; None: the only one is to be read."""
        bodies = [self._bodies.pop(key, None) for key in chunk]
        known = [body for body in bodies if body is not None]
        return joined(known) if len(known) == len(chunk) else None

    def _read(self, keys: Sequence[int]) -> None:
        rows = self._table.look(keys, LONGEST_ROW)
        for key in keys:
            body = self._table.body_of(rows[key]) if key in rows else None
            self._bodies[key] = body if isinstance(body, str) else None
