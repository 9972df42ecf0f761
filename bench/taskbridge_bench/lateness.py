"""How late, or early, tasks start that are due at a time."""

import random
import time
from datetime import UTC, datetime

from pytest_benchmark.fixture import BenchmarkFixture

from .contenders import Calls
from .interrupts import DeadlineExceeded
from .plan import Block
from .stage import Stage
from .timing import replay

TASKS = 100
SPREAD_S = 10.0
LEAD_S = 4.0
"""From the first call to the first due time; all calls must fit into it."""
LIMIT_S = 90.0
"""How late the last task may be; Django-Q2 looks every 30 s."""


def lateness(
    block: Block, calls: Calls, stage: Stage, benchmark: BenchmarkFixture
) -> None:
    """Enqueue tasks that are due over the next seconds, and see when each starts.

    A sample is the start of a task, read in the worker, minus its due time.
    """
    ledger = stage.ledger
    ledger.release(stage.hold_slots(block.contender, calls))  # so that it runs
    # Else a scheduler that looks every n seconds would always be met in one phase.
    time.sleep(random.uniform(0, 2))  # noqa: S311 - no secret
    round_ = ledger.new_round(TASKS)
    # The worker reads the monotonic clock, which is the same for all processes.
    wall_minus_monotonic = time.time() - time.monotonic()
    first = time.time() + LEAD_S
    dues = [first + key * SPREAD_S / TASKS for key in range(TASKS)]
    for key, due in enumerate(dues):
        calls.record_at(datetime.fromtimestamp(due, UTC), round_.id, key, TASKS)
    if (late_s := time.time() - first) > 0:
        raise DeadlineExceeded(
            f"{TASKS} calls took {LEAD_S + late_s:.1f} s, and the first was due after "
            f"{LEAD_S:.0f} s."
        )
    ledger.wait(round_, LEAD_S + SPREAD_S + LIMIT_S)
    ledger.judge(round_)
    benchmark.extra_info.update(tasks=TASKS, spread_s=SPREAD_S)
    replay(
        benchmark,
        [
            started + wall_minus_monotonic - dues[key]
            for key, started in ledger.starts(round_)
        ],
    )
