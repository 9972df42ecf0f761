"""What is measured: enqueue, drain, pickup; one block at a time, by pytest-benchmark.

A scenario leaves the raw seconds of its rounds in the benchmark; `summary.QUANTITIES`
says what they mean.
"""

import itertools
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pytest_benchmark.fixture import BenchmarkFixture

from .contenders import Calls
from .ledger import Round
from .plan import Block
from .stage import Stage

ROUND_LIMIT_S = 60.0
"""How long all tasks of a round may take."""
DRAIN_ROUNDS = range(2, 5)
MIN_PAUSE_S = 0.3
"""The longest pause before a task, at least."""
SAMPLES = range(3, 21)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A question that is put to every contender."""

    name: str
    measure: Callable[[Block, Calls, Stage, BenchmarkFixture], None]
    timer: Callable[[], float]
    needs_worker: bool


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
    _pedantic(
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

    Gates hold all slots while it is filled; opening them starts the clock.
    """
    size, ledger = block.size, stage.ledger

    def fill(depth: int) -> tuple[Round, Round]:
        gates = stage.hold_slots(block.contender, calls)
        round_ = ledger.new_round(depth)
        for key in range(depth):
            calls.record(round_.id, key, depth)
        return gates, round_

    def empty(gates: Round, round_: Round) -> None:
        ledger.release(gates)
        ledger.wait(round_, ROUND_LIMIT_S)

    def judge(_gates: Round, round_: Round) -> None:
        ledger.judge(round_)

    ledger.release(stage.hold_slots(block.contender, calls))  # so that it runs
    started = time.monotonic()
    warm_up = fill(size.warm_up_depth)
    empty(*warm_up)
    judge(*warm_up)
    each_s = (time.monotonic() - started) * size.depth / size.warm_up_depth
    benchmark.extra_info["depth"] = size.depth
    _pedantic(
        benchmark,
        empty,
        setup=lambda: (fill(size.depth), {}),
        teardown=judge,
        rounds=_affordable(size.drain_budget_s, each_s, DRAIN_ROUNDS),
    )


class _PickupClock:
    """Tells the time, but at the end of a round the time at which the task started."""

    def __init__(self) -> None:
        self._started: float | None = None
        self.__name__ = "monotonic, read in the worker at the end"

    def __call__(self) -> float:
        started, self._started = self._started, None
        return time.monotonic() if started is None else started

    def stop_at(self, started: float) -> None:
        self._started = started


_pickup_clock = _PickupClock()


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
    pauses = _pauses(block.id, longest_s, samples)
    ledger.release(stage.hold_slots(block.contender, calls))  # warms it up, too

    def pause() -> tuple[tuple[Round], dict[str, Any]]:
        time.sleep(next(pauses))
        return (ledger.new_round(1),), {}

    def run(round_: Round) -> None:
        calls.record(round_.id, 0, 1)
        ledger.wait(round_, ROUND_LIMIT_S)
        _pickup_clock.stop_at(ledger.starts(round_)[0][1])

    _pedantic(benchmark, run, setup=pause, teardown=ledger.judge, rounds=samples)


def _longest_pause_s(poll_s: float) -> float:
    """Return whole polls, so that a task comes at any moment of one with equal chance.

    With a shorter pause the task would always come just after a look.
    """
    return math.ceil(MIN_PAUSE_S / poll_s) * poll_s if poll_s else MIN_PAUSE_S


def _pauses(seed: str, longest_s: float, samples: int) -> Iterator[float]:
    """Yield random pauses in seconds, one from each of `samples` equal strips."""
    order = random.Random(seed)  # noqa: S311 - no secret
    for strip in order.sample(range(samples), samples):
        yield (strip + order.random()) * longest_s / samples


def _pedantic(
    benchmark: BenchmarkFixture, target: Callable[..., object], **options: Any
) -> None:
    # pytest-benchmark 5.3 says that it is typed, and its methods are not.
    benchmark.pedantic(target, **options)  # type: ignore[no-untyped-call]


def _affordable(budget_s: float, each_s: float, limits: range) -> int:
    """Return how many rounds a budget allows, within limits."""
    return max(limits[0], min(int(budget_s / each_s), limits[-1]))


SCENARIOS: Mapping[str, Scenario] = {
    "enqueue": Scenario(
        name="enqueue", measure=enqueue, timer=time.perf_counter, needs_worker=False
    ),
    "drain": Scenario(
        name="drain", measure=drain, timer=time.perf_counter, needs_worker=True
    ),
    "pickup": Scenario(
        name="pickup", measure=pickup, timer=_pickup_clock, needs_worker=True
    ),
}
