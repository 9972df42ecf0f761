"""How a project that uses Django-Q2 enqueues and purges."""

from collections.abc import Callable
from datetime import datetime

from django_q.brokers import get_broker
from django_q.conf import Conf
from django_q.models import OrmQ, Schedule, Success
from django_q.tasks import async_task, schedule

from taskbridge_bench import work
from taskbridge_bench.contenders.model import Calls, Enqueue


def django_q() -> Calls:
    """Django-Q2 on Redis."""
    Conf.ORM = None  # read at import; both brokers take turns in this process
    return _django_q()


def django_q_orm() -> Calls:
    """Django-Q2 on its ORM broker."""
    Conf.ORM = "default"
    return _django_q()


def _django_q() -> Calls:
    def record_at(due: datetime, round_id: str, key: int, total: int) -> None:
        schedule(
            "taskbridge_bench.work.record",
            *(round_id, key, total),
            schedule_type=Schedule.ONCE,
            next_run=due,
        )

    def purge() -> None:
        get_broker().purge_queue()
        for model in (OrmQ, Schedule, Success):
            model.objects.all().delete()

    return Calls(
        record=_enqueue(work.record),
        hold=_enqueue(work.hold),
        long=_enqueue(work.long),
        record_at=record_at,
        purge=purge,
    )


def _enqueue(function: Callable[[str, int, int], None]) -> Enqueue:
    def enqueue(round_id: str, key: int, total: int) -> None:
        async_task(function, round_id, key, total)

    return enqueue
