"""The rows of django-background-tasks 1.2: insert, claim, keep, finish.

A row is a message; ``locked_by`` and ``locked_at`` say who runs it. As in the library,
a lock that is older than MAX_RUN_TIME no longer counts, so a task whose worker was
killed runs again after that time.
"""

import json
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from hashlib import sha1

from background_task.models import Task as Row
from background_task.settings import app_settings
from django.db import connections, router
from django.db.backends.utils import CursorWrapper
from django.db.models import Q, QuerySet

from taskbridge.adapter import is_signed_here
from taskbridge.backend import Envelope
from taskbridge.rows import insert_rows, queue_instant, queue_instant_of_new
from taskbridge.wakeups import Wakeups, channels_of

NATIVE_TASK = "taskbridge.run"

PAGE = 1000

TABLE = "background_task"
INSERTED = (
    *("task_name", "task_params", "task_hash", "priority", "queue", "run_at"),
    *("repeat", "attempts", "last_error"),
)

# Written out: the ORM takes longer to build them than a database takes to run them.
DUE = """
SELECT id FROM background_task
WHERE task_name = %s AND failed_at IS NULL AND run_at <= %s
AND (locked_by IS NULL OR locked_at < %s) AND queue IN ({queues})
ORDER BY priority {order}, run_at, id LIMIT %s"""
CLAIM = """
UPDATE background_task SET locked_by = %s, locked_at = %s
WHERE id IN ({keys}) AND failed_at IS NULL
AND (locked_by IS NULL OR locked_at < %s)"""
READ = "SELECT task_params FROM background_task WHERE id = %s AND locked_by = %s"
LOOK = """
SELECT id, task_params FROM background_task
WHERE id IN ({keys}) AND LENGTH(task_params) <= %s"""
FINISH = "DELETE FROM background_task WHERE id IN ({keys}) AND locked_by = %s"


