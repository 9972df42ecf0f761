"""Latency: how long a task waits for its start at a part of full load.

Tasks are sent at the moments of a Poisson process that is fixed before the first call;
its rate is a share of what `saturation` found for this contender. The latency of a task
counts from the moment it *should* have been sent to the first line of the task, read in
the worker. A call that comes late because the one before it took long is not forgiven:
a user would have waited too (Tene's "coordinated omission"). The first second is
dropped. A task that has not started when we give up counts as having waited until then,
which is too little, and the facts say "did not keep up".

Loads are shares of each contender's own saturation, so two contenders with the same
latency may do very different amounts of work: the fact "load" says how much.
"""

import statistics
import time
from collections.abc import Iterable, Mapping
from typing import Any

from hdrh.histogram import HdrHistogram

from taskbridge_bench.histograms import percentiles_us
from taskbridge_bench.records import Records
from taskbridge_bench.turn import Turn

from . import load
from .saturation import saturation_of

DROPPED_S = 1.0
WINDOW_S = 5.0
LONGEST_WINDOW_S = 20.0
ENOUGH = 500
"""Tasks for which the window of a slow contender is made longer."""
BEHIND_S = 10.0
"""How far the sender may fall behind before it sends no more."""
REST_S = 30.0
"""How long those that wait at the end may take."""
LATE_S = 0.001
LARGEST_US = 600_000_000
PERCENTILES = {50.0: "p50", 95.0: "p95", 99.0: "p99", 99.9: "p999"}


def latency(turn: Turn, percent: int) -> None:
    """Measure at `percent` of the contender's saturation."""
    full = saturation_of(turn)
    rate = full * percent / 100
    turn.warm_up()
    records = Records(turn.calls, turn.stage)
    seconds = DROPPED_S + window_s(rate)
    offsets = load.poisson(turn.block.id, rate, seconds)
    round_ = turn.ledger.new_round(len(offsets))
    sent = load.send(
        offsets,
        lambda key: turn.calls.record(round_.id, key, round_.total),
        give_up_s=seconds + BEHIND_S,
    )
    keeps_up = len(sent.called) == round_.total and (
        turn.ledger.finishes(round_, REST_S) or turn.catches_up(round_)
    )
    starts = {run.key: run.started for run in turn.ledger.runs(round_)}
    gave_up = time.monotonic()
    if keeps_up:
        turn.ledger.judge(round_)
        records.judge(round_.total)
    else:
        turn.abandon(round_)
    waits = latencies(starts, sent, gave_up)
    histogram = histogram_of(waits)
    turn.save(
        [statistics.median(waits)],
        samples=samples_of(histogram),
        histogram=histogram.encode().decode(),
        facts=facts_of(sent, full=full, rate=rate, ran=len(starts), counted=len(waits)),
    )


def window_s(rate: float) -> float:
    """Return for how long tasks are sent and counted."""
    return min(max(WINDOW_S, ENOUGH / rate), LONGEST_WINDOW_S)


def latencies(
    starts: Mapping[int, float], sent: load.Sent, gave_up: float
) -> list[float]:
    """Return the seconds that each task waited, but for those of the first second.

    Args:
        starts: the start of each task that ran, by key.
        sent: when they should have been sent.
        gave_up: until when those that are not in `starts` have waited, at least.
    """
    waits = [
        (moment, starts.get(key, gave_up) - moment)
        for key, moment in enumerate(sent.intended)
    ]
    counted_from = sent.start + DROPPED_S
    counted = [wait for moment, wait in waits if moment >= counted_from]
    return counted or [wait for _, wait in waits]


def histogram_of(seconds: Iterable[float]) -> Any:
    """Return an HdrHistogram of microseconds."""
    histogram = HdrHistogram(1, LARGEST_US, 3)
    for each in seconds:
        histogram.record_value(min(max(round(each * 1e6), 1), LARGEST_US))
    return histogram


def samples_of(histogram: Any) -> dict[str, list[float]]:
    """Return milliseconds by metric; without percentiles that nothing lies beyond."""
    found = percentiles_us(histogram, tuple(PERCENTILES))
    return {PERCENTILES[p]: [us / 1e3] for p, us in found.items()}


def facts_of(
    sent: load.Sent, *, full: float, rate: float, ran: int, counted: int
) -> dict[str, Any]:
    """Return what must be known to believe the numbers."""
    late = sum(each > LATE_S for each in sent.late) / len(sent.intended)
    facts: dict[str, Any] = {
        "saturation": f"{full:,.0f} tasks/s",
        "load": f"{rate:,.0f} tasks/s asked, {sent.rate:,.0f} sent",
        "sends over 1 ms late": f"{late:.1%}",
        "tasks counted": counted,
    }
    if missing := len(sent.intended) - ran:
        facts["did not keep up"] = f"{missing:,} had not run when we gave up"
    return facts
