"""How a project that uses Celery enqueues and purges."""

from datetime import datetime

from celery import Celery

from taskbridge_bench.contenders.model import Calls

from . import celery_app, celery_rabbitmq_app
from .tasks import (
    celery_fail_exponential,
    celery_fail_fixed,
    celery_fail_listed,
    celery_hold,
    celery_long,
    celery_record,
)

_FAIL = {
    "fixed": celery_fail_fixed,
    "exponential": celery_fail_exponential,
    "listed": celery_fail_listed,
}


def celery() -> Calls:
    """Celery on Redis."""
    return _celery(celery_app.app)


def celery_rabbitmq() -> Calls:
    """Celery on RabbitMQ."""
    return _celery(celery_rabbitmq_app.app)


def _celery(app: Celery) -> Calls:
    # A shared task is on every app, and by itself it is that of the current one.
    record = app.tasks[celery_record.name]

    def record_at(due: datetime, round_id: str, key: int, total: int) -> None:
        record.apply_async((round_id, key, total), eta=due)

    def purge() -> None:
        # The pool's connections may be to a broker that was restarted since.
        with app.connection_for_write() as connection:
            app.control.purge(connection)

    return Calls(
        record=record.delay,
        hold=app.tasks[celery_hold.name].delay,
        long=app.tasks[celery_long.name].delay,
        record_at=record_at,
        fail={policy: app.tasks[task.name].delay for policy, task in _FAIL.items()},
        purge=purge,
    )
