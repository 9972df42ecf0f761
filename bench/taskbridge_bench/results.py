"""What a run found, as numbers with intervals: what every report is made from.

A document is what pytest-benchmark stores. Each of its `benchmarks` is one *turn*: a
contender has the machine for itself, its worker is started, and it does some rounds of
one scenario. Its `extra_info` is:

    scenario    "drain-2000", a name of the catalogue
    profile     "equal" or "defaults"
    work        "noop", "sleep", "cpu", "orm" or "own"
    database    "sqlite" or "postgresql"
    turn        of this contender in this scenario, from 1
    contender   what `Contender.describe` returns: name, library, lane, guarantee, ...
    samples     {metric: [a number for each round, in the metric's unit]}; nan or null
                for a round that gave none
    histogram   an encoded HdrHistogram of microseconds, or absent
    facts       what else is worth telling: {name: text or number}

`taskbridge` beside them says how the run went: mode, seed, failures, left_out, ...
"""

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from .cells import Cell, Comparison, Estimate, Key, Verdict
from .comparing import NATIVE, Place, comparisons_of, noise_of, ranking
from .histograms import merged
from .statistics import FEWEST, median_interval

__all__ = [
    "COUNTED",
    "OF_TASKS",
    "Cell",
    "Comparison",
    "Document",
    "Estimate",
    "Failure",
    "Key",
    "Place",
    "Results",
    "Verdict",
    "read",
]

Document = Mapping[str, Any]

OF_TASKS = frozenset(
    {
        "late_1s",
        "late_5s",
        "late_30s",
        "late_burst",
        "pickup",
        "drift",
        "gap_error",
        "short_wait",
    }
)
"""Metrics with a sample for each task of a turn, not for each round.

A hundred tasks of one turn are one observation of what a turn is like, so only turns
are ever their replicates.
"""

COUNTED = frozenset({"lost", "late", "duplicated", "missed", "doubled"})
"""Metrics of which the worst round of a turn counts: a median would hide a loss."""

