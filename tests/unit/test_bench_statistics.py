"""Intervals, and when two groups of replicates are called different."""

import math

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from taskbridge_bench.statistics import (
    FEWEST,
    Effect,
    Scale,
    adjusted,
    effect,
    median_interval,
)

NATIVE = [100.0, 101.5, 99.0, 102.0, 98.5, 100.5]
SLOWER = [120.0, 122.5, 119.0, 123.0, 118.5, 121.5]

few_examples = settings(max_examples=40, deadline=None)
positive = st.lists(st.integers(1, 1000).map(float), min_size=4, max_size=7)
signed = st.lists(st.integers(-50, 50).map(float), min_size=4, max_size=7)


def flat(found: Effect) -> tuple[float, float, float, float]:
    interval = found.interval
    return interval.value, interval.low, interval.high, found.p


def test_median_interval_is_around_the_median():
    found = median_interval(NATIVE)

    assert found.value == 100.25
    assert 98.5 <= found.low < 100.25 < found.high <= 102


def test_median_interval_same_numbers_have_the_same_one():
    assert median_interval(NATIVE) == median_interval(NATIVE[::-1])


def test_median_interval_equal_numbers_have_no_width():
    found = median_interval([3.0] * 5)

    assert (found.value, found.low, found.high) == (3, 3, 3)


def test_median_interval_single_number_has_none():
    found = median_interval([3.0])

    assert found.value == 3
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_effect_clear_ratio_is_different():
    found = effect(SLOWER, NATIVE)

    assert found.scale is Scale.RATIO
    assert found.interval.value == pytest.approx(1.2045, abs=1e-4)
    assert 1.15 < found.interval.low < found.interval.high < 1.25
    assert found.p == pytest.approx(2 / math.comb(12, 6))
    assert found.is_different


def test_effect_four_against_four_can_be_different():
    found = effect(SLOWER[:4], NATIVE[:4])

    assert found.p == pytest.approx(2 / 70)
    assert found.is_different


@pytest.mark.parametrize("sizes", [(3, 6), (6, 3), (1, 6), (1, 1)])
def test_effect_fewer_than_four_are_never_different(sizes):
    found = effect([9.0] * sizes[0], [1.0] * sizes[1])

    assert found.fewest < FEWEST
    assert not found.has_enough
    assert not found.is_different


def test_effect_single_number_has_a_ratio_without_interval():
    found = effect([3.0], NATIVE)

    assert found.interval.value == pytest.approx(3 / 100.25)
    assert math.isnan(found.interval.low)
    assert found.p == 1


def test_effect_all_alike_is_not_different():
    found = effect([2.0] * 5, [2.0] * 5)

    assert flat(found) == (1, 1, 1, 1)
    assert not found.is_different


def test_effect_constants_that_differ_are_different():
    found = effect([5.0] * 4, [2.0] * 4)

    assert (found.interval.value, found.interval.low) == (2.5, 2.5)
    assert found.is_different


def test_effect_zero_has_a_difference_instead_of_a_ratio():
    found = effect([3.0] * 4, [0.0] * 4)

    assert found.scale is Scale.DIFFERENCE
    assert (found.interval.value, found.interval.low, found.interval.high) == (3, 3, 3)
    assert found.is_different


def test_effect_both_zero_is_no_difference():
    found = effect([0.0] * 4, [0.0] * 4)

    assert flat(found) == (0, 0, 0, 1)
    assert not found.is_different


def test_effect_negative_numbers_have_a_difference():
    found = effect([-2.0, -1.0, 1.0, 0.5], [4.0, 5.0, 6.0, 4.5])

    assert found.scale is Scale.DIFFERENCE
    assert found.interval.value == -5
    assert found.interval.high < 0
    assert found.is_different


def test_effect_numbers_that_occur_twice_are_tested_exactly():
    found = effect([1.0, 1.0, 2.0, 2.0], [2.0, 3.0, 3.0, 3.0])

    assert found.p == pytest.approx(6 / 70)  # three deals on each side: any of three 2s


@pytest.mark.parametrize("step", [1.0, 0.0])
def test_effect_many_replicates_take_no_time(step):
    many = [100.0 + n % 7 + step * n / 1000 for n in range(300)]

    assert effect([2 * each for each in many], many).is_different


@given(one=positive, two=positive, factor=st.sampled_from([2.0**-20, 0.5, 1024.0]))
@few_examples
def test_effect_does_not_depend_on_the_unit(one, two, factor):
    scaled = effect([factor * each for each in one], [factor * each for each in two])

    assert flat(scaled) == flat(effect(one, two))


@given(one=positive, two=positive, data=st.data())
@few_examples
def test_effect_does_not_depend_on_the_order(one, two, data):
    mixed = effect(data.draw(st.permutations(one)), data.draw(st.permutations(two)))

    assert mixed == effect(one, two)


@given(one=positive, two=positive)
@few_examples
def test_effect_swapped_is_the_inverse_ratio(one, two):
    assume(sorted(one) != sorted(two))
    found, swapped = effect(one, two), effect(two, one)

    assert swapped.interval.value == pytest.approx(1 / found.interval.value)
    assert swapped.interval.low == pytest.approx(1 / found.interval.high)
    assert swapped.interval.high == pytest.approx(1 / found.interval.low)
    assert (swapped.p, swapped.is_different) == (found.p, found.is_different)


@given(one=signed, two=signed)
@few_examples
def test_effect_swapped_is_the_negative_difference(one, two):
    assume(min(one + two) <= 0 and sorted(one) != sorted(two))
    found, swapped = effect(one, two), effect(two, one)

    assert swapped.interval.value == -found.interval.value
    assert (swapped.interval.low, swapped.interval.high) == pytest.approx(
        (-found.interval.high, -found.interval.low)
    )
    assert (swapped.p, swapped.is_different) == (found.p, found.is_different)


@given(values=positive)
@few_examples
def test_effect_of_itself_is_never_different(values):
    found = effect(values, values)

    assert found.interval.low <= 1 <= found.interval.high
    assert not found.is_different


def test_adjusted_one_of_one_is_itself():
    assert adjusted([0.03]) == [0.03]


def test_adjusted_one_low_of_several_is_not_enough():
    assert min(adjusted([0.029, 0.5, 0.7])) > 0.05


def test_adjusted_several_low_support_each_other():
    assert adjusted([0.029, 0.029, 0.7]) == pytest.approx([0.0435, 0.0435, 0.7])
