"""How many queries a task costs: where it is enqueued, and in the worker."""

import time
from collections.abc import Mapping

from django.db import connection
from pytest_benchmark.fixture import BenchmarkFixture

from .contenders import Calls
from .counting.apps import QueryCounter
from .plan import Block
from .scenarios import ROUND_LIMIT_S
from .stage import Stage
from .timing import replay

TASKS = 200
IDLE_S = 5.0
FINISH_S = 1.0
"""How long the end of a task is waited for: only its start is in the ledger."""


def queries(
    block: Block, calls: Calls, stage: Stage, benchmark: BenchmarkFixture
) -> None:
    """Count while nothing happens, while tasks are enqueued, and while they run.

    Django's execute wrapper does not see COMMIT, nor BEGIN except on SQLite. What the
    worker's processes ask on their own account while tasks run is part of the number.
    """
    ledger = stage.ledger
    ledger.release(stage.hold_slots(block.contender, calls))  # so that it runs
    time.sleep(FINISH_S)
    ledger.take_query_counts()
    time.sleep(IDLE_S)
    idle = ledger.take_query_counts()

    gates = stage.hold_slots(block.contender, calls)
    round_ = ledger.new_round(TASKS)
    counter = QueryCounter()
    with connection.execute_wrapper(counter):
        for key in range(TASKS):
            calls.record(round_.id, key, TASKS)
    ledger.take_query_counts()
    started = time.monotonic()
    ledger.release(gates)
    ledger.wait(round_, ROUND_LIMIT_S)
    took_s = time.monotonic() - started
    time.sleep(FINISH_S)
    ran = ledger.take_query_counts()
    ledger.judge(round_)
    stage.settle(calls)
    benchmark.extra_info.update(
        tasks=TASKS,
        enqueue_queries=_per(counter.counts, TASKS),
        worker_queries=_per(ran, TASKS),
        idle_queries_per_s=_per(idle, IDLE_S),
    )
    replay(benchmark, [took_s])


def _per(counts: Mapping[str, int], number: float) -> dict[str, float]:
    return {kind: count / number for kind, count in sorted(counts.items())}
