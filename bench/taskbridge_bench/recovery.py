"""How long it takes until a task runs again whose process or worker was killed."""

import time
from collections.abc import Callable

from pytest_benchmark.fixture import BenchmarkFixture

from .contenders import Calls, Contender
from .interrupts import DeadlineExceeded
from .plan import RECOVERY_LEASE_S, Block
from .stage import START_S, Stage
from .timing import replay, spread

TRIALS = 3
LIMIT_S = RECOVERY_LEASE_S + 15.0
"""Who has not started the task again by then counts as one that does not."""

Kill = Callable[[Stage, Contender, int], None]


def recovery_process(
    block: Block, calls: Calls, stage: Stage, benchmark: BenchmarkFixture
) -> None:
    """Kill the process that runs a task, and nothing else."""
    _recovery(block, calls, stage, benchmark, _kill_process)


def recovery_worker(
    block: Block, calls: Calls, stage: Stage, benchmark: BenchmarkFixture
) -> None:
    """Kill all processes of the worker at once, and start it anew."""
    _recovery(block, calls, stage, benchmark, _kill_worker)


def _recovery(
    block: Block, calls: Calls, stage: Stage, benchmark: BenchmarkFixture, kill: Kill
) -> None:
    """Measure from SIGKILL to the next start of the task that ran.

    The kill comes at any moment of a lease. One trial in which nothing follows is
    enough: what was lost once would be lost again.
    """
    ledger = stage.ledger
    ledger.release(stage.hold_slots(block.contender, calls))  # so that it runs
    samples: list[float] = []
    is_lost = False
    for pause_s in spread(block.id, RECOVERY_LEASE_S, TRIALS):
        round_ = ledger.new_round(2)  # the two starts of one task
        calls.hold(round_.id, 0, round_.total)
        pid = ledger.holder(round_, START_S)
        time.sleep(pause_s)
        killed = time.monotonic()
        kill(stage, block.contender, pid)
        try:
            ledger.wait(round_, LIMIT_S, watched=False)
        except DeadlineExceeded:
            samples.append(LIMIT_S)
            is_lost = True
            break
        samples.append(ledger.starts(round_)[-1][1] - killed)
        ledger.release(round_)
    benchmark.extra_info.update(
        lease_s=RECOVERY_LEASE_S, limit_s=LIMIT_S, is_lost=is_lost
    )
    replay(benchmark, samples)


def _kill_process(stage: Stage, contender: Contender, pid: int) -> None:
    stage.workers.kill_process(pid)


def _kill_worker(stage: Stage, contender: Contender, pid: int) -> None:
    stage.workers.kill()
    stage.workers.start(contender)
