"""What changed from an earlier run to a later one."""

import pytest

from taskbridge_bench.changes import compare
from taskbridge_bench.results import Verdict

from .bench_documents import document, rates


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
