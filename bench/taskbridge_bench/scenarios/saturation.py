"""Saturation: how many tasks pass per second while they keep coming.

A closed loop: this process enqueues by single calls, as fast as they return, and pauses
only while MOST_WAITING tasks have not run. So the queue neither runs empty nor grows.
Counted are the runs that *ended* in the window, by the worker's own clock; the first
second is dropped. This process and the worker, and the broker, share the cores of the
machine: that is the point, since in `drain` nobody enqueues meanwhile. If the enqueuing
is the slower side, the fact "sender waited" is 0 %, and the rate is that of enqueuing.

Each second of the window is a sample. They follow each other in one turn and are not
independent of each other.
"""

import time
from collections.abc import Iterable, Sequence

from taskbridge_bench.interrupts import DeadlineExceeded
from taskbridge_bench.ledger import Ledger, Round, Run
from taskbridge_bench.records import Records
from taskbridge_bench.turn import Turn

MOST_WAITING = 200
MOST_WAITING_S = 2.0
"""Fewer wait with a slow worker: what it does in this time."""
FEWEST_WAITING = 20
FIRST = 50
"""Enqueued while gates hold the slots, so that a worker that polls finds some."""
WARM_UP_S = 1.0
WINDOW_S = 3
PAUSE_S = 0.001
REST_S = 60.0
"""How long those that wait at the end of the window may take."""


def saturation(turn: Turn) -> None:
    """Measure, and keep the rate for the scenarios that load a part of it."""
    rates, facts = _measure(turn)
    turn.save(
        [1 / max(rate, 1e-9) for rate in rates], samples={"rate": rates}, facts=facts
    )


def saturation_of(turn: Turn) -> float:
    """Return the tasks per second of a contender; it is measured unless it is known."""
    known = turn.stage.saturation
    if _key(turn) not in known:
        _measure(turn)
    return known[_key(turn)]


class Feeder:
    """Enqueues as fast as it can while fewer than `most_waiting` tasks wait."""

    def __init__(self, turn: Turn, stream: Round) -> None:
        self._record = turn.calls.record
        self._ledger: Ledger = turn.ledger
        self._stream = stream
        self.most_waiting = MOST_WAITING
        self.sent = 0
        self.paused_s = 0.0

    def send(self) -> None:
        """Enqueue one."""
        self._record(self._stream.id, self.sent, self._stream.total)
        self.sent += 1

    def feed(self, seconds: float) -> None:
        """Keep the queue full for so long."""
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            if self.sent - self._ledger.count(self._stream) < self.most_waiting:
                self.send()
            else:
                time.sleep(PAUSE_S)
                self.paused_s += time.monotonic() - now


def rates_of(runs: Iterable[Run], start: float, seconds: int) -> list[float]:
    """Return how many runs ended in each second from `start` on."""
    counts = [0.0] * seconds
    for run in runs:
        if start <= run.ended < start + seconds:
            counts[int(run.ended - start)] += 1
    return counts


def most_waiting(rate: float) -> int:
    """Return how many tasks may wait if so many are done per second."""
    return max(FEWEST_WAITING, min(int(rate * MOST_WAITING_S), MOST_WAITING))


def _measure(turn: Turn) -> tuple[Sequence[float], dict[str, str]]:
    records = Records(turn.calls, turn.stage)
    gates = turn.hold_slots()
    stream = turn.ledger.new_stream()
    feeder = Feeder(turn, stream)
    while feeder.sent < FIRST:
        feeder.send()
    turn.ledger.release(gates)
    feeder.feed(WARM_UP_S)
    feeder.most_waiting = most_waiting(turn.ledger.count(stream) / WARM_UP_S)
    feeder.paused_s = 0.0
    start = time.monotonic()
    feeder.feed(WINDOW_S)
    round_ = turn.ledger.end_stream(stream, feeder.sent)
    drained = turn.ledger.fills(round_, REST_S) or turn.catches_up(round_)
    rates = rates_of(turn.ledger.runs(round_), start, WINDOW_S)
    if drained:
        turn.ledger.judge(round_)
        records.judge(gates.total + feeder.sent)
    else:
        turn.abandon(round_)
    if not any(rates):
        raise DeadlineExceeded(f"No task ended in the {WINDOW_S} s of the window.")
    turn.stage.saturation[_key(turn)] = sum(rates) / WINDOW_S
    facts = {
        "most waiting": str(feeder.most_waiting),
        "sender waited": f"{feeder.paused_s / WINDOW_S:.0%} of the window",
    }
    if not drained:
        facts["cut off after"] = f"{REST_S:.0f} s after the window"
    return rates, facts


def _key(turn: Turn) -> tuple[str, str]:
    return turn.contender.profile, turn.contender.name
