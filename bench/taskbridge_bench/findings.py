"""From raw samples to what the studies found. Pure: a document in, findings out."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .summary import Document


@dataclass(frozen=True, slots=True, kw_only=True)
class Lateness:
    """Start minus due time, in seconds; below zero it was early."""

    contender: str
    tasks: int
    earliest: float
    median: float
    p99: float
    latest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """Seconds from SIGKILL to the next start of the task."""

    scenario: str
    contender: str
    seconds: Sequence[float]
    lease_s: float | None
    """None: the lane has no leases."""
    lost_after_s: float | None
    """After so many seconds it had not started again; None: it always did."""
    acknowledges: str

    @property
    def excess_s(self) -> float | None:
        """How much longer than the lease the median took."""
        if self.lease_s is None or self.lost_after_s is not None:
            return None
        return statistics.median(self.seconds) - self.lease_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Queries:
    """Queries by kind: of a task where it is enqueued and in the worker, and idle."""

    contender: str
    enqueue: Mapping[str, float]
    worker: Mapping[str, float]
    idle_per_s: Mapping[str, float]


def lateness_of(document: Document) -> Iterator[Lateness]:
    """Return what was found in the scenario `lateness`."""
    for info, data in _entries(document, "lateness"):
        ordered = sorted(data)
        yield Lateness(
            contender=info["contender"]["name"],
            tasks=len(ordered),
            earliest=ordered[0],
            median=statistics.median(ordered),
            p99=ordered[-(-len(ordered) * 99 // 100) - 1],  # nearest rank
            latest=ordered[-1],
        )


def recovery_of(document: Document) -> Iterator[Recovery]:
    """Return what was found in both scenarios of recovery."""
    for scenario in ("recovery-process", "recovery-worker"):
        for info, data in _entries(document, scenario):
            contender = info["contender"]
            yield Recovery(
                scenario=scenario,
                contender=contender["name"],
                seconds=data[:-1] if info["is_lost"] else data,
                lease_s=info["lease_s"] if contender["lane"] == "durable" else None,
                lost_after_s=info["limit_s"] if info["is_lost"] else None,
                acknowledges=contender["acknowledges"],
            )


def queries_of(document: Document) -> Iterator[Queries]:
    """Return what was found in the scenario `queries`."""
    for info, _ in _entries(document, "queries"):
        yield Queries(
            contender=info["contender"]["name"],
            enqueue=info["enqueue_queries"],
            worker=info["worker_queries"],
            idle_per_s=info["idle_queries_per_s"],
        )


def _entries(
    document: Document, scenario: str
) -> Iterator[tuple[Mapping[str, Any], Sequence[float]]]:
    for entry in document["benchmarks"]:
        if entry["extra_info"]["scenario"] == scenario:
            yield entry["extra_info"], entry["stats"]["data"]
