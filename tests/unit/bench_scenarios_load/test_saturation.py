"""The rate of a contender whose queue is never empty."""

from dataclasses import replace

import pytest

from taskbridge_bench.interrupts import DeadlineExceeded
from taskbridge_bench.ledger import Run
from taskbridge_bench.scenarios import saturation
from taskbridge_bench.stage import Stage
from taskbridge_bench.turn import Turn
from tests.unit.bench_threads import SLOTS, Slow, facts, key_of, samples, turn_of


def test_saturation_is_the_rate_of_a_worker_whose_queue_is_never_empty(
    stage: Stage, slow: Slow
) -> None:
    turn = turn_of(stage, slow.calls)

    saturation.saturation(turn)

    (rate,) = samples(turn)["rate"]
    assert 50 < rate <= 205
    assert stage.saturation == {key_of(turn): rate}
    assert 20 <= slow.most <= 40 + SLOTS
    assert facts(turn)["sender waited"] != "0% of the window"


def test_known_saturation_is_not_measured_again(turn: Turn, stage: Stage) -> None:
    stage.saturation[key_of(turn)] = 123.0

    assert saturation.saturation_of(turn) == 123.0
    assert stage.workers.contender is None


@pytest.mark.usefixtures("slow", "impatient")
def test_saturation_of_one_that_loses_a_task_is_no_number(
    stage: Stage, slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saturation, "REST_S", 0.5)

    def record(round_id: str, key: int, total: int) -> None:
        if key != 20:
            slow.calls.record(round_id, key, total)

    turn = turn_of(stage, replace(slow.calls, record=record))

    with pytest.raises(DeadlineExceeded, match=r"lost: 1 of \d+ tasks \(key 20\)"):
        saturation.saturation(turn)

    assert stage.saturation == {}


def test_saturation_without_a_run_in_the_window_is_no_number(
    stage: Stage, slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saturation, "WINDOW_S", 0)

    with pytest.raises(DeadlineExceeded, match="No task ended"):
        saturation.saturation(turn_of(stage, slow.calls))

    assert stage.saturation == {}


def test_rates_count_the_ends_in_each_second_of_the_window() -> None:
    ends = [9.99, 10.0, 10.5, 10.99, 11.0, 12.99, 13.0]
    runs = [Run(key=key, started=end - 1, ended=end) for key, end in enumerate(ends)]

    assert saturation.rates_of(runs, 10.0, 3) == [3, 1, 1]


def test_fewer_wait_for_a_slow_worker() -> None:
    assert saturation.most_waiting(2_000) == saturation.MOST_WAITING
    assert saturation.most_waiting(30) == 60
    assert saturation.most_waiting(1) == saturation.FEWEST_WAITING
