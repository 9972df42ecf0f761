"""Retries, schedules and periodic tasks: what is called out, and counted."""

import re
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import cast

import pytest
import redis

from taskbridge_bench.contenders import CONTENDERS, Lane
from taskbridge_bench.early import count_early, early_fact
from taskbridge_bench.interrupts import DeadlineExceeded
from taskbridge_bench.ledger import Ledger, Round, Run
from taskbridge_bench.plan import cannot
from taskbridge_bench.policies import Policy
from taskbridge_bench.scenarios import retries, schedule
from taskbridge_bench.scenarios.periodic import _watch, grid_of
from taskbridge_bench.scenarios.schedule import Group
from taskbridge_bench.turn import Turn
from taskbridge_bench.verdict import WrongExecution
from tests.unit.bench_library import CONTENDER, FakeRedis, Library, turn_of


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Library:
    monkeypatch.setenv("TASKBRIDGE_BENCH_LEDGER", str(tmp_path))
    monkeypatch.setattr(retries, "GRACE_S", 0.01)
    monkeypatch.setattr(retries, "LIMIT_S", -9.0)
    monkeypatch.setattr(schedule, "PHASE_S", 0.0)
    monkeypatch.setattr(schedule, "SPREAD_S", 0.05)
    monkeypatch.setattr(schedule, "BURST_CALLS_S", 0.1)
    monkeypatch.setattr(schedule, "BURST", 100)
    monkeypatch.setattr(schedule, "LIMIT_S", -0.7)
    return Library(FakeRedis())


@pytest.fixture
def ledger(library: Library) -> Ledger:
    return Ledger(cast("redis.Redis", library.client), lambda: None)


@pytest.fixture
def make_turn(library: Library, ledger: Ledger) -> Callable[..., Turn]:
    return partial(turn_of, library, ledger)


def run(key: int, started: float, ended: float | None = None) -> Run:
    return Run(key=key, started=started, ended=started if ended is None else ended)


# Early.


def test_early_none():
    assert count_early([0.0, 3.0]) == 0
    assert early_fact([0.0, 3.0]) == "none"


def test_early_what_clocks_explain_is_told_and_not_counted():
    assert count_early([-1.5, -0.5, 3.0]) == 0
    assert early_fact([-1.5, -0.5, 3.0]) == "2 of 3, the earliest by 1.5 ms"


def test_early_by_a_fraction_of_a_second_is_counted():
    assert count_early([5.0, -900.0, -25.0, -1.0]) == 2


def test_early_by_more_is_called_out():
    with pytest.raises(WrongExecution, match=r"1 of 3, the earliest by 1200\.0 ms"):
        count_early([5.0, -1200.0, 3.0])


# Retries.

FIXED = Policy(gaps_s=(1, 2))


def attempts_of_all(*runs: Run) -> retries.Attempts:
    return retries.attempts_of(runs)


def test_gaps_are_from_end_to_next_start():
    attempts = attempts_of_all(run(0, 3.75, 4), run(0, 0, 0.5), run(0, 1.75, 1.75))

    assert retries.gaps_s(attempts) == [[1.25, 2.0]]
    assert retries.gap_errors_ms(FIXED, attempts) == [250, 0]


def test_gaps_shorter_than_asked_are_negative():
    attempts = attempts_of_all(run(0, 0), run(0, 0.5), run(0, 2.5))

    assert retries.gap_errors_ms(FIXED, attempts) == [-500, 0]


@pytest.mark.parametrize(
    ("number", "seen"), [(2, "3 3 2 3 3"), (4, "3 3 4 3 3"), (0, "3 3 0 3 3")]
)
def test_judge_wrong_number_of_attempts_is_called_out(number: int, seen: str):
    numbers = [3, 3, number, 3, 3]
    runs = [run(key, n) for key, times in enumerate(numbers) for n in range(times)]

    with pytest.raises(
        WrongExecution,
        match=f"policy listed: asked 3 attempts of each task, saw {seen}",
    ):
        retries.judge("listed", FIXED, retries.attempts_of(runs))


def test_retries_faithful_library_passes(make_turn: Callable[..., Turn]):
    turn = make_turn()

    retries.retries(turn)

    info = turn.benchmark.extra_info
    assert info["facts"]["listed"] == (
        "asked 3 attempts, saw 3 3 3 3 3; gaps asked 3, 1 s; saw median 3.00, 1.00 s"
    )
    # 5 tasks of 2, 3 and 2 gaps.
    assert len(info["samples"]["gap_error"]) == 35
    assert max(map(abs, info["samples"]["gap_error"])) < 1
    assert turn.stage.clear() == []


@pytest.mark.parametrize("more", [-1, 1])
def test_retries_wrong_number_of_attempts_fails(
    library: Library, make_turn: Callable[..., Turn], more: int
):
    library.attempts = lambda key, policy: policy.attempts + more * (key == 3)

    with pytest.raises(
        WrongExecution, match=r"policy fixed: asked 3 .* saw 3 3 3 [24] 3"
    ):
        retries.retries(make_turn())


def test_retries_library_that_does_not_wait_is_called_out(
    library: Library, make_turn: Callable[..., Turn]
):
    library.gap_s = lambda asked: 0.0

    with pytest.raises(WrongExecution, match="before their time: 35 of 35"):
        retries.retries(make_turn())


def test_retries_early_attempts_are_counted(
    library: Library, make_turn: Callable[..., Turn]
):
    library.gap_s = lambda asked: asked - 0.5 * (asked > 1)
    turn = make_turn()

    retries.retries(turn)

    # 2 and 4 s of "exponential", 3 s of "listed", each of 5 tasks.
    assert turn.benchmark.extra_info["samples"]["early"] == [15]


