"""The numbers of the benchmark's table."""

import io
from collections.abc import Sequence
from typing import Any

import pytest
from rich.console import Console

from taskbridge_bench.contenders import CONTENDERS, LIBRARIES, Lane, contenders_of
from taskbridge_bench.findings import lateness_of, recovery_of
from taskbridge_bench.plan import SCENARIO_NAMES, Plan, make_plan
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
            "database": "sqlite",
            "left_out": {"celery_rabbitmq": "No RabbitMQ to test with."},
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
    assert row.ratios[Lane.BRIDGE].value == pytest.approx(2)


def test_summarise_drain_is_a_rate():
    [row] = summarise(
        document(
            entry("drain", "celery-native", [2.0], depth=2000),
            entry("drain", "celery-bridge", [4.0], depth=2000),
        )
    )

    assert row.depth == 2000
    assert row.lanes[Lane.NATIVE] == Estimate(median=1000, p95=1000, samples=1)
    assert row.ratios[Lane.BRIDGE].value == pytest.approx(0.5)


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
    assert row.ratios == {}


def test_summarise_failure_alone_has_a_row():
    failure = {"scenario": "drain", "contender": "celery-native", "reason": "lost: 1"}

    [row] = summarise(document(failures=[failure]))

    assert row.lanes == {Lane.NATIVE: "lost: 1"}


def test_summarise_each_lane_is_compared_with_native():
    [row] = summarise(
        document(
            entry("enqueue", "celery-native", [1e-6]),
            entry("enqueue", "celery-bridge", [2e-6]),
            entry("enqueue", "celery-durable", [3e-6]),
        )
    )

    values = {lane: found.value for lane, found in row.ratios.items()}
    assert values == pytest.approx({Lane.BRIDGE: 2, Lane.DURABLE: 3})


def test_summarise_failed_bridge_leaves_the_ratio_of_durable():
    failure = {"scenario": "enqueue", "contender": "celery-bridge", "reason": "lost"}

    [row] = summarise(
        document(
            entry("enqueue", "celery-native", [1e-6]),
            entry("enqueue", "celery-bridge", [2e-6]),
            entry("enqueue", "celery-durable", [3e-6]),
            failures=[failure],
        )
    )

    assert set(row.ratios) == {Lane.DURABLE}


def test_summarise_studies_have_no_row():
    assert summarise(document(entry("lateness", "celery-native", [0.1]))) == []


def test_lateness_early_is_negative():
    seconds = [n / 1000 for n in range(-1, 99)]

    [found] = lateness_of(document(entry("lateness", "celery-native", seconds)))

    assert (found.earliest, found.latest) == (-0.001, 0.098)
    assert found.median == pytest.approx(0.0485)
    assert found.p99 == pytest.approx(0.097)


def test_recovery_excess_is_over_the_lease():
    about = {"lease_s": 5, "limit_s": 20.0, "is_lost": False}

    [found] = recovery_of(
        document(entry("recovery-worker", "celery-durable", [4.0, 6.5, 7.0], **about))
    )

    assert found.excess_s == 1.5


def test_recovery_lost_task_has_no_seconds():
    about = {"lease_s": 5, "limit_s": 20.0, "is_lost": True}

    [found] = recovery_of(
        document(entry("recovery-worker", "celery-native", [20.0], **about))
    )

    assert list(found.seconds) == []
    assert found.lost_after_s == 20
    assert found.lease_s is None


def test_report_shows_what_studies_found_and_who_is_left_out():
    lost = {"lease_s": 5, "limit_s": 20.0, "is_lost": True}
    counted = {
        "enqueue_queries": {"INSERT taskbridge_taskrecord": 1.0},
        "worker_queries": {"UPDATE taskbridge_taskrecord": 2.0},
        "idle_queries_per_s": {},
    }

    text = printed(
        document(
            entry("lateness", "celery-durable", [-0.002, 0.004]),
            entry("recovery-process", "celery-native", [20.0], **lost),
            entry("queries", "celery-durable", [0.5], **counted),
        )
    )

    assert "-2.0" in text
    assert "not in 20 s" in text
    assert "2.00 UPDATE taskbridge_taskrecord" in text
    assert "celery_rabbitmq is left out. No RabbitMQ to test with." in text


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
    assert "3+3+0" in text
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


def test_contenders_each_library_has_all_lanes():
    for library in LIBRARIES:
        assert [c.lane for c in contenders_of(library)] == list(Lane)


def test_contenders_list_says_how_workers_are_started():
    console = Console(file=io.StringIO(), width=200)

    print_contenders(console)

    text = console.file.getvalue()
    assert "2 x python -m django process_tasks" in text
    assert "taskbridge worker --backend celery --concurrency 2" in text
    assert "taskbridge worker --backend durable_celery --concurrency 2" in text


def order(plan: Plan, scenario: str) -> list[str]:
    return [b.contender.lane for b in plan.blocks if b.scenario == scenario]


def test_plan_lanes_take_turns():
    drain = order(make_plan(1, libraries=["celery"]), "drain")

    assert set(drain) == set(Lane)
    assert drain[:3] == drain[:2:-1]


def test_plan_seed_decides_who_is_first():
    firsts = {order(make_plan(s, libraries=["celery"]), "drain")[0] for s in range(20)}

    assert firsts == set(Lane)
    assert make_plan(3) == make_plan(3)


def test_plan_ids_are_unique():
    ids = [block.id for block in make_plan(1, scenarios=SCENARIO_NAMES).blocks]

    assert len(ids) == len(set(ids))


def test_plan_study_gives_its_workers_what_it_needs():
    plan = make_plan(1, libraries=["celery"], scenarios=["recovery-worker"])

    assert {b.contender.lane for b in plan.blocks} == {Lane.NATIVE, Lane.DURABLE}
    for block in plan.blocks:
        assert block.contender.environ["TASKBRIDGE_BENCH_LEASE_S"] == "5"


def test_plan_quick_has_no_study():
    plan = make_plan(1)

    assert plan.mode == "quick"
    assert {b.scenario for b in plan.blocks} == {"enqueue", "drain", "pickup"}
    assert plan.limit_s < 300
