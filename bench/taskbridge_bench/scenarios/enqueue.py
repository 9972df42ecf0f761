"""Enqueue: how long a call takes while no worker runs."""

import itertools
import time

from taskbridge_bench.ledger import Round
from taskbridge_bench.turn import Turn

CALLS = 100
ROUNDS = 3


def enqueue(turn: Turn) -> None:
    """Time blocks of calls; purge the queue after each, and drop the first."""
    calls = turn.calls
    never_run = Round(id="never-run", total=-1)
    keys = itertools.count()
    seconds = []
    calls.purge()
    for _ in range(1 + ROUNDS):
        started = time.perf_counter()
        for key in itertools.islice(keys, CALLS):
            calls.record(never_run.id, key, never_run.total)
        seconds.append((time.perf_counter() - started) / CALLS)
        calls.purge()
    turn.save(seconds[1:], samples={"call": [each * 1e6 for each in seconds[1:]]})
