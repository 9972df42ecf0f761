"""The pytest plugin of a run: hands out blocks, and keeps what went wrong."""

import os
import platform
import sqlite3
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from .catalogue import SCENARIOS
from .interrupts import Interrupts
from .plan import Block, Plan
from .progress import Progress
from .servers import Servers
from .stage import Stage
from .summary import Document

PACKAGES = (
    "taskbridge",
    "Django",
    "celery",
    "kombu",
    "django-q2",
    "django-background-tasks",
    "redis",
    "pytest-benchmark",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a contender has no valid measurement in a scenario."""

    scenario: str
    contender: str
    reason: str


class Runner:
    """Runs the blocks of a plan on a stage, as a plugin of pytest."""

    def __init__(
        self,
        plan: Plan,
        stage: Stage,
        servers: Servers,
        progress: Progress,
        interrupts: Interrupts,
        *,
        started: float,
    ) -> None:
        self.failures: list[Failure] = []
        self._document: dict[str, Any] = {}
        self._load_before = os.getloadavg()[0]
        self._plan = plan
        self._stage = stage
        self._servers = servers
        self._progress = progress
        self._interrupts = interrupts
        self._started = started
        self._end = started + plan.limit_s
        self._over = f"The {plan.limit_s:.0f} s of the run are over."
        self._last: Block | None = None

    # Hooks of pytest and pytest-benchmark.

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Make an item of each block."""
        metafunc.parametrize(
            "block",
            [
                pytest.param(
                    block,
                    id=block.id,
                    marks=pytest.mark.benchmark(
                        group=f"{block.scenario} {block.contender.library}",
                        timer=SCENARIOS[block.scenario].timer,
                    ),
                )
                for block in self._plan.blocks
            ],
        )

    @pytest.fixture
    def runner(self) -> "Runner":
        """Give items this object."""
        return self

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """End the last worker before pytest-benchmark stores what was measured."""
        if self._interrupts.signal:
            self._stage.workers.stop()
        else:
            self._clear_stage()
        self._progress.finish()

    def pytest_benchmark_update_json(self, output_json: dict[str, Any]) -> None:
        """Keep the document, and add what pytest-benchmark cannot know."""
        output_json["taskbridge"] = self._about()
        self._document = output_json

    def pytest_internalerror(self, excrepr: object) -> None:
        """Show what is wrong with this plugin; there is no terminal plugin to do it."""
        self._progress.say(str(excrepr))

    def finished_document(self) -> Document:
        """Return what pytest-benchmark stored, or would have, had anything worked."""
        return {"benchmarks": [], **self._document, "taskbridge": self._about()}

    def _about(self) -> dict[str, Any]:
        return {
            "mode": self._plan.mode,
            "seed": self._plan.seed,
            "load_before": self._load_before,
            "total_s": time.monotonic() - self._started,
            "interrupted": bool(self._interrupts.signal),
            "database": self._servers.database,
            "left_out": dict(self._servers.left_out),
            "versions": {**versions(), **self._servers.sources},
            "failures": [asdict(failure) for failure in self.failures],
        }

    # A block.

    def run(self, block: Block, benchmark: BenchmarkFixture) -> None:
        """Measure a block; whatever goes wrong is a failure of its contender."""
        contender = block.contender
        benchmark.extra_info.update(
            scenario=block.scenario, block=block.number, contender=contender.describe()
        )
        # pytest-benchmark does not store what has an error, be it Ctrl-C.
        benchmark.has_error = True
        with self._progress.measuring(block):
            if self._has_failed(block):
                pytest.skip("It failed before.")
            try:
                with self._interrupts.deadline(self._end, self._over):
                    self._measure(block, benchmark)
            except Exception as exc:
                self._fail(block, f"{type(exc).__name__}: {exc}")
                self._clear_stage()
                raise
        benchmark.has_error = False

    def _measure(self, block: Block, benchmark: BenchmarkFixture) -> None:
        scenario = SCENARIOS[block.scenario]
        running = self._stage.workers.contender
        if running and (running != block.contender or not scenario.needs_worker):
            self._clear_stage()
        self._last = block
        calls = block.contender.calls()
        if self._stage.workers.contender is None:
            calls.purge()
        scenario.measure(block, calls, self._stage, benchmark)
        if not scenario.keeps_worker:
            self._clear_stage()

    def _clear_stage(self) -> None:
        """End the worker; what the ledger says then is a failure of its contender."""
        last = self._last
        for accusation in self._stage.clear():
            if last is not None:
                self._fail(last, accusation)

    def _has_failed(self, block: Block) -> bool:
        return any(
            (failure.scenario, failure.contender)
            == (block.scenario, block.contender.name)
            for failure in self.failures
        )

    def _fail(self, block: Block, reason: str) -> None:
        self.failures.append(
            Failure(
                scenario=block.scenario, contender=block.contender.name, reason=reason
            )
        )
        self._progress.say(f"{block.id} failed: {reason}")


def versions() -> dict[str, str]:
    """Return the versions of all that takes part."""
    python = {"Python": platform.python_version(), "SQLite": sqlite3.sqlite_version}
    return python | {name: version(name) for name in PACKAGES}
