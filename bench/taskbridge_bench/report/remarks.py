"""What a reader must know before believing a number: of this run, and in general."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from taskbridge_bench.results import Results, Verdict
from taskbridge_bench.statistics import CONFIDENCE, FEWEST

from .sections import compared
from .words import AT_MOST_ONCE, DATABASES, GUARANTEES, profile_title

_SECONDS_OF_A_MINUTE = 60
_SETTINGS = (
    "guarantee",
    "slots",
    "acknowledges",
    "prefetch",
    "poll",
    "broker",
    "enqueue",
    "schedules",
    "results",
    "recovery",
    "returns",
    "servers",
    "environ",
)
"""What a description says about a contender, besides its worker commands."""


def partial(results: Results) -> str | None:
    """Return that a part of the run is missing, and how much, if it is."""
    missing = len(results.about.get("unfinished") or ())
    if not missing and not results.about.get("interrupted"):
        return None
    why = "was interrupted" if results.about.get("interrupted") else "ran out of time"
    turns = f"{missing} turns are missing" if missing else "turns are missing"
    return f"This run {why}; {turns}. What is here was measured before."


def caveats(results: Results) -> list[str]:
    """Return what limits these numbers, the most misleading first."""
    return [
        *_few(results),
        *_control(results),
        (
            "All ran on one machine, over the loopback network: a round trip costs "
            "next to nothing here. Brokers and databases on other hosts move every "
            "number, most of all those of contenders with many round trips."
        ),
        *_databases(results),
        *_at_most_once(results),
        (
            "Numbers of different machines or days do not compare; ratios do, roughly. "
            "An interval is about this machine on that day, not about yours."
        ),
        (
            "Better and worse are claimed only where the interval of the ratio and a "
            "permutation test agree. Among hundreds of comparisons some are chance all "
            "the same, and the best of many looks better than it is."
        ),
    ]


def _few(results: Results) -> Iterable[str]:
    measured = compared(results)
    few = sum(cell.estimate.replicates < FEWEST for cell in measured)
    if few:
        yield (
            f"{few} of {len(measured)} numbers rest on fewer than {FEWEST} replicates. "
            "They show magnitudes, not differences."
        )
    rounds = sum(not cell.by_turns for cell in measured)
    if rounds:
        yield (
            f"{rounds} of {len(measured)} numbers come from fewer than {FEWEST} turns; "
            "most of these have rounds as replicates. Rounds of one turn share a "
            "worker and are not independent, so their intervals are too narrow."
        )


def _control(results: Results) -> Iterable[str]:
    if all(c.verdict is Verdict.TOO_FEW_ROUNDS for c in results.controls):
        yield (
            "No contender was compared with itself, or in too few rounds: nobody knows "
            "how much of a difference is the machine's noise."
        )


def _databases(results: Results) -> Iterable[str]:
    databases = {cell.key.database for cell in results.cells}
    if "sqlite" in databases:
        yield (
            "The project's database was SQLite in WAL mode with synchronous=NORMAL: a "
            "commit does not wait for the disk, and writers wait for each other. That "
            "flatters single writers among contenders with records in the database, "
            "and holds back parallel ones; PostgreSQL does the reverse."
        )
    if "postgresql" in databases:
        yield (
            "The project's database was PostgreSQL with its own defaults: a commit "
            "waits for the disk, so the disk is part of the numbers of contenders that "
            "keep records there."
        )


def _at_most_once(results: Results) -> Iterable[str]:
    names = {
        cell.contender for cell in compared(results) if cell.guarantee == AT_MOST_ONCE
    }
    if names:
        yield (
            f"At most once means that {GUARANTEES[AT_MOST_ONCE]}. That saves work, so "
            f"these are never ranked with the others: {', '.join(sorted(names))}. "
            "Settings say when each acknowledges, and Recovery what was lost."
        )


def control(results: Results) -> list[str]:
    """Return what contenders showed that were compared with themselves."""
    return [
        f"{c.key.scenario}, {c.key.metric} ({profile_title(c.key.profile)}): "
        f"{c.contender} / {c.baseline}: {c}, p = {c.p:.2f}"
        for c in results.controls
    ]


def run_facts(results: Results) -> list[tuple[str, str]]:
    """Return name and text of what is known of the run and its machine."""
    about, machine = results.about, results.machine
    cpu = _mapping(machine.get("cpu"))
    system = [machine.get("system"), machine.get("release"), machine.get("machine")]
    facts = [
        ("Machine", cpu.get("brand_raw") or machine.get("processor") or ""),
        ("Cores", cpu.get("count") or ""),
        ("System", " ".join(str(each) for each in system if each)),
        ("Python", machine.get("python_version") or ""),
        ("Load before", about.get("load_before", "")),
        ("Commit", _commit(machine)),
        ("Mode", about.get("mode", "")),
        ("Database", _database(about)),
        ("Seed", about.get("seed", "")),
        ("Confidence", f"{CONFIDENCE * 100:.0f} %, bootstrap of the median"),
        ("Replicates", replicates(results)),
        ("Duration", duration(about.get("total_s"))),
        ("Started", about.get("datetime") or machine.get("datetime") or ""),
    ]
    return [(name, _text(value)) for name, value in facts if value != ""]


def replicates(results: Results) -> str:
    """Return how many replicates numbers rest on: "3 to 8 for each number"."""
    counts = {cell.estimate.replicates for cell in results.cells}
    if not counts:
        return "none"
    few, many = min(counts), max(counts)
    return f"{few} for each number" if few == many else f"{few} to {many} for a number"


def versions(results: Results) -> list[tuple[str, str]]:
    """Return name and version of all that took part."""
    of = _mapping(results.about.get("versions"))
    return [(str(name), str(version)) for name, version in of.items()]


def settings_of(description: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return name and text of a contender's settings, its worker's commands first."""
    commands = [
        ("worker" if name == "workers" else name, f"python {' '.join(command)}")
        for name in ("workers", "beside")
        for command in dict.fromkeys(map(tuple, description.get(name) or ()))
    ]
    rest = [(name, description.get(name)) for name in _SETTINGS]
    return commands + [(name, _text(value)) for name, value in rest if value]


def fact_text(value: Any) -> str:
    """Return a fact of a cell as text."""
    return _text(value)


def duration(seconds: Any) -> str:
    """Return "12 min 5 s"; "" if it is not known."""
    if not isinstance(seconds, int | float):
        return ""
    minutes, rest = divmod(round(seconds), _SECONDS_OF_A_MINUTE)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _database(about: Mapping[str, Any]) -> str:
    name = str(about.get("database", ""))
    return DATABASES.get(name, name)


def _commit(machine: Mapping[str, Any]) -> str:
    commit = str(machine.get("id") or machine.get("commit") or "")
    return commit + (", with uncommitted changes" if machine.get("dirty") else "")


def _text(value: Any) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.4g}"
        case Mapping():
            return ", ".join(f"{name}={_text(each)}" for name, each in value.items())
        case str():
            return value
        case Sequence():
            return ", ".join(_text(each) for each in value)
    return str(value) if value is None or isinstance(value, int) else json.dumps(value)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
