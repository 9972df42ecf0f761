"""Enqueue, drain and pickup: what is measured in each lane, one block at a time.

A scenario leaves the raw seconds of its rounds in the benchmark; `summary.QUANTITIES`
says what they mean.
"""

import itertools
import math
import time
from typing import Any

from pytest_benchmark.fixture import BenchmarkFixture

from .contenders import Calls
from .ledger import Round
from .plan import Block
from .stage import Stage
from .timing import pedantic, pickup_clock, spread
from .verdict import WrongExecution

ROUND_LIMIT_S = 60.0
"""How long all tasks of a round may take."""
DRAIN_ROUNDS = range(2, 5)
MIN_PAUSE_S = 0.3
"""The longest pause before a task, at least."""
SAMPLES = range(3, 21)


def enqueue(
    block: Block, calls: Calls, stage: Stage, benchmark: BenchmarkFixture
) -> None:
    """Time blocks of calls while no worker runs; the queue is purged after each."""
    size = block.size
    never_run = Round(id="never-run", total=-1)
    keys = itertools.count()

    def call() -> None:
        calls.record(never_run.id, next(keys), never_run.total)

    calls.purge()
    benchmark.extra_info["calls_per_round"] = size.enqueue_calls
    pedantic(
        benchmark,
        call,
        iterations=size.enqueue_calls,
        rounds=size.enqueue_rounds,
        warmup_rounds=1,
        teardown=calls.purge,
    )


def drain(
    block: Block, calls: Calls, stage: Stage, benchmark: BenchmarkFixture
) -> None:
    """Time how long the worker takes to empty a queue that was filled before.

    Gates hold all slots while it is filled; opening them starts the clock. In durable
    delivery each task must have left a record that it succeeded.
    """
    size, ledger = block.size, stage.ledger
    records = _Records(calls, stage)

    def fill(depth: int, gates: Round | None = None) -> tuple[Round, Round]:
        gates = gates or stage.hold_slots(block.contender, calls)
        round_ = ledger.new_round(depth)
        for key in range(depth):
            calls.record(round_.id, key, depth)
        return gates, round_

    def empty(gates: Round, round_: Round) -> None:
        ledger.release(gates)
        ledger.wait(round_, ROUND_LIMIT_S)

    def judge(gates: Round, round_: Round) -> None:
        ledger.judge(round_)
        records.judge(gates.total + round_.total)

    gates = stage.hold_slots(block.contender, calls)  # from here on it runs
    started = time.monotonic()
    warm_up = fill(size.warm_up_depth, gates)
    empty(*warm_up)
    judge(*warm_up)
    each_s = (time.monotonic() - started) * size.depth / size.warm_up_depth
    each_s += block.contender.poll_s  # until the next gates are found
    benchmark.extra_info["depth"] = size.depth
    pedantic(
        benchmark,
        empty,
        setup=lambda: (fill(size.depth), {}),
        teardown=judge,
        rounds=_affordable(size.drain_budget_s, each_s, DRAIN_ROUNDS),
    )


class _Records:
    """The records of this contender, those of blocks before included."""

    def __init__(self, calls: Calls, stage: Stage) -> None:
        self._calls = calls
        self._stage = stage
        self._expected = stage.settle(calls)

    def judge(self, new: int) -> None:
        """Raise unless so many more tasks have a record, and all of them succeeded."""
        self._expected += new
        found = self._stage.settle(self._calls)
        if self._calls.records is not None and found != self._expected:
            raise WrongExecution(
                f"{found} tasks have a record of success, of {self._expected}."
            )


def pickup(
    block: Block, calls: Calls, stage: Stage, benchmark: BenchmarkFixture
) -> None:
    """Time from the call of enqueue to the start of the task, one task at a time."""
    ledger = stage.ledger
    longest_s = _longest_pause_s(block.contender.poll_s)
    samples = _affordable(
        block.size.pickup_budget_s,
        (longest_s + block.contender.poll_s) / 2 + 0.02,
        SAMPLES,
    )
    pauses = spread(block.id, longest_s, samples)
    ledger.release(stage.hold_slots(block.contender, calls))  # warms it up, too

    def pause() -> tuple[tuple[Round], dict[str, Any]]:
        time.sleep(next(pauses))
        return (ledger.new_round(1),), {}

    def run(round_: Round) -> None:
        calls.record(round_.id, 0, 1)
        ledger.wait(round_, ROUND_LIMIT_S)
        pickup_clock.stop_at(ledger.starts(round_)[0][1])

    pedantic(benchmark, run, setup=pause, teardown=ledger.judge, rounds=samples)


def _longest_pause_s(poll_s: float) -> float:
    """Return whole polls, so that a task comes at any moment of one with equal chance.

    With a shorter pause the task would always come just after a look.
    """
    return math.ceil(MIN_PAUSE_S / poll_s) * poll_s if poll_s else MIN_PAUSE_S


def _affordable(budget_s: float, each_s: float, limits: range) -> int:
    """Return how many rounds a budget allows, within limits."""
    return max(limits[0], min(int(budget_s / each_s), limits[-1]))
