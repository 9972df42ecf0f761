"""Which of two cells is better, who is best of many, and whether to trust any of it."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .cells import Cell, Comparison, Verdict
from .metrics import METRICS, Better
from .statistics import ALPHA, Effect, Scale, adjusted, effect

NATIVE = "native"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A cell in a ranking."""

    place: int
    """From 1; the same as that of the cell before it, if they are tied."""
    cell: Cell
    after: Comparison | None
    """With the cell before it; None: it is the first."""

    @property
    def is_tied(self) -> bool:
        """Whether no difference was seen, or could be, from the cell before it."""
        return self.after is not None and self.after.verdict is not Verdict.WORSE


def compare_cells(
    cell: Cell, baseline: Cell, *, is_control: bool = False
) -> Comparison:
    """Return how a cell compares with another one of the same key.

    Turns are compared with turns, and rounds with rounds; where one cell had turns
    enough and the other had not, the verdict is TOO_FEW_ROUNDS.

    Raises:
        ValueError: the keys differ.
    """
    if cell.key != baseline.key:
        raise ValueError(
            f"{cell.contender} and {baseline.contender} cannot be compared, since they "
            f"were not measured alike: {cell.key} is not {baseline.key}."
        )
    found = effect(cell.replicates, baseline.replicates)
    is_ratio = found.scale is Scale.RATIO
    return Comparison(
        key=cell.key,
        contender=cell.contender,
        baseline=baseline.contender,
        ratio=found.interval.value if is_ratio else math.nan,
        low=found.interval.low,
        high=found.interval.high,
        p=found.p,
        verdict=_verdict(cell, baseline, found),
        difference=None if is_ratio else found.interval.value,
        is_control=is_control,
    )


def comparisons_of(cells: Sequence[Cell]) -> list[Comparison]:
    """Return all comparisons within cells of one key.

    They are those of each lane with native of the same library, and of each control
    with the contender that it is once more.
    """
    names = {cell.contender: cell for cell in cells}
    natives = {
        cell.library: cell
        for cell in cells
        if cell.lane == NATIVE and not cell.control_of
    }
    found = []
    for cell in cells:
        baseline = (
            names.get(cell.control_of) if cell.control_of else natives.get(cell.library)
        )
        if baseline is not None and baseline is not cell:
            is_control = bool(cell.control_of)
            found.append(compare_cells(cell, baseline, is_control=is_control))
    return found


def ranking(cells: Iterable[Cell]) -> dict[str, list[Place]]:
    """Return cells of one key, the best first, by guarantee.

    Who promises less has less to do, so guarantees are never ranked together. Controls
    are left out. "Not seen to differ" does not chain: the first and the last of three
    who share a place may well differ; `compare_cells` tells.
    """
    groups: dict[str, list[Cell]] = {}
    for cell in sorted(cells, key=_best_first):
        if not cell.control_of:
            groups.setdefault(cell.guarantee, []).append(cell)
    return {guarantee: _places(group) for guarantee, group in groups.items()}


def noise_of(controls: Sequence[Comparison]) -> str | None:
    """Return why a run must not be trusted, if a contender differed from itself.

    One sentence, with the worst number of each such scenario. A quiet machine is called
    noisy in at most 5 % of runs, however many controls there are; see
    `statistics.adjusted`. Controls with too few rounds say nothing.
    """
    able = [c for c in controls if c.verdict is not Verdict.TOO_FEW_ROUNDS]
    if not able:
        return None
    family = zip(able, adjusted([c.p for c in able]), strict=True)
    loud = [c for c, p in family if p <= ALPHA and c.is_different]
    if not loud:
        return None
    worst = {c.key.scenario: c for c in sorted(loud, key=lambda c: -c.p)}
    findings = "; ".join(
        f"{c.baseline} differed from itself by {c} in {scenario}"
        for scenario, c in sorted(worst.items())
    )
    return f"The machine was too noisy: {findings}."


def _verdict(cell: Cell, baseline: Cell, found: Effect) -> Verdict:
    if not found.has_enough or cell.by_turns != baseline.by_turns:
        return Verdict.TOO_FEW_ROUNDS
    one, two = _badness(cell), _badness(baseline)
    if not found.is_different or one == two:
        return Verdict.NO_DIFFERENCE_SEEN
    return Verdict.BETTER if one < two else Verdict.WORSE


def _badness(cell: Cell) -> float:
    """Return a number that is less for the better; too early is as bad as too late."""
    median = cell.estimate.median
    is_higher = METRICS[cell.key.metric].better is Better.HIGHER
    return -median if is_higher else abs(median)


def _best_first(cell: Cell) -> tuple[float, str]:
    return _badness(cell), cell.contender


def _places(cells: Sequence[Cell]) -> list[Place]:
    places: list[Place] = []
    for number, cell in enumerate(cells, start=1):
        if not places:
            places.append(Place(place=number, cell=cell, after=None))
            continue
        last = places[-1]
        after = compare_cells(cell, last.cell)
        place = number if after.verdict is Verdict.WORSE else last.place
        places.append(Place(place=place, cell=cell, after=after))
    return places
