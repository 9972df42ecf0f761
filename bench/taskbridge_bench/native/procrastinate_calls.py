"""How a project that uses Procrastinate enqueues and purges."""

from collections.abc import Sequence
from datetime import datetime

from django.db import connection
from procrastinate.tasks import Task
from procrastinate.types import JSONDict

from taskbridge_bench.contenders.model import Calls, Enqueue

from . import procrastinate_tasks as tasks


def calls() -> Calls:
    """Procrastinate on PostgreSQL."""

    def record_at(due: datetime, round_id: str, key: int, total: int) -> None:
        deferrer = tasks.record.configure(schedule_at=due)
        deferrer.defer(round_id=round_id, key=key, total=total)

    def record_many(calls: Sequence[tuple[str, int, int]]) -> None:
        jobs: list[JSONDict] = [
            {"round_id": round_id, "key": key, "total": total}
            for round_id, key, total in calls
        ]
        tasks.record.batch_defer(*jobs)

    return Calls(
        record=_defer(tasks.record),
        hold=_defer(tasks.hold),
        long=_defer(tasks.long),
        record_at=record_at,
        record_many=record_many,
        fail={
            "fixed": _defer(tasks.fail_fixed),
            "exponential": _defer(tasks.fail_exponential),
            "listed": _defer(tasks.fail_listed),
        },
        purge=_purge,
    )


def _defer(task: Task[..., None, ...]) -> Enqueue:
    def defer(round_id: str, key: int, total: int) -> None:
        task.defer(round_id=round_id, key=key, total=total)

    return defer


def _purge() -> None:
    # Its models are read-only. Events and the marks of schedules go with the jobs.
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE procrastinate_jobs CASCADE")
