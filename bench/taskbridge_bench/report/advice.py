"""What to choose for which need, computed for one profile and setting at a time.

A need names a scenario's metric. The contender that is best there is chosen, and with
it all that cannot be told apart from it. Only contenders that promise at least once are
considered, except where a loss is bearable: there all are.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from taskbridge_bench.comparing import compare_cells
from taskbridge_bench.results import Cell, Results, Verdict

from .numbers import number, sizes, value
from .sections import Block, Row, Setting, better_first, chapters
from .words import AT_LEAST_ONCE, AT_MOST_ONCE, metric_of, words_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """A line of the decision table."""

    setting: Setting
    need: str
    take: Sequence[str]
    """The best contender first, then all that cannot be told from it."""
    instead: str = ""
    """What is said if no contender is chosen."""
    numbers: Sequence[str]
    """Of each that is taken, with interval; the unit is in `showed`."""
    showed: Sequence[str]
    caveats: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What a reader may need."""

    need: str
    scenarios: Sequence[str]
    """The first of them that was measured counts."""
    metric: str
    guarantees: Sequence[str] = (AT_LEAST_ONCE,)
    flawless: Sequence[str] = ()
    """Metrics that must be zero in each replicate."""
    only: Callable[[Mapping[str, Any]], bool] = lambda _: True
    """Whether a contender of this description is considered at all."""
    caveat: str = ""


def _only_database(description: Mapping[str, Any]) -> bool:
    servers = set(description.get("servers") or ()) - {"postgresql"}
    broker = str(description.get("broker", "")).lower()
    return "database" in broker and not servers


_ALIKE = (Verdict.NO_DIFFERENCE_SEEN, Verdict.BETTER)
_DRAINS = ("drain-2000", "drain-500", "drain-20000", "drain-200", "saturation")
_ANY = (AT_LEAST_ONCE, AT_MOST_ONCE)
_BEARABLE = "at most once: what a killed worker held does not run again"
_NO_WORK = "a rate of tasks that do nothing"
_RUNS_AGAIN = (
    "a task that was cut off runs again: it must bear that; settings that say when "
    "were 5 s, and are longer by default"
)

NEEDS: tuple[Need, ...] = (
    Need(
        need="Most tasks per second, none lost with a worker",
        scenarios=_DRAINS,
        metric="rate",
        caveat=_NO_WORK,
    ),
    Need(
        need="Most tasks per second, a loss is bearable",
        scenarios=_DRAINS,
        metric="rate",
        guarantees=_ANY,
        caveat=_NO_WORK,
    ),
    Need(
        need="A start at once on an idle worker, none lost with it",
        scenarios=("pickup",),
        metric="pickup",
    ),
    Need(
        need="Steady waits under load (99th percentile), none lost",
        scenarios=("latency-60", "latency-30", "latency-90"),
        metric="p99",
        caveat="load is relative to each contender's own saturation",
    ),
    Need(
        need="The cheapest enqueue in a request, none lost later",
        scenarios=("enqueue",),
        metric="call",
    ),
    Need(
        need="A worker killed by kill -9, and nothing lost",
        scenarios=("recovery-worker", "recovery-process"),
        metric="rerun",
        flawless=("lost",),
        caveat=_RUNS_AGAIN,
    ),
    Need(
        need="A flushed broker, and nothing lost",
        scenarios=("recovery-flush",),
        metric="rerun",
        flawless=("lost",),
        caveat=_RUNS_AGAIN,
    ),
    Need(
        need="Tasks that start when they are due, none lost",
        scenarios=("schedule",),
        metric="late_5s",
        flawless=("early",),
        caveat="the median; see the section for 30 s and for bursts",
    ),
    Need(
        need="Cron: each firing, once",
        scenarios=("periodic",),
        metric="drift",
        flawless=("missed", "doubled"),
    ),
    Need(
        need="The cheapest idle worker",
        scenarios=("cost",),
        metric="idle_cpu",
        caveat="without broker and database servers",
    ),
    Need(
        need="Nothing but a database, none lost with a worker",
        scenarios=_DRAINS,
        metric="rate",
        only=_only_database,
        caveat=_NO_WORK,
    ),
    Need(
        need="Nothing but a database, a loss is bearable",
        scenarios=_DRAINS,
        metric="rate",
        guarantees=_ANY,
        only=_only_database,
        caveat=_NO_WORK,
    ),
)


def advise(results: Results) -> list[Advice]:
    """Return what to take, for each setting and each need that can be answered."""
    sections = [s for chapter in chapters(results) for s in chapter.sections]
    blocks = {(b.scenario, b.setting): b for s in sections for b in s.blocks}
    settings = dict.fromkeys(block.setting for block in blocks.values())
    found = (
        _answer(results, need, block)
        for setting in settings
        for need in NEEDS
        if (block := _first(blocks, need.scenarios, setting))
    )
    return [advice for advice in found if advice]


def _first(
    blocks: Mapping[tuple[str, Setting], Block],
    scenarios: Iterable[str],
    setting: Setting,
) -> Block | None:
    found = (blocks.get((name, setting)) for name in scenarios)
    return next((block for block in found if block and block.rows), None)


