"""`Turns`: the tasks of a chunk that have not begun, which two threads may take."""

from __future__ import annotations

import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from taskbridge.handles import TaskResult

_OF_CHUNK = "+"
"""Begins the token of a claim of several tasks; tokens are hex digits else."""


def new_token(tasks: int) -> str:
    """Return a token for a claim of so many tasks: 16 characters."""
    return (
        f"{_OF_CHUNK}{secrets.token_hex(8)[1:]}" if tasks > 1 else secrets.token_hex(8)
    )


def is_of_chunk(token: str) -> bool:
    """Whether the claim with this token was for several tasks."""
    return token.startswith(_OF_CHUNK)


def in_turn(results: Sequence[TaskResult[Any]]) -> list[TaskResult[Any]]:
    """Return the tasks of a chunk in the order in which they start.

    `Store.first_lost` knows it, too, by what is in the records.
    """
    return sorted(results, key=lambda result: (-result.task.priority, result.id))


class Turns:
    """Who is next. One thread runs the tasks; another may give back the rest."""

    def __init__(self, results: Sequence[TaskResult[Any]]) -> None:
        self._waiting = deque(results)
        self._lock = threading.Lock()
        self._began_at = self._turn_at = time.monotonic()

    def __iter__(self) -> Iterator[TaskResult[Any]]:
        """Yield those that were not given back, each when its turn comes."""
        while True:
            with self._lock:
                if not self._waiting:
                    return
                self._turn_at = time.monotonic()
                result = self._waiting.popleft()
            yield result

    @property
    def are_left(self) -> bool:
        """Whether somebody waits."""
        return bool(self._waiting)

    @property
    def lasts_s(self) -> float:
        """Seconds since the first turn began."""
        return time.monotonic() - self._began_at

    @property
    def turn_lasts_s(self) -> float:
        """Seconds since the current turn began."""
        return time.monotonic() - self._turn_at

    def hand_on(self, give: Callable[[list[str]], bool]) -> bool:
        """Take those that wait out of the sequence, if `give` says that they have gone.

        Args:
            give: takes their ids; no turn begins meanwhile.

        Returns:
            Whether nobody waits any more.
        """
        with self._lock:
            if self._waiting and give([result.id for result in self._waiting]):
                self._waiting.clear()
            return not self._waiting
