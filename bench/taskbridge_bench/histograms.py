"""Histograms of waits, in microseconds: put together, and read.

Third parties: hdrhistogram 0.10.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from hdrh.histogram import HdrHistogram

PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9)


def merged(encoded: Iterable[str | bytes]) -> Any:
    """Return one HdrHistogram of several encoded ones; None of none.

    Raises:
        IndexError: a value does not fit in the range of the first of them.
    """
    total: Any = None
    for each in encoded:
        histogram = HdrHistogram.decode(each)
        if total is None:
            total = histogram
        else:
            total.add(histogram)
    return total


def percentiles_us(
    histogram: Any, percentiles: Sequence[float] = PERCENTILES
) -> dict[float, float]:
    """Return microseconds by percentile.

    A percentile is left out if there is not one value beyond it: the 99.9th of fewer
    than a thousand values would be their largest, under another name.

    Args:
        histogram: an HdrHistogram, or None, which has no percentiles.
        percentiles: each from 0 to 100.
    """
    if histogram is None:
        return {}
    count = histogram.get_total_count()
    within = [p for p in percentiles if round(count * (100 - p), 6) >= 100]  # noqa: PLR2004 - percent of one value
    found = histogram.get_percentile_to_value_dict(within)
    return {p: float(found[p]) for p in within}