def _answer(results: Results, need: Need, block: Block) -> Advice | None:
    asked = [
        row
        for guarantee in need.guarantees
        for row in block.groups.get(guarantee, ())
        if need.only(_description(results, block, row.contender))
    ]
    if not asked:
        return None
    able = [row for row in asked if need.metric in row.cells and _flawless(row, need)]
    later = list(_later(results, block, asked))
    if not able:
        return _nobody(need, block, asked, later)
    able.sort(key=lambda row: better_first(row.cells[need.metric]))
    cells = [row.cells[need.metric] for row in able]
    verdicts = [compare_cells(cell, cells[0]).verdict for cell in cells[1:]]
    if verdicts and set(verdicts) == {Verdict.TOO_FEW_ROUNDS}:
        return _undecided(need, block, cells, later)
    told = dict(zip([cell.contender for cell in cells[1:]], verdicts, strict=True))
    best = [cells[0], *(c for c in cells[1:] if told[c.contender] in _ALIKE)]
    worse = [c for c in cells[1:] if told[c.contender] is Verdict.WORSE]
    unclear = [n for n, each in told.items() if each is Verdict.TOO_FEW_ROUNDS]
    return Advice(
        setting=block.setting,
        need=need.need,
        take=[cell.contender for cell in best],
        numbers=[number(cell) for cell in best],
        showed=list(_showed(need, block, best, worse)),
        caveats=[
            *_caveats(need, best, unclear, is_alone=not told),
            *_conditions(results, block, best),
            *later,
        ],
    )


def _undecided(
    need: Need, block: Block, cells: Sequence[Cell], later: Sequence[str]
) -> Advice:
    first = cells[0]
    return Advice(
        setting=block.setting,
        need=need.need,
        take=[],
        numbers=[],
        instead="undecided",
        showed=[
            _measured(need, block, cells),
            f"too few rounds to tell {len(cells)} contenders apart",
            f"best median: {first.contender} {number(first)}",
        ],
        caveats=[*([need.caveat] if need.caveat else []), *later],
    )


def _nobody(
    need: Need, block: Block, asked: Sequence[Row], later: Sequence[str]
) -> Advice:
    flaws = ", ".join(metric_of(name).title.lower() for name in need.flawless)
    return Advice(
        setting=block.setting,
        need=need.need,
        take=[],
        numbers=[],
        instead="nobody here",
        showed=[
            f"None of {len(asked)} contenders that promise "
            f"{' or '.join(need.guarantees)}"
            + (f" was free of: {flaws}." if flaws else " was measured.")
        ],
        caveats=[*([need.caveat] if need.caveat else []), *later],
    )


def _showed(
    need: Need, block: Block, best: Sequence[Cell], others: Sequence[Cell]
) -> Iterable[str]:
    yield _measured(need, block, best)
    if len(best) > 1:
        yield "no difference seen"
    if need.flawless:
        yield ", ".join(f"{name}: 0" for name in need.flawless) + " in each turn"
    if others:
        yield f"next: {others[0].contender} {number(others[0])}"


def _measured(need: Need, block: Block, cells: Sequence[Cell]) -> str:
    metric = metric_of(need.metric)
    title = f"{words_of(block.scenario).title}: {metric.title.lower()}, {metric.unit}"
    return f"{title}; {sizes(cells)}"


def _caveats(
    need: Need, best: Sequence[Cell], unclear: Sequence[str], *, is_alone: bool
) -> Iterable[str]:
    if any(cell.guarantee == AT_MOST_ONCE for cell in best):
        yield _BEARABLE
    if need.caveat:
        yield need.caveat
    if unclear:
        yield f"too few rounds to tell: {', '.join(unclear)}"
    if is_alone:
        yield "nobody else here can do it, or was measured"
    for cell in filter(_early, best):
        low = value(cell.estimate.low, cell.key.metric)
        yield f"{cell.contender} was early: {low} {metric_of(cell.key.metric).unit}"


def _conditions(results: Results, block: Block, best: Sequence[Cell]) -> Iterable[str]:
    """Yield what a reader must know about those that are chosen."""
    for cell in best:
        description = _description(results, block, cell.contender)
        servers = description.get("servers") or ()
        if "postgresql" in servers and block.setting.database != "postgresql":
            yield f"{cell.contender} ran on PostgreSQL, others here on SQLite"
        if acknowledges := description.get("acknowledges"):
            yield f"{cell.contender} acknowledges {acknowledges}"
        if description.get("fills_in_bulk"):
            yield (
                f"{cell.contender} took tasks that were enqueued together, in chunks: "
                f"those of a chunk that is cut off may all run again"
            )


def _later(results: Results, block: Block, rows: Sequence[Row]) -> Iterable[str]:
    """Yield those whose tasks are not lost, but come back later."""
    for row in rows:
        if "late" in row.cells and any(row.cells["late"].replicates):
            returns = _description(results, block, row.contender).get("returns")
            yield f"{row.contender} comes back later: {returns}"


def _early(cell: Cell) -> bool:
    """Return whether it started before it was due, by more than clocks may differ."""
    return metric_of(cell.key.metric).unit == "ms" and cell.estimate.low < -1


def _flawless(row: Row, need: Need) -> bool:
    """Return whether all metrics that must be zero were zero, and no round failed."""
    return all(
        name in row.cells and not any(row.cells[name].replicates)
        for name in need.flawless
    ) and not (need.flawless and row.cells[need.metric].failed)


def _description(results: Results, block: Block, contender: str) -> Mapping[str, Any]:
    return results.contenders.get(f"{block.setting.profile}/{contender}", {})
