"""`Aside`: records that a dispatcher leaves alone for a while, since they failed."""

from __future__ import annotations

import time
from collections.abc import Iterable

FIRST_PAUSE_S = 1
"""It may have been the store for a moment, and not the record."""
LONGEST_PAUSE_S = 60
LONGEST_DOUBT_S = 8
"""How long a record is left alone, at most, if no other was any better."""


class Aside:
    """Ids that are passed over, so that they hold no other up."""

    def __init__(self) -> None:
        self._pauses: dict[str, tuple[float, float]] = {}
        """How long, and until when on time.monotonic(), a record is left alone."""

    def __len__(self) -> int:
        """How many are left alone now; being due, they are still seen in each look."""
        now = time.monotonic()
        return sum(until > now for _, until in self._pauses.values())

    def put(self, ids: Iterable[str], longest_s: float = LONGEST_PAUSE_S) -> None:
        """Leave records alone: for a second, then twice as long each time."""
        now = time.monotonic()
        for each in ids:
            pause_s = min(2 * self._pause_s(each), longest_s)
            self._pauses[each] = pause_s, now + pause_s

    def leave(self, ids: Iterable[str]) -> None:
        """Leave records alone that somebody else has taken or locked."""
        until = time.monotonic() + FIRST_PAUSE_S
        self._pauses.update({each: (self._pause_s(each), until) for each in ids})

    def has_failed(self, record_id: str) -> bool:
        """Whether a record was put aside, not long ago."""
        return self._pause_s(record_id) >= FIRST_PAUSE_S

    def others(self, ids: Iterable[str]) -> list[str]:
        """Return the ids that are not left alone now."""
        now = time.monotonic()
        self._pauses = {
            key: (pause_s, until)
            for key, (pause_s, until) in self._pauses.items()
            # One that has failed is remembered for its next failure.
            if until + (LONGEST_PAUSE_S if pause_s >= FIRST_PAUSE_S else 0) > now
        }
        return [each for each in ids if self._pauses.get(each, (0.0, now))[1] <= now]

    def _pause_s(self, record_id: str) -> float:
        return self._pauses.get(record_id, (FIRST_PAUSE_S / 2, 0.0))[0]
