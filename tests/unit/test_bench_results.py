"""A document of the benchmark is read back as cells, comparisons and warnings."""

import json
import math
from collections.abc import Sequence
from typing import Any

import pytest
from hdrh.histogram import HdrHistogram

from taskbridge_bench.changes import compare
from taskbridge_bench.comparing import compare_cells
from taskbridge_bench.metrics import METRICS
from taskbridge_bench.results import OF_TASKS, Comparison, Key, Results, Verdict, read

from .bench_documents import AT_LEAST_ONCE, document, turn, turns

RATES = [1000.0, 1010.0, 990.0, 1005.0, 995.0]
KEY = Key(
    scenario="drain-2000",
    profile="equal",
    work="noop",
    database="sqlite",
    metric="rate",
)


def rates(name: str, factor: float = 1.0, **other: Any) -> list[dict[str, Any]]:
    return turns(name, "rate", [[factor * each] for each in RATES], **other)


def lateness(name: str, values: Sequence[float]) -> list[dict[str, Any]]:
    return turns(name, "late_5s", [[each] for each in values], scenario="schedule")


def only_comparison(of: dict[str, Any]) -> Comparison:
    [found] = read(of).comparisons
    return found


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


def test_comparison_is_with_native_of_the_library():
    results = read(
        document(
            *rates("celery-native"),
            *rates("django_q-native", 0.5),
            *rates("django_q-bridge", 0.6),
            *rates("django_q-durable", 0.4),
            *rates("rq-bridge"),
        )
    )

    found = {(c.contender, c.baseline): c.verdict for c in results.comparisons}
    assert found == {
        ("django_q-bridge", "django_q-native"): Verdict.BETTER,
        ("django_q-durable", "django_q-native"): Verdict.WORSE,
    }


def test_comparison_less_time_is_better():
    calls = [[each] for each in RATES]
    faster = [[0.8 * each] for each in RATES]

    found = only_comparison(
        document(
            *turns("celery-native", "call", calls),
            *turns("celery-bridge", "call", faster),
        )
    )

    assert found.verdict is Verdict.BETTER
    assert str(found) == "0.80 (0.79-0.81)"


def test_comparison_other_work_is_never_compared():
    of = document(*rates("celery-native"), *rates("celery-bridge", work="cpu"))

    assert list(read(of).comparisons) == []


def test_comparison_like_numbers_show_no_difference():
    found = only_comparison(
        document(*rates("celery-native"), *rates("celery-bridge", 1.002))
    )

    assert found.verdict is Verdict.NO_DIFFERENCE_SEEN
    assert str(found) == "no difference seen"


def test_comparison_of_turns_with_rounds_is_too_few():
    bridge = turns("celery-bridge", "rate", [[500.0, 501.0], [502.0, 503.0, 504.0]])

    found = only_comparison(document(*rates("celery-native"), *bridge))

    assert found.verdict is Verdict.TOO_FEW_ROUNDS
    assert str(found) == "too few rounds"
    assert found.ratio == pytest.approx(0.502)


def test_comparison_of_zeros_is_a_difference():
    none = turns("celery-native", "lost", [[0.0]] * 4)
    some = turns("celery-bridge", "lost", [[3.0], [4.0], [3.0], [3.0]])

    found = only_comparison(document(*none, *some))

    assert math.isnan(found.ratio)
    assert (found.difference, found.verdict) == (3, Verdict.WORSE)
    assert str(found) == "+3 tasks (+3 to +4)"


def test_comparison_too_early_is_no_better_than_too_late():
    punctual = lateness("celery-native", [1.0, 2.0, 3.0, 2.5, 1.5])
    early = lateness("celery-bridge", [-50.0, -52.0, -51.0, -49.0, -53.0])

    found = only_comparison(document(*punctual, *early))

    assert (found.difference, found.verdict) == (-53, Verdict.WORSE)


def test_comparison_swapped_flips():
    cells = read(document(*rates("celery-native"), *rates("celery-bridge", 0.8))).cells

    assert compare_cells(*cells).verdict is Verdict.BETTER
    assert compare_cells(*cells[::-1]).verdict is Verdict.WORSE


def test_compare_cells_of_two_keys_is_an_error():
    of = document(*rates("celery-native"), *rates("celery-bridge", work="cpu"))
    one, two = read(of).cells

    with pytest.raises(ValueError, match=r"were not measured alike: Key\(.*'cpu'"):
        compare_cells(one, two)


def test_noise_names_the_control_that_differs():
    results = read(
        document(*rates("celery-native"), *rates("celery-native-again", 1.21))
    )

    assert results.noise == (
        "The machine was too noisy: celery-native differed from itself by 1.21 "
        "(1.19-1.23) in drain-2000."
    )


def test_noise_names_each_scenario_once():
    names = {"celery-native": 1.0, "celery-native-again": 0.5}
    results = read(
        document(
            *(
                entry
                for name, factor in names.items()
                for scenario in ("drain-200", "drain-2000")
                for entry in rates(name, factor, scenario=scenario)
            )
        )
    )

    assert results.noise == (
        "The machine was too noisy: "
        "celery-native differed from itself by 0.50 (0.49-0.51) in drain-200; "
        "celery-native differed from itself by 0.50 (0.49-0.51) in drain-2000."
    )


def test_noise_needs_rounds():
    results = read(
        document(*rates("celery-native")[:2], *rates("celery-native-again", 2)[:2])
    )

    assert results.noise is None
    assert results.controls[0].verdict is Verdict.TOO_FEW_ROUNDS


def test_control_is_nobodys_baseline():
    results = read(
        document(*rates("celery-native-again"), *rates("celery-bridge", 0.5))
    )

    assert list(results.comparisons) == []


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


def test_compare_earlier_run_is_the_baseline():
    names = ("celery-native", "celery-native-again")
    earlier = document(*(entry for name in names for entry in rates(name)))
    later = document(*(entry for name in names for entry in rates(name, 1.3)))

    changes = compare(earlier, later)

    [found] = changes.comparisons
    assert (found.contender, found.baseline) == ("celery-native", "celery-native")
    assert found.verdict is Verdict.BETTER
    assert found.ratio == pytest.approx(1.3)
    assert changes.warnings == []


def test_compare_warns_of_what_else_differs():
    earlier = document(*rates("celery-native"), *rates("celery-bridge"))
    later = document(
        *rates("celery-native", slots=4),
        machine="laptop",
        mode="quick",
        versions={"celery": "5.8.0"},
    )

    assert compare(earlier, later).warnings == [
        "The machine differs: node vm -> laptop.",
        "The run differs: mode full -> quick.",
        "The version differs: celery 5.7.0 -> 5.8.0.",
        "The contender equal/celery-native differs: slots 2 -> 4.",
        "Not measured alike in the later run: celery-bridge in drain-2000.",
    ]


def test_compare_warns_of_a_noisy_run():
    noisy = document(*rates("celery-native"), *rates("celery-native-again", 2))

    [warning] = compare(noisy, noisy).warnings[:1]

    assert warning.startswith("In the earlier run: The machine was too noisy: ")
