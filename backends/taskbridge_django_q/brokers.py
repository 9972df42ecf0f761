"""Brokers for Django-Q2 1.11 that serve several queues with one cluster.

A cluster of Django-Q2 has one pool and one queue. Its broker is a supported hook, so a
broker that takes from several queues gives one pool for all of them.
"""

import time
from collections import deque
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import redis
from django.db import close_old_connections, connections
from django.db.models import Count, QuerySet
from django.utils import timezone
from django_q.brokers import orm, redis_broker
from django_q.models import OrmQ
from django_q.signing import SignedPackage
from redis.backoff import NoBackoff
from redis.retry import Retry

from taskbridge.rows import insert_rows

LOOK_AHEAD = 50
LOOK_AHEAD_FOR_S = 0.5

TABLE = "django_q_ormq"

CONNECT_TIMEOUT_S = 2
ANSWER_TIMEOUT_S = 4


@cache
def redis_client(url: str) -> redis.Redis:
    """Return the client for a URL, once for each process; it survives a fork."""
    options: dict[str, Any] = {
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "socket_timeout": ANSWER_TIMEOUT_S,
        # redis-py's default retries for longer than a caller should wait.
        "retry": Retry(NoBackoff(), 0),
    }
    return redis.Redis.from_url(url, **options)


class RedisBroker(redis_broker.Redis):
    """Lists in Redis, by the names that Django-Q2's own broker gives them."""

    def __init__(self, alias: str, queues: Collection[str], *, url: str) -> None:
        self.schedules = schedules_of(alias)
        self._client = redis_client(url)
        self._queues = deque(queues)
        super().__init__(",".join(queues))

    def get_connection(self, list_key: str | None = None) -> redis.Redis:
        """Return the client, for Django-Q2."""
        return self._client

    def add(self, queue: str, packages: Sequence[str], due: datetime | None) -> None:
        """Append packages in one command, so that all are taken or none."""
        self._client.rpush(_list_key(queue), *packages)

    def enqueue(self, task: str) -> None:
        """Append what Django-Q2's scheduler fires; its group says which queue."""
        self.add(SignedPackage.loads(task)["group"], [task], None)

    def dequeue(self) -> list[tuple[None, bytes | str]] | None:
        """Wait up to a second for a package; each queue is first in its turn."""
        self._queues.rotate()
        found = self._client.blpop([_list_key(q) for q in self._queues], 1)
        return [(None, found[1])] if found else None

    def depths(self, queues: Collection[str]) -> dict[str, int]:
        """Count what waits in each queue."""
        return {queue: self._client.llen(_list_key(queue)) for queue in queues}

    def queue_size(self) -> int:
        """Count what can be taken now."""
        return sum(self.depths(self._queues).values())

    def purge(self, queues: Collection[str]) -> int:
        """Drop what waits; return how many."""
        removed = 0
        for queue in queues:
            with self._client.pipeline(transaction=True) as pipeline:
                pipeline.llen(_list_key(queue))
                pipeline.delete(_list_key(queue))
                removed += pipeline.execute()[0]
        return removed


class OrmBroker(orm.ORM):
    """Rows of Django-Q2's OrmQ; ``lock`` is when a row can be taken (again)."""

    def __init__(
        self,
        alias: str,
        queues: Collection[str],
        *,
        database: str,
        retry_s: float,
        poll_s: float,
    ) -> None:
        self.schedules = schedules_of(alias)
        self._database = database
        self._queues = list(queues)
        self._retry_s = retry_s
        self._poll_s = poll_s
        self._ahead: deque[OrmQ] = deque()
        self._ahead_until = 0.0
        super().__init__(",".join(queues))

    def add(self, queue: str, packages: Sequence[str], due: datetime | None) -> None:
        """Insert packages, all or none."""
        operations = connections[self._database].ops
        lock = operations.adapt_datetimefield_value(due or timezone.now())
        rows = [(queue, package, lock) for package in packages]
        insert_rows(self._database, TABLE, ("key", "payload", "lock"), rows)

    def enqueue(self, task: str) -> None:
        """Add what Django-Q2's scheduler fires: a delay from before a move to ORM."""
        self.add(SignedPackage.loads(task)["group"], [task], None)

    def dequeue(self) -> list[tuple[int, str]] | None:
        """Claim the oldest row that is due; sleep a little if there is none."""
        self._look_ahead()
        while self._ahead:
            row = self._ahead.popleft()
            again = timezone.now() + timedelta(seconds=self._retry_s)
            if self._rows().filter(pk=row.pk, lock=row.lock).update(lock=again):
                return [(row.pk, row.payload)]
        time.sleep(self._poll_s)
        return None

    def _look_ahead(self) -> None:
        """Read the next rows, if there are none; reading claims nothing."""
        if self._ahead and time.monotonic() < self._ahead_until:
            return
        close_old_connections()
        now = timezone.now()
        # Ordered by key: the oldest first, and the scan ends at the last one wanted.
        due = self._rows().filter(key__in=self._queues, lock__lt=now).order_by("pk")
        self._ahead = deque(due[:LOOK_AHEAD])
        self._ahead_until = time.monotonic() + LOOK_AHEAD_FOR_S

    def depths(self, queues: Collection[str]) -> dict[str, int]:
        """Count the rows of each queue: waiting, delayed, and not yet acknowledged."""
        rows = self._rows().filter(key__in=queues).values("key").annotate(n=Count("pk"))
        found = {row["key"]: row["n"] for row in rows.order_by()}
        return {queue: found.get(queue, 0) for queue in queues}

    def queue_size(self) -> int:
        """Count what can be taken now."""
        due = self._rows().filter(key__in=self._queues, lock__lt=timezone.now())
        return due.count()

    def purge(self, queues: Collection[str]) -> int:
        """Drop every row of these queues; return how many."""
        return int(self._rows().filter(key__in=queues).delete()[0])

    def get_connection(self, list_key: str | None = None) -> QuerySet[OrmQ]:
        """Return the rows, for Django-Q2."""
        return self._rows()

    def _rows(self) -> QuerySet[OrmQ]:
        return OrmQ.objects.using(self._database)


def schedules_of(alias: str) -> str:
    """Return the cluster name of an alias's schedules, which only its workers fire."""
    return f"taskbridge:{alias}"


def _list_key(queue: str) -> str:
    return f"django_q:{queue}:q"
