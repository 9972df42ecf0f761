"""A broker for Django-Q2 1.11 that serves several queues in Redis with one cluster.

A cluster of Django-Q2 has one pool and one queue. Its broker is a supported hook, so a
broker that takes from several queues gives one pool for all of them.
"""

import logging
from collections import deque
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from functools import cache
from typing import Any

import redis
from django.utils.encoding import force_str
from django_q.brokers import redis_broker
from django_q.signing import SignedPackage
from redis.backoff import NoBackoff
from redis.retry import Retry

from taskbridge.merging import Merger

from .joining import first_chunk, opened, together
from .signatures import renewed

SCHEDULES = "taskbridge:"
"""What the cluster name of our schedules begins with."""

_LIST_OR_NOTHING = {b"list", b"none"}

logger = logging.getLogger("taskbridge")

# Together less than the 5 seconds that are promised.
CONNECT_TIMEOUT_S = 1.3
ANSWER_TIMEOUT_S = 3.2


@cache
def redis_client(url: str) -> redis.Redis:
    """Return the client for a URL, once for each process; it survives a fork."""
    return redis.Redis.from_url(url, **_limits())


def native_client(given: str | dict[str, Any]) -> redis.Redis:
    """Return a client for what Q_CLUSTER says of Redis."""
    if isinstance(given, str):
        return redis_client(given)
    return redis.Redis(**{**given, **_limits()})


def _limits() -> dict[str, Any]:
    return {
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "socket_timeout": ANSWER_TIMEOUT_S,
        # redis-py's default retries for longer than a caller should wait.
        "retry": Retry(NoBackoff(), 0),
    }


# Only if nobody has taken the package meanwhile.
MOVE = """
if redis.call('LREM', KEYS[1], 1, ARGV[1]) == 1 then
  return redis.call('RPUSH', KEYS[2], ARGV[1])
end
return 0
"""
PAGE = 1000


