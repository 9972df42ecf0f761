"""What is printed of the studies: lateness, recovery, queries."""

from collections.abc import Iterable, Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from .findings import Recovery, lateness_of, queries_of, recovery_of
from .summary import Document


def print_studies(document: Document, console: Console) -> None:
    """Print a table for each study that the document holds."""
    _print(
        console,
        "Lateness: start - due time, ms; negative is early",
        ("contender", "earliest", "median", "p99", "latest", "tasks"),
        [
            (
                each.contender,
                *map(_ms, (each.earliest, each.median, each.p99, each.latest)),
                str(each.tasks),
            )
            for each in lateness_of(document)
        ],
    )
    found = list(recovery_of(document))
    for scenario, killed in (
        ("recovery-process", "the process that runs the task"),
        ("recovery-worker", "the whole worker, started again at once"),
    ):
        _print(
            console,
            f"Recovery: s from kill -9 of {killed} to the rerun",
            ("contender", "rerun after", "lease", "median - lease"),
            [_recovery_cells(each) for each in found if each.scenario == scenario],
        )
    _print(
        console,
        "Queries for each task, and for each second without any",
        ("contender", "enqueue", "worker", "idle/s"),
        [
            (
                each.contender,
                *map(_counts, (each.enqueue, each.worker, each.idle_per_s)),
            )
            for each in queries_of(document)
        ],
    )


def _print(
    console: Console, title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]
) -> None:
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    if table.row_count:
        console.print(table)


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:,.1f}"


def _recovery_cells(found: Recovery) -> tuple[str, ...]:
    seconds = ", ".join(f"{each:.1f}" for each in sorted(found.seconds))
    if found.lost_after_s is not None:
        lost = f"not in {found.lost_after_s:.0f} s; acknowledges: {found.acknowledges}"
        seconds = f"{seconds}, {lost}" if seconds else lost
    return (
        found.contender,
        seconds,
        "" if found.lease_s is None else f"{found.lease_s:.0f}",
        "" if found.excess_s is None else f"{found.excess_s:+.1f}",
    )


def _counts(counts: Mapping[str, float]) -> str:
    """Return the sum, and beneath it what it is made of."""
    parts = [
        f"{count:.2f} {kind}"
        for kind, count in sorted(counts.items(), key=lambda item: -item[1])
    ]
    return "\n".join([f"{sum(counts.values()):.2f}", *parts])
