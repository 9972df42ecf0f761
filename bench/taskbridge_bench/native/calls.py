"""How a project that uses a library directly enqueues and purges."""

from datetime import datetime

from background_task.models import CompletedTask, Task
from celery import Celery
from django_q.brokers import get_broker
from django_q.conf import Conf
from django_q.models import OrmQ, Schedule
from django_q.tasks import async_task, schedule

from taskbridge_bench import work
from taskbridge_bench.contenders import Calls

from . import celery_app, celery_rabbitmq_app
from .tasks import background_hold, background_record, celery_hold, celery_record


def celery() -> Calls:
    """Celery on Redis."""
    return _celery(celery_app.app)


def celery_rabbitmq() -> Calls:
    """Celery on RabbitMQ."""
    return _celery(celery_rabbitmq_app.app)


def _celery(app: Celery) -> Calls:
    # A shared task is on every app, and by itself it is that of the current one.
    record, hold = app.tasks[celery_record.name], app.tasks[celery_hold.name]

    def record_at(due: datetime, round_id: str, key: int, total: int) -> None:
        record.apply_async((round_id, key, total), eta=due)

    return Calls(
        record=record.delay,
        hold=hold.delay,
        record_at=record_at,
        purge=app.control.purge,
    )


def django_q() -> Calls:
    """Django-Q2 on Redis."""
    Conf.ORM = None  # read at import; both brokers take turns in this process
    return _django_q()


def django_q_orm() -> Calls:
    """Django-Q2 on its ORM broker."""
    Conf.ORM = "default"
    return _django_q()


def _django_q() -> Calls:
    def record(round_id: str, key: int, total: int) -> None:
        async_task(work.record, round_id, key, total)

    def hold(round_id: str, key: int, total: int) -> None:
        async_task(work.hold, round_id, key, total)

    def record_at(due: datetime, round_id: str, key: int, total: int) -> None:
        schedule(
            "taskbridge_bench.work.record",
            *(round_id, key, total),
            schedule_type=Schedule.ONCE,
            next_run=due,
        )

    def purge() -> None:
        get_broker().purge_queue()
        OrmQ.objects.all().delete()
        Schedule.objects.all().delete()

    return Calls(record=record, hold=hold, record_at=record_at, purge=purge)


def background_tasks() -> Calls:
    """django-background-tasks on the database."""

    def record_at(due: datetime, round_id: str, key: int, total: int) -> None:
        background_record(round_id, key, total, schedule=due)

    def purge() -> None:
        Task.objects.all().delete()
        CompletedTask.objects.all().delete()

    return Calls(
        record=background_record,
        hold=background_hold,
        record_at=record_at,
        purge=purge,
    )
