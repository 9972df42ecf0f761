"""Latency at a share of what a contender can do."""

import time
from dataclasses import replace

import pytest

from taskbridge_bench.contenders import Calls
from taskbridge_bench.histograms import percentiles_us
from taskbridge_bench.interrupts import DeadlineExceeded
from taskbridge_bench.scenarios import latency, load
from taskbridge_bench.stage import Stage
from taskbridge_bench.verdict import WrongExecution
from tests.unit.bench_threads import Slow, facts, key_of, samples, turn_of


@pytest.mark.usefixtures("short_window")
def test_latency_counts_the_wait_for_a_call_that_stalled(
    stage: Stage, calls: Calls
) -> None:
    def record(round_id: str, key: int, total: int) -> None:
        if key == 60:
            time.sleep(0.2)
        calls.record(round_id, key, total)

    turn = turn_of(stage, replace(calls, record=record))
    stage.saturation[key_of(turn)] = 400

    latency.latency(turn, 50)

    # In 0.2 s came 40 of the 120 tasks: each of them waited, though one call was slow.
    (p50,), (p95,) = samples(turn)["p50"], samples(turn)["p95"]
    assert p50 < 100
    assert 120 < p95 < 300
    assert float(facts(turn)["sends over 1 ms late"].rstrip("%")) > 15
    histogram = latency.HdrHistogram.decode(turn.benchmark.extra_info["histogram"])
    assert percentiles_us(histogram, [95])[95] == pytest.approx(p95 * 1e3)
    assert histogram.get_total_count() == facts(turn)["tasks counted"] > 80


@pytest.mark.usefixtures("short_window")
def test_latency_of_one_that_does_not_keep_up_counts_what_did_not_run(
    stage: Stage, slow: Slow
) -> None:
    turn = turn_of(stage, slow.calls)
    stage.saturation[key_of(turn)] = 600  # three times what it can do

    latency.latency(turn, 100)

    assert "had not run when we gave up" in facts(turn)["did not keep up"]
    assert samples(turn)["p95"][0] > 300
    assert stage.workers.contender is None  # the round was abandoned


@pytest.mark.usefixtures("short_window", "impatient")
def test_latency_of_one_that_loses_tasks_is_no_number(
    stage: Stage, calls: Calls
) -> None:
    def record(round_id: str, key: int, total: int) -> None:
        if key != 60:
            calls.record(round_id, key, total)

    turn = turn_of(stage, replace(calls, record=record))
    stage.saturation[key_of(turn)] = 400

    with pytest.raises(DeadlineExceeded, match=r"lost: 1 of \d+ tasks \(key 60\)"):
        latency.latency(turn, 50)


@pytest.mark.usefixtures("short_window")
def test_latency_of_one_that_repeats_tasks_is_no_number_though_it_was_cut_off(
    stage: Stage, slow: Slow
) -> None:
    def record(round_id: str, key: int, total: int) -> None:
        slow.calls.record(round_id, key, total)
        slow.calls.record(round_id, key, total)

    turn = turn_of(stage, replace(slow.calls, record=record))
    stage.saturation[key_of(turn)] = 500

    with pytest.raises(WrongExecution, match=r"^ran more than once: [^;]*$"):
        latency.latency(turn, 100)


@pytest.mark.usefixtures("short_window")
def test_latency_alone_measures_saturation_first(
    stage: Stage, slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latency, "WINDOW_S", 0.2)
    turn = turn_of(stage, slow.calls)

    latency.latency(turn, 30)

    full = stage.saturation[key_of(turn)]
    assert 50 < full <= 205
    assert facts(turn)["load"].startswith(f"{full * 0.3:,.0f} tasks/s asked")


def test_latencies_leave_out_the_first_second_and_forgive_no_late_call() -> None:
    sent = load.Sent(
        start=100.0,
        intended=[100.5, 101.0, 102.0, 103.0],
        called=[100.5, 101.9, 102.0],
    )

    waits = latency.latencies({0: 100.9, 1: 102.0, 2: 102.1}, sent, gave_up=110.0)

    assert waits == pytest.approx([1.0, 0.1, 7.0])


def test_window_is_longer_for_the_slow_but_not_without_end() -> None:
    assert latency.window_s(1_000) == latency.WINDOW_S
    assert latency.window_s(50) == pytest.approx(10)
    assert latency.window_s(1) == latency.LONGEST_WINDOW_S


def test_percentiles_are_milliseconds_and_none_stands_for_the_largest() -> None:
    found = latency.samples_of(latency.histogram_of(ms / 1e3 for ms in range(1, 201)))

    assert list(found) == ["p50", "p95", "p99"]
    assert found["p95"] == pytest.approx([190], rel=0.01)


def test_histogram_takes_what_is_beyond_its_range() -> None:
    histogram = latency.histogram_of([-1e-6, 3_600])

    assert histogram.get_min_value() == 1
    assert histogram.get_max_value() == pytest.approx(latency.LARGEST_US, rel=0.01)
