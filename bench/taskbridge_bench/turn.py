"""A turn: one contender does some rounds of one scenario, and says what it saw."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytest_benchmark.fixture import BenchmarkFixture

from .contenders import Calls, Contender
from .ledger import Ledger, Round
from .plan import Block
from .stage import Stage
from .timing import replay
from .verdict import WrongExecution

GRACE_S = 10.0
"""If no task has ended for so long, and two polls, those that are left are lost."""


class Turn:
    """What a scenario works with: a contender's calls, the stage, a place to save.

    Attributes:
        block: what is measured.
        calls: how the contender enqueues.
        stage: ledger and workers.
        benchmark: pytest-benchmark's fixture; its timer replays what `save` is given.
    """

    def __init__(
        self, block: Block, calls: Calls, stage: Stage, benchmark: BenchmarkFixture
    ) -> None:
        self.block = block
        self.calls = calls
        self.stage = stage
        self.benchmark = benchmark

    @property
    def contender(self) -> Contender:
        """Whose turn it is."""
        return self.block.contender

    @property
    def ledger(self) -> Ledger:
        """Of the stage."""
        return self.stage.ledger

    def hold_slots(self) -> Round:
        """Return when a gate keeps each slot of the worker; see `Stage.hold_slots`."""
        return self.stage.hold_slots(self.contender, self.calls)

    def warm_up(self) -> None:
        """Start the worker unless it runs; return when each slot has run a task."""
        self.ledger.release(self.hold_slots())

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep all slots busy in the block, and free them at its end."""
        gates = self.hold_slots()
        try:
            yield
        finally:
            self.ledger.release(gates)

    def catches_up(self, round_: Round) -> bool:
        """Tell whether a round that was not done in time is done soon after.

        It waits for the next task that ends: then the contender is only slow.

        Raises:
            DeadlineExceeded: nothing ends any more; it names what is lost, which a
                purge would hide.
        """
        done = self.ledger.count(round_)
        if done < round_.total:
            grace_s = GRACE_S + 2 * self.contender.poll_s
            self.ledger.wait_for_runs(round_, done + 1, grace_s)
        return self.ledger.count(round_) >= round_.total

    def abandon(self, round_: Round) -> None:
        """Give a slow round up: end the worker, and purge what is left of it.

        Raises:
            WrongExecution: tasks ran more than once; what is left is not judged.
        """
        wrong = self.ledger.accusation(round_, is_over=False)
        self.ledger.abandon(round_)
        if wrong:
            raise WrongExecution(wrong)
        self.stage.clear()
        self.calls.purge()

    def save(
        self,
        seconds: Sequence[float],
        *,
        samples: Mapping[str, Sequence[float]],
        histogram: str | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        """Store what was measured.

        Args:
            seconds: of each round, as pytest-benchmark stores and compares them.
            samples: for each metric of the scenario, a number for each round.
            histogram: an encoded HdrHistogram of microseconds.
            facts: what else is worth telling.
        """
        self.benchmark.extra_info.update(samples=samples, facts=dict(facts or {}))
        if histogram is not None:
            self.benchmark.extra_info["histogram"] = histogram
        replay(self.benchmark, seconds)
