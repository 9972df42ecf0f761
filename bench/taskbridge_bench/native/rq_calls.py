"""How a project that uses RQ enqueues and purges."""

import os
from collections.abc import Callable, Sequence
from datetime import datetime

from redis import Redis
from rq import Queue, Retry

from taskbridge_bench import work
from taskbridge_bench.contenders.model import Calls, Enqueue
from taskbridge_bench.databases import RedisDatabase, redis_url
from taskbridge_bench.policies import POLICIES, Policy


def calls() -> Calls:
    """RQ on Redis."""
    url = redis_url(os.environ["TASKBRIDGE_BENCH_REDIS_URL"], RedisDatabase.RQ)
    queue = Queue(connection=Redis.from_url(url))

    def record_at(due: datetime, round_id: str, key: int, total: int) -> None:
        queue.enqueue_at(due, work.record, round_id, key, total)

    def record_many(calls: Sequence[tuple[str, int, int]]) -> None:
        queue.enqueue_many([Queue.prepare_data(work.record, call) for call in calls])

    return Calls(
        record=_enqueue(queue, work.record),
        hold=_enqueue(queue, work.hold),
        long=_enqueue(queue, work.long),
        record_at=record_at,
        record_many=record_many,
        fail={name: _fail(queue, policy) for name, policy in POLICIES.items()},
        # Jobs, results and seven registries; the database is its own.
        purge=queue.connection.flushdb,
    )


def _enqueue(queue: Queue, function: Callable[[str, int, int], None]) -> Enqueue:
    def enqueue(round_id: str, key: int, total: int) -> None:
        queue.enqueue(function, round_id, key, total)

    return enqueue


def _fail(queue: Queue, policy: Policy) -> Enqueue:
    intervals = [int(gap_s) for gap_s in policy.gaps_s]  # whole seconds

    def fail(round_id: str, key: int, total: int) -> None:
        retry = Retry(max=len(intervals), interval=intervals)
        queue.enqueue(work.fail, round_id, key, total, retry=retry)

    return fail
