"""From raw samples to the numbers of the table. Pure: a document in, rows out."""

import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .contenders import LIBRARIES, Lane

RESAMPLES = 2000
CONFIDENCE = 0.95
BOOTSTRAP_FROM = 6
"""Samples in each lane below which an interval is the full range instead."""

Document = Mapping[str, Any]
"""What pytest-benchmark stores, completed by `Runner.complete`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """What the seconds of a scenario's rounds mean."""

    title: str
    unit: str
    from_seconds: Callable[[float, Mapping[str, Any]], float]
    """A sample in `unit`, from its seconds and the extra_info of its benchmark."""
    shows_p95: bool = False

    @property
    def heading(self) -> str:
        """What stands above its rows."""
        return f"{self.title}, {self.unit}" + " (median/p95)" * self.shows_p95


QUANTITIES: Mapping[str, Quantity] = {
    "enqueue": Quantity(title="Enqueue", unit="µs", from_seconds=lambda s, _: s * 1e6),
    "drain": Quantity(
        title="Drain (depth)",
        unit="tasks/s",
        from_seconds=lambda s, info: info["depth"] / s,
    ),
    "pickup": Quantity(
        title="Pickup",
        unit="ms",
        from_seconds=lambda s, _: s * 1e3,
        shows_p95=True,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A lane's number, in the unit of its quantity."""

    median: float
    p95: float
    samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """A lane divided by native, of medians."""

    value: float
    low: float
    high: float
    is_range: bool
    """True: the interval is the full range, there being too few samples for more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One library in one scenario."""

    scenario: str
    library: str
    depth: int | None
    lanes: Mapping[Lane, Estimate | str]
    """The estimate of each lane that was asked for, or why there is none."""
    ratios: Mapping[Lane, Ratio]
    """To native, of each other lane that both have an estimate of."""


def summarise(document: Document) -> list[Row]:
    """Return the rows of a document, by scenario and then by library."""
    failures = {
        (f["scenario"], f["contender"]): f["reason"]
        for f in reversed(document["taskbridge"]["failures"])
    }
    samples: dict[tuple[str, str, str], list[float]] = {}
    depths: dict[tuple[str, str], int] = {}
    for entry in document["benchmarks"]:
        info = entry["extra_info"]
        scenario, contender = info["scenario"], info["contender"]
        if scenario not in QUANTITIES:
            continue
        key = scenario, contender["library"], contender["lane"]
        convert = QUANTITIES[scenario].from_seconds
        samples.setdefault(key, []).extend(
            convert(seconds, info) for seconds in entry["stats"]["data"]
        )
        if "depth" in info:
            depths[key[:2]] = info["depth"]
    rows = []
    for scenario in QUANTITIES:
        for library in LIBRARIES:
            lanes: dict[Lane, Estimate | str] = {}
            valid: dict[Lane, list[float]] = {}
            for lane in Lane:
                if reason := failures.get((scenario, f"{library}-{lane}")):
                    lanes[lane] = reason
                elif values := samples.get((scenario, library, lane)):
                    lanes[lane], valid[lane] = estimate(values), values
            if lanes:
                rows.append(
                    Row(
                        scenario=scenario,
                        library=library,
                        depth=depths.get((scenario, library)),
                        lanes=lanes,
                        ratios=_ratios(valid),
                    )
                )
    return rows


def _ratios(samples: Mapping[Lane, Sequence[float]]) -> dict[Lane, Ratio]:
    if Lane.NATIVE not in samples:
        return {}
    native = samples[Lane.NATIVE]
    return {
        lane: ratio(native, values)
        for lane, values in samples.items()
        if lane is not Lane.NATIVE
    }


def estimate(samples: Sequence[float]) -> Estimate:
    """Return the median and the 95th percentile (nearest rank) of samples."""
    ordered = sorted(samples)
    rank = -(-len(ordered) * 95 // 100)  # rounded up
    return Estimate(
        median=statistics.median(ordered), p95=ordered[rank - 1], samples=len(ordered)
    )


def ratio(native: Sequence[float], other: Sequence[float]) -> Ratio:
    """Return the ratio of medians, other / native, with its interval.

    The interval is a percentile bootstrap over samples, each lane resampled by itself;
    with few samples, where that is too narrow, the full range of ratios.
    """
    value = statistics.median(other) / statistics.median(native)
    if min(len(native), len(other)) < BOOTSTRAP_FROM:
        low, high = min(other) / max(native), max(other) / min(native)
        return Ratio(value=value, low=low, high=high, is_range=True)
    draw = random.Random(len(native)).choices  # noqa: S311 - the same interval each time
    ratios = sorted(
        statistics.median(draw(other, k=len(other)))
        / statistics.median(draw(native, k=len(native)))
        for _ in range(RESAMPLES)
    )
    tail = round(RESAMPLES * (1 - CONFIDENCE) / 2)
    return Ratio(value=value, low=ratios[tail], high=ratios[-1 - tail], is_range=False)
