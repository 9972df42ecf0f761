"""A document of the benchmark is read back as cells, which are ranked."""

import json
import math
from typing import Any

from hdrh.histogram import HdrHistogram

from taskbridge_bench.metrics import METRICS
from taskbridge_bench.results import OF_TASKS, Key, Results, Verdict, read

from .bench_documents import AT_LEAST_ONCE, document, rates, turn, turns

KEY = Key(
    scenario="drain-2000",
    profile="equal",
    work="noop",
    database="sqlite",
    metric="rate",
)


def encoded(*values_us: int) -> str:
    histogram = HdrHistogram(1, 60_000_000, 3)
    for each in values_us:
        histogram.record_value(each)
    blob: bytes = histogram.encode()
    return blob.decode()


def stored(of: dict[str, Any]) -> Results:
    """Read a document that was a file in between."""
    return read(json.loads(json.dumps(of)))


def test_read_whole_document():
    failure = {
        "scenario": "drain-2000",
        "profile": "equal",
        "contender": "celery-durable",
        "reason": "lost: 1 of 2000",
    }
    results = stored(
        document(
            *rates("celery-native"),
            *rates("celery-bridge", 0.8),
            *rates("celery-durable", 0.1),
            *rates("celery-native-again", 1.001),
            failures=[failure],
            left_out={"celery_rabbitmq": "No RabbitMQ to test with."},
        )
    )

    names = [cell.contender for cell in results.cells]
    assert names == ["celery-native", "celery-native-again", "celery-bridge"]
    assert [f.reason for f in results.failures] == ["lost: 1 of 2000"]
    assert results.left_out == {"celery_rabbitmq": "No RabbitMQ to test with."}
    assert results.noise is None
    assert [c.contender for c in results.controls] == ["celery-native-again"]
    assert results.contenders["equal/celery-durable"]["lane"] == "durable"
    assert results.about["seed"] == 7
    assert (results.machine["node"], results.machine["id"]) == ("vm", "4f80ee0")
    assert results.keys == [KEY]


def test_read_failed_contender_fails_in_its_scenario_alone():
    failure = {
        "scenario": "drain-2000",
        "profile": "equal",
        "contender": "celery-native",
        "reason": "lost: 1",
    }
    results = read(
        document(
            *rates("celery-native"),
            *rates("celery-native", scenario="drain-200"),
            *rates("celery-native", profile="defaults"),
            failures=[failure],
        )
    )

    found = {(cell.key.scenario, cell.key.profile) for cell in results.cells}
    assert found == {("drain-200", "equal"), ("drain-2000", "defaults")}


def test_read_nothing_measured_is_no_error():
    results = read({"benchmarks": [], "taskbridge": document()["taskbridge"]})

    assert (list(results.cells), list(results.comparisons)) == ([], [])


def test_cell_replicates_are_medians_of_turns():
    rounds = [[1.0, 2.0, 9.0], [4.0], [3.0, 5.0], [6.0]]

    cell = read(document(*turns("celery-native", "rate", rounds))).cells[0]

    assert cell.replicates == (2, 4, 4, 6)
    assert cell.estimate.median == 4
    assert (cell.turns, cell.by_turns) == (4, True)


def test_cell_replicates_are_rounds_of_too_few_turns():
    rounds = [[1.0, 2.0, 9.0], [4.0, 3.0]]

    cell = read(document(*turns("celery-native", "rate", rounds))).cells[0]

    assert cell.replicates == (1, 2, 9, 4, 3)
    assert (cell.turns, cell.by_turns) == (2, False)


def test_cell_samples_of_tasks_are_never_replicates():
    late = [[float(n) for n in range(100)]]

    results = read(
        document(
            *turns("celery-native", "late_5s", late),
            *turns("celery-bridge", "late_5s", late),
        )
    )

    assert results.cells[0].replicates == (49.5,)
    assert math.isnan(results.cells[0].estimate.low)
    assert results.comparisons[0].verdict is Verdict.TOO_FEW_ROUNDS


def test_of_tasks_are_metrics():
    assert METRICS.keys() >= OF_TASKS


def test_cell_failed_samples_are_counted_and_left_out():
    rounds = [[1.0, None, 3.0], [math.nan], [5.0]]

    cell = read(document(*turns("celery-native", "rerun", rounds))).cells[0]

    assert cell.replicates == (1, 3, 5)
    assert (cell.failed, cell.turns) == (2, 2)


def test_cell_without_any_number_does_not_exist():
    results = read(document(*turns("celery-native", "rerun", [[None], [math.nan]])))

    assert list(results.cells) == []


def test_cell_facts_are_of_the_last_turn():
    last, first = turns("celery-native", "rate", [[1.0], [2.0]])[::-1]

    assert read(document(last, first)).cells[0].facts == {"turn": 2}


def test_cell_each_metric_of_a_turn_has_one():
    results = read(document(turn("celery-native", {"p50": [1.0], "p99": [5.0]})))

    assert [cell.key.metric for cell in results.cells] == ["p50", "p99"]


def test_cell_histogram_is_of_all_turns():
    results = stored(
        document(
            turn("celery-native", {"p50": [1.0]}, histogram=encoded(100, 200)),
            turn(
                "celery-native",
                {"p50": [1.0]},
                number=2,
                histogram=encoded(*[400] * 98),
            ),
        )
    )

    [cell] = results.cells
    assert cell.histogram.get_total_count() == 100
    assert cell.histogram.get_min_value() == 100
    assert cell.percentiles_us([0.5, 1.5, 50]) == {0.5: 100, 1.5: 200, 50: 400}


def test_percentiles_beyond_the_last_value_are_left_out():
    turn_ = turn("celery-native", {"p50": [1.0]}, histogram=encoded(*range(1, 101)))

    [cell] = read(document(turn_)).cells

    assert list(cell.percentiles_us()) == [50, 90, 95, 99]


def test_percentiles_without_histogram_are_none():
    [cell] = read(document(turn("celery-native", {"p50": [1.0]}))).cells

    assert cell.histogram is None
    assert cell.percentiles_us() == {}


def test_results_select():
    results = read(document(*rates("celery-native"), *rates("celery-bridge", 0.5)))

    cell = results.cell(KEY, "celery-bridge")
    comparison = results.comparison(KEY, "celery-bridge")
    assert cell is not None
    assert cell.contender == "celery-bridge"
    assert comparison is not None
    assert comparison.baseline == "celery-native"
    assert results.cell(KEY, "nobody") is None
    assert results.comparison(KEY, "celery-native") is None


def test_ranking_is_by_guarantee_with_ties():
    once = "at most once"
    results = read(
        document(
            *rates("a-native", 1.0),
            *rates("b-native", 2.0),
            *rates("c-native", 2.001),
            *rates("d-native", 9.0, guarantee=once),
            *rates("b-native-again", 2.0),
            *rates("e-native", 0.5)[:1],
        )
    )

    found = {
        guarantee: [(p.place, p.cell.contender, p.is_tied) for p in places]
        for guarantee, places in results.ranking(KEY).items()
    }
    assert found == {
        AT_LEAST_ONCE: [
            (1, "c-native", False),
            (1, "b-native", True),
            (3, "a-native", False),
            (3, "e-native", True),  # one round: nobody knows
        ],
        once: [(1, "d-native", False)],
    }