_Turn = Mapping[str, Any]
"""The `extra_info` of one turn."""
_CONDITIONS = ("work", "database")
_LANES = (NATIVE, "bridge", "durable")


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a contender has no number."""

    scenario: str
    profile: str
    contender: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """All that a document says."""

    cells: Sequence[Cell]
    comparisons: Sequence[Comparison]
    """Bridge and durable with native of the same library, and the A/A control."""
    failures: Sequence[Failure]
    left_out: Mapping[str, str]
    """Contenders that were not measured at all, and why."""
    noise: str | None
    """Why the numbers must not be trusted: the A/A control differed from itself.

    None also if there was no control, or it had too few rounds: see `controls`.
    """
    contenders: Mapping[str, Mapping[str, Any]]
    """The description of each contender that was measured, by "profile/name"."""
    about: Mapping[str, Any]
    """`taskbridge` of the document."""
    machine: Mapping[str, Any]
    """`machine_info` and `commit_info` of the document, merged."""

    @property
    def controls(self) -> list[Comparison]:
        """The comparisons of contenders with themselves."""
        return [each for each in self.comparisons if each.is_control]

    @property
    def keys(self) -> list[Key]:
        """What was measured, sorted."""
        return sorted({cell.key for cell in self.cells})

    def of(self, key: Key) -> list[Cell]:
        """Return the cells of a key."""
        return [cell for cell in self.cells if cell.key == key]

    def cell(self, key: Key, contender: str) -> Cell | None:
        """Return what a contender showed, by its name; None: it has no number."""
        return next((c for c in self.of(key) if c.contender == contender), None)

    def comparison(self, key: Key, contender: str) -> Comparison | None:
        """Return how a contender compares with native, or a control with itself."""
        found = (c for c in self.comparisons if c.key == key)
        return next((c for c in found if c.contender == contender), None)

    def ranking(self, key: Key) -> dict[str, list[Place]]:
        """Return the contenders, best first, by guarantee; see `comparing.ranking`."""
        return ranking(self.of(key))


def read(document: Document) -> Results:
    """Return what a document says.

    A contender that failed in a scenario has no cell there, whatever it showed before.

    Args:
        document: as the module describes it.

    Raises:
        KeyError: the document is not of this schema, or has a metric that
            `metrics.METRICS` does not know.
    """
    about = document["taskbridge"]
    turns = [entry["extra_info"] for entry in document["benchmarks"]]
    failures = [_failure(each) for each in about["failures"]]
    valid = [turn for turn in turns if not _has_failed(turn, about["failures"])]
    cells = sorted(_cells(valid), key=_order)
    comparisons = list(_comparisons(cells))
    return Results(
        cells=cells,
        comparisons=comparisons,
        failures=failures,
        left_out=about["left_out"],
        noise=noise_of([each for each in comparisons if each.is_control]),
        contenders={
            f"{turn['profile']}/{turn['contender']['name']}": turn["contender"]
            for turn in turns
        },
        about={**about, "datetime": document.get("datetime", "")},
        machine={
            **document.get("machine_info", {}),
            **document.get("commit_info", {}),
        },
    )


def _failure(failure: Mapping[str, str]) -> Failure:
    return Failure(
        scenario=failure["scenario"],
        profile=failure["profile"],
        contender=failure["contender"],
        reason=failure["reason"],
    )


def _has_failed(turn: _Turn, failures: Iterable[Mapping[str, str]]) -> bool:
    """Tell whether a contender failed where a turn is from; work and database count."""
    return any(
        (each["scenario"], each["profile"], each["contender"]) == _who(turn)
        and all(each.get(name, turn[name]) == turn[name] for name in _CONDITIONS)
        for each in failures
    )


def _who(turn: _Turn) -> tuple[str, str, str]:
    return turn["scenario"], turn["profile"], turn["contender"]["name"]


def _cells(turns: Iterable[_Turn]) -> Iterator[Cell]:
    groups: dict[tuple[str, ...], list[_Turn]] = {}
    for turn in turns:
        where = (*_who(turn), turn["work"], turn["database"])
        groups.setdefault(where, []).append(turn)
    for group in groups.values():
        group.sort(key=lambda turn: turn["turn"])
        histogram = merged(t["histogram"] for t in group if t.get("histogram"))
        for metric in dict.fromkeys(chain.from_iterable(t["samples"] for t in group)):
            cell = _cell(metric, group, histogram)
            if cell is not None:
                yield cell


def _cell(metric: str, turns: Sequence[_Turn], histogram: Any) -> Cell | None:
    """Return the cell of all turns of a contender; None: they gave no number."""
    samples = [_numbers(turn["samples"].get(metric, ())) for turn in turns]
    replicates = _replicates(metric, samples)
    if not replicates:
        return None
    last = turns[-1]
    contender = last["contender"]
    interval = median_interval(replicates)
    return Cell(
        key=Key(
            scenario=last["scenario"],
            profile=last["profile"],
            work=last["work"],
            database=last["database"],
            metric=metric,
        ),
        contender=contender["name"],
        library=contender["library"],
        lane=contender["lane"],
        guarantee=contender["guarantee"],
        replicates=replicates,
        estimate=Estimate(
            median=interval.value,
            low=interval.low,
            high=interval.high,
            replicates=len(replicates),
        ),
        turns=len([each for each in samples if _finite(each)]),
        failed=sum(len(each) - len(_finite(each)) for each in samples),
        control_of=contender.get("control_of") or "",
        histogram=histogram,
        facts=last.get("facts") or {},
    )


def _replicates(metric: str, samples: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """Return a number for each turn, or the rounds of too few turns; see `Cell`."""
    turns = [found for each in samples if (found := _finite(each))]
    if metric in COUNTED:
        return tuple(max(turn) for turn in turns)
    if len(turns) >= FEWEST or metric in OF_TASKS:
        return tuple(statistics.median(turn) for turn in turns)
    return tuple(chain.from_iterable(turns))


def _numbers(samples: Iterable[float | None]) -> list[float]:
    return [math.nan if each is None else float(each) for each in samples]


def _finite(samples: Iterable[float]) -> list[float]:
    return [each for each in samples if math.isfinite(each)]


def _order(cell: Cell) -> tuple[Key, str, int, str]:
    """Sort by key, then native first in each library."""
    lane = _LANES.index(cell.lane) if cell.lane in _LANES else len(_LANES)
    return cell.key, cell.library, lane, cell.contender


def _comparisons(cells: Iterable[Cell]) -> Iterator[Comparison]:
    groups: dict[Key, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.key, []).append(cell)
    for group in groups.values():
        yield from comparisons_of(group)
