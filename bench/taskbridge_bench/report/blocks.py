"""Blocks as the page's templates take them: only text, which they escape."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from django.utils.html import format_html_join
from django.utils.safestring import SafeString, mark_safe

from taskbridge_bench.results import Verdict

from .curves import depths, percentiles
from .numbers import against, interval, sizes, value, without, worst
from .plots import Plot, distributions
from .remarks import fact_text
from .sections import Block, Chapter, Row
from .words import GUARANTEES, Words, direction, metric_title

_JSON = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026"}


def block_view(
    block: Block, words: Words, profiles: Sequence[str], libraries: Sequence[str]
) -> dict[str, Any]:
    """Return the plots, tables, notes and facts of a block."""
    plots = [*percentiles(block, libraries), *distributions(block, words.plotted)]
    return {
        "profile": profiles.index(block.setting.profile),
        "setting": str(block.setting),
        "plots": [_plot(plot) for plot in plots],
        "columns": [
            {"title": metric_title(name), "direction": direction(name)}
            for name in block.metrics
        ],
        "tables": [
            {
                "label": f"{words.title}; {block.setting}; {guarantee}",
                "guarantee": guarantee,
                "meaning": GUARANTEES.get(guarantee, ""),
                "rows": [_row(row, block.metrics) for row in rows],
            }
            for guarantee, rows in block.groups.items()
        ],
        "notes": [
            *(
                {"who": f.contender, "what": f"failed: {f.reason}"}
                for f in block.failures
            ),
            *({"who": who, "what": f": {why}"} for who, why in block.cannot.items()),
        ],
        "facts": _facts(block),
    }


def chapter_plots(
    chapter: Chapter, profiles: Sequence[str], libraries: Sequence[str]
) -> Iterable[dict[str, Any]]:
    """Yield what spans several scenarios of a chapter."""
    settings = {block.setting: None for s in chapter.sections for block in s.blocks}
    for setting in settings:
        for plot in depths(chapter.sections, setting, libraries):
            yield {
                "profile": profiles.index(setting.profile),
                "setting": str(setting),
                **_plot(plot),
            }


def _plot(plot: Plot) -> dict[str, Any]:
    spec = json.dumps({"data": plot.data, "layout": plot.layout}, allow_nan=False)
    return {
        "title": plot.title,
        "text": plot.text,
        "height": str(plot.height),
        "has_names": plot.has_names,
        "spec": mark_safe(spec.translate(_JSON)),  # noqa: S308 - has no < and no &
    }


def _row(row: Row, metrics: Sequence[str]) -> dict[str, Any]:
    return {
        "name": _breakable(row.contender),
        "cells": [_cell(row, metric) for metric in metrics],
        "n": sizes(row.cells.values()),
    }


def _breakable(name: str) -> SafeString:
    """Return a name that a narrow column breaks behind an underscore."""
    return format_html_join(mark_safe("_<wbr>"), "{}", ((p,) for p in name.split("_")))


def _cell(row: Row, metric: str) -> dict[str, Any] | None:
    cell = row.cells.get(metric)
    if cell is None:
        return None
    comparison = row.against.get(metric)
    kinds = {Verdict.BETTER: "better", Verdict.WORSE: "worse"}
    return {
        "value": value(cell.estimate.median, metric),
        "interval": interval(cell),
        "flaws": list(filter(None, [worst(cell), without(cell)])),
        "against": against(comparison) if comparison else None,
        "kind": kinds.get(comparison.verdict, "") if comparison else "",
    }


def _facts(block: Block) -> dict[str, Any] | None:
    names = list(dict.fromkeys(name for row in block.rows for name in row.facts))
    if not names:
        return None
    return {
        "names": names,
        "rows": [
            {
                "name": row.contender,
                "cells": [
                    fact_text(row.facts[name]) if name in row.facts else ""
                    for name in names
                ],
            }
            for row in block.rows
            if row.facts
        ],
    }
