"""All scenarios by name: what each asks, how it is measured, and what it yields."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from .counting.apps import VARIABLE as COUNT_QUERIES
from .scenarios.bulk import bulk
from .scenarios.cost import cost
from .scenarios.drain import drain
from .scenarios.enqueue import enqueue
from .scenarios.latency import latency
from .scenarios.mixed import mixed
from .scenarios.periodic import periodic
from .scenarios.pickup import pickup
from .scenarios.queries import queries
from .scenarios.recovery import ENVIRON as IMPATIENT
from .scenarios.recovery import recovery
from .scenarios.retries import retries
from .scenarios.saturation import saturation
from .scenarios.schedule import schedule
from .turn import Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A question that is put to contenders."""

    question: str
    measure: Callable[[Turn], None]
    metrics: tuple[str, ...]
    """What it yields; names of `metrics.METRICS`."""
    expected_s: float
    """About how long one turn takes, worker's start aside; for the progress bar."""
    needs_worker: bool = True
    keeps_worker: bool = True
    """The worker may serve the next scenario as well."""
    environ: Mapping[str, str] = field(default_factory=dict)
    """Variables that its worker needs; one that has others is started anew."""


DRAIN_DEPTHS = (200, 500, 2_000, 20_000)
LOADS_PERCENT = (30, 60, 90)
"""Of saturation."""

RECOVERIES = {
    "process": ("What becomes of tasks when the process that runs one is killed?", 24),
    "worker": ("What becomes of tasks when the whole worker is killed?", 21),
    "flush": ("What becomes of tasks when the broker's data are deleted?", 20),
    "restart": ("And when the broker is killed, and started again?", 20),
}
"""What `scenarios.recovery` asks with each fault, and how many seconds it takes."""

SCENARIOS: Mapping[str, Scenario] = {
    "enqueue": Scenario(
        question="How long does one call of enqueue take?",
        measure=enqueue,
        metrics=("call",),
        expected_s=0.5,
        needs_worker=False,
    ),
    **{
        f"drain-{depth}": Scenario(
            question=f"How fast does a worker empty a queue of {depth:,} tasks?",
            measure=partial(drain, depth=depth),
            metrics=("rate",),
            expected_s=1 + depth / 1_000,
        )
        for depth in DRAIN_DEPTHS
    },
    "pickup": Scenario(
        question="How soon does an idle worker start a task?",
        measure=pickup,
        metrics=("pickup",),
        expected_s=2,
    ),
    "enqueue-bulk": Scenario(
        question="What does a task cost if 1,000 are enqueued at once?",
        measure=bulk,
        metrics=("call",),
        expected_s=1.5,
        needs_worker=False,
    ),
    "saturation": Scenario(
        question="How many tasks per second pass while more keep coming?",
        measure=saturation,
        metrics=("rate",),
        expected_s=5,
    ),
    **{
        f"latency-{percent}": Scenario(
            question="How long does a task wait for its start at "
            f"{percent} % of saturation?",
            measure=partial(latency, percent=percent),
            metrics=("p50", "p95", "p99", "p999"),
            expected_s=6.5,
        )
        for percent in LOADS_PERCENT
    },
    "mixed": Scenario(
        question="Do short tasks wait behind long ones though a slot is free?",
        measure=mixed,
        metrics=("short_wait",),
        expected_s=7,
    ),
    "cost": Scenario(
        question="What does a worker take of processor and memory?",
        measure=cost,
        metrics=("cpu", "memory", "idle_cpu"),
        expected_s=4,
    ),
    "queries": Scenario(
        question="How many database queries does a task cost?",
        measure=queries,
        metrics=("enqueue_queries", "worker_queries", "idle_queries"),
        expected_s=8,
        keeps_worker=False,
        environ={COUNT_QUERIES: "1"},
    ),
    "retries": Scenario(
        question="Is a task that fails tried again as often, and when, as was asked?",
        measure=retries,
        metrics=("gap_error", "early"),
        expected_s=12,
        keeps_worker=False,
    ),
    "schedule": Scenario(
        question="How late does a task start that is due at a time?",
        measure=schedule,
        metrics=("late_1s", "late_5s", "late_30s", "late_burst", "early"),
        expected_s=38,
        keeps_worker=False,
    ),
    "periodic": Scenario(
        question="Does a schedule of every 2 s fire every 2 s?",
        measure=periodic,
        metrics=("drift", "missed", "doubled"),
        expected_s=65,
        keeps_worker=False,
    ),
    **{
        f"recovery-{fault}": Scenario(
            question=question,
            measure=partial(recovery, fault=fault),
            metrics=("rerun", "lost", "late", "duplicated"),
            expected_s=expected_s,
            keeps_worker=False,
            environ=IMPATIENT,
        )
        for fault, (question, expected_s) in RECOVERIES.items()
    },
}
"""The name is that of a document; see `results`."""