class RedisBroker(redis_broker.Redis):
    """Lists in Redis, under the names that Django-Q2's own broker gives them."""

    def __init__(self, alias: str, queues: Collection[str], *, url: str) -> None:
        self.schedules = schedules_of(alias)
        self._client = redis_client(url)
        self._queues = deque(queues)
        self._merger: Merger | None = None
        self._took = 1
        """How many the last chunk was made of."""
        super().__init__(",".join(queues))

    def join(self, most: int, processes: int) -> None:
        """Take as one package what may run as one chunk; see `Merger`."""
        self._merger = Merger(most, processes) if most > 1 else None

    def get_connection(self, list_key: str | None = None) -> redis.Redis:
        """Return the client, for Django-Q2."""
        return self._client

    def add(self, queue: str, packages: Sequence[str], due: datetime | None) -> None:
        """Append packages in one command, so that all are taken or none."""
        self._client.rpush(list_key(queue), *packages)

    def enqueue(self, task: str) -> None:
        """Append what Django-Q2's scheduler fires; its group says which queue."""
        self.add(SignedPackage.loads(task)["group"], [task], None)

    def dequeue(self) -> list[tuple[None, str]] | None:
        """Wait up to a second for a package; the queues take turns at being first."""
        self._queues.rotate()
        keys = [list_key(queue) for queue in self._queues]
        try:
            if not self._merger:
                found = self._client.blpop(keys, 1)
                return [(None, renewed(found[1]))] if found else None
            found, waiting = self._first(keys)
        except redis.ResponseError:
            if not self._leave_out_strangers():
                raise
            return None
        if not found:
            return None
        return [(None, each) for each in self._chunk(*found, waiting, self._merger)]

    def _first(self, keys: Sequence[str]) -> tuple[tuple[bytes, bytes] | None, int]:
        """Wait for a package; return its key, itself, and how many more wait."""
        with self._client.pipeline(transaction=False) as pipeline:
            pipeline.blpop(keys, 1)
            for key in keys:
                pipeline.llen(key)
            # One that is no list must not cost the package that another has given.
            found, *more = pipeline.execute(raise_on_error=False)
        if isinstance(found, Exception):
            raise found
        return found, sum(count for count in more if isinstance(count, int))

    def _chunk(
        self, key: bytes, package: bytes, waiting: int, merger: Merger
    ) -> list[str]:
        """Return one package for the first and what may share its chunk.

        Other packages go back to where they were: here they would have to wait.
        """
        if not waiting:
            return [renewed(package)]
        first = opened(package)
        most = min(merger.like(first.body, waiting + 1), 2 * self._took)
        more = self._more(key, most - 1) if most > 1 else []
        taken = [first, *map(opened, more)]
        self._took = count = first_chunk(merger, taken, waiting + 1)
        left = [] if self._put_back(key, more[count - 1 :]) else taken[count:]
        return [together(taken[:count]), *(each.package for each in left)]

    def _more(self, key: bytes, most: int) -> list[bytes]:
        """Take what waits; any version of Redis can do this (LPOP COUNT: 6.2)."""
        try:
            with self._client.pipeline(transaction=True) as pipeline:
                pipeline.lrange(key, 0, most - 1)
                pipeline.ltrim(key, most, -1)
                found: list[bytes] = pipeline.execute()[0]
        except redis.RedisError as exc:  # the next look tells if it is away
            logger.warning("What waits in Redis cannot be taken together: %s", exc)
            return []
        return found

    def _put_back(self, key: bytes, packages: Sequence[bytes]) -> bool:
        try:
            if packages:
                self._client.lpush(key, *reversed(packages))
        except redis.RedisError as exc:
            logger.warning("What waits in Redis cannot be left there: %s", exc)
            return False
        return True

    def _leave_out_strangers(self) -> bool:
        """Leave out queues whose keys hold no lists; one would hold up all others."""
        kinds: dict[str, Any] = {
            q: self._client.type(list_key(q)) for q in self._queues
        }
        strange = {q: kind for q, kind in kinds.items() if kind not in _LIST_OR_NOTHING}
        for queue, kind in strange.items():
            logger.error(
                "Nothing is taken from queue %r until this worker starts again: in "
                "Redis, the key %r holds a %s of another program. Use another name, or "
                "delete it.",
                queue,
                list_key(queue),
                kind.decode(),
            )
        self._queues = deque(q for q in self._queues if q not in strange)
        return bool(strange and self._queues)

    def depths(self, queues: Collection[str]) -> dict[str, int]:
        """Count what waits in each queue."""
        with self._client.pipeline(transaction=False) as pipeline:
            for queue in queues:
                pipeline.llen(list_key(queue))
            return dict(zip(queues, pipeline.execute(), strict=True))

    def queue_size(self) -> int:
        """Count what can be taken now."""
        return sum(self.depths(self._queues).values())

    def move(self, source: str, target: str, is_wanted: Callable[[str], bool]) -> int:
        """Move packages from one queue to another, the oldest first."""
        keys = list_key(source), list_key(target)
        if self._client.type(keys[0]) != b"list":
            return 0  # there is none, or another program has a key of that name
        moved = skipped = 0
        while page := self._client.lrange(keys[0], skipped, skipped + PAGE - 1):
            skipped += len(page)
            for package in page:
                if not is_wanted(force_str(package, errors="replace")):
                    continue
                if self._client.eval(MOVE, 2, *keys, package):
                    moved += 1
                    skipped -= 1
        return moved

    def purge(self, queues: Collection[str]) -> int:
        """Drop what waits; return how many."""
        with self._client.pipeline(transaction=True) as pipeline:
            for queue in queues:
                pipeline.llen(list_key(queue))
                pipeline.delete(list_key(queue))
            return sum(pipeline.execute()[::2])


def schedules_of(alias: str) -> str:
    """Return the cluster name of an alias's schedules, which only its workers fire."""
    return f"{SCHEDULES}{alias}"


def list_key(queue: str) -> str:
    """Return the key of a queue's list, as Django-Q2 forms it."""
    return f"django_q:{queue}:q"
