"""What the runner stores of a block: its numbers, or why there are none."""

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from rich.console import Console

from taskbridge_bench.head import Head
from taskbridge_bench.interrupts import DeadlineExceeded, Interrupts
from taskbridge_bench.journal import Finished, Journal, Partial
from taskbridge_bench.plan import Plan
from taskbridge_bench.progress import Progress
from taskbridge_bench.results import read
from taskbridge_bench.runner import Runner
from taskbridge_bench.stage import Stage
from tests.unit.bench_verdict.library import BLOCK, CONTENDER, FakeBenchmark, Library

HEAD = Head(
    run="r",
    mode="test",
    seed=1,
    database="sqlite",
    options={},
    left_out={"celery_rabbitmq-native": "No RabbitMQ to test with."},
    machine={},
    versions={},
)

MakeRunner = Callable[..., Runner]


@pytest.fixture
def make_runner(fake_stage: Stage, tmp_path: Path) -> Iterator[MakeRunner]:
    plan = Plan(mode="test", seed=1, limit_s=60, blocks=(BLOCK,))
    progress = Progress(plan, Console(quiet=True))
    journal = Journal(tmp_path, HEAD)
    with Interrupts() as interrupts:

        def make(partial: Partial | None = None, started: float = 0) -> Runner:
            return Runner(
                head=HEAD,
                plan=plan,
                stage=fake_stage,
                journal=journal,
                progress=progress,
                interrupts=interrupts,
                partial=partial,
                started=time.monotonic() + started,
            )

        yield make
    progress.finish()
    journal.close(delete=False)


@pytest.fixture
def runner(make_runner: MakeRunner) -> Runner:
    return make_runner()


def journalled(tmp_path: Path, runner: Runner) -> Partial:
    runner._journal.close(delete=False)
    return Partial.of_journal(tmp_path / "r.journal")


def measure(runner: Runner) -> FakeBenchmark:
    benchmark = FakeBenchmark()
    runner.run(BLOCK, cast("BenchmarkFixture", benchmark))
    return benchmark


def test_runner_lost_task_is_a_failure_in_the_document(
    library: Library, runner: Runner, tmp_path: Path
):
    library.times = lambda key: 0 if key == 13 else 1
    benchmark = FakeBenchmark()

    with pytest.raises(DeadlineExceeded):
        runner.run(BLOCK, cast("BenchmarkFixture", benchmark))

    assert benchmark.has_error  # pytest-benchmark then stores nothing of it
    [failure] = read(runner.document()).failures
    assert failure.contender == CONTENDER.name
    assert "lost: 1 of 200 tasks (key 13)" in failure.reason
    assert runner.unfinished() == []
    assert journalled(tmp_path, runner).failures == runner.failures


def test_runner_contender_that_failed_is_not_measured_again(
    library: Library, runner: Runner
):
    library.times = lambda key: 0
    with pytest.raises(DeadlineExceeded):
        measure(runner)

    with pytest.raises(pytest.skip.Exception, match="It failed before"):
        measure(runner)


def test_runner_repeat_after_the_round_is_a_failure_in_the_document(
    library: Library, runner: Runner
):
    measure(runner)
    library.run("r2", 4, 5)

    runner.pytest_sessionfinish()

    [failure] = runner.failures
    assert failure.contender == CONTENDER.name
    assert failure.reason.endswith("ran more than once: 1 of 5 tasks (key 4)")


def test_runner_after_its_time_measures_nothing_more_and_blames_nobody(
    library: Library, make_runner: MakeRunner
):
    runner = make_runner(started=-61)

    with pytest.raises(pytest.skip.Exception, match="The 60 s of the run are over"):
        measure(runner)

    assert runner.failures == []
    assert runner.unfinished() == [BLOCK.id]
    assert runner.document()["taskbridge"]["unfinished"] == [BLOCK.id]


def test_runner_interrupted_block_is_not_stored(library: Library, runner: Runner):
    def interrupt(key: int) -> int:
        raise KeyboardInterrupt

    library.times = interrupt
    benchmark = FakeBenchmark()

    with pytest.raises(KeyboardInterrupt):
        runner.run(BLOCK, cast("BenchmarkFixture", benchmark))

    assert benchmark.has_error
    assert runner.unfinished() == [BLOCK.id]


def test_runner_measured_block_is_stored(library: Library, runner: Runner):
    benchmark = measure(runner)

    assert not benchmark.has_error
    assert runner.failures == []
    assert runner.unfinished() == []


def test_runner_block_is_in_the_journal_when_its_worker_has_ended(
    library: Library, runner: Runner, tmp_path: Path
):
    benchmark = measure(runner)
    assert "finished" not in (tmp_path / "r.journal").read_text()

    runner.pytest_sessionfinish()

    [finished] = journalled(tmp_path, runner).blocks.values()
    assert finished.id == BLOCK.id
    assert finished.seconds == [math.pi]
    assert finished.extra_info["turn"] == benchmark.extra_info["turn"]


def test_runner_block_that_was_finished_before_is_replayed(
    library: Library, make_runner: MakeRunner, tmp_path: Path
):
    def must_not_run(key: int) -> int:
        raise AssertionError

    library.times = must_not_run
    before = Finished(id=BLOCK.id, seconds=[1.0, 2.0], extra_info={"turn": 1})
    partial = Partial(source=tmp_path / "x", head=HEAD, blocks={BLOCK.id: before})
    runner = make_runner(partial)

    benchmark = measure(runner)

    assert benchmark.extra_info == {"turn": 1}
    assert not benchmark.has_error
    assert runner.unfinished() == []
