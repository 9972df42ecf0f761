"""Pickup: how soon an idle worker starts a task, one at a time."""

import math
import time

from taskbridge_bench.timing import spread
from taskbridge_bench.turn import Turn

ROUND_LIMIT_S = 60.0
MIN_PAUSE_S = 0.3
"""The longest pause before a task, at least."""
SAMPLES = range(3, 11)
BUDGET_S = 10.0


def pickup(turn: Turn) -> None:
    """Time from the call of enqueue to the start of the task, after a random pause."""
    ledger = turn.ledger
    poll_s = turn.contender.poll_s
    longest_s = _longest_pause_s(poll_s)
    each_s = (longest_s + poll_s) / 2 + 0.02
    samples = max(SAMPLES[0], min(int(BUDGET_S / each_s), SAMPLES[-1]))
    turn.warm_up()
    seconds = []
    for pause_s in spread(turn.block.id, longest_s, samples):
        time.sleep(pause_s)
        round_ = ledger.new_round(1)
        called = time.monotonic()
        turn.calls.record(round_.id, 0, 1)
        ledger.wait(round_, ROUND_LIMIT_S)
        ledger.judge(round_)
        seconds.append(ledger.runs(round_)[0].started - called)
    turn.save(seconds, samples={"pickup": [each * 1e3 for each in seconds]})


def _longest_pause_s(poll_s: float) -> float:
    """Return whole polls, so that a task comes at any moment of one with equal chance.

    With a shorter pause the task would always come just after a look.
    """
    return math.ceil(MIN_PAUSE_S / poll_s) * poll_s if poll_s else MIN_PAUSE_S
