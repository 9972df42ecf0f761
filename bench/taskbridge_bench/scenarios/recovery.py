"""Recovery: what becomes of tasks when a process, the worker or the broker goes down?

In a trial DONE tasks have just finished, a gate runs in each slot of the worker, and
WAITING tasks are queued behind them. Then, at a moment of a lease that differs with
each trial, one of these (see `faults`):

process  SIGKILL to the process that runs a gate, and to nothing else
worker   SIGKILL to all processes of the worker, which is started again at once
flush    the broker's data are deleted: FLUSHDB, or a purge of RabbitMQ's queues
restart  SIGKILL to the broker, which is started again at once; Redis is empty then

and the gates are opened. `rerun` is the time from the fault until all gates that were
killed have started again (process, worker), or until all that waited has run (flush,
restart). What had finished, or had not been interrupted, and ran again is `duplicated`.
What has not run LIMIT_S after the fault is over is `late` if the contender says that it
comes back after that (`Contender.returns`), and else `lost`; the facts quote the rule.

After how long a task is handed out again is LEASE_S for all who have a setting for it,
so that trials do not take an hour; see `impatience`. `rerun` is mostly that number.
Some count it from the worker's last sign of life, others from the start of the task:
these hand out again what still runs. So gates are younger than LEASE_S at the fault,
and open at once. Who leaves something out would do it again: that trial is the last.
"""

import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from taskbridge_bench.contenders import Contender, Guarantee
from taskbridge_bench.contenders.model import RECOVERY_S
from taskbridge_bench.impatience import VARIABLE, impatient
from taskbridge_bench.ledger import Ledger, Round
from taskbridge_bench.stage import START_S
from taskbridge_bench.timing import spread
from taskbridge_bench.turn import Turn
from taskbridge_bench.workers import WorkerEnded

from .faults import FAULTS, Fault

LEASE_S = RECOVERY_S
ENVIRON = {VARIABLE: str(LEASE_S)}
"""Of the worker; see `_impatient` for this process."""
TRIALS = {"process": 3, "worker": 2, "flush": 2, "restart": 2}
DONE = 10
WAITING = 50
PAUSE_S = 1.0
"""From the start of the gates to the fault, at the least: what has finished is
acknowledged by then. With the phase, it is less than any setting that is shortened."""
PHASE_S = LEASE_S / 3
"""A lease is extended each third of it; the fault comes at any moment of that."""
LIMIT_S = LEASE_S + 15.0
GRACE_S = 1.0
"""How long a duplicate may follow when all has run."""
LOOK_EVERY_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """The rounds of a trial, and what the fault interrupted."""

    done: Round
    gates: Round
    waiting: Round
    interrupted: int
    """How many gates were killed."""
    held_s: float
    """How long the oldest gate had run at the fault."""
    fault: float
    """When, in seconds of the monotonic clock."""
    lasted_s: float
    """How long it took until what was stopped was started again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of the tasks of a trial, so far."""

    rerun_s: float
    """nan: not all has run that should have."""
    unfinished: int
    """Interrupted tasks that have not started again."""
    unstarted: int
    """Tasks that waited, and have not run."""
    duplicated: int

    @property
    def missing(self) -> int:
        """All that has not run."""
        return self.unfinished + self.unstarted


def recovery(turn: Turn, fault: str) -> None:
    """Let something go wrong some times, and count what becomes of the tasks.

    Args:
        turn: whose.
        fault: one of FAULTS.
    """
    outcomes: list[Outcome] = []
    trials: list[Trial] = []
    with _impatient(turn):
        for pause_s in spread(turn.block.id, PHASE_S, TRIALS[fault]):
            trial = _inflict(turn, FAULTS[fault], PAUSE_S + pause_s)
            trials.append(trial)
            outcomes.append(_await(turn.ledger, trial))
            _tidy(turn, trial)
            if outcomes[-1].missing:
                break
    turn.save(
        [LIMIT_S if each.missing else each.rerun_s for each in outcomes],
        samples=_samples(turn, trials, outcomes),
        facts=_facts(turn, trials, outcomes[-1]),
    )


def _samples(
    turn: Turn, trials: Sequence[Trial], outcomes: Sequence[Outcome]
) -> dict[str, Sequence[float]]:
    late = [
        late_of(turn.contender, *each) for each in zip(trials, outcomes, strict=True)
    ]
    missing = [each.missing for each in outcomes]
    samples: dict[str, Sequence[float]] = {
        "rerun": [each.rerun_s for each in outcomes],
        "lost": [all_ - some for all_, some in zip(missing, late, strict=True)],
        # A duplicate of a trial may have come in a later one.
        "duplicated": [outcome_of(turn.ledger, each).duplicated for each in trials],
    }
    if turn.contender.returns:
        samples["late"] = late
    return samples


@contextmanager
def _impatient(turn: Turn) -> Iterator[None]:
    """Let this process, which enqueues, have the settings of the worker."""
    from django.conf import settings  # noqa: PLC0415 - Django is set up later
    from django.test import override_settings  # noqa: PLC0415 - see above

    ours = {name: getattr(settings, name) for name in ("TASKS", "Q_CLUSTER")}
    with override_settings(**impatient(ours, LEASE_S)):
        turn.calls = turn.contender.calls()
        yield


