"""Lines: waits over percentiles, rates over the depth of a queue."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from taskbridge_bench.results import Cell

from .numbers import short, with_unit
from .plots import Plot, axis, ends, numbers_of
from .sections import Block, Row, Section, Setting
from .words import LANES

_PERCENTILES = (25, 50, 75, 90, 95, 97.5, 99, 99.5, 99.75, 99.9, 99.95, 99.99)
_COLOURS = 8
"""Colours of lines; with one mark less, 56 libraries look different."""
_DASHES = ("solid", "dash", "dot")
"""Of lanes."""
_MARKS = ("circle", "square", "diamond", "triangle-up", "x", "cross", "star")
_LINES_HEIGHT = 360
_TICKS = (50, 90, 99, 99.9, 99.99)


def percentiles(block: Block, libraries: Sequence[str]) -> Iterable[Plot]:
    """Yield the curves of waits over percentiles, in ms, for each guarantee."""
    for guarantee, rows in block.groups.items():
        cells = [
            next((c for c in row.cells.values() if c.histogram is not None), None)
            for row in rows
        ]
        found = sorted(filter(None, cells), key=lambda cell: cell.contender)
        if found:
            yield _percentiles(guarantee, found, libraries)


def _percentiles(
    guarantee: str, cells: Sequence[Cell], libraries: Sequence[str]
) -> Plot:
    curves = [_curve(cell) for cell in cells]
    title = f"Waits over percentiles (ms), lower is better; {guarantee}"
    tails = (f"{cell.contender} {_tail(cell)}" for cell in cells)
    return Plot(
        title=title,
        text=f"{title}. All rounds together: {'; '.join(tails)}.",
        height=_LINES_HEIGHT,
        has_names=True,
        data=[
            _line(
                cell,
                libraries,
                x=[100 / (100 - percentile) for percentile in curve],
                y=list(curve.values()),
                text=[
                    f"{escape(cell.contender)}<br>{percentile:g} %: {short(ms)} ms"
                    for percentile, ms in curve.items()
                ],
            )
            for cell, curve in zip(cells, curves, strict=True)
        ],
        layout={
            "xaxis": {
                "type": "log",
                "title": {"text": "percentile of tasks"},
                "tickvals": [100 / (100 - tick) for tick in _TICKS],
                "ticktext": [f"{tick:g} %" for tick in _TICKS],
            },
            "yaxis": {
                **axis([ms for curve in curves for ms in curve.values()]),
                "title": {"text": "wait, ms"},
            },
        },
    )


def _curve(cell: Cell) -> dict[float, float]:
    """Return ms by percentile, no further than there are values for."""
    return {p: us / 1000 for p, us in cell.percentiles_us(_PERCENTILES).items()}


def _tail(cell: Cell) -> str:
    found = cell.percentiles_us((50, 99)).items()
    return ", ".join(f"{p:g} % within {short(us / 1000)} ms" for p, us in found)


def depths(
    sections: Iterable[Section], setting: Setting, libraries: Sequence[str]
) -> Iterable[Plot]:
    """Yield rates over the depth of the queue, for each guarantee with two depths."""
    lines: dict[str, dict[str, dict[int, Cell]]] = {}
    for depth, row in _drained(sections, setting):
        of_guarantee = lines.setdefault(row.guarantee, {})
        of_guarantee.setdefault(row.contender, {})[depth] = row.cells["rate"]
    for guarantee, found in lines.items():
        if len({depth for points in found.values() for depth in points}) > 1:
            yield _depths(guarantee, found, libraries)


def _drained(
    sections: Iterable[Section], setting: Setting
) -> Iterable[tuple[int, Row]]:
    for section in sections:
        name, _, depth = section.scenario.partition("-")
        for block in section.blocks:
            if name == "drain" and depth.isdecimal() and block.setting == setting:
                rows = (row for row in block.rows if "rate" in row.cells)
                yield from ((int(depth), row) for row in rows)


def _depths(
    guarantee: str, lines: Mapping[str, Mapping[int, Cell]], libraries: Sequence[str]
) -> Plot:
    title = f"Tasks per second over waiting tasks, higher is better; {guarantee}"
    ticks = sorted({depth for points in lines.values() for depth in points})
    cells = [cell for points in lines.values() for cell in points.values()]
    return Plot(
        title=title,
        text=f"{title}. The tables of the depths hold the same numbers.",
        height=_LINES_HEIGHT,
        has_names=True,
        data=[_depth_line(lines[name], libraries) for name in sorted(lines)],
        layout={
            "xaxis": {
                "type": "log",
                "title": {"text": "tasks waiting"},
                "tickvals": ticks,
                "ticktext": [f"{depth:,}" for depth in ticks],
            },
            "yaxis": {
                **axis([number for cell in cells for number in numbers_of(cell)]),
                "title": {"text": "tasks/s"},
            },
        },
    )


def _depth_line(points: Mapping[int, Cell], libraries: Sequence[str]) -> dict[str, Any]:
    cells = [points[depth] for depth in sorted(points)]
    return _line(
        cells[0],
        libraries,
        x=sorted(points),
        y=[cell.estimate.median for cell in cells],
        text=[f"{escape(cell.contender)}<br>{with_unit(cell)}" for cell in cells],
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [ends(cell)[1] - cell.estimate.median for cell in cells],
            "arrayminus": [cell.estimate.median - ends(cell)[0] for cell in cells],
            "thickness": 1,
            "width": 3,
        },
    )


def _line(cell: Cell, libraries: Sequence[str], **options: Any) -> dict[str, Any]:
    """Return a line: colour and mark are its library's, dashes its lane's."""
    place = libraries.index(cell.library)
    colour = f"$line-{place % _COLOURS}"
    lane = LANES.index(cell.lane) if cell.lane in LANES else 0
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": cell.contender,
        "hoverinfo": "text",
        "line": {"width": 1.8, "color": colour, "dash": _DASHES[lane]},
        "marker": {"size": 7, "color": colour, "symbol": _MARKS[place % len(_MARKS)]},
        **options,
    }
