"""What the process that enqueues in a soak does: ``manage.py shell -c "..."``."""

import random
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.db import DatabaseError, close_old_connections, connections

from taskbridge.compat import TaskResult
from taskbridge.exceptions import StoreUnavailable

from . import tasks
from .script import ACCEPTED


def enqueue_for(alias: str, ledger: str, seconds: float, seed: int) -> None:
    """Enqueue tasks of all kinds for a while; print the ids of what was accepted.

    What was refused may be there all the same, if the answer to the commit was lost.
    """
    chance = random.Random(seed)
    end = time.monotonic() + seconds
    count = 0
    while time.monotonic() < end:
        close_old_connections()
        count += 1
        try:
            for result in _enqueue_some(alias, ledger, count, chance):
                print(ACCEPTED, result.id, flush=True)  # noqa: T201
        except (StoreUnavailable, DatabaseError):
            connections.close_all()
        time.sleep(chance.uniform(0, 0.3))


def _enqueue_some(
    alias: str, ledger: str, count: int, chance: random.Random
) -> Sequence[TaskResult[Any]]:
    work = tasks.work.using(backend=alias)
    kind = chance.random()
    if kind < 0.1:
        later = timedelta(seconds=chance.uniform(0, 8))
        return [work.using(run_after=later).enqueue(ledger, f"{count}", 0.01)]
    if kind < 0.2:
        retried = tasks.fail_first.using(backend=alias)
        return [retried.enqueue(ledger, f"{count}", 1)]
    if kind < 0.25:
        return [work.enqueue(ledger, f"{count}", chance.uniform(2, 6))]
    if kind < 0.4:
        return work.enqueue_many([(ledger, f"{count} {n}", 0.05) for n in range(10)])
    return [work.enqueue(ledger, f"{count}", chance.uniform(0, 0.3))]
