"""The tasks of Procrastinate, which `settings` makes its app discover by this name.

Its RetryStrategy waits 2, 4, 8 s or 1, 1, 1 s, but not 1, 2, 4 s; `Gaps` is what its
guide advises for other policies, "Custom retry strategies".
"""

import os

from procrastinate import BaseRetryStrategy, RetryDecision, RetryStrategy
from procrastinate.contrib.django import app
from procrastinate.jobs import Job

from taskbridge_bench import work
from taskbridge_bench.policies import POLICIES


class Gaps(BaseRetryStrategy):
    """Waits what a list says.

    Args:
        gaps_s: whole seconds.
    """

    def __init__(self, gaps_s: tuple[float, ...]) -> None:
        self._gaps_s = gaps_s

    def get_retry_decision(
        self, *, exception: BaseException, job: Job
    ) -> RetryDecision | None:
        """Say when a job that failed runs again, or None for never."""
        if job.attempts >= len(self._gaps_s):
            return None
        return RetryDecision(retry_in={"seconds": int(self._gaps_s[job.attempts])})


@app.task
def record(round_id: str, key: int, total: int) -> None:
    """See `work.record`."""
    work.record(round_id, key, total)


@app.task
def hold(round_id: str, key: int, total: int) -> None:
    """See `work.hold`."""
    work.hold(round_id, key, total)


@app.task
def long(round_id: str, key: int, total: int) -> None:
    """See `work.long`."""
    work.long(round_id, key, total)


@app.task(retry=RetryStrategy(max_attempts=2, wait=1))
def fail_fixed(round_id: str, key: int, total: int) -> None:
    """See `work.fail`: 3 attempts, 1 s apart."""
    work.fail(round_id, key, total)


@app.task(retry=Gaps(POLICIES["exponential"].gaps_s))
def fail_exponential(round_id: str, key: int, total: int) -> None:
    """See `work.fail`: 4 attempts, 1, 2 and 4 s apart."""
    work.fail(round_id, key, total)


@app.task(retry=Gaps(POLICIES["listed"].gaps_s))
def fail_listed(round_id: str, key: int, total: int) -> None:
    """See `work.fail`: the gaps of a list."""
    work.fail(round_id, key, total)


if schedule := os.environ.get("TASKBRIDGE_BENCH_PERIODIC"):
    _round_id, _seconds = schedule.split()

    # croniter's sixth field is seconds.
    @app.periodic(cron=f"* * * * * */{int(float(_seconds))}")
    @app.task
    def tick(timestamp: int) -> None:
        """See `work.tick`."""
        work.tick(_round_id)
