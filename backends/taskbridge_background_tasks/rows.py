"""The rows of django-background-tasks 1.2: insert, claim, keep, finish.

A row is a message; ``locked_by`` and ``locked_at`` say who runs it. As in the library,
a lock that is older than MAX_RUN_TIME counts as none, so a task whose worker was killed
runs again after that time.
"""

from collections.abc import Collection, Sequence
from datetime import timedelta

from background_task.models import Task as Row
from background_task.settings import app_settings
from background_task.tasks import tasks
from django.db import router
from django.db.models import Q, QuerySet
from django.utils import timezone

from taskbridge.backend import Envelope
from taskbridge.execution import run

NATIVE_TASK = "taskbridge.run"

# The library's own `process_tasks` can then run our rows too, slowly.
tasks.background(name=NATIVE_TASK)(run)


class Rows:
    """Reads and conditional updates over the library's table; it holds no locks."""

    def insert(self, envelopes: Sequence[Envelope]) -> None:
        """Add a row for each envelope, in one statement for each 1,000."""
        rows = [
            Row.objects.new_task(
                NATIVE_TASK,
                args=(envelope.body,),
                run_at=envelope.run_after,
                priority=self._native_priority(envelope.priority),
                queue=envelope.queue_name,
            )
            for envelope in envelopes
        ]
        if len(rows) == 1:
            rows[0].save(force_insert=True)  # bulk_create() adds BEGIN and COMMIT
        else:
            Row.objects.bulk_create(rows, batch_size=1000)

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
        rows = self.waiting().filter(pk__in=keys)
        claimed = rows.update(locked_by=owner, locked_at=timezone.now())
        if claimed == len(keys):
            return set(keys)
        if not claimed:
            return set()
        mine = _rows().filter(pk__in=keys, locked_by=owner)
        return set(mine.values_list("pk", flat=True))

    def parameters(self, key: int, owner: str) -> str | None:
        """Return the parameters of a row that we have claimed; None: we have not."""
        mine = _rows().filter(pk=key, locked_by=owner)
        return mine.values_list("task_params", flat=True).first()

    def keep(self, keys: Collection[int], owner: str) -> None:
        """Renew the locks of tasks that are running."""
        rows = _rows().filter(pk__in=keys, locked_by=owner)
        rows.update(locked_at=timezone.now())

    def finish(self, key: int, owner: str) -> bool:
        """Remove a row that was run; False if its lock was lost meanwhile."""
        # _raw_delete: no other model refers to this one, so nothing needs collecting.
        rows = _rows().filter(pk=key, locked_by=owner)
        return bool(rows._raw_delete(rows.db))  # noqa: SLF001 - see above

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


def _rows() -> QuerySet[Row]:
    """All rows, where they are written: a replica may not know yet what we claimed."""
    return Row.objects.using(router.db_for_write(Row))
