"""The numbers of the benchmark's table."""

import io
from collections.abc import Sequence
from typing import Any

import pytest
from rich.console import Console

from taskbridge_bench.contenders import CONTENDERS, LIBRARIES, Lane, contenders_of
from taskbridge_bench.plan import Plan, quick_plan
from taskbridge_bench.report import print_contenders, print_report
from taskbridge_bench.summary import Estimate, estimate, ratio, summarise


def entry(scenario: str, name: str, seconds: Sequence[float], **info: Any) -> Any:
    [contender] = [c for c in CONTENDERS if c.name == name]
    return {
        "extra_info": {
            "scenario": scenario,
            "contender": contender.describe(),
            **info,
        },
        "stats": {"data": seconds},
    }


def document(*benchmarks: Any, failures: Sequence[Any] = ()) -> dict[str, Any]:
    return {
        "benchmarks": list(benchmarks),
        "taskbridge": {
            "mode": "quick",
            "seed": 7,
            "load_before": 0.5,
            "total_s": 123.4,
            "versions": {"celery": "5.7.0"},
            "failures": list(failures),
        },
    }


def printed(of: dict[str, Any]) -> str:
    console = Console(file=io.StringIO(), width=120)
    print_report(of, console)
    return console.file.getvalue()


def test_summarise_blocks_of_a_lane_are_merged():
    [row] = summarise(
        document(
            entry("enqueue", "celery-native", [1e-6, 2e-6]),
            entry("enqueue", "celery-bridge", [4e-6]),
            entry("enqueue", "celery-native", [3e-6]),
        )
    )

    native = row.lanes[Lane.NATIVE]
    assert isinstance(native, Estimate)
    assert native.median == pytest.approx(2)
    assert native.samples == 3
    assert row.ratio is not None
    assert row.ratio.value == pytest.approx(2)


def test_summarise_drain_is_a_rate():
    [row] = summarise(
        document(
            entry("drain", "celery-native", [2.0], depth=2000),
            entry("drain", "celery-bridge", [4.0], depth=2000),
        )
    )

    assert row.depth == 2000
    assert row.lanes[Lane.NATIVE] == Estimate(median=1000, p95=1000, samples=1)
    assert row.ratio is not None
    assert row.ratio.value == pytest.approx(0.5)


def test_summarise_failure_wins_over_samples():
    failure = {"scenario": "drain", "contender": "celery-native", "reason": "lost: 1"}

    [row] = summarise(
        document(
            entry("drain", "celery-native", [2.0], depth=2000),
            entry("drain", "celery-bridge", [4.0], depth=2000),
            failures=[failure],
        )
    )

    assert row.lanes[Lane.NATIVE] == "lost: 1"
    assert row.ratio is None


def test_summarise_failure_alone_has_a_row():
    failure = {"scenario": "drain", "contender": "celery-native", "reason": "lost: 1"}

    [row] = summarise(document(failures=[failure]))

    assert row.lanes == {Lane.NATIVE: "lost: 1"}


def test_estimate_p95_is_the_nearest_rank():
    assert estimate(range(1, 101)).p95 == 95
    assert estimate([1, 2, 3]).p95 == 3


def test_ratio_few_samples_gives_the_full_range():
    found = ratio([1, 2, 4], [2, 4, 8])

    assert (found.value, found.low, found.high) == (2, 0.5, 8)
    assert found.is_range


def test_ratio_same_samples_contains_one():
    samples = [1.0, 1.1, 0.9, 1.05, 0.95, 1.2, 0.8, 1.0]

    found = ratio(samples, samples)

    assert not found.is_range
    assert found.low < 1 < found.high


def test_ratio_clear_difference_excludes_one():
    native = [1.0, 1.1, 0.9, 1.05, 0.95, 1.0]

    found = ratio(native, [2 * value for value in native])

    assert 1.5 < found.low < found.value < found.high < 2.5


def test_ratio_is_the_same_each_time():
    native, bridge = [1.0, 1.5, 2.0, 1.2, 1.1, 1.9], [1.1, 1.6, 2.2, 1.2, 1.3, 1.8]

    assert ratio(native, bridge) == ratio(native, bridge)


def test_report_shows_numbers_and_how_they_came_about():
    text = printed(
        document(
            entry("pickup", "celery-native", [0.001, 0.002, 0.003]),
            entry("pickup", "celery-bridge", [0.002, 0.002, 0.002]),
        )
    )

    assert "ms (median/p95)" in text
    assert "2/3" in text
    assert "0.67-2.00*" in text
    assert "3+3" in text
    assert "celery 5.7.0" in text
    assert "seed 7, 123 s in all" in text


def test_report_names_the_reason_of_a_failure():
    failure = {
        "scenario": "drain",
        "contender": "celery-bridge",
        "reason": "ran more than once: 1 of 2000 tasks (key 13)",
    }

    text = printed(
        document(entry("drain", "celery-native", [2.0], depth=2000), failures=[failure])
    )

    assert "drain: celery, bridge failed. ran more than once: 1 of 2000" in text


def test_contenders_each_library_has_both_lanes():
    for library in LIBRARIES:
        assert [c.lane for c in contenders_of(library)] == list(Lane)


def test_contenders_list_says_how_workers_are_started():
    console = Console(file=io.StringIO(), width=200)

    print_contenders(console)

    text = console.file.getvalue()
    assert "2 x python -m django process_tasks" in text
    assert "taskbridge worker --backend celery --concurrency 2" in text


def order(plan: Plan, scenario: str) -> list[str]:
    return [b.contender.lane for b in plan.blocks if b.scenario == scenario]


def test_plan_lanes_take_turns():
    drain = order(quick_plan(1, libraries=["celery"]), "drain")

    assert drain in (
        ["native", "bridge", "bridge", "native"],
        ["bridge", "native", "native", "bridge"],
    )


def test_plan_seed_decides_who_is_first():
    firsts = {order(quick_plan(s, libraries=["celery"]), "drain")[0] for s in range(20)}

    assert firsts == {"native", "bridge"}
    assert quick_plan(3) == quick_plan(3)


def test_plan_ids_are_unique():
    ids = [block.id for block in quick_plan(1).blocks]

    assert len(ids) == len(set(ids))
