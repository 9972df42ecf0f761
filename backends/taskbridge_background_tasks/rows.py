"""The rows of django-background-tasks 1.2: insert, claim, keep, finish.

A row is a message; ``locked_by`` and ``locked_at`` say who runs it. As in the library,
a lock that is older than MAX_RUN_TIME counts as none, so a task whose worker was killed
runs again after that time.
"""

import json
from collections.abc import Collection, Sequence
from datetime import timedelta
from hashlib import sha1

from background_task.models import Task as Row
from background_task.settings import app_settings
from background_task.tasks import tasks
from django.db import connections, router
from django.db.backends.utils import CursorWrapper
from django.db.models import Q, QuerySet
from django.utils import timezone

from taskbridge.backend import Envelope
from taskbridge.execution import run
from taskbridge.rows import insert_rows

NATIVE_TASK = "taskbridge.run"

TABLE = "background_task"
INSERTED = (
    *("task_name", "task_params", "task_hash", "priority", "queue", "run_at"),
    *("repeat", "attempts", "last_error"),
)

# Written out: the ORM takes longer to make them than a database to run them.
CLAIM = """
UPDATE background_task SET locked_by = %s, locked_at = %s
WHERE id IN ({keys}) AND failed_at IS NULL
AND (locked_by IS NULL OR locked_at < %s)"""
READ = "SELECT task_params FROM background_task WHERE id = %s AND locked_by = %s"
FINISH = "DELETE FROM background_task WHERE id = %s AND locked_by = %s"

# The library's own `process_tasks` can then run our rows too, slowly.
tasks.background(name=NATIVE_TASK)(run)


class Rows:
    """Reads and conditional updates over the library's table; it holds no locks."""

    def insert(self, envelopes: Sequence[Envelope]) -> None:
        """Add a row for each envelope, all or none."""
        database = router.db_for_write(Row)
        instant = connections[database].ops.adapt_datetimefield_value
        now = instant(timezone.now())
        rows = [
            (
                *_named(envelope.body),
                *(self._native_priority(envelope.priority), envelope.queue_name),
                instant(envelope.run_after) if envelope.run_after else now,
                *(Row.NEVER, 0, ""),
            )
            for envelope in envelopes
        ]
        insert_rows(database, TABLE, INSERTED, rows)

    def waiting(self) -> QuerySet[Row]:
        """Our rows that nobody has claimed, due or not."""
        expired = timezone.now() - timedelta(seconds=self.max_run_time_s)
        unlocked = Q(locked_by=None) | Q(locked_at__lt=expired)
        return _rows().filter(unlocked, task_name=NATIVE_TASK, failed_at=None)

    def due(self, queues: Collection[str], limit: int) -> list[int]:
        """Return the keys of up to `limit` rows that can run, in order."""
        rows = self.waiting().filter(queue__in=queues, run_at__lte=timezone.now())
        # The same order as the library's find_available(), made stable by the key.
        order = f"{app_settings.BACKGROUND_TASK_PRIORITY_ORDERING}priority"
        ordered = rows.order_by(order, "run_at", "pk")
        return list(ordered.values_list("pk", flat=True)[:limit])

    def claim(self, keys: Collection[int], owner: str) -> set[int]:
        """Lock those of these rows that are still waiting; return which."""
        if not keys:
            return set()
        now = timezone.now()
        expired = now - timedelta(seconds=self.max_run_time_s)
        claim = CLAIM.format(keys=", ".join(["%s"] * len(keys)))
        with _cursor() as cursor:
            instant = cursor.db.ops.adapt_datetimefield_value
            cursor.execute(claim, (owner, instant(now), *keys, instant(expired)))
            claimed: int = cursor.rowcount
        if claimed == len(keys):
            return set(keys)
        if not claimed:
            return set()
        mine = _rows().filter(pk__in=keys, locked_by=owner)
        return set(mine.values_list("pk", flat=True))

    def parameters(self, key: int, owner: str) -> str | None:
        """Return the parameters of a row that we have claimed; None: we have not."""
        with _cursor() as cursor:
            cursor.execute(READ, (key, owner))
            found: tuple[str] | None = cursor.fetchone()
        return found[0] if found else None

    def keep(self, keys: Collection[int], owner: str) -> None:
        """Renew the locks of tasks that are running."""
        rows = _rows().filter(pk__in=keys, locked_by=owner)
        rows.update(locked_at=timezone.now())

    def finish(self, key: int, owner: str) -> bool:
        """Remove a row that was run; False if its lock was lost meanwhile."""
        with _cursor() as cursor:
            cursor.execute(FINISH, (key, owner))
            return bool(cursor.rowcount)

    def release_all_but(self, running: Collection[int], owner: str) -> None:
        """Give back rows that were claimed and are not running."""
        strays = _rows().filter(locked_by=owner).exclude(pk__in=running)
        strays.update(locked_by=None, locked_at=None)

    @property
    def max_run_time_s(self) -> float:
        """Seconds after which a lock counts as none."""
        return float(app_settings.BACKGROUND_TASK_MAX_RUN_TIME)

    @staticmethod
    def _native_priority(priority: int) -> int:
        # Under "ASC" the library runs low numbers first, as `nice` does.
        descending = app_settings.BACKGROUND_TASK_PRIORITY_ORDERING == "-"
        return priority if descending else -priority


def _cursor() -> CursorWrapper:
    """Return a cursor of the database where rows are written."""
    return connections[router.db_for_write(Row)].cursor()


def _named(body: str) -> tuple[str, str, str]:
    """Return name, parameters and hash of a row, as the library's new_task() does."""
    parameters = json.dumps([[body], {}])
    name = f"{NATIVE_TASK}{parameters}".encode()
    return NATIVE_TASK, parameters, sha1(name, usedforsecurity=False).hexdigest()


def _rows() -> QuerySet[Row]:
    """All rows, where they are written: a replica may not know yet what we claimed."""
    return Row.objects.using(router.db_for_write(Row))
