"""What scenarios measure: each number's name, unit, and which direction is good."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Better(StrEnum):
    """Which of two numbers of a metric is the better one."""

    LOWER = "lower"
    HIGHER = "higher"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A number that a round of a scenario yields."""

    title: str
    unit: str
    better: Better


def _time(title: str, unit: str) -> Metric:
    return Metric(title=title, unit=unit, better=Better.LOWER)


METRICS: Mapping[str, Metric] = {
    "call": _time("One call", "µs"),
    "rate": Metric(title="Tasks per second", unit="tasks/s", better=Better.HIGHER),
    "pickup": _time("Call to start, idle worker", "ms"),
    "p50": _time("Intended send to start, median", "ms"),
    "p95": _time("95th percentile", "ms"),
    "p99": _time("99th percentile", "ms"),
    "p999": _time("99.9th percentile", "ms"),
    "gap_error": _time("Observed minus asked gap between attempts", "ms"),
    "late_1s": _time("Lateness of what is due in 1 s", "ms"),
    "late_5s": _time("Lateness of what is due in 5 s", "ms"),
    "late_30s": _time("Lateness of what is due in 30 s", "ms"),
    "late_burst": _time("Lateness, 1,000 due at once", "ms"),
    "early": _time("Tasks that started before their time", "tasks"),
    "drift": _time("Start minus the schedule's own time", "ms"),
    "missed": _time("Firings that did not happen", "firings"),
    "doubled": _time("Firings that happened twice", "firings"),
    "rerun": _time("From the fault to the rerun", "s"),
    "lost": _time("Tasks that had not run 20 s after the fault", "tasks"),
    "late": _time("Tasks that come back, but later than that", "tasks"),
    "duplicated": _time("Tasks that ran again though they had finished", "tasks"),
    "short_wait": _time("Wait of short tasks beside long ones", "ms"),
    "cpu": _time("Processor time of 1,000 tasks", "s"),
    "memory": _time("Most memory of the worker after a round", "MB"),
    "idle_cpu": _time("Processor time of an idle worker", "% of a core"),
    "idle_queries": _time("Queries of an idle worker", "1/s"),
    "enqueue_queries": _time("Queries of a task where it is enqueued", "queries"),
    "worker_queries": _time("Queries of a task in the worker", "queries"),
}
"""By name. Each scenario of the catalogue says which of them it yields."""
