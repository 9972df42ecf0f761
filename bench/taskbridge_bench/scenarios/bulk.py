"""Enqueue in bulk: what a task costs if a thousand of them are enqueued at once.

Timed is the enqueuing process alone, from before the first call to after the last, over
TASKS tasks, while no worker runs. It is the library's own bulk call, through TaskBridge
`enqueue_many`; where there is none, a loop of single calls. The facts say which.
"""

import time
from collections.abc import Callable, Sequence

from taskbridge_bench.contenders import EnqueueMany
from taskbridge_bench.turn import Turn

TASKS = 1_000
ROUNDS = 2
NEVER_RUN = [("never-run", key, -1) for key in range(TASKS)]


def bulk(turn: Turn) -> None:
    """Time rounds; the queue is purged after each, and the first is dropped."""
    own = turn.calls.record_many
    timed = one_by_one(turn) if own is None else all_at_once(own)
    facts = {"timed": f"{TASKS:,} single calls" if own is None else "one bulk call"}
    seconds = _rounds(turn, timed)
    turn.save(seconds, samples={"call": [each * 1e6 for each in seconds]}, facts=facts)


def one_by_one(turn: Turn) -> Callable[[], object]:
    """Return what enqueues them by single calls."""

    def enqueue() -> None:
        record = turn.calls.record
        for call in NEVER_RUN:
            record(*call)

    return enqueue


def all_at_once(own: EnqueueMany) -> Callable[[], object]:
    """Return what enqueues them by the library's own bulk call."""
    return lambda: own(NEVER_RUN)


def _rounds(turn: Turn, enqueue: Callable[[], object]) -> Sequence[float]:
    """Return seconds of a task, by round."""
    seconds = []
    turn.calls.purge()
    for _ in range(1 + ROUNDS):
        started = time.perf_counter()
        enqueue()
        seconds.append((time.perf_counter() - started) / TASKS)
        turn.calls.purge()
    return seconds[1:]
