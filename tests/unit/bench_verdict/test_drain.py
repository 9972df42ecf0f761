"""A scenario gives no number where a task was lost or ran twice."""

from collections import Counter
from dataclasses import replace
from typing import cast

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from taskbridge_bench.interrupts import DeadlineExceeded
from taskbridge_bench.scenarios.drain import drain
from taskbridge_bench.stage import Stage
from taskbridge_bench.turn import Turn
from taskbridge_bench.verdict import WrongExecution
from tests.unit.bench_verdict.library import BLOCK, FakeBenchmark, Library


def run_drain(library: Library, fake_stage: Stage) -> None:
    benchmark = cast("BenchmarkFixture", FakeBenchmark())
    drain(Turn(BLOCK, library.calls, fake_stage, benchmark), 20)


def test_drain_faithful_library_passes(library: Library, fake_stage: Stage):
    run_drain(library, fake_stage)

    assert fake_stage.clear() == []


def test_drain_library_that_loses_one_task_is_called_out(
    library: Library, fake_stage: Stage
):
    library.times = lambda key: 0 if key == 13 else 1

    with pytest.raises(DeadlineExceeded, match=r"lost: 1 of 20 tasks \(key 13\)"):
        run_drain(library, fake_stage)


def test_drain_library_that_runs_one_task_twice_is_called_out(
    library: Library, fake_stage: Stage
):
    library.times = lambda key: 2 if key == 13 else 1

    with pytest.raises(
        WrongExecution, match=r"ran more than once: 1 of 20 tasks \(key 13\)"
    ):
        run_drain(library, fake_stage)


def test_drain_library_that_loses_one_and_repeats_one_is_called_out(
    library: Library, fake_stage: Stage
):
    library.times = lambda key: {13: 0, 14: 2}.get(key, 1)

    with pytest.raises(WrongExecution, match=r"lost: .*13.*more than once: .*14"):
        run_drain(library, fake_stage)


def test_drain_each_task_with_a_record_of_success_passes(
    library: Library, fake_stage: Stage
):
    library.records = Counter()

    run_drain(library, fake_stage)
    run_drain(library, fake_stage)  # the worker is kept, and so are the records

    assert set(library.records) == {"SUCCESSFUL"}


@pytest.mark.parametrize("status", ["FAILED", "RUNNING", "READY"])
def test_drain_task_without_a_record_of_success_is_called_out(
    library: Library, fake_stage: Stage, status: str
):
    library.records = Counter()
    library.ends_as = lambda key: status if key == 3 else "SUCCESSFUL"

    with pytest.raises(WrongExecution, match=f"its records are .*1 {status}"):
        run_drain(library, fake_stage)


def test_drain_record_that_is_missing_is_called_out(
    library: Library, fake_stage: Stage
):
    library.records = kept = Counter[str]()

    def records() -> dict[str, int]:
        n = kept["SUCCESSFUL"]
        return {"SUCCESSFUL": n - 1} if n else {}

    calls = replace(library.calls, records=records)

    benchmark = cast("BenchmarkFixture", FakeBenchmark())
    with pytest.raises(WrongExecution, match="5 tasks have a record of success, of 6"):
        drain(Turn(BLOCK, calls, fake_stage, benchmark), 20)


def test_stage_task_that_runs_again_after_its_round_is_called_out(
    library: Library, fake_stage: Stage
):
    run_drain(library, fake_stage)
    # The gates of the warm-up were round 1; its tasks 2.
    library.run("r2", 4, 5)

    assert fake_stage.clear() == [
        "after the round, ran more than once: 1 of 5 tasks (key 4)"
    ]
