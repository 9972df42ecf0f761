"""The tasks; which library runs them is the alias that they are bound to."""

from typing import Any

from taskbridge import TaskResult, task
from taskbridge_bench import work
from taskbridge_bench.policies import POLICIES

DURABLE = "durable_celery"
"""Any alias of durable delivery, the lane in which retries are measured."""


@task
def record(round_id: str, key: int, total: int) -> None:
    """See `work.record`."""
    work.record(round_id, key, total)


@task
def hold(round_id: str, key: int, total: int) -> None:
    """See `work.hold`."""
    work.hold(round_id, key, total)


@task
def long(round_id: str, key: int, total: int) -> None:
    """See `work.long`."""
    work.long(round_id, key, total)


def doubling(_exception: BaseException, result: "TaskResult[Any]") -> float:
    """Return 1, 2, 4, ... seconds; `taskbridge.exponential()` begins with its base."""
    return 2.0 ** (result.attempts - 1)


@task(backend=DURABLE, max_attempts=POLICIES["fixed"].attempts, backoff=1)
def fail_fixed(round_id: str, key: int, total: int) -> None:
    """See `work.fail`."""
    work.fail(round_id, key, total)


@task(backend=DURABLE, max_attempts=POLICIES["exponential"].attempts, backoff=doubling)
def fail_exponential(round_id: str, key: int, total: int) -> None:
    """See `work.fail`."""
    work.fail(round_id, key, total)


@task(
    backend=DURABLE,
    max_attempts=POLICIES["listed"].attempts,
    backoff=POLICIES["listed"].gaps_s,
)
def fail_listed(round_id: str, key: int, total: int) -> None:
    """See `work.fail`."""
    work.fail(round_id, key, total)


FAIL = {
    "fixed": fail_fixed,
    "exponential": fail_exponential,
    "listed": fail_listed,
}
