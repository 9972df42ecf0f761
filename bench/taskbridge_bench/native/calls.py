"""How a project that uses a library directly enqueues and purges."""

from background_task.models import CompletedTask, Task
from django_q.brokers import get_broker
from django_q.conf import Conf
from django_q.models import OrmQ
from django_q.tasks import async_task

from taskbridge_bench import work
from taskbridge_bench.contenders import Calls

from .celery_app import app
from .tasks import background_hold, background_record, celery_hold, celery_record


def celery() -> Calls:
    """Celery on Redis."""
    return Calls(
        record=celery_record.delay, hold=celery_hold.delay, purge=app.control.purge
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

    def purge() -> None:
        get_broker().purge_queue()
        OrmQ.objects.all().delete()

    return Calls(record=record, hold=hold, purge=purge)


def background_tasks() -> Calls:
    """django-background-tasks on the database."""

    def purge() -> None:
        Task.objects.all().delete()
        CompletedTask.objects.all().delete()

    return Calls(record=background_record, hold=background_hold, purge=purge)
