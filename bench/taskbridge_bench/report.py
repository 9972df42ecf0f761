"""What is printed: the table of a run, and the list of contenders."""

from collections.abc import Iterable

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .contenders import CONTENDERS, SLOTS, Contender, Lane
from .summary import (
    BOOTSTRAP_FROM,
    CONFIDENCE,
    QUANTITIES,
    Document,
    Estimate,
    Ratio,
    Row,
    summarise,
)


def print_report(document: Document, console: Console) -> None:
    """Print the table of a document, and beneath it how it came about."""
    rows = summarise(document)
    table = Table(
        title=f"TaskBridge bench, {SLOTS} worker slots each",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("", no_wrap=True)
    for title in ("native", "bridge", "ratio", "interval", "rounds"):
        table.add_column(title, justify="right", no_wrap=True)
    for scenario, quantity in QUANTITIES.items():
        of_scenario = [row for row in rows if row.scenario == scenario]
        if of_scenario:
            table.add_section()
            table.add_row(f"[bold]{quantity.heading}[/bold]")
        for row in of_scenario:
            table.add_row(*_cells(row))
    console.print(table)
    for row in rows:
        for lane, reason in row.lanes.items():
            if isinstance(reason, str):
                what = f"{row.scenario}: {row.library}, {lane} failed. {reason}"
                console.print(what, style="red", markup=False, highlight=False)
    for line in _footer(document):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def print_contenders(console: Console) -> None:
    """Print who is compared, and how each is set up."""
    for contender in CONTENDERS:
        console.print(f"[bold]{contender.name}[/bold]")
        for name, text in _facts(contender):
            console.print(
                f"  {name:<13}{escape(text)}", highlight=False, soft_wrap=True
            )


def _facts(contender: Contender) -> Iterable[tuple[str, str]]:
    yield "broker", contender.broker
    yield "enqueue", contender.enqueue
    processes: dict[tuple[str, ...], int] = {}
    for arguments in contender.workers:
        processes[arguments] = processes.get(arguments, 0) + 1
    for arguments, number in processes.items():
        times = f"{number} x " if number > 1 else ""
        yield "worker", f"{times}python {' '.join(arguments)}"
    yield "acknowledges", contender.acknowledges
    yield "prefetch", contender.prefetch
    yield "poll", contender.poll
    yield "results", contender.results


def _cells(row: Row) -> list[str]:
    lanes = [row.lanes.get(lane) for lane in Lane]
    return [
        row.library if row.depth is None else f"{row.library} ({row.depth})",
        *(_number(number, row.scenario) for number in lanes),
        f"{row.ratio.value:.2f}" if row.ratio else "",
        _interval(row.ratio),
        "+".join(str(n.samples) if isinstance(n, Estimate) else "0" for n in lanes),
    ]


def _number(number: Estimate | str | None, scenario: str) -> str:
    match number:
        case Estimate() if QUANTITIES[scenario].shows_p95:
            return f"{_short(number.median)}/{_short(number.p95)}"
        case Estimate():
            return _short(number.median)
        case None:
            return ""
    return "[red]failed[/red]"


def _short(number: float) -> str:
    """Return three significant digits, and all of those before the point."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"  # noqa: PLR2004 - digits


def _interval(ratio: Ratio | None) -> str:
    if ratio is None:
        return ""
    return f"{ratio.low:.2f}-{ratio.high:.2f}" + ("*" if ratio.is_range else "")


def _footer(document: Document) -> Iterable[str]:
    about = document["taskbridge"]
    yield (
        "Medians over rounds. Ratio: bridge / native. "
        f"Interval: {CONFIDENCE:.0%} bootstrap; "
        f"* the full range, fewer than {BOOTSTRAP_FROM} rounds."
    )
    machine = document.get("machine_info", {})
    if machine:
        cpu = machine["cpu"]
        yield (
            f"Machine: {cpu.get('brand_raw', machine['machine'])}, "
            f"{cpu.get('count', '?')} cores, {machine['system']} {machine['release']}, "
            f"load {about['load_before']:.1f} before."
        )
    versions = (f"{name} {version}" for name, version in about["versions"].items())
    yield f"Versions: {', '.join(versions)}."
    yield f"{about['mode']}, seed {about['seed']}, {about['total_s']:.0f} s in all."
