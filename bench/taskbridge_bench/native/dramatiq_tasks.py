"""The actors of Dramatiq, and their broker.

`fail_*` say their gaps by raising Retry(delay=), for the middleware's own backoff adds
up to as much again, by chance (common.py of 2.2.1, compute_backoff). CurrentMessage,
the one middleware that is not a default, tells how often a message was retried.
"""

import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import CurrentMessage

from taskbridge_bench import work
from taskbridge_bench.databases import RedisDatabase, redis_url
from taskbridge_bench.policies import POLICIES

_URL = redis_url(os.environ["TASKBRIDGE_BENCH_REDIS_URL"], RedisDatabase.DRAMATIQ)

broker = RedisBroker(url=_URL)  # type: ignore[no-untyped-call]  # it has no types
broker.add_middleware(CurrentMessage())
dramatiq.set_broker(broker)


@dramatiq.actor
def record(round_id: str, key: int, total: int) -> None:
    """See `work.record`."""
    work.record(round_id, key, total)


@dramatiq.actor
def hold(round_id: str, key: int, total: int) -> None:
    """See `work.hold`."""
    work.hold(round_id, key, total)


@dramatiq.actor
def long(round_id: str, key: int, total: int) -> None:
    """See `work.long`."""
    work.long(round_id, key, total)


def _fail(policy: str, round_id: str, key: int, total: int) -> None:
    gaps_s = POLICIES[policy].gaps_s
    message = CurrentMessage.get_current_message()
    retries = message.options.get("retries", 0) if message else 0
    try:
        work.fail(round_id, key, total)
    except work.AlwaysFails as exc:
        if retries == len(gaps_s):
            raise
        raise dramatiq.Retry(delay=int(gaps_s[retries] * 1000)) from exc


@dramatiq.actor(max_retries=len(POLICIES["fixed"].gaps_s))
def fail_fixed(round_id: str, key: int, total: int) -> None:
    """See `work.fail`: 3 attempts, 1 s apart."""
    _fail("fixed", round_id, key, total)


@dramatiq.actor(max_retries=len(POLICIES["exponential"].gaps_s))
def fail_exponential(round_id: str, key: int, total: int) -> None:
    """See `work.fail`: 4 attempts, 1, 2 and 4 s apart."""
    _fail("exponential", round_id, key, total)


@dramatiq.actor(max_retries=len(POLICIES["listed"].gaps_s))
def fail_listed(round_id: str, key: int, total: int) -> None:
    """See `work.fail`: the gaps of a list."""
    _fail("listed", round_id, key, total)