class Rows:
    """Reads and conditional updates over the library's table; it holds no locks.

    It is the `Table` of TaskBridge's pool: the library's own command loads the whole
    queue to pick one task, sleeps between tasks and dies at once on SIGTERM.
    """

    lock_setting = "MAX_RUN_TIME"

    def __str__(self) -> str:
        return "background tasks"

    def insert(self, envelopes: Sequence[Envelope], *, notify: bool = False) -> None:
        """Add a row for each envelope, all or none; maybe notify idle workers."""
        database = router.db_for_write(Row)
        instant = connections[database].ops.adapt_datetimefield_value
        rows = [
            (
                *_named(envelope.body),
                *(self._native_priority(envelope.priority), envelope.queue_name),
                instant(queue_instant_of_new(database, envelope.run_after)),
                *(Row.NEVER, 0, ""),
            )
            for envelope in envelopes
        ]
        queues = {envelope.queue_name for envelope in envelopes} if notify else ()
        channels = channels_of(TABLE, queues)
        insert_rows(database, TABLE, INSERTED, rows, channels=channels)

    def wakeups(self, queues: Collection[str]) -> Wakeups:
        """Return what tells of new rows in these queues."""
        return Wakeups(router.db_for_write(Row), TABLE, "queue", queues)

    def waiting(self) -> QuerySet[Row]:
        """Return our rows that nobody has claimed, due or not."""
        expired = _now() - timedelta(seconds=self.lock_s)
        unlocked = Q(locked_by=None) | Q(locked_at__lt=expired)
        return _rows().filter(unlocked, task_name=NATIVE_TASK, failed_at=None)

    def waiting_and_due(self) -> QuerySet[Row]:
        """Return those that can run now."""
        return self.waiting().filter(run_at__lte=_now())

    def others(self) -> QuerySet[Row]:
        """Return the rows that are not ours, and have not failed for good."""
        return _rows().exclude(task_name=NATIVE_TASK).filter(failed_at=None)

    def move(self, before: Collection[str], name: str) -> int:
        """Move our rows from other queues to this one; return how many."""
        theirs_too = _rows().filter(task_name=NATIVE_TASK, queue__in=before)
        found = theirs_too.values_list("pk", "task_params").iterator()
        ours = [key for key, row in found if is_signed_here(self.body_of(row))]
        return sum(
            _rows().filter(pk__in=ours[start : start + PAGE]).update(queue=name)
            for start in range(0, len(ours), PAGE)
        )

    def due(self, queues: Collection[str], limit: int) -> list[int]:
        """Return the keys of up to `limit` rows that can run, in order."""
        if not queues:
            return []
        # The same order as the library's find_available(), made stable by the key.
        order = "DESC" if self._runs_high_numbers_first() else "ASC"
        due = DUE.format(queues=", ".join(["%s"] * len(queues)), order=order)
        now = _now()
        expired = now - timedelta(seconds=self.lock_s)
        with _cursor() as cursor:
            instant = cursor.db.ops.adapt_datetimefield_value
            times = instant(now), instant(expired)
            cursor.execute(due, (NATIVE_TASK, *times, *queues, limit))
            return [key for (key,) in cursor.fetchall()]

    def claim(self, keys: Collection[int], owner: str) -> set[int]:
        """Lock those of these rows that are still waiting; return which."""
        if not keys:
            return set()
        now = _now()
        expired = now - timedelta(seconds=self.lock_s)
        claim = _with_places(CLAIM, keys)
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

    def look(self, keys: Collection[int], most_characters: int) -> dict[int, str]:
        """Return the parameters of rows, claimed or not; longer ones are left out."""
        if not keys:
            return {}
        with _cursor() as cursor:
            cursor.execute(_with_places(LOOK, keys), (*keys, most_characters))
            return dict(cursor.fetchall())

    def read(self, key: int, owner: str) -> str | None:
        """Return the parameters of a row; None if the owner has not claimed it."""
        with _cursor() as cursor:
            cursor.execute(READ, (key, owner))
            found: tuple[str] | None = cursor.fetchone()
        return found[0] if found else None

    def body_of(self, row: str) -> object:
        """Return the body in a row's parameters; None if their form is unknown."""
        try:
            [[body], _kwargs] = json.loads(row)
        except (ValueError, TypeError):
            return None
        return body

    def keep(self, keys: Collection[int], owner: str) -> None:
        """Renew the locks of tasks that are running."""
        rows = _rows().filter(pk__in=keys, locked_by=owner)
        rows.update(locked_at=_now())

    def finish(self, keys: Collection[int], owner: str) -> int:
        """Remove rows that were run; return how many still had the owner's lock."""
        with _cursor() as cursor:
            cursor.execute(_with_places(FINISH, keys), (*keys, owner))
            removed: int = cursor.rowcount
        return removed

    def release_all_but(self, running: Collection[int], owner: str) -> None:
        """Give back rows that were claimed and are not running."""
        strays = _rows().filter(locked_by=owner).exclude(pk__in=running)
        strays.update(locked_by=None, locked_at=None)

    @property
    def lock_s(self) -> float:
        """Seconds after which a lock no longer counts."""
        return float(app_settings.BACKGROUND_TASK_MAX_RUN_TIME)

    @classmethod
    def _native_priority(cls, priority: int) -> int:
        return priority if cls._runs_high_numbers_first() else -priority

    @staticmethod
    def _runs_high_numbers_first() -> bool:
        """Under "ASC" the library runs low numbers first, as `nice` does."""
        return bool(app_settings.BACKGROUND_TASK_PRIORITY_ORDERING == "-")


def _now() -> datetime:
    """Return the time by the clock of the database, as Django keeps it there."""
    return queue_instant(router.db_for_write(Row), None)


def _with_places(statement: str, keys: Collection[int]) -> str:
    """Return a statement with a place for each key."""
    return statement.format(keys=", ".join(["%s"] * len(keys)))


def _cursor() -> CursorWrapper:
    """Return a cursor of the database where rows are written."""
    return connections[router.db_for_write(Row)].cursor()


def _named(body: str) -> tuple[str, str, str]:
    """Return name, parameters and hash of a row, as the library's new_task() does."""
    parameters = json.dumps([[body], {}])
    name = f"{NATIVE_TASK}{parameters}".encode()
    return NATIVE_TASK, parameters, sha1(name, usedforsecurity=False).hexdigest()


def _rows() -> QuerySet[Row]:
    """Return all rows, from where they are written: a replica may lag behind."""
    return Row.objects.using(router.db_for_write(Row))
