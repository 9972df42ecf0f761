"""Results in the order of a report: chapters, scenarios, settings, guarantees, rows.

A `Block` holds what may stand side by side: one scenario, one profile, one work, one
database. Nothing above it is ever put in one table, plot or ranking.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from taskbridge_bench.metrics import METRICS, Better
from taskbridge_bench.results import Cell, Comparison, Failure, Key, Results

from .words import (
    DATABASES,
    FAMILIES,
    GUARANTEES,
    LANES,
    PROFILES,
    Family,
    Words,
    in_order,
    profile_title,
    words_of,
)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Setting:
    """What must be alike in all that is compared."""

    profile: str
    work: str = ""
    database: str = ""

    def __str__(self) -> str:
        """Return "Equal settings; work noop; SQLite"."""
        parts = [profile_title(self.profile)]
        if self.work:
            parts.append(f"work {self.work}")
        if self.database:
            parts.append(DATABASES.get(self.database, self.database))
        return "; ".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One contender in one block."""

    contender: str
    library: str
    lane: str
    guarantee: str
    cells: Mapping[str, Cell]
    """By metric."""
    against: Mapping[str, Comparison]
    """Comparisons with native of the same library, by metric."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """What all its cells tell."""
        return {
            name: fact for c in self.cells.values() for name, fact in c.facts.items()
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One scenario under one setting."""

    scenario: str
    setting: Setting
    metrics: Sequence[str]
    groups: Mapping[str, Sequence[Row]]
    """Rows by guarantee, best first by the first metric that a row has."""
    failures: Sequence[Failure]
    cannot: Mapping[str, str]
    """Contenders that have nothing for this scenario, and why."""

    @property
    def rows(self) -> list[Row]:
        """All rows, one guarantee after the other."""
        return [row for rows in self.groups.values() for row in rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One scenario."""

    scenario: str
    words: Words
    blocks: Sequence[Block]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    """Scenarios of one family."""

    title: str
    asks: str
    sections: Sequence[Section]


def chapters(results: Results) -> list[Chapter]:
    """Return all that was measured, also scenarios that nobody has words for."""
    found = _scenarios(results)
    known = {name for family in FAMILIES for name in in_order(family, found)}
    others = Family(title="Other", scenarios=tuple(sorted(found - known)))
    return [
        Chapter(
            title=family.title,
            asks=family.asks,
            sections=[_section(results, name) for name in names],
        )
        for family in (*FAMILIES, others)
        if (names := in_order(family, found))
    ]


def profiles_of(results: Results) -> list[str]:
    """Return the profiles that occur, those that have words first."""
    found = {cell.key.profile for cell in results.cells}
    found |= {failure.profile for failure in results.failures}
    return sorted(found, key=lambda profile: (_place(profile, PROFILES), profile))


def compared(results: Results) -> list[Cell]:
    """Return the cells of contenders, without those of the A/A control."""
    return [cell for cell in results.cells if not cell.control_of]


def better_first(cell: Cell) -> float:
    """Return a sort key; early and late are equally bad for what can be negative."""
    metric = METRICS.get(cell.key.metric)
    if metric and metric.better is Better.HIGHER:
        return -cell.estimate.median
    return abs(cell.estimate.median)


def _scenarios(results: Results) -> set[str]:
    measured = {cell.key.scenario for cell in results.cells}
    return measured | {failure.scenario for failure in results.failures}


def _section(results: Results, scenario: str) -> Section:
    cells = [cell for cell in compared(results) if cell.key.scenario == scenario]
    failures = [f for f in results.failures if f.scenario == scenario]
    settings = {_setting(cell.key) for cell in cells}
    measured = {setting.profile for setting in settings}
    settings |= {
        Setting(profile=f.profile) for f in failures if f.profile not in measured
    }
    return Section(
        scenario=scenario,
        words=words_of(scenario),
        blocks=[
            _block(results, scenario, setting, cells, failures)
            for setting in sorted(
                settings, key=lambda each: (_place(each.profile, PROFILES), each)
            )
        ],
    )


def _setting(key: Key) -> Setting:
    return Setting(profile=key.profile, work=key.work, database=key.database)


def _block(
    results: Results,
    scenario: str,
    setting: Setting,
    cells: Iterable[Cell],
    failures: Iterable[Failure],
) -> Block:
    here = [cell for cell in cells if _setting(cell.key) == setting]
    metrics = sorted(
        {cell.key.metric for cell in here},
        key=lambda name: (_place(name, METRICS), name),
    )
    against = {(c.key, c.contender): c for c in results.comparisons if not c.is_control}
    return Block(
        scenario=scenario,
        setting=setting,
        metrics=metrics,
        groups=_groups(here, metrics, against),
        failures=[f for f in failures if f.profile == setting.profile],
        cannot=_cannot(results, scenario, setting.profile),
    )


def _groups(
    cells: Sequence[Cell],
    metrics: Sequence[str],
    against: Mapping[tuple[Key, str], Comparison],
) -> dict[str, list[Row]]:
    rows: dict[str, list[Row]] = {}
    for contender in dict.fromkeys(cell.contender for cell in cells):
        own = [cell for cell in cells if cell.contender == contender]
        row = Row(
            contender=contender,
            library=own[0].library,
            lane=own[0].lane,
            guarantee=own[0].guarantee,
            cells={cell.key.metric: cell for cell in own},
            against={
                cell.key.metric: against[cell.key, contender]
                for cell in own
                if (cell.key, contender) in against
            },
        )
        rows.setdefault(row.guarantee, []).append(row)
    order = sorted(rows, key=lambda each: (_place(each, GUARANTEES), each))
    return {
        guarantee: sorted(rows[guarantee], key=lambda row: _rank(row, metrics))
        for guarantee in order
    }


def _rank(row: Row, metrics: Sequence[str]) -> tuple[int, float, str, int]:
    for place, metric in enumerate(metrics):
        if metric in row.cells:
            best = better_first(row.cells[metric])
            return place, best, row.library, _place(row.lane, LANES)
    return len(metrics), 0.0, row.library, _place(row.lane, LANES)


def _cannot(results: Results, scenario: str, profile: str) -> dict[str, str]:
    return {
        key.partition("/")[2]: description["cannot"][scenario]
        for key, description in results.contenders.items()
        if key.partition("/")[0] == profile
        and scenario in (description.get("cannot") or {})
        and not description.get("control_of")
    }


def _place(name: str, order: Iterable[str]) -> int:
    """Return where a name stands in an order; behind its end if it is unknown."""
    known = list(order)
    return known.index(name) if name in known else len(known)
