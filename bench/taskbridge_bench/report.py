"""What is printed: the table of a run, and the list of contenders."""

from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .contenders import CONTENDERS, SLOTS, Contender, Lane
from .plan import STUDIES
from .study_report import print_studies
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

_COMPARED = tuple(lane for lane in Lane if lane is not Lane.NATIVE)


def print_report(document: Document, console: Console) -> None:
    """Print the tables of a document, and beneath them how they came about."""
    rows = summarise(document)
    if rows:
        console.print(_table(rows, document))
    print_studies(document, console)
    for text in _failures(rows, document):
        console.print(text, style="red", markup=False, highlight=False)
    for library, reason in document["taskbridge"]["left_out"].items():
        what = f"{library} is left out. {reason}"
        console.print(what, style="yellow", markup=False, highlight=False)
    for line in _footer(document):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _table(rows: Sequence[Row], document: Document) -> Table:
    table = Table(
        title=f"TaskBridge bench, {SLOTS} worker slots each, "
        f"{document['taskbridge']['database']}",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("", no_wrap=True)
    ratios = [title for lane in _COMPARED for title in (f"{lane}/n", "interval")]
    for title in (*Lane, *ratios, "rounds"):
        table.add_column(title, justify="right", no_wrap=True)
    for scenario, quantity in QUANTITIES.items():
        of_scenario = [row for row in rows if row.scenario == scenario]
        if of_scenario:
            table.add_section()
            table.add_row(f"[bold]{quantity.heading}[/bold]")
        for row in of_scenario:
            table.add_row(*_cells(row))
    return table


def _failures(rows: Sequence[Row], document: Document) -> Iterable[str]:
    for row in rows:
        for lane, reason in row.lanes.items():
            if isinstance(reason, str):
                yield f"{row.scenario}: {row.library}, {lane} failed. {reason}"
    for failure in document["taskbridge"]["failures"]:
        if failure["scenario"] in STUDIES:
            what = f"{failure['scenario']}: {failure['contender']}"
            yield f"{what} failed. {failure['reason']}"


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
    yield "schedules", contender.schedules
    yield "results", contender.results


def _cells(row: Row) -> list[str]:
    lanes = [row.lanes.get(lane) for lane in Lane]
    return [
        row.library if row.depth is None else f"{row.library} ({row.depth})",
        *(_number(number, row.scenario) for number in lanes),
        *(cell for lane in _COMPARED for cell in _ratio_cells(row.ratios.get(lane))),
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


def _ratio_cells(ratio: Ratio | None) -> tuple[str, str]:
    if ratio is None:
        return "", ""
    interval = f"{ratio.low:.2f}-{ratio.high:.2f}" + ("*" if ratio.is_range else "")
    return f"{ratio.value:.2f}", interval


def _footer(document: Document) -> Iterable[str]:
    about = document["taskbridge"]
    yield (
        "Medians over rounds. bridge/n and durable/n: divided by native. "
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
