"""Periodic: does a schedule of every 2 s fire every 2 s?

The library's own scheduler fires `work.tick` for a minute: Celery beat beside the
worker, django-background-tasks' `repeat`, ... The first firing gives the schedule its
phase: the slots are there and every PERIOD_S seconds after it. A firing belongs to the
last slot that had begun when it started, or began within EARLY_S: late is more likely
than early. `drift` is its start minus that slot; `missed` are slots without a firing,
`doubled` those with more than one. A schedule that counts from each firing, not from
its own time, drifts further with each: its last samples say how far.
"""

import itertools
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from taskbridge_bench.interrupts import DeadlineExceeded
from taskbridge_bench.ledger import Round
from taskbridge_bench.turn import Turn

PERIOD_S = 2.0
WINDOW_S = 60.0
"""From the first firing on."""
FIRST_S = 30.0
"""How long the first firing may take."""
EARLY_S = 0.5
"""The first firing may itself have been late by so much, and the others seem early."""
LOOK_EVERY_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """How firings meet the slots of their schedule."""

    drift_ms: list[float]
    missed: int
    doubled: int


def periodic(turn: Turn) -> None:
    """Let the schedule fire for a minute, and compare with the clock."""
    stream = turn.ledger.new_stream()
    workers = turn.stage.workers
    turn.stage.clear()
    workers.variables = {
        **workers.variables,
        "TASKBRIDGE_BENCH_PERIODIC": f"{stream.id} {PERIOD_S:g}",
    }
    turn.warm_up()
    workers.start_beside()
    if turn.calls.start_periodic is not None:
        turn.calls.start_periodic(stream.id, PERIOD_S)
    starts = _watch(turn, stream)
    grid = grid_of(starts)
    gaps_s = [after - before for before, after in itertools.pairwise(starts)]
    turn.save(
        [each / 1e3 for each in grid.drift_ms],
        samples={
            "drift": grid.drift_ms,
            "missed": [grid.missed],
            "doubled": [grid.doubled],
        },
        facts={
            "firings": f"{len(starts)} for {int(WINDOW_S / PERIOD_S)} slots",
            "longest gap": f"{max(gaps_s, default=0):.2f} s",
            "drift of the last": f"{grid.drift_ms[-1]:.0f} ms",
        },
    )


def _watch(turn: Turn, stream: Round) -> list[float]:
    """Return the starts of all firings of the window, in order.

    Raises:
        DeadlineExceeded: there was not even a first one.
    """
    ledger, check = turn.ledger, turn.stage.workers.check
    end = time.monotonic() + FIRST_S
    while not ledger.count(stream):
        if time.monotonic() > end:
            raise DeadlineExceeded(f"After {FIRST_S:.0f} s: no firing.")
        check()
        time.sleep(LOOK_EVERY_S)
    # What comes later than this belongs to the first slot after the window.
    end = ledger.runs(stream)[0].started + WINDOW_S - EARLY_S
    while time.monotonic() < end:
        check()
        time.sleep(LOOK_EVERY_S)
    starts = sorted(run.started for run in ledger.runs(stream))
    return [start for start in starts if start < end]


def grid_of(starts: Sequence[float]) -> Grid:
    """Return how firings meet the slots of a window that begins with the first.

    Args:
        starts: of all firings in the window, in order, in seconds; at least one.
    """
    first = starts[0]
    slots = [int((start - first + EARLY_S) // PERIOD_S) for start in starts]
    met = Counter(slots)
    return Grid(
        drift_ms=[
            (start - first - slot * PERIOD_S) * 1e3
            for start, slot in zip(starts, slots, strict=True)
        ],
        missed=sum(not met[slot] for slot in range(int(WINDOW_S / PERIOD_S))),
        doubled=sum(number > 1 for number in met.values()),
    )
