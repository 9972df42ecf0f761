"""Figures as plotly.js takes them: plain data, checked against its schema by a test.

A colour is the name of a CSS variable ("$lane-native"): the page fills it in, and again
when the reader changes between light and dark.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from taskbridge_bench.results import Cell

from .numbers import is_counted, short, with_unit
from .sections import Block, Row
from .words import AT_MOST_ONCE, LANES, direction, metric_of, metric_title

_SYMBOLS = ("circle", "square", "diamond")
"""Of lanes, so that colour is not all that tells them apart."""
_LOG_FROM = 30
"""The ratio of the largest number to the smallest from which an axis is logarithmic."""
_DECADES = 2.5
"""Up to so many of them 3 is labelled as well as 1."""
_ROW = 26
_MARGINS = 62


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """A figure, and what it says in words."""

    title: str
    text: str
    """For who does not see it."""
    height: int
    has_names: bool = False
    """Its lines are named beneath it; else names stand at an axis."""
    data: Sequence[Mapping[str, Any]]
    layout: Mapping[str, Any]


def distributions(block: Block, plotted: Sequence[str] | None) -> Iterable[Plot]:
    """Yield a plot for each metric: a dot for each replicate, a bar for the interval.

    What is zero throughout, or counted, is left out: the table says it better.
    """
    for metric in block.metrics:
        rows = [row for row in block.rows if metric in row.cells]
        values = [v for row in rows for v in numbers_of(row.cells[metric])]
        wanted = plotted is None or metric in plotted
        if any(values) and wanted and not is_counted(metric):
            yield _distribution(metric, rows, values)


def _distribution(metric: str, rows: Sequence[Row], values: Sequence[float]) -> Plot:
    data = [trace for row in rows for trace in _row_traces(row, row.cells[metric])]
    names = list(_names(rows))
    text = "; ".join(f"{r.contender} {with_unit(r.cells[metric])}" for r in rows)
    title = f"{metric_title(metric)}, {direction(metric)}"
    return Plot(
        title=title,
        text=f"{title}. Medians with interval and number of replicates: {text}.",
        height=_ROW * len(names) + _MARGINS,
        data=data,
        layout={
            "xaxis": {**axis(values), "title": {"text": metric_of(metric).unit}},
            "yaxis": {
                "categoryorder": "array",
                "categoryarray": names[::-1],
                "automargin": True,
                "range": [-0.6, len(names) - 0.4],
            },
        },
    )


def _row_traces(row: Row, cell: Cell) -> Iterable[dict[str, Any]]:
    colour, symbol = _lane(row.lane)
    if row.guarantee == AT_MOST_ONCE:
        symbol += "-open"
    common = {"type": "scatter", "name": escape(row.contender), "hoverinfo": "text"}
    name, estimate, n = escape(row.contender), cell.estimate, len(cell.replicates)
    yield {
        **common,
        "mode": "lines",
        "x": list(ends(cell)),
        "y": [name] * 2,
        "line": {"width": 7, "color": colour},
        "opacity": 0.35,
        "hoverinfo": "skip",
    }
    yield {
        **common,
        "mode": "markers",
        "x": list(cell.replicates),
        "y": [name] * n,
        "text": [f"{name}<br>replicate: {short(v)}" for v in cell.replicates],
        "marker": {"size": 6, "color": colour, "symbol": symbol, "opacity": 0.75},
    }
    yield {
        **common,
        "mode": "markers",
        "x": [estimate.median],
        "y": [name],
        "text": [f"{name}<br>median {with_unit(cell)}"],
        "marker": {
            "size": 16,
            "symbol": "line-ns-open",
            "color": "$ink",
            "line": {"width": 1.8, "color": "$ink"},
        },
    }


def _names(rows: Sequence[Row]) -> Iterable[str]:
    """Yield the labels from top to bottom: each guarantee above its contenders."""
    for guarantee in dict.fromkeys(row.guarantee for row in rows):
        yield f"<b>{escape(guarantee)}</b>"
        yield from (escape(row.contender) for row in rows if row.guarantee == guarantee)


def axis(values: Sequence[float]) -> dict[str, Any]:
    """Return a logarithmic axis where magnitudes differ, else one that shows zero."""
    if min(values) > 0 and max(values) / min(values) >= _LOG_FROM:
        low, high = math.log10(min(values)), math.log10(max(values))
        room = 0.04 * (high - low)
        ticks = [
            digit * 10.0**decade
            for decade in range(math.floor(low), math.ceil(high) + 1)
            for digit in ((1,) if high - low > _DECADES else (1, 3))
        ]
        return {
            "type": "log",
            "range": [low - room, high + room],
            "tickvals": ticks,
            "ticktext": [f"{tick:,g}" for tick in ticks],
        }
    low, high = min(0.0, *values), max(0.0, *values)
    room = 0.04 * (high - low)
    return {"type": "linear", "range": [low - room * (low < 0), high + room]}


def _lane(lane: str) -> tuple[str, str]:
    place = LANES.index(lane) if lane in LANES else 0
    return f"$lane-{place}", _SYMBOLS[place]


def ends(cell: Cell) -> tuple[float, float]:
    """Return the interval; of a single replicate, which has none, a point."""
    estimate = cell.estimate
    if math.isfinite(estimate.low) and math.isfinite(estimate.high):
        return estimate.low, estimate.high
    return estimate.median, estimate.median


def numbers_of(cell: Cell) -> list[float]:
    """Return all that is drawn of a cell."""
    found = (*cell.replicates, cell.estimate.low, cell.estimate.high)
    return [each for each in found if math.isfinite(each)]
