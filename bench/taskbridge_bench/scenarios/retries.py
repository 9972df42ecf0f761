"""Retries: does a task that fails come again as often, and when, as was asked?

For each policy of `policies.POLICIES` TASKS tasks that always fail are enqueued, those
of all policies at once, while a worker runs that has run a task in each slot. Each
attempt signs the ledger just before it raises. A sample is the time from there to the
start of the next attempt, minus the gap that was asked for: what the library adds by
its bookkeeping, by looking only every now and then, or by waiting for a slot. A
negative one came too early; see `early`.

How often each task was attempted must be exact when GRACE_S more have passed, and in
durable delivery no record may wait for another attempt then: else the turn fails.
"""

import itertools
import statistics
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from taskbridge_bench.early import count_early, early_fact
from taskbridge_bench.ledger import Round, Run
from taskbridge_bench.policies import POLICIES, Policy
from taskbridge_bench.turn import Turn
from taskbridge_bench.verdict import WrongExecution

TASKS = 5
"""Of each policy."""
LIMIT_S = 20.0
"""How long all attempts may take beyond the gaps that were asked for."""
GRACE_S = 4.0
"""How long after the last attempt there must be no other, beside a look of a poller."""

Attempts = Mapping[int, Sequence[Run]]
"""The attempts of each task in their order, by its key."""


def retries(turn: Turn) -> None:
    """Let tasks of all policies fail; count their attempts, and measure the gaps."""
    turn.warm_up()
    asked = {name: POLICIES[name] for name in turn.calls.fail if name in POLICIES}
    rounds = {name: _enqueue(turn, name, policy) for name, policy in asked.items()}
    end = time.monotonic() + LIMIT_S + max(sum(p.gaps_s) for p in asked.values())
    for round_ in rounds.values():
        # Who has not come by then is counted with the others below.
        turn.ledger.finishes(round_, end - time.monotonic())
    time.sleep(GRACE_S + turn.contender.poll_s)

    errors_ms: list[float] = []
    facts: dict[str, Any] = {}
    for name in POLICIES:
        if name not in rounds:
            facts[name] = turn.contender.cannot.get(f"retries-{name}", "it cannot")
            continue
        attempts = attempts_of(turn.ledger.runs(rounds[name]))
        judge(name, asked[name], attempts)
        facts[name] = fact_of(asked[name], attempts)
        errors_ms += gap_errors_ms(asked[name], attempts)
    _judge_records(turn)
    turn.save(
        [each / 1e3 for each in errors_ms],
        samples={"gap_error": errors_ms, "early": [count_early(errors_ms)]},
        facts=facts | {"early": early_fact(errors_ms)},
    )


def _enqueue(turn: Turn, name: str, policy: Policy) -> Round:
    round_ = turn.ledger.new_round(TASKS * policy.attempts)
    # A key has several lines by intention: the judge here is this module.
    turn.ledger.abandon(round_)
    for key in range(TASKS):
        turn.calls.fail[name](round_.id, key, round_.total)
    return round_


def attempts_of(runs: Iterable[Run]) -> Attempts:
    """Return the attempts of each task in their order."""
    attempts: dict[int, list[Run]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: run.started):
        attempts[run.key].append(run)
    return attempts


def judge(name: str, policy: Policy, attempts: Attempts) -> None:
    """Raise unless each task was attempted exactly as often as its policy says.

    Raises:
        WrongExecution: with the number of attempts of each task.
    """
    seen = _seen(attempts)
    if seen != [policy.attempts] * TASKS:
        raise WrongExecution(
            f"policy {name}: asked {policy.attempts} attempts of each task, saw "
            f"{' '.join(map(str, seen))}"
        )


def gaps_s(attempts: Attempts) -> list[list[float]]:
    """Return for each task the times from the end of each attempt to the next start."""
    return [
        [after.started - before.ended for before, after in itertools.pairwise(each)]
        for each in attempts.values()
    ]


def gap_errors_ms(policy: Policy, attempts: Attempts) -> list[float]:
    """Return observed minus asked of each gap of each task; all must be there."""
    return [
        (seen - asked) * 1e3
        for gaps in gaps_s(attempts)
        for seen, asked in zip(gaps, policy.gaps_s, strict=True)
    ]


def fact_of(policy: Policy, attempts: Attempts) -> str:
    """Say what was asked, and what was seen."""
    medians = [statistics.median(gap) for gap in zip(*gaps_s(attempts), strict=True)]
    return (
        f"asked {policy.attempts} attempts, saw {' '.join(map(str, _seen(attempts)))}; "
        f"gaps asked {', '.join(f'{gap:g}' for gap in policy.gaps_s)} s; "
        f"saw median {', '.join(f'{gap:.2f}' for gap in medians)} s"
    )


def _seen(attempts: Attempts) -> list[int]:
    return [len(attempts.get(key, ())) for key in range(TASKS)]


def _judge_records(turn: Turn) -> None:
    if turn.calls.records is None:
        return
    counts = turn.calls.records()
    if waiting := {
        k: n for k, n in counts.items() if k not in ("SUCCESSFUL", "FAILED")
    }:
        raise WrongExecution(
            f"{GRACE_S:.0f} s after the last attempt, tasks are still "
            f"{', '.join(f'{status} ({n})' for status, n in waiting.items())}"
        )
