"""The measuring side of the ledger that `work` writes: rounds, bells and gates."""

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import redis

from .interrupts import DeadlineExceeded
from .verdict import WrongExecution, accusation
from .work import QUERIES_KEY, bell_key, holder_key, ledger_key, release_key

SLICE_S = 1.0
"""How often a wait looks at worker and clock; the bell itself ends it at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """A number of tasks that are enqueued and judged together."""

    id: str
    total: int
    """How many tasks; their keys are 0 to total - 1."""


class Ledger:
    """Rounds in a Redis database of their own.

    Args:
        client: of that database.
        while_waiting: called each second of a wait; it may raise to end it.
    """

    def __init__(self, client: redis.Redis, while_waiting: Callable[[], None]) -> None:
        self._client = client
        self._while_waiting = while_waiting
        self._numbers = itertools.count(1)
        self._open: list[Round] = []

    def new_round(self, total: int) -> Round:
        """Return a round of `total` tasks."""
        round_ = Round(id=f"r{next(self._numbers)}", total=total)
        self._open.append(round_)
        return round_

    def wait(self, round_: Round, limit_s: float, *, watched: bool = True) -> None:
        """Block until all tasks of a round have started.

        Args:
            round_: which.
            limit_s: how long.
            watched: a worker that ends meanwhile ends the wait.

        Raises:
            DeadlineExceeded: after `limit_s`; it says what is missing.
        """
        if self._pop(bell_key(round_.id), limit_s, watched=watched) is None:
            wrong = accusation(round_.total, (key for key, _ in self.starts(round_)))
            raise DeadlineExceeded(f"After {limit_s:.0f} s: {wrong}")

    def holder(self, gates: Round, limit_s: float) -> int:
        """Wait for the next start of a gate; return the id of its process.

        Raises:
            DeadlineExceeded: after `limit_s`.
        """
        pid = self._pop(holder_key(gates.id), limit_s, watched=True)
        if pid is None:
            raise DeadlineExceeded(f"After {limit_s:.0f} s: no gate has started.")
        return int(pid)

    def _pop(self, key: str, limit_s: float, *, watched: bool) -> bytes | None:
        end = time.monotonic() + limit_s
        while (left := end - time.monotonic()) > 0:
            found = self._client.blpop([key], timeout=min(left, SLICE_S))
            if found:
                return cast("tuple[bytes, bytes]", found)[1]
            if watched:
                self._while_waiting()
        return None

    def release(self, gates: Round) -> None:
        """Open the gates of a round."""
        self._client.rpush(release_key(gates.id), *range(gates.total))

    def starts(self, round_: Round) -> list[tuple[int, float]]:
        """Return the key and the monotonic time of each start, in order."""
        entries = cast("list[bytes]", self._client.lrange(ledger_key(round_.id), 0, -1))
        pairs = (entry.split() for entry in entries)
        return [(int(key), float(time_s)) for key, time_s in pairs]

    def take_query_counts(self) -> dict[str, int]:
        """Return how often each kind of query was asked since the last call."""
        with self._client.pipeline() as pipeline:
            pipeline.hgetall(QUERIES_KEY)
            pipeline.delete(QUERIES_KEY)
            counts = cast("dict[bytes, bytes]", pipeline.execute()[0])
        return {kind.decode(): int(count) for kind, count in counts.items()}

    def judge(self, round_: Round) -> None:
        """Raise unless each task of the round ran exactly once so far.

        Raises:
            WrongExecution: naming the tasks.
        """
        wrong = accusation(round_.total, (key for key, _ in self.starts(round_)))
        if wrong:
            self._open.remove(round_)
            raise WrongExecution(wrong)

    def release_all(self) -> None:
        """Open all gates, so that a worker can end."""
        for round_ in self._open:
            self.release(round_)

    def close_rounds(self) -> list[str]:
        """Judge all rounds once more, when no worker runs, and forget them.

        Returns:
            What is wrong with each: tasks that ran again after their round.
        """
        accusations = []
        for round_ in self._open:
            starts = self.starts(round_)
            if len(starts) > round_.total:
                wrong = accusation(round_.total, (key for key, _ in starts))
                accusations.append(f"after the round, {wrong}")
        self._open.clear()
        self._client.flushdb()
        return accusations
