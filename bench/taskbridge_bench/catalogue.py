"""All scenarios by name: how each is measured, timed, and what it needs."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pytest_benchmark.fixture import BenchmarkFixture

from .contenders import Calls
from .lateness import lateness
from .plan import Block
from .queries import queries
from .recovery import recovery_process, recovery_worker
from .scenarios import drain, enqueue, pickup
from .stage import Stage
from .timing import pickup_clock, replay_clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A question that is put to contenders."""

    measure: Callable[[Block, Calls, Stage, BenchmarkFixture], None]
    timer: Callable[[], float]
    needs_worker: bool = True
    keeps_worker: bool = True
    """The worker may serve the next block as well."""


SCENARIOS: Mapping[str, Scenario] = {
    "enqueue": Scenario(measure=enqueue, timer=time.perf_counter, needs_worker=False),
    "drain": Scenario(measure=drain, timer=time.perf_counter),
    "pickup": Scenario(measure=pickup, timer=pickup_clock),
    "lateness": Scenario(measure=lateness, timer=replay_clock),
    "recovery-process": Scenario(
        measure=recovery_process, timer=replay_clock, keeps_worker=False
    ),
    "recovery-worker": Scenario(
        measure=recovery_worker, timer=replay_clock, keeps_worker=False
    ),
    "queries": Scenario(measure=queries, timer=replay_clock),
}
