"""The pytest plugin of a run: hands out blocks, and keeps what went wrong."""

import os
import statistics
import time
from dataclasses import asdict
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from .catalogue import SCENARIOS
from .head import Head
from .interrupts import Interrupts, RunOver
from .journal import Failure, Finished, Journal, Partial
from .plan import Block, Plan
from .progress import Progress
from .results import Document
from .stage import Stage
from .timing import replay, replay_clock
from .turn import Turn


class Runner:
    """Runs the blocks of a plan on a stage, as a plugin of pytest.

    Args:
        head: of the run.
        plan: what is measured; the blocks that `partial` has are not, but replayed.
        stage: where.
        journal: gets each block that is finished.
        progress: is told of each block.
        interrupts: end the run.
        partial: what an earlier attempt at this run finished.
        started: when this attempt began, a time of time.monotonic().
    """

    def __init__(
        self,
        *,
        head: Head,
        plan: Plan,
        stage: Stage,
        journal: Journal,
        progress: Progress,
        interrupts: Interrupts,
        partial: Partial | None = None,
        started: float,
    ) -> None:
        self.failures: list[Failure] = list(partial.failures) if partial else []
        self.finished: set[str] = set()
        """The ids of blocks that were measured, or were before."""
        self._document: dict[str, Any] = {}
        self._load_before = os.getloadavg()[0]
        self._head = head
        self._plan = plan
        self._stage = stage
        self._journal = journal
        self._progress = progress
        self._interrupts = interrupts
        self._before = partial.blocks if partial else {}
        self._spent_s = partial.spent_s if partial else 0.0
        self._started = started
        self._end = started + plan.limit_s
        self._over = f"The {plan.limit_s:.0f} s of the run are over."
        self._last: Block | None = None
        self._unjudged: list[Finished] = []
        """Measured by the worker that still runs, and could run a task again."""
        self._is_over = False

    # Hooks of pytest and pytest-benchmark.

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Make an item of each block."""
        metafunc.parametrize("block", [self._item(b) for b in self._plan.blocks])

    def _item(self, block: Block) -> Any:
        names = (block.scenario, block.contender.profile, block.work)
        group = " ".join((*names, self._head.database))
        marks = pytest.mark.benchmark(group=group, timer=replay_clock)
        return pytest.param(block, id=block.id, marks=marks)

    @pytest.fixture
    def runner(self) -> "Runner":
        """Give items this object."""
        return self

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """End the last worker before pytest-benchmark stores what was measured."""
        self._end_stage()
        self._progress.finish()

    def pytest_benchmark_update_json(self, output_json: dict[str, Any]) -> None:
        """Keep the document, and add what pytest-benchmark cannot know."""
        for entry in output_json["benchmarks"]:
            entry["params"] = _params(entry["extra_info"])
        output_json["taskbridge"] = self._about()
        self._document = output_json

    def pytest_internalerror(self, excrepr: object) -> None:
        """Show what is wrong with this plugin; there is no terminal plugin to do it."""
        self._progress.say(str(excrepr))

    @property
    def is_stored(self) -> bool:
        """Whether pytest-benchmark had something to store."""
        return bool(self._document)

    def document(self) -> Document:
        """Return what pytest-benchmark stored, or would have, had anything worked."""
        return {"benchmarks": [], **self._document, "taskbridge": self._about()}

    def unfinished(self) -> list[str]:
        """Return the ids of blocks that were not measured, and did not fail either."""
        return [
            block.id
            for block in self._plan.blocks
            if block.id not in self.finished and not self._has_failed(block)
        ]

    def _about(self) -> dict[str, Any]:
        return {
            **self._head.as_dict(),
            "load_before": self._load_before,
            "total_s": self._total_s(),
            "interrupted": bool(self._interrupts.signal),
            "unfinished": self.unfinished(),
            "failures": [asdict(failure) for failure in self.failures],
        }

    def _total_s(self) -> float:
        return self._spent_s + time.monotonic() - self._started

    # A block.

    def run(self, block: Block, benchmark: BenchmarkFixture) -> None:
        """Measure a block; whatever goes wrong is a failure of its contender."""
        # pytest-benchmark does not store what has an error, be it Ctrl-C.
        benchmark.has_error = True
        if self._has_failed(block):
            self._progress.skip(block)
            pytest.skip("It failed before.")
        if before := self._before.get(block.id):
            self._replay(before, block, benchmark)
        else:
            self._measure(block, benchmark)
        self.finished.add(block.id)
        benchmark.has_error = False

    def _replay(
        self, before: Finished, block: Block, benchmark: BenchmarkFixture
    ) -> None:
        """Let pytest-benchmark store once more what was measured before."""
        benchmark.extra_info.update(before.extra_info)
        replay(benchmark, before.seconds)
        if block.scenario == "saturation":
            key = (block.contender.profile, block.contender.name)
            rates = before.extra_info["samples"]["rate"]
            self._stage.saturation[key] = statistics.mean(rates)
        self._progress.skip(block)

    def _measure(self, block: Block, benchmark: BenchmarkFixture) -> None:
        benchmark.extra_info.update(
            scenario=block.scenario,
            profile=block.contender.profile,
            work=block.work,
            database=self._head.database,
            turn=block.turn,
            contender=block.contender.describe(),
        )
        if self._is_over:
            pytest.skip(self._over)
        try:
            with (
                self._progress.measuring(block),
                self._interrupts.deadline(self._end, self._over),
            ):
                self._take_turn(block, benchmark)
        except RunOver:
            self._end_run()
        except Exception as exc:
            self._fail(block, f"{type(exc).__name__}: {exc}")
            self._clear_stage()
            raise
        self._unjudged += _finished(block, benchmark)
        if self._stage.workers.contender is None:
            self._write_journal()

    def _take_turn(self, block: Block, benchmark: BenchmarkFixture) -> None:
        scenario = SCENARIOS[block.scenario]
        workers = self._stage.workers
        variables = {**scenario.environ, "TASKBRIDGE_BENCH_WORK": block.work}
        if workers.contender and (
            workers.contender != block.contender
            or (self._last is not None and self._last.turn != block.turn)
            or workers.variables != variables
            or not scenario.needs_worker
        ):
            self._clear_stage()
        workers.variables = variables
        self._last = block
        calls = block.contender.calls()
        if workers.contender is None:
            calls.purge()
        scenario.measure(Turn(block, calls, self._stage, benchmark))
        if not scenario.keeps_worker:
            self._clear_stage()

    def _end_run(self) -> None:
        """Measure nothing more: the time is up, which is no fault of a contender."""
        self._is_over = True
        self._progress.say(f"{self._over} {len(self.unfinished())} blocks are missing.")
        self._clear_stage()
        pytest.skip(self._over)

    def _clear_stage(self) -> None:
        """End the worker; what the ledger says then is a failure of its contender."""
        for accusation in self._stage.clear():
            if self._last is not None:
                self._fail(self._last, accusation)
        self._write_journal()

    def _end_stage(self) -> None:
        """Clear it; whatever goes wrong must not keep pytest-benchmark from storing."""
        try:
            self._clear_stage()
        except Exception as exc:  # noqa: BLE001 - see above
            if self._last is not None and not self._interrupts.signal:
                self._fail(self._last, f"at its end, {type(exc).__name__}: {exc}")

    def _write_journal(self) -> None:
        self._journal.write(self._total_s(), self._unjudged)
        self._unjudged.clear()

    def _has_failed(self, block: Block) -> bool:
        return any(
            (failure.scenario, failure.profile, failure.contender)
            == (block.scenario, block.contender.profile, block.contender.name)
            for failure in self.failures
        )

    def _fail(self, block: Block, reason: str) -> None:
        failure = Failure(
            scenario=block.scenario,
            profile=block.contender.profile,
            contender=block.contender.name,
            work=block.work,
            database=self._head.database,
            reason=reason,
        )
        self.failures.append(failure)
        self._journal.write(self._total_s(), failed=[failure])
        self._progress.failed(block)
        self._progress.say(f"{block.id} failed: {reason}")


def _finished(block: Block, benchmark: BenchmarkFixture) -> list[Finished]:
    """Return what a block has measured; nothing if its scenario saved nothing."""
    if benchmark.stats is None:
        return []
    seconds = list(benchmark.stats.stats.data)
    extra_info = dict(benchmark.extra_info)
    return [Finished(id=block.id, seconds=seconds, extra_info=extra_info)]


def _params(extra_info: dict[str, Any]) -> dict[str, Any]:
    """Return parameters for `pytest-benchmark compare --group-by param:...`."""
    names = ("scenario", "profile", "work", "database", "turn")
    found = {name: extra_info[name] for name in names}
    return {**found, "contender": extra_info["contender"]["name"]}
