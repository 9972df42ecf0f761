"""Faults: what `recovery` does to a worker or to its broker."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from taskbridge_bench.databases import RedisDatabase, redis_url
from taskbridge_bench.turn import Turn

RABBITMQ_QUEUES = ("celery", "bench:default", "taskbridge_bench")
"""What contenders may call their queue: Celery's default, TaskBridge's, a peer's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that goes wrong while tasks run and wait."""

    inflict: Callable[[Turn, int], None]
    """Given the process of a task that runs; what it stops, it starts again."""
    interrupted: Callable[[Sequence[int]], int]
    """How many of the tasks that run are interrupted, by the process of each."""


def _kill_process(turn: Turn, pid: int) -> None:
    turn.stage.workers.kill_process(pid)


def _kill_worker(turn: Turn, _pid: int) -> None:
    turn.stage.workers.kill()
    turn.stage.workers.start(turn.contender)


def _flush(turn: Turn, _pid: int) -> None:
    """Delete all that the broker holds, in the databases of all contenders."""
    broker = _broker(turn)
    url = turn.stage.brokers[broker].url
    if broker == "rabbitmq":
        _purge_rabbitmq(url)
        return
    for database in RedisDatabase:
        if database is not RedisDatabase.LEDGER:
            client = redis.Redis.from_url(redis_url(url, database))
            client.flushdb()
            client.close()


def _purge_rabbitmq(url: str) -> None:
    """Purge the queues; what a worker has prefetched is not reached."""
    import amqp.exceptions  # noqa: PLC0415 - comes with Celery
    import kombu  # noqa: PLC0415 - see above

    with kombu.Connection(url) as connection:
        for queue in RABBITMQ_QUEUES:
            # A queue that is not there ends the channel.
            with contextlib.suppress(amqp.exceptions.NotFound):
                channel: Any = connection.channel()  # its types lack the protocol's
                channel.queue_purge(queue)


def _restart(turn: Turn, _pid: int) -> None:
    """Kill the broker, and start it again: Redis is empty then, RabbitMQ is not."""
    service = turn.stage.brokers[_broker(turn)]
    service.kill()
    service.start()


def _broker(turn: Turn) -> str:
    [broker] = [each for each in turn.contender.servers if each in turn.stage.brokers]
    return broker


FAULTS = {
    "process": Fault(
        inflict=_kill_process, interrupted=lambda pids: pids.count(pids[0])
    ),
    "worker": Fault(inflict=_kill_worker, interrupted=len),
    "flush": Fault(inflict=_flush, interrupted=lambda _pids: 0),
    "restart": Fault(inflict=_restart, interrupted=lambda _pids: 0),
}
"""By what is behind "recovery-" in the name of the scenario."""
