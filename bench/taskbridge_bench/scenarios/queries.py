"""Queries: how many a task costs, where it is enqueued and in the worker, and idleness.

Counted by Django's execute wrapper on all connections of all processes of the worker,
which is started for this with TASKBRIDGE_BENCH_COUNT_QUERIES=1; nothing is timed. The
wrapper does not see COMMIT, nor BEGIN except on SQLite, nor the queries of a library
that opens connections of its own. What the worker asks on its own account while tasks
run (for more work, for its heartbeat) is part of the number. The facts name each kind
of statement and its table.
"""

import time
from collections.abc import Mapping

from django.db import connection

from taskbridge_bench.counting.apps import QueryCounter
from taskbridge_bench.records import Records
from taskbridge_bench.turn import Turn

TASKS = 200
IDLE_S = 5.0
SETTLE_S = 1.0
"""After the last task; then what a library does behind it has been done."""
LIMIT_S = 60.0
SHOWN = 6
"""How many kinds of query the facts name, the most frequent ones."""


def queries(turn: Turn) -> None:
    """Count while tasks are enqueued, while they run, and while nothing happens."""
    ledger = turn.ledger
    turn.warm_up()
    records = Records(turn.calls, turn.stage)
    gates = turn.hold_slots()
    round_ = ledger.new_round(TASKS)
    enqueuing = QueryCounter()
    with connection.execute_wrapper(enqueuing):
        for key in range(TASKS):
            turn.calls.record(round_.id, key, TASKS)
    ledger.take_query_counts()
    opened = time.monotonic()
    ledger.release(gates)
    ledger.wait(round_, LIMIT_S)
    ledger.judge(round_)
    records.judge(gates.total + TASKS)
    seconds = time.monotonic() - opened
    time.sleep(SETTLE_S)
    running = ledger.take_query_counts()
    idle_s = max(IDLE_S, 2 * turn.contender.poll_s)
    time.sleep(idle_s)
    idle = ledger.take_query_counts()
    turn.save(
        [seconds],
        samples={
            "enqueue_queries": [enqueuing.counts.total() / TASKS],
            "worker_queries": [sum(running.values()) / TASKS],
            "idle_queries": [sum(idle.values()) / idle_s],
        },
        facts={
            "where enqueued": in_words(enqueuing.counts, TASKS),
            "in the worker": in_words(running, TASKS),
            "idle, per second": in_words(idle, idle_s),
        },
    )


def in_words(counts: Mapping[str, int], number: float) -> str:
    """Return how often each kind was asked, per `number`, the most frequent first."""
    ordered = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    named = [f"{count / number:.2f} {kind}" for kind, count in ordered[:SHOWN]]
    rest = sum(count for _, count in ordered[SHOWN:])
    if rest:
        named.append(f"{rest / number:.2f} others")
    return ", ".join(named) or "none"
