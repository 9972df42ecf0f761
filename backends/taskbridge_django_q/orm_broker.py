"""A broker for Django-Q2 1.11 over its table OrmQ; see `brokers`."""

import logging
import random
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from itertools import islice

from django.db import OperationalError, close_old_connections, connections
from django.db.models import Count, QuerySet
from django_q.brokers import orm
from django_q.models import OrmQ
from django_q.signing import SignedPackage

from taskbridge.merging import Merger
from taskbridge.rows import insert_rows, queue_instant, queue_instant_of_new
from taskbridge.wakeups import Wakeups, channels_of

from .brokers import PAGE, schedules_of
from .joining import Taken, first_chunk, opened, together

logger = logging.getLogger("taskbridge")

LOOK_AHEAD = 50
LOOK_AHEAD_FOR_S = 0.5
LOOK_AHEAD_CHARACTERS = 4_000_000
"""Of packages, where more than `LOOK_AHEAD` rows are read."""

TABLE = "django_q_ormq"


class _Row:
    """A row of OrmQ that was read ahead."""

    def __init__(self, pk: int, package: str) -> None:
        self.pk = pk
        self.package = package

    @cached_property
    def taken(self) -> Taken:
        """What is in it."""
        return opened(self.package)


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
        notify: bool,
        delays: bool,
    ) -> None:
        self.schedules = schedules_of(alias)
        self._database = database
        self._queues = list(queues)
        self._retry_s = retry_s
        self._poll_s = poll_s
        self._notify = notify
        self._wakeups = Wakeups(database, TABLE, "key", queues)
        self._delays = delays
        self._ahead: deque[_Row] = deque()
        self._ahead_until = 0.0
        self._limit = LOOK_AHEAD
        """How many rows are read at once."""
        self._is_all = True
        """Whether nothing waited behind those that were read last."""
        self._merger: Merger | None = None
        self._most, self._processes = 1, 1
        super().__init__(",".join(queues))

    def join(self, most: int, processes: int) -> None:
        """Take as one package what may run as one chunk; see `Merger`."""
        self._merger = Merger(most, processes) if most > 1 else None
        self._most, self._processes = most, processes

    def add(self, queue: str, packages: Sequence[str], due: datetime | None) -> None:
        """Insert packages, all or none."""
        operations = connections[self._database].ops
        instant = queue_instant_of_new(self._database, due)
        lock = operations.adapt_datetimefield_value(instant)
        rows = [(queue, package, lock) for package in packages]
        columns = ("key", "payload", "lock")
        channels = channels_of(TABLE, [queue]) if self._notify else ()
        insert_rows(self._database, TABLE, columns, rows, channels=channels)

    def enqueue(self, task: str) -> None:
        """Add what Django-Q2's scheduler fires: delayed on Redis before a move here."""
        self.add(SignedPackage.loads(task)["group"], [task], None)

    def dequeue(self) -> list[tuple[tuple[int, ...], str]] | None:
        """Claim the oldest row that is due, and what may share its chunk.

        Sleep a little if there is none.
        """
        self._look_ahead()
        while self._ahead:
            chunk = self._next_chunk()
            claimed = self._claim([row.pk for row in chunk])
            mine = [row for row in chunk if row.pk in claimed]
            if mine:
                package = together([row.taken for row in mine])
                return [(tuple(row.pk for row in mine), package)]
        self._wait()
        return None

    def _wait(self) -> None:
        """Wait until a row may be new; it is in another process than `add`."""
        if self._notify:
            self._wakeups.wait(self._poll_s)
        else:
            time.sleep(self._poll_s)

    def _next_chunk(self) -> list["_Row"]:
        """Remove from what was read ahead what may run as one chunk."""
        first = self._ahead[0]
        count = 1
        waiting = len(self._ahead) if self._is_all else self._limit
        if self._merger and self._merger.reach(waiting) > 1:
            most = self._merger.like(first.taken.body, waiting)
            rows = islice(self._ahead, most)
            count = first_chunk(self._merger, [row.taken for row in rows], waiting)
        return [self._ahead.popleft() for _ in range(count)]

    def _claim(self, keys: Sequence[int]) -> set[int]:
        try:
            return self._claimed(keys)
        except OperationalError as exc:
            if len(keys) == 1:
                raise
            # Another worker may have claimed some of them in another order: a deadlock.
            # The pusher of Django-Q2 would stand still for 10 seconds.
            logger.warning("%s rows cannot be claimed together: %s", len(keys), exc)
            return set()

    def _claimed(self, keys: Sequence[int]) -> set[int]:
        """Lock those of these rows that nobody else has taken; return which."""
        now = self._now()
        again = now + timedelta(seconds=self._retry_s)
        if len(keys) > 1:
            # Says which are ours. If two workers ever wrote the same time, both would
            # run a chunk; its records would let each task start once.
            again += timedelta(microseconds=random.randrange(1_000_000))  # noqa: S311
        # Whoever else has claimed it has moved its lock into the future.
        claimed = self._rows().filter(pk__in=keys, lock__lte=now).update(lock=again)
        if claimed == len(keys):
            return set(keys)
        if not claimed:
            return set()
        mine = self._rows().filter(pk__in=keys, lock=again)
        return set(mine.values_list("pk", flat=True))

    def _look_ahead(self) -> None:
        """Read the next rows if too few are left; reading claims nothing."""
        at_least = 1 if self._is_all else min(self._most, self._limit // 2)
        if len(self._ahead) >= at_least and time.monotonic() < self._ahead_until:
            return
        close_old_connections()
        now = self._now()
        # Ordered by key: the oldest first, and the scan ends at the last one wanted.
        due = self._rows().filter(key__in=self._queues, lock__lte=now).order_by("pk")
        found = due.values_list("pk", "payload")[: self._limit]
        self._ahead = deque(_Row(pk, package) for pk, package in found)
        self._ahead_until = time.monotonic() + LOOK_AHEAD_FOR_S
        self._is_all = len(self._ahead) < self._limit
        if self._ahead:
            self._limit = self._next_limit()

    def _next_limit(self) -> int:
        """Return how many rows to read the next time: large ones only a few."""
        average = sum(len(row.package) for row in self._ahead) / len(self._ahead)
        wanted = min(2 * self._most * self._processes, LOOK_AHEAD_CHARACTERS / average)
        return max(LOOK_AHEAD, int(wanted))

    def delete(self, task_id: Collection[int]) -> None:
        """Remove the rows of a package, for Django-Q2."""
        self._rows().filter(pk__in=task_id).delete()

    def depths(self, queues: Collection[str]) -> dict[str, int]:
        """Count the rows of each queue that wait.

        If there may be delayed ones they count, and so do those that are not yet
        acknowledged, which look the same.
        """
        rows = self._rows().filter(key__in=queues)
        if not self._delays:
            rows = rows.filter(lock__lte=self._now())
        counted = rows.values("key").annotate(n=Count("pk")).order_by()
        found = {row["key"]: row["n"] for row in counted}
        return {queue: found.get(queue, 0) for queue in queues}

    def queue_size(self) -> int:
        """Count what can be taken now."""
        due = self._rows().filter(key__in=self._queues, lock__lte=self._now())
        return due.count()

    def move(self, source: str, target: str, is_wanted: Callable[[str], bool]) -> int:
        """Move rows from one queue to another, also those that are running."""
        rows = self._rows().filter(key=source).values_list("pk", "payload")
        wanted = [key for key, package in rows.iterator() if is_wanted(package)]
        return sum(
            self._rows().filter(pk__in=wanted[start : start + PAGE]).update(key=target)
            for start in range(0, len(wanted), PAGE)
        )

    def purge(self, queues: Collection[str]) -> int:
        """Drop every row of these queues; return how many."""
        return int(self._rows().filter(key__in=queues).delete()[0])

    def get_connection(self, list_key: str | None = None) -> QuerySet[OrmQ]:
        """Return the rows, for Django-Q2."""
        return self._rows()

    def _now(self) -> datetime:
        """Return the time by the clock of the database, as Django keeps it there."""
        return queue_instant(self._database, None)

    def _rows(self) -> QuerySet[OrmQ]:
        return OrmQ.objects.using(self._database)
