"""Drain: how fast a worker empties a queue that is already full."""

import itertools
import time
from collections.abc import Iterator
from typing import Any

from taskbridge_bench.ledger import Round
from taskbridge_bench.records import Records
from taskbridge_bench.turn import Turn

WARM_UP = 50
BULK_FROM = 10_000
"""From this depth on the queue is filled by the library's own bulk call, if any."""
FILL_AT_ONCE = 1_000


def drain(turn: Turn, depth: int) -> None:
    """Time from the opening of the gates to the end of the last task.

    Gates hold all slots while the queue is filled; a warm-up round before is dropped.
    What takes longer than the block's window is cut off: the rate is then that of the
    window, and what is left in the queue is purged, unjudged; unless nothing has run
    for a while, so that it is lost.
    """
    records = Records(turn.calls, turn.stage)
    facts: dict[str, Any] = {}
    rates = []
    for size in (WARM_UP, *[depth] * turn.block.rounds):
        gates = turn.hold_slots()
        round_ = turn.ledger.new_round(size)
        fill(turn, round_)
        opened = time.monotonic()
        turn.ledger.release(gates)
        in_time = turn.ledger.finishes(round_, turn.block.window_s)
        if in_time or turn.catches_up(round_):
            turn.ledger.judge(round_)
            records.judge(gates.total + size)
            rates.append(size / (turn.ledger.runs(round_)[-1].ended - opened))
            continue
        rates.append(turn.ledger.count(round_) / (time.monotonic() - opened))
        facts["cut off after"] = f"{turn.block.window_s:.0f} s"
        turn.abandon(round_)
        break
    if not rates[1:]:
        facts["measured"] = f"the warm-up of {WARM_UP} alone: more took too long"
    rates = rates[1:] or rates
    turn.save(
        [depth / max(rate, 1e-9) for rate in rates],
        samples={"rate": rates},
        facts=facts,
    )


def fill(turn: Turn, round_: Round) -> None:
    """Enqueue all tasks of a round."""
    calls = ((round_.id, key, round_.total) for key in range(round_.total))
    many = turn.calls.record_many
    if many is not None and (turn.contender.fills_in_bulk or round_.total >= BULK_FROM):
        for batch in _batches(calls):
            many(batch)
    else:
        for call in calls:
            turn.calls.record(*call)


def _batches(
    calls: Iterator[tuple[str, int, int]],
) -> Iterator[list[tuple[str, int, int]]]:
    while batch := list(itertools.islice(calls, FILL_AT_ONCE)):
        yield batch