def _inflict(turn: Turn, fault: Fault, pause_s: float) -> Trial:
    """Fill the worker and its queue; return when the fault is over, with open gates."""
    ledger = turn.ledger
    turn.warm_up()
    done, waiting = _unjudged(ledger, DONE), _unjudged(ledger, WAITING)
    _enqueue(turn, done)
    ledger.wait(done, START_S)
    gates = turn.hold_slots()
    ledger.abandon(gates)
    pids = [ledger.holder(gates, START_S) for _ in range(gates.total)]
    end = time.monotonic() + pause_s
    _enqueue(turn, waiting)
    time.sleep(max(end - time.monotonic(), 0))
    first = min(run.started for run in ledger.runs(gates))
    started = time.monotonic()
    fault.inflict(turn, pids[0])
    lasted_s = time.monotonic() - started
    # A gate that is dying may take one of these with it.
    for _ in range(2):
        ledger.release(gates)
    return Trial(
        done=done,
        gates=gates,
        waiting=waiting,
        interrupted=fault.interrupted(pids),
        held_s=started - first,
        fault=started,
        lasted_s=lasted_s,
    )


def _unjudged(ledger: Ledger, total: int) -> Round:
    """Return a round whose losses and repeats are what is measured here."""
    round_ = ledger.new_round(total)
    ledger.abandon(round_)
    return round_


def _enqueue(turn: Turn, round_: Round) -> None:
    for key in range(round_.total):
        turn.calls.record(round_.id, key, round_.total)


def _await(ledger: Ledger, trial: Trial) -> Outcome:
    """Return what became of the tasks when all have run, or after LIMIT_S."""
    end = time.monotonic() + LIMIT_S
    while (outcome := outcome_of(ledger, trial)).missing and time.monotonic() < end:
        # The worker is not watched: one that has ended loses what it loses.
        time.sleep(LOOK_EVERY_S)
    time.sleep(GRACE_S)
    return outcome


def outcome_of(ledger: Ledger, trial: Trial) -> Outcome:
    """Return what became of the tasks of a trial so far."""
    # A gate signs when it starts: the first lines are those from before the fault.
    again = [run.started for run in ledger.runs(trial.gates)][trial.gates.total :]
    waited = ledger.runs(trial.waiting)
    ran = Counter(run.key for run in waited)
    last = again[: trial.interrupted] or [run.ended for run in waited]
    unfinished = max(trial.interrupted - len(again), 0)
    unstarted = trial.waiting.total - len(ran)
    return Outcome(
        rerun_s=math.nan if unfinished or unstarted else max(last) - trial.fault,
        unfinished=unfinished,
        unstarted=unstarted,
        duplicated=max(len(again) - trial.interrupted, 0)
        + _repeated(ran)
        + _repeated(Counter(run.key for run in ledger.runs(trial.done))),
    )


def late_of(contender: Contender, trial: Trial, outcome: Outcome) -> int:
    """Return how many of the tasks that have not run come back later, by its rule."""
    if not contender.returns or not trial.interrupted:
        return 0  # nobody brings back what only the broker knew of
    if contender.guarantee is Guarantee.AT_MOST_ONCE:
        return outcome.unstarted
    return outcome.missing


def _repeated(ran: Mapping[int, int]) -> int:
    return sum(number > 1 for number in ran.values())


def _tidy(turn: Turn, trial: Trial) -> None:
    """Free the slots for the next trial; a worker that has not survived is ended."""
    turn.ledger.release(trial.gates)
    try:
        turn.stage.workers.check()
    except WorkerEnded:
        turn.stage.workers.kill()


def _facts(turn: Turn, trials: Sequence[Trial], outcome: Outcome) -> dict[str, Any]:
    """Say what did not run in the last trial, and by which rule."""
    trial = trials[-1]
    facts: dict[str, Any] = {}
    if trial.interrupted:
        facts["interrupted"] = (
            f"{trial.interrupted - outcome.unfinished} of {trial.interrupted} ran again"
        )
    facts["waiting"] = (
        f"{trial.waiting.total - outcome.unstarted} of {trial.waiting.total} ran"
    )
    facts["fault"] = f"over after {trial.lasted_s:.1f} s"
    oldest_s = max(each.held_s for each in trials)
    facts["gates"] = f"had run for {oldest_s:.1f} s at most"
    if turn.contender.recovery:
        facts["options"] = turn.contender.recovery
    late = late_of(turn.contender, trial, outcome)
    if late:
        facts["later"] = (
            f"{late} not run within {LIMIT_S:g} s: {turn.contender.returns}"
        )
    if outcome.missing > late:
        rule = f"acknowledged: {turn.contender.acknowledges}"
        if not trial.interrupted:
            rule = "only the broker knew of them"
        facts["lost"] = f"not run within {LIMIT_S:g} s; {rule}"
    return facts
