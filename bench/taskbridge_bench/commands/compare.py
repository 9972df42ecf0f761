"""``taskbridge-bench compare``: what changed from one stored run to another."""

import argparse

from rich.markup import escape
from rich.table import Table

from taskbridge_bench.cells import Comparison
from taskbridge_bench.changes import Changes, compare
from taskbridge_bench.metrics import METRICS
from taskbridge_bench.results import Results, read
from taskbridge_bench.storage import Storage

from .consoles import messages, output


def compare_runs(options: argparse.Namespace) -> int:
    """Compare two runs, and return the exit status.

    Raises:
        Refusal: one of them cannot be read.
    """
    storage = Storage(options.storage)
    before, after = storage.read(options.before), storage.read(options.after)
    changes = compare(before, after)
    for warning in changes.warnings:
        messages().print(escape(warning), style="yellow")
    output().print(_table(changes, read(before), read(after)))
    return 0


def _table(changes: Changes, before: Results, after: Results) -> Table:
    table = Table(title="B compared with A, which is the baseline")
    for name in ("Scenario", "Contender", "Metric"):
        table.add_column(name)
    for name in ("A", "B", "B / A"):
        table.add_column(name, justify="right")
    table.add_column("Verdict")
    for comparison in changes.comparisons:
        key = comparison.key
        table.add_row(
            f"{key.scenario} {key.profile} {key.work} {key.database}",
            comparison.contender,
            f"{key.metric}, {METRICS[key.metric].unit}",
            _median(before, comparison),
            _median(after, comparison),
            escape(str(comparison)) if comparison.is_different else "",
            str(comparison.verdict),
        )
    return table


def _median(results: Results, comparison: Comparison) -> str:
    cell = results.cell(comparison.key, comparison.contender)
    return "" if cell is None else f"{cell.estimate.median:,.4g}"
