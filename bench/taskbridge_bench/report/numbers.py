"""Numbers as text: three digits, an interval, a ratio; the same in every report."""

import math
from collections.abc import Iterable

from taskbridge_bench.results import OF_TASKS, Cell, Comparison

from .words import NATIVE, metric_of

DASH = "\u2013"
TIMES = "\u00d7"
MISSING = "\u2014"

_DIGITS = 3
_COUNTED = frozenset({"tasks", "firings"})


def short(amount: float) -> str:
    """Return three significant digits, and all of those before the point."""
    if not math.isfinite(amount):
        return MISSING
    if amount == 0:
        return "0"
    places = max(0, _DIGITS - 1 - math.floor(math.log10(abs(amount))))
    return f"{amount:,.{places}f}"


def value(amount: float, metric: str) -> str:
    """Return a number of a metric: what is counted without a fraction, if it has none.

    The unit is not in it.
    """
    if is_counted(metric) and float(amount).is_integer():
        return f"{amount:,.0f}"
    return short(amount)


def span(low: float, high: float) -> str:
    """Return an interval: "1.2-3.4" with a dash, or "-1.2 to 3.4"; of one: "?"."""
    if math.isnan(low) or math.isnan(high):
        return "?"
    joint = " to " if low < 0 else DASH
    return f"{short(low)}{joint}{short(high)}"


def is_counted(metric: str) -> bool:
    """Return whether whole things are counted, so that a median hides the rare one."""
    return metric_of(metric).unit in _COUNTED


def interval(cell: Cell) -> str | None:
    """Return the interval in brackets; None where it is the number itself."""
    estimate = cell.estimate
    if is_counted(cell.key.metric) and estimate.low == estimate.high:
        return None
    return f"({span(estimate.low, estimate.high)})"


def number(cell: Cell) -> str:
    """Return "2,310 (2,250-2,380)", without the unit."""
    median = value(cell.estimate.median, cell.key.metric)
    return " ".join(filter(None, [median, interval(cell)]))


def with_unit(cell: Cell) -> str:
    """Return "2,310 tasks/s (2,250-2,380; 6 turns)"."""
    unit = metric_of(cell.key.metric).unit
    median = value(cell.estimate.median, cell.key.metric)
    found = span(cell.estimate.low, cell.estimate.high)
    return f"{median} {unit}".rstrip() + f" ({found}; {size(cell)})"


def size(cell: Cell) -> str:
    """Return what the replicates are: "6 turns", or "5 rounds" of too few turns."""
    n = cell.estimate.replicates
    what = "turn" if cell.by_turns or cell.key.metric in OF_TASKS else "round"
    return f"{n} {what}" + "s" * (n != 1)


def sizes(cells: Iterable[Cell]) -> str:
    """Return what the replicates of several cells are: "6 turns", or all there are."""
    return ", ".join(sorted({size(cell) for cell in cells}))


def against(comparison: Comparison) -> str:
    """Return "1.31 x native (1.22-1.40), worse", or the words of no difference."""
    if not comparison.is_different:
        return str(comparison.verdict)
    if comparison.difference is not None:
        more = f"{comparison} against {baseline(comparison)}"
        return f"{more}, {comparison.verdict}"
    times = f"{short(comparison.ratio)} {TIMES} {baseline(comparison)}"
    return f"{times} ({span(comparison.low, comparison.high)}), {comparison.verdict}"


def baseline(comparison: Comparison) -> str:
    """Return "native" where that is the lane of the baseline, else its name."""
    is_native = comparison.baseline.endswith(f"-{NATIVE}")
    return NATIVE if is_native else comparison.baseline


def worst(cell: Cell) -> str | None:
    """Return the largest replicate of what is counted, where the median hides it."""
    if not is_counted(cell.key.metric) or not cell.replicates:
        return None
    largest = max(cell.replicates)
    if largest <= cell.estimate.median:
        return None
    return f"worst {value(largest, cell.key.metric)}"


def without(cell: Cell) -> str | None:
    """Return how many rounds gave no number, if any: they are in no median."""
    if not cell.failed:
        return None
    return f"{cell.failed} round{'s' * (cell.failed != 1)} without a number"
