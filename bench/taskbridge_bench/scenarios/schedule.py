"""Schedule: how late, or early, do tasks start that are due at a time?

By the library's own means (`Calls.record_at`: eta, a Schedule row, run_after, ...) and
while a worker runs that has run a task in each slot, this enqueues

- at TASKS random moments of SPREAD_S seconds, a task due 1, 5 and 30 s after its call;
- when the first two of these are due no more, BURST tasks, all due at one instant.

A sample is the start of a task, read in the worker, minus its due time. Each call is
over before what it asked for is due, or the turn fails: what is late is the scheduler,
not the enqueue. The burst has run, if it is not late, before what is due in 30 s. A
task that starts early is an error, not a merit; see `early`. Each task must run exactly
once and, in durable delivery, leave a record of success.
"""

import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from taskbridge_bench.contenders.model import EnqueueAt
from taskbridge_bench.early import count_early, early_fact
from taskbridge_bench.interrupts import DeadlineExceeded
from taskbridge_bench.ledger import Round, Run
from taskbridge_bench.records import Records
from taskbridge_bench.timing import spread
from taskbridge_bench.turn import Turn

LEADS_S = {"late_1s": 1.0, "late_5s": 5.0, "late_30s": 30.0}
"""How long after its call a task is due, by metric."""
TASKS = 20
"""Of each lead."""
SPREAD_S = 1.0
BURST = 1_000
SLOW_BURST = 300
SLOW = ("background_tasks-native",)
"""They run some tens of tasks a second: a burst of 1,000 would run into what is due
in 30 s, and show the rate, which `drain` does."""
BURST_CALLS_S = 6.5
"""When the burst is enqueued, in seconds from the first spread call."""
BURST_DUE_S = 10.0
"""When it is due: over before 30 s have passed; later, if the calls take long."""
RESERVE = 3.0
"""The calls may take so many times as long as the calls before."""
PHASE_S = 2.0
"""The longest pause at the beginning, so that no scheduler is met in one phase."""
LIMIT_S = 60.0
"""How late the last of each may be; Django-Q2 looks every 30 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Tasks of a metric, and when each is due, in seconds of the wall clock."""

    metric: str
    round_: Round
    dues: list[float] = field(default_factory=list)

    def late_ms(self, runs: Sequence[Run], wall_minus_monotonic: float) -> list[float]:
        """Return start minus due of each task, in milliseconds; negative is early."""
        return [
            (run.started + wall_minus_monotonic - self.dues[run.key]) * 1e3
            for run in runs
        ]

    def enqueue(self, record_at: EnqueueAt, due: float) -> float:
        """Enqueue the next task; return how long it took, in seconds.

        Raises:
            DeadlineExceeded: it was due before the call returned.
        """
        key = len(self.dues)
        self.dues.append(due)
        called = time.time()
        record_at(
            datetime.fromtimestamp(due, UTC), self.round_.id, key, self.round_.total
        )
        returned = time.time()
        if returned > due:
            raise DeadlineExceeded(
                f"{self.metric}: task {key + 1} of {self.round_.total} was due "
                f"{returned - due:.1f} s before its call returned."
            )
        return returned - called


def schedule(turn: Turn) -> None:
    """Enqueue the spread tasks and a burst, and see when each starts."""
    record_at = turn.calls.record_at
    if record_at is None:
        raise NotImplementedError(f"{turn.contender.name} has no Calls.record_at.")
    turn.warm_up()
    time.sleep(random.uniform(0, PHASE_S))  # noqa: S311 - no secret
    records = Records(turn.calls, turn.stage)
    wall_minus_monotonic = time.time() - time.monotonic()
    groups = _enqueue(turn, record_at)

    late_ms = {}
    for group in sorted(groups, key=lambda group: max(group.dues)):
        turn.ledger.wait(group.round_, max(group.dues) - time.time() + LIMIT_S)
        turn.ledger.judge(group.round_)
        runs = turn.ledger.runs(group.round_)
        late_ms[group.metric] = group.late_ms(runs, wall_minus_monotonic)
    records.judge(sum(group.round_.total for group in groups))
    every_ms = [each for samples in late_ms.values() for each in samples]
    burst_ms = late_ms["late_burst"]
    turn.save(
        [each / 1e3 for each in every_ms],
        samples={**late_ms, "early": [count_early(every_ms)]},
        facts={
            "early": early_fact(every_ms),
            "burst": f"{len(burst_ms):,} tasks; last {max(burst_ms) / 1e3:.1f} s late",
        },
    )


def _enqueue(turn: Turn, record_at: EnqueueAt) -> list[Group]:
    """Enqueue all tasks of all groups."""
    spread_groups = [_group(turn, metric, TASKS) for metric in LEADS_S]
    begin = time.time()
    took_s = []
    for moment in sorted(spread(turn.block.id, SPREAD_S, TASKS)):
        time.sleep(max(begin + moment - time.time(), 0))
        took_s += [
            group.enqueue(record_at, time.time() + LEADS_S[group.metric])
            for group in spread_groups
        ]
    time.sleep(max(begin + BURST_CALLS_S - time.time(), 0))
    size = SLOW_BURST if turn.contender.name in SLOW else BURST
    burst = _group(turn, "late_burst", size)
    calls_s = size * statistics.mean(took_s) * RESERVE
    instant = max(begin + BURST_DUE_S, time.time() + calls_s)
    for _ in range(size):
        burst.enqueue(record_at, instant)
    return [*spread_groups, burst]


def _group(turn: Turn, metric: str, total: int) -> Group:
    return Group(metric=metric, round_=turn.ledger.new_round(total))
