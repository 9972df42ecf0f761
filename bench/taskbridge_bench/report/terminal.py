"""What is printed: the tables of a run, and the list of contenders."""

from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from taskbridge_bench.contenders import CONTENDERS
from taskbridge_bench.results import Results

from .advice import advise
from .numbers import MISSING, value, worst
from .remarks import partial, replicates, run_facts, settings_of, versions
from .sections import Block, Chapter, Row, chapters
from .words import AT_MOST_ONCE, LANES, NATIVE, direction, metric_title

_MARK = "\u00b0"
"""Behind numbers of contenders that are at most once."""
_OTHERS = tuple(lane for lane in LANES if lane != NATIVE)
_WIDTHS = {"value": 11, "ratio": 20, "n": 8}


def print_report(results: Results, console: Console) -> None:
    """Print the tables of a run: warnings first, and beneath how it came about."""
    if results.noise:
        _say(console, f"Do not trust these numbers. {results.noise}", "bold red")
    if text := partial(results):
        _say(console, text, "bold yellow")
    for chapter in chapters(results):
        _print_chapter(chapter, console)
    _print_advice(results, console)
    for failure in results.failures:
        who = f"{failure.scenario}, {failure.profile}: {failure.contender}"
        _say(console, f"{who} failed. {failure.reason}", "red")
    for name, reason in results.left_out.items():
        _say(console, f"{name} is left out. {reason}", "yellow")
    for line in _footer(results):
        _say(console, line)


def print_contenders(console: Console) -> None:
    """Print who is compared, and how each is set up."""
    for contender in CONTENDERS:
        description = contender.describe()
        profile = description.get("profile", "")
        console.print(Text(f"{contender.name} {profile}".rstrip(), style="bold"))
        for name, text in settings_of(description):
            console.print(Text(f"  {name:<13}{text}"), soft_wrap=True)


def _print_chapter(chapter: Chapter, console: Console) -> None:
    for section in chapter.sections:
        for block in section.blocks:
            if not block.rows:
                continue
            console.print()
            console.print(
                Rule(
                    Text(f"{section.scenario}: {section.words.title}", style="bold"),
                    align="left",
                    characters="\u2500",
                )
            )
            _say(console, str(block.setting), "dim")
            for place, metric in enumerate(block.metrics):
                heading = f"{metric_title(metric)}, {direction(metric)}"
                console.print(Text(heading, style="italic"))
                console.print(_table(block, metric, show_header=place == 0))


def _table(block: Block, metric: str, *, show_header: bool) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), show_header=show_header)
    table.add_column("", no_wrap=True, min_width=20)
    for title, kind in _columns():
        width = _WIDTHS[kind]
        table.add_column(title, justify="right", no_wrap=True, min_width=width)
    failed = {failure.contender for failure in block.failures}
    for library, lanes in _libraries(block, metric, failed):
        table.add_row(Text(f"  {library}"), *_cells(library, lanes, metric, failed))
    return table


def _columns() -> Iterable[tuple[str, str]]:
    yield NATIVE, "value"
    for lane in _OTHERS:
        yield lane, "value"
        yield f"{lane}/{NATIVE}", "ratio"
    yield "n", "n"


def _libraries(
    block: Block, metric: str, failed: Iterable[str]
) -> list[tuple[str, Mapping[str, Row]]]:
    """Return rows by library and lane; who has only native comes last."""
    found: dict[str, dict[str, Row]] = {}
    for row in block.rows:
        if metric in row.cells:
            found.setdefault(row.library, {})[row.lane] = row
    for name in failed:
        library, _, lane = name.rpartition("-")
        if lane in LANES:
            found.setdefault(library, {})
    return sorted(found.items(), key=lambda item: set(item[1]) <= {NATIVE})


def _cells(
    library: str, lanes: Mapping[str, Row], metric: str, failed: Iterable[str]
) -> Iterable[Text]:
    for lane in LANES:
        row = lanes.get(lane)
        yield _number(row, metric, has_failed=f"{library}-{lane}" in failed)
        if lane != NATIVE:
            yield _ratio(row, metric)
    counts = [lanes[lane].cells[metric].estimate for lane in LANES if lane in lanes]
    yield Text("+".join(str(estimate.replicates) for estimate in counts))


def _number(row: Row | None, metric: str, *, has_failed: bool) -> Text:
    if has_failed:
        return Text("failed", style="red")
    if row is None:
        return Text("")
    cell = row.cells[metric]
    mark = _MARK if row.guarantee == AT_MOST_ONCE else " "
    number = value(cell.estimate.median, metric)
    most = worst(cell)
    return Text(f"{number} ({most})" if most else number).append(mark)


def _ratio(row: Row | None, metric: str) -> Text:
    if row is None:
        return Text("")
    comparison = row.against.get(metric)
    return Text(str(comparison) if comparison else MISSING)


def _print_advice(results: Results, console: Console) -> None:
    advice = advise(results)
    for setting in dict.fromkeys(each.setting for each in advice):
        console.print()
        console.print(
            Rule(Text(f"What to take: {setting}", style="bold"), align="left")
        )
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
        for each in advice:
            if each.setting == setting:
                take = ", ".join(each.take) or each.instead
                table.add_row(Text(each.need), Text(take))
        console.print(table)
        if any(len(each.take) > 1 for each in advice):
            _say(
                console, "Several names: no difference from the first was seen.", "dim"
            )


def _footer(results: Results) -> Iterable[str]:
    yield ""
    yield (
        "Medians over replicates; n: replicates, native+bridge+durable. Ratios with "
        "interval. No difference seen: the run does not show one, whatever the numbers "
        f"are. {_MARK} at most once: loses what a killed worker held."
    )
    facts = dict(run_facts(results))
    machine = _joined(facts, ("Machine", "Cores", "System", "Load before"))
    yield f"Machine: {machine}"
    numbers = ", ".join(f"{name} {version}" for name, version in versions(results))
    yield f"Versions: {numbers}"
    seed, took = facts.get("Seed", "?"), facts.get("Duration", "?")
    yield (
        f"Replicates: {replicates(results)}. Confidence: {facts['Confidence']}. "
        f"Seed {seed}, {took} in all."
    )


def _joined(facts: Mapping[str, str], names: Sequence[str]) -> str:
    units = {"Cores": "{} cores", "Load before": "load {} before"}
    known = [(name, facts[name]) for name in names if name in facts]
    return ", ".join(units.get(name, "{}").format(text) for name, text in known) + "."


def _say(console: Console, text: str, style: str = "") -> None:
    console.print(Text(text, style=style))
