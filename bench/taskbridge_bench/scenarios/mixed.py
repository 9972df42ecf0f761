"""Mixed: how long short tasks wait while long ones run beside them.

At any time there are long tasks enough to fill all slots but one, and never more: so
one slot is free for the short ones, and a short task that waits does so because the
library keeps it for a slot that is busy (a message that a process has fetched before it
can run it), not for want of slots. With one slot in all there is no free one, and what
short tasks then wait for is the long ones. Each long task sleeps for `work.LONG_S`; a
new one is sent every LONG_EVERY_S, a little later, so that two never overlap in a
library that starts them at once.

Timed is the wait of each short task, from just before its call to its start, read in
the worker. Short tasks come SHORT_PER_S times a second at moments that no poll can be
in step with, so few that one slot can do them. The sample is the 95th percentile of a
round: that some wait for a second is what is looked for, and a median would hide it.
"""

import statistics
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from taskbridge_bench import work
from taskbridge_bench.records import Records
from taskbridge_bench.turn import Turn

from . import load

SECONDS = 6.0
SHORT_PER_S = 10.0
LONG_EVERY_S = work.LONG_S * 1.1
LIMIT_S = 60.0
LONG_WAIT_S = 0.5


class Kind(StrEnum):
    """Of a task of the mix."""

    LONG = "long"
    SHORT = "short"


def mixed(turn: Turn) -> None:
    """Send both kinds for SECONDS, and wait until all have run."""
    slots = turn.contender.slots
    turn.warm_up()
    waits = [
        _round(turn, f"{turn.block.id}-{number}") for number in range(turn.block.rounds)
    ]
    worst = [percentile_95(each) for each in waits]
    turn.save(
        worst,
        samples={"short_wait": [each * 1e3 for each in worst]},
        facts={
            "long tasks at a time": f"{long_at_a_time(slots)} on {slots} slots",
            **facts_of([wait for each in waits for wait in each]),
        },
    )


def long_at_a_time(slots: int) -> int:
    """Return how many long tasks leave one slot free; 1 if there is one slot."""
    return max(slots - 1, 1)


def percentile_95(waits: Sequence[float]) -> float:
    """Return the wait that 95 % of the tasks do not exceed (nearest rank)."""
    return sorted(waits)[-(-len(waits) * 95 // 100) - 1]


def facts_of(waits: Sequence[float]) -> Mapping[str, Any]:
    """Return what the 95th percentile does not say; waits are in seconds."""
    return {
        "short tasks": len(waits),
        "median": f"{statistics.median(waits) * 1e3:.1f} ms",
        "longest": f"{max(waits) * 1e3:.0f} ms",
        "waited over 0.5 s": sum(wait > LONG_WAIT_S for wait in waits),
    }


def _round(turn: Turn, seed: str) -> Sequence[float]:
    """Return the seconds that each short task waited."""
    ledger = turn.ledger
    records = Records(turn.calls, turn.stage)
    offsets = {
        Kind.LONG: [
            step * LONG_EVERY_S
            for step in range(int(SECONDS / LONG_EVERY_S))
            for _ in range(long_at_a_time(turn.contender.slots))
        ],
        Kind.SHORT: load.evenly(seed, SHORT_PER_S, SECONDS),
    }
    rounds = {kind: ledger.new_round(len(of_kind)) for kind, of_kind in offsets.items()}
    enqueue = {Kind.LONG: turn.calls.long, Kind.SHORT: turn.calls.record}
    plan = sorted(
        (offset, kind, key)
        for kind, of_kind in offsets.items()
        for key, offset in enumerate(of_kind)
    )

    def call(number: int) -> None:
        _, kind, key = plan[number]
        enqueue[kind](rounds[kind].id, key, rounds[kind].total)

    sent = load.send([offset for offset, *_ in plan], call, give_up_s=LIMIT_S)
    for round_ in rounds.values():
        ledger.wait(round_, LIMIT_S)
        ledger.judge(round_)
    records.judge(len(plan))
    starts = {run.key: run.started for run in ledger.runs(rounds[Kind.SHORT])}
    return [
        starts[key] - called
        for (_, kind, key), called in zip(plan, sent.called, strict=True)
        if kind is Kind.SHORT
    ]
