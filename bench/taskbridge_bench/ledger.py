"""The measuring side of the ledger that `work` writes: rounds, bells and gates."""

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import redis

from .interrupts import DeadlineExceeded
from .verdict import WrongExecution, accusation
from .work import (
    LINE_BYTES,
    QUERIES_KEY,
    bell_key,
    holder_key,
    ledger_path,
    release_key,
)

POLL_S = 0.02
LOOK_EVERY_S = 0.02
SLICE_S = 1.0
"""How often a wait looks at worker and clock; the bell itself ends it at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """A number of tasks that are enqueued and judged together."""

    id: str
    total: int
    """How many tasks; their keys are 0 to total - 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a task; times are seconds of the monotonic clock."""

    key: int
    started: float
    ended: float


class Ledger:
    """Rounds: files of a directory, bells and gates in a Redis database.

    Args:
        client: of that database, which nothing else uses.
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

    def new_stream(self) -> Round:
        """Return a round of which nobody knows yet how many tasks it has; -1.

        Nothing rings its bell, and nobody judges it before `end_stream`.
        """
        return Round(id=f"r{next(self._numbers)}", total=-1)

    def end_stream(self, stream: Round, total: int) -> Round:
        """Return the round of a stream that has `total` tasks, and not one more."""
        round_ = Round(id=stream.id, total=total)
        self._open.append(round_)
        return round_

    def wait(self, round_: Round, limit_s: float, *, watched: bool = True) -> None:
        """Block until all tasks of a round have run.

        Args:
            round_: which.
            limit_s: how long.
            watched: a worker that ends meanwhile ends the wait.

        Raises:
            DeadlineExceeded: after `limit_s`; it says what is missing.
        """
        if self._pop(bell_key(round_.id), limit_s, watched=watched) is None:
            raise DeadlineExceeded(f"After {limit_s:.0f} s: {self.accusation(round_)}")

    def wait_for_runs(self, round_: Round, runs: int, limit_s: float) -> None:
        """Block until some tasks of a round have run, for which no bell rings.

        Raises:
            DeadlineExceeded: after `limit_s`; it says what is missing.
        """
        end = time.monotonic() + limit_s
        while self.count(round_) < runs:
            if time.monotonic() > end:
                accusation = self.accusation(round_)
                raise DeadlineExceeded(f"After {limit_s:.0f} s: {accusation}")
            self._while_waiting()
            time.sleep(LOOK_EVERY_S)

    def finishes(self, round_: Round, window_s: float) -> bool:
        """Wait until all tasks of a round have run; tell whether they did in time."""
        bell = self._pop(bell_key(round_.id), window_s, watched=True)
        return bell is not None

    def fills(self, round_: Round, limit_s: float) -> bool:
        """As `finishes`, for the round of a stream, which has no bell: by polling."""
        end = time.monotonic() + limit_s
        while self.count(round_) < round_.total:
            if time.monotonic() > end:
                return False
            self._while_waiting()
            time.sleep(POLL_S)
        return True

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

    def runs(self, round_: Round) -> list[Run]:
        """Return every run of every task that has ended, in the order of their ends."""
        try:
            lines = ledger_path(round_.id).read_bytes().splitlines()
        except FileNotFoundError:
            return []
        return [
            Run(key=int(key), started=int(started) / 1e9, ended=int(ended) / 1e9)
            for key, started, ended in map(bytes.split, lines)
        ]

    def count(self, round_: Round) -> int:
        """Return how many runs have ended."""
        try:
            return ledger_path(round_.id).stat().st_size // LINE_BYTES
        except FileNotFoundError:
            return 0

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
        if wrong := self.accusation(round_):
            self._open.remove(round_)
            raise WrongExecution(wrong)

    def accusation(self, round_: Round, *, is_over: bool = True) -> str:
        """Say what is wrong with a round so far; see `verdict.accusation`."""
        keys = (run.key for run in self.runs(round_))
        return accusation(round_.total, keys, is_over=is_over)

    def abandon(self, round_: Round) -> None:
        """Do not judge a round that was cut off: its queue is going to be purged."""
        self._open.remove(round_)

    def release_all(self) -> None:
        """Open all gates, so that a worker can end."""
        for round_ in self._open:
            self.release(round_)

    def close_rounds(self) -> list[str]:
        """Judge all rounds once more, when no worker runs, and forget them.

        Returns:
            What is wrong with each: tasks that ran again after their round.
        """
        accusations = [
            f"after the round, {self.accusation(round_)}"
            for round_ in self._open
            if self.count(round_) > round_.total
        ]
        self._open.clear()
        self._client.flushdb()
        return accusations
