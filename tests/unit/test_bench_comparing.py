"""Contenders are compared with their native baseline, and controls with themselves."""

import math
from collections.abc import Sequence
from typing import Any

import pytest

from taskbridge_bench.comparing import compare_cells
from taskbridge_bench.results import Comparison, Verdict, read

from .bench_documents import RATES, document, rates, turns


def lateness(name: str, values: Sequence[float]) -> list[dict[str, Any]]:
    return turns(name, "late_5s", [[each] for each in values], scenario="schedule")


def only_comparison(of: dict[str, Any]) -> Comparison:
    [found] = read(of).comparisons
    return found


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
