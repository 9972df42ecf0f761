"""Results for machines: every cell and every comparison, with a stable schema.

    schema       "taskbridge-bench-report/1"; the number grows when a name changes
    noise        why the numbers must not be trusted, or null
    partial      what is missing of a run that ended early, or null
    metrics      {name: {title, unit, better}} of all metrics that occur
    cells        [{scenario, profile, work, database, metric, contender, library, lane,
                 guarantee, median, low, high, n, turns, without_number, control_of,
                 replicates, percentiles, facts}]:
                 n replicates are turns, or rounds of fewer than 4 turns;
                 percentiles is {"count": .., "p50": .., "p99.9": ..} in ms, or null
    comparisons  [{scenario, profile, work, database, metric, contender, baseline,
                 ratio, difference, low, high, p, verdict, is_control}]: ratio is
                 contender / baseline; where it is null, difference is one minus other
    advice       [{profile, work, database, need, take, instead, numbers,
                 showed, caveats}]
    failures     [{scenario, profile, contender, reason}]
    left_out     {contender: why}
    contenders   {"profile/name": description}
    about, machine    of the run, as they were stored

A number that is not finite is null.
"""

import math
from dataclasses import asdict
from typing import Any

from taskbridge_bench.results import Cell, Comparison, Results

from .advice import Advice, advise
from .remarks import partial
from .words import metric_of

SCHEMA = "taskbridge-bench-report/1"


def to_json(results: Results) -> dict[str, Any]:
    """Return what `json.dumps` takes; the module says what is in it."""
    metrics = sorted({cell.key.metric for cell in results.cells})
    document = {
        "schema": SCHEMA,
        "noise": results.noise,
        "partial": partial(results),
        "metrics": {name: asdict(metric_of(name)) for name in metrics},
        "cells": [_cell(cell) for cell in results.cells],
        "comparisons": [_comparison(each) for each in results.comparisons],
        "advice": [_advice(each) for each in advise(results)],
        "failures": [asdict(failure) for failure in results.failures],
        "left_out": dict(results.left_out),
        "contenders": {name: dict(d) for name, d in results.contenders.items()},
        "about": dict(results.about),
        "machine": dict(results.machine),
    }
    plain: dict[str, Any] = _finite(document)
    return plain


def _cell(cell: Cell) -> dict[str, Any]:
    return {
        **asdict(cell.key),
        "contender": cell.contender,
        "library": cell.library,
        "lane": cell.lane,
        "guarantee": cell.guarantee,
        "median": cell.estimate.median,
        "low": cell.estimate.low,
        "high": cell.estimate.high,
        "n": cell.estimate.replicates,
        "turns": cell.turns,
        "without_number": cell.failed,
        "control_of": cell.control_of,
        "replicates": list(cell.replicates),
        "percentiles": _percentiles(cell),
        "facts": dict(cell.facts),
    }


def _percentiles(cell: Cell) -> dict[str, float] | None:
    if cell.histogram is None:
        return None
    return {"count": cell.histogram.get_total_count()} | {
        f"p{percentile:g}": us / 1000
        for percentile, us in cell.percentiles_us().items()
    }


def _comparison(comparison: Comparison) -> dict[str, Any]:
    fields = asdict(comparison)
    return {**fields.pop("key"), **fields}


def _advice(advice: Advice) -> dict[str, Any]:
    fields = asdict(advice)
    return {**fields.pop("setting"), **fields}


def _finite(value: Any) -> Any:
    """Return the same, with None for each number that JSON has no word for."""
    match value:
        case float() if not math.isfinite(value):
            return None
        case dict():
            return {str(name): _finite(each) for name, each in value.items()}
        case list() | tuple():
            return [_finite(each) for each in value]
    return value
