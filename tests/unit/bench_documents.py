"""Documents as a run of the benchmark stores them, made up."""

from collections.abc import Mapping, Sequence
from typing import Any

AT_LEAST_ONCE = "at least once"
RATES = [1000.0, 1010.0, 990.0, 1005.0, 995.0]


def turn(
    name: str,
    samples: Mapping[str, Sequence[float | None]],
    *,
    number: int = 1,
    scenario: str = "drain-2000",
    **other: Any,
) -> dict[str, Any]:
    """Return one entry of `benchmarks`; `name` is "celery-native" or so."""
    library, lane, *_ = name.split("-")
    contender = {
        "name": name,
        "library": library,
        "lane": lane,
        "guarantee": other.pop("guarantee", AT_LEAST_ONCE),
        "slots": other.pop("slots", 2),
        "control_of": f"{library}-{lane}" if name.endswith("-again") else "",
    }
    info = {
        "scenario": scenario,
        "profile": "equal",
        "work": "noop",
        "database": "sqlite",
        "turn": number,
        "contender": contender,
        "samples": dict(samples),
        "facts": {"turn": number},
        **other,
    }
    return {"extra_info": info, "stats": {"data": [1.0]}}


def turns(
    name: str, metric: str, rounds: Sequence[Sequence[float | None]], **other: Any
) -> list[dict[str, Any]]:
    """Return an entry for each turn, given its rounds."""
    return [
        turn(name, {metric: each}, number=number, **other)
        for number, each in enumerate(rounds, start=1)
    ]


def rates(name: str, factor: float = 1.0, **other: Any) -> list[dict[str, Any]]:
    """Return a turn for each of `RATES`, times `factor`."""
    return turns(name, "rate", [[factor * each] for each in RATES], **other)


def document(
    *benchmarks: Mapping[str, Any], machine: str = "vm", **about: Any
) -> dict[str, Any]:
    """Return a document with these turns; `about` goes to "taskbridge"."""
    return {
        "machine_info": {
            "node": machine,
            "cpu": {"brand_raw": "A processor", "count": 2, "hz_actual_friendly": 3},
        },
        "commit_info": {"id": "4f80ee0", "dirty": False},
        "benchmarks": list(benchmarks),
        "taskbridge": {
            "mode": "full",
            "seed": 7,
            "database": "sqlite",
            "versions": {"celery": "5.7.0"},
            "left_out": {},
            "failures": [],
            **about,
        },
    }
