"""Intervals of medians, and when two groups of replicates are called different.

The interval is a percentile bootstrap: each group is resampled by itself, and the
median, or the ratio of two medians, is taken of each resample. Of four replicates it is
about their full range, which holds the true median in 88 % of cases, not in 95 %. From
five on it keeps its word. Alone it would decide too easily, which is why it does not.

Two groups are different if that interval excludes 1 *and* a permutation test says so:
of all ways to deal the replicates out to two groups, at most 5 % set them apart as far
as the real one does. "How far" is measured by ranks, as Mann and Whitney do. Not by
medians, which do not see how the outer replicates were dealt: four against four can
never reach 5 % with them, however far apart (p is 0.057). Nor by means, even of logs:
if one round in ten is bad, as happens on a shared machine, eight against eight see 10 %
in 66 of 100 cases by means, in 91 by ranks. Ranks do not care about units, either.

Third parties: scipy >= 1.15.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
ALPHA = 0.05
"""How often, at most, two groups of the same kind are called different."""
FEWEST = 4
"""Replicates in each group below which nothing is called different.

With three against three even complete separation has p = 0.1.
"""

_RESAMPLES = 2_999
_PERMUTATIONS = 12_870
"""All of eight against eight; where there are more, so many random ones."""
_EXACT_UP_TO = 50
"""Replicates in a group; beyond it the normal approximation is exact enough."""


class Scale(StrEnum):
    """How two medians are set against each other."""

    RATIO = "ratio"
    DIFFERENCE = "difference"
    """Where a replicate is zero or below, so that a ratio says nothing."""

    @property
    def neutral(self) -> float:
        """The value of two equal medians."""
        return 1.0 if self is Scale.RATIO else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A number, and its interval; that is nan on both sides of a single replicate."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What distinguishes two groups of replicates."""

    scale: Scale
    interval: Interval
    """Of the ratio, or of the difference in the unit of the replicates."""
    p: float
    """Of the permutation test, two-sided."""
    fewest: int
    """Replicates of the smaller group."""

    @property
    def has_enough(self) -> bool:
        """Whether the replicates are enough to call anything different."""
        return self.fewest >= FEWEST

    @property
    def is_different(self) -> bool:
        """Whether both the interval and the permutation test say so."""
        neutral = self.scale.neutral
        excluded = self.interval.low > neutral or self.interval.high < neutral
        return self.has_enough and excluded and self.p <= ALPHA


def median_interval(values: Sequence[float]) -> Interval:
    """Return the median of replicates, with its bootstrap interval.

    Args:
        values: one or more finite numbers, in any order. The same numbers always have
            the same interval.
    """
    group = np.sort(np.asarray(values, dtype=float))
    low, high = _bootstrap([group], np.median)
    return Interval(value=float(np.median(group)), low=low, high=high)


def effect(values: Sequence[float], baseline: Sequence[float]) -> Effect:
    """Return what distinguishes replicates from those of a baseline.

    With the groups swapped it is the inverse, to the last digit but rounding.

    Args:
        values: one or more finite numbers, in any order.
        baseline: the same, in the same unit; it is the divisor, or is subtracted.
    """
    one = np.sort(np.asarray(values, dtype=float))
    two = np.sort(np.asarray(baseline, dtype=float))
    is_swapped = one.tolist() > two.tolist()  # random numbers go to the same group
    if is_swapped:
        one, two = two, one
    scale = Scale.RATIO if min(one[0], two[0]) > 0 else Scale.DIFFERENCE
    relate = _ratio if scale is Scale.RATIO else _difference
    low, high = _bootstrap([one, two], relate)
    interval = Interval(value=float(relate(one, two)), low=low, high=high)
    return Effect(
        scale=scale,
        interval=_inverse(interval, scale) if is_swapped else interval,
        p=_permutation_p(one, two),
        fewest=min(len(one), len(two)),
    )


def adjusted(p_values: Sequence[float]) -> list[float]:
    """Return the p-values of a family, corrected for how many they are.

    If nothing in the family is different, at most 5 % of families have one at or below
    0.05 (Simes, 1986): for tests that are independent or, as metrics of the same turns,
    rise and fall together. Holm's correction would promise as much and be deaf: with
    four turns p is never below 0.029, so that two tests could never be significant.
    """
    return [float(p) for p in stats.false_discovery_control(p_values, method="bh")]


def _ratio(one: Any, two: Any, axis: int = -1) -> Any:
    return np.median(one, axis=axis) / np.median(two, axis=axis)


def _difference(one: Any, two: Any, axis: int = -1) -> Any:
    return np.median(one, axis=axis) - np.median(two, axis=axis)


def _inverse(interval: Interval, scale: Scale) -> Interval:
    value, low, high = interval.value, interval.high, interval.low
    if scale is Scale.RATIO:
        return Interval(value=1 / value, low=1 / low, high=1 / high)
    return Interval(value=0.0 - value, low=0.0 - low, high=0.0 - high)


def _bootstrap(groups: Sequence[Any], statistic: Any) -> tuple[float, float]:
    if min(map(len, groups)) == 1:
        return math.nan, math.nan
    found = stats.bootstrap(
        groups,
        statistic,
        vectorized=True,
        n_resamples=_RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(found.low), float(found.high)


def _permutation_p(one: Any, two: Any) -> float:
    pooled = np.concatenate([one, two])
    distinct = len(np.unique(pooled))
    # A permutation test of scipy wants two of each; and all alike needs no test.
    if distinct == 1 or min(len(one), len(two)) == 1:
        return 1.0
    if max(len(one), len(two)) > _EXACT_UP_TO:
        method: Any = "asymptotic"
    elif distinct == len(pooled):
        method = "exact"
    else:  # scipy's "exact" is not, where numbers occur twice
        method = stats.PermutationMethod(
            n_resamples=_PERMUTATIONS, rng=np.random.default_rng(0)
        )
    return float(stats.mannwhitneyu(one, two, method=method).pvalue)
