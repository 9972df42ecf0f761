"""What changed from one run to another."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .cells import Comparison
from .comparing import compare_cells
from .results import Document, Results, read


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Two runs side by side."""

    comparisons: list[Comparison]
    """Each contender with itself in the earlier run, which is the baseline."""
    warnings: list[str]
    """What else differs, so that a difference may not be what it seems."""


def compare(before: Document, after: Document) -> Changes:
    """Return what changed from one run to another, and what may be to blame instead.

    Turns of one run share its hour and its machine's mood, of which the intervals know
    nothing: a difference of two runs is a reason to measure again, both in turn.

    Args:
        before: the document of the baseline.
        after: the document of the other run.
    """
    one, two = read(before), read(after)
    comparisons = [
        compare_cells(cell, baseline)
        for baseline in one.cells
        if not baseline.control_of
        and (cell := two.cell(baseline.key, baseline.contender)) is not None
    ]
    return Changes(comparisons=comparisons, warnings=list(_warnings(one, two)))


def _warnings(one: Results, two: Results) -> Iterator[str]:
    for when, run in (("earlier", one), ("later", two)):
        if run.noise:
            yield f"In the {when} run: {run.noise}"
    yield from _differences("The machine", _machine(one), _machine(two))
    yield from _differences("The run", _settings(one), _settings(two))
    yield from _differences("The version", _versions(one), _versions(two))
    for name in sorted(one.contenders.keys() & two.contenders.keys()):
        earlier, later = one.contenders[name], two.contenders[name]
        yield from _differences(f"The contender {name}", earlier, later)
    yield from _missing("later", one, two)
    yield from _missing("earlier", two, one)


def _differences(
    what: str, one: Mapping[str, Any], two: Mapping[str, Any]
) -> Iterator[str]:
    differing = [n for n in sorted(one.keys() | two.keys()) if one.get(n) != two.get(n)]
    if differing:
        each = ", ".join(f"{n} {one.get(n)} -> {two.get(n)}" for n in differing)
        yield f"{what} differs: {each}."


def _missing(when: str, one: Results, two: Results) -> Iterator[str]:
    found = {(cell.key, cell.contender) for cell in two.cells}
    missing = {
        f"{cell.contender} in {cell.key.scenario}"
        for cell in one.cells
        if not cell.control_of and (cell.key, cell.contender) not in found
    }
    if missing:
        yield f"Not measured alike in the {when} run: {', '.join(sorted(missing))}."


def _machine(results: Results) -> dict[str, Any]:
    """Return what a machine is; not the frequency of its processor at that moment."""
    machine = results.machine
    cpu = machine.get("cpu") or {}
    names = ("node", "system", "release", "machine", "python_version")
    found = {name: machine.get(name) for name in names}
    return {**found, "cpu": cpu.get("brand_raw"), "cores": cpu.get("count")}


def _settings(results: Results) -> dict[str, Any]:
    return {name: results.about.get(name) for name in ("mode", "database")}


def _versions(results: Results) -> Mapping[str, Any]:
    return results.about.get("versions") or {}