def test_retries_record_that_waits_for_one_more_attempt_is_called_out(
    library: Library, make_turn: Callable[..., Turn]
):
    library.records = {"FAILED": 14, "READY": 1}

    with pytest.raises(WrongExecution, match=r"tasks are still READY \(1\)"):
        retries.retries(make_turn())


def test_retries_policy_that_cannot_be_expressed_is_left_out_with_why(
    library: Library, make_turn: Callable[..., Turn]
):
    library.policies = ["fixed"]
    contender = replace(CONTENDER, cannot={"retries-listed": "it takes no list"})

    turn = make_turn(contender)
    retries.retries(turn)

    assert turn.benchmark.extra_info["facts"]["listed"] == "it takes no list"
    assert len(turn.benchmark.extra_info["samples"]["gap_error"]) == 10


def test_retries_of_bridge_are_left_out_with_why():
    bridges = [c for c in CONTENDERS if c.lane is Lane.BRIDGE]

    assert bridges
    for contender in bridges:
        why = cannot(contender, "retries") or ""
        assert why.startswith("not measured: native delivery retries")


# Schedule.


def test_lateness_is_of_the_task_s_own_due_time():
    group = Group(metric="late_1s", round_=Round(id="r", total=2), dues=[1000, 2000])

    # The wall clock is 900 s ahead of the monotonic one.
    late_ms = group.late_ms([run(1, 1100.5), run(0, 99.75)], 900)

    assert late_ms == [500, -250]


def test_schedule_faithful_library_passes(make_turn: Callable[..., Turn]):
    turn = make_turn()

    schedule.schedule(turn)

    info = turn.benchmark.extra_info
    assert {metric: len(found) for metric, found in info["samples"].items()} == {
        "late_1s": 20,
        "late_5s": 20,
        "late_30s": 20,
        "late_burst": 100,
        "early": 1,
    }
    for metric, samples in info["samples"].items():
        expected = 0 if metric == "early" else 2
        assert samples == pytest.approx([expected] * len(samples), abs=1)
    assert info["facts"]["early"] == "none"
    assert turn.stage.clear() == []


def test_schedule_early_tasks_are_counted_and_told(
    library: Library, make_turn: Callable[..., Turn]
):
    library.lateness_s = lambda key: -0.8 if key == 13 else 0.001
    turn = make_turn()

    schedule.schedule(turn)

    info = turn.benchmark.extra_info
    assert info["samples"]["early"] == [4]  # one of each metric
    assert re.match(
        r"4 of 160, the earliest by (799|800)\.\d ms", info["facts"]["early"]
    )
    assert min(info["samples"]["late_burst"]) == pytest.approx(-800, abs=1)


def test_schedule_library_that_does_not_wait_is_called_out(
    library: Library, make_turn: Callable[..., Turn]
):
    library.lateness_s = lambda key: -4.0 if key == 13 else 0.001

    with pytest.raises(WrongExecution, match="before their time: 4 of 160"):
        schedule.schedule(make_turn())


def test_schedule_library_that_loses_a_task_is_called_out(
    library: Library, make_turn: Callable[..., Turn], monkeypatch: pytest.MonkeyPatch
):
    record_at = library.record_at

    def lose(due: datetime, round_id: str, key: int, total: int) -> None:
        if (key, total) != (7, 20):
            record_at(due, round_id, key, total)

    monkeypatch.setattr(library, "record_at", lose)

    with pytest.raises(DeadlineExceeded, match=r"lost: 1 of 20 tasks \(key 7\)"):
        schedule.schedule(make_turn())


def test_schedule_call_that_returns_after_the_due_time_is_called_out():
    group = Group(metric="late_1s", round_=Round(id="r", total=20))

    with pytest.raises(DeadlineExceeded, match="late_1s: task 1 of 20 was due"):
        group.enqueue(lambda *call: time.sleep(0.02), time.time() + 0.01)


# Periodic.


def test_grid_punctual_firings_fill_it():
    grid = grid_of([100 + 2 * n for n in range(30)])

    assert set(grid.drift_ms) == {0}
    assert (grid.missed, grid.doubled) == (0, 0)


def test_grid_drift_is_from_the_own_slot():
    # The second one is 1.25 s late, the third 0.25 s early.
    grid = grid_of([100, 103.25, 103.75, *[100 + 2 * n for n in range(3, 30)]])

    assert grid.drift_ms[:3] == [0, 1250, -250]
    assert (grid.missed, grid.doubled) == (0, 0)


def test_grid_missing_firings_are_missed():
    starts = [100 + 2 * n for n in range(30) if n not in {4, 5, 29}]

    grid = grid_of(starts)

    assert (grid.missed, grid.doubled) == (3, 0)


def test_grid_two_firings_in_a_slot_are_a_double():
    starts = sorted([*[100 + 2 * n for n in range(30)], 110.5, 110.75, 120.5])

    grid = grid_of(starts)

    assert (grid.missed, grid.doubled) == (0, 2)


def test_grid_a_firing_that_moves_to_the_next_slot_is_a_miss_and_a_double():
    starts = sorted(100 + 2 * n + (1.75 if n == 9 else 0) for n in range(30))

    grid = grid_of(starts)

    assert (grid.missed, grid.doubled) == (1, 1)


def test_periodic_without_a_firing_is_called_out(
    make_turn: Callable[..., Turn], ledger: Ledger, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("taskbridge_bench.scenarios.periodic.FIRST_S", 0.05)
    monkeypatch.setattr("taskbridge_bench.scenarios.periodic.LOOK_EVERY_S", 0.01)

    with pytest.raises(DeadlineExceeded, match="no firing"):
        _watch(make_turn(), ledger.new_stream())
