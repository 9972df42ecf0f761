"""How a project that uses django-background-tasks enqueues and purges."""

from datetime import datetime

from background_task.models import CompletedTask, Task

from taskbridge_bench.contenders.model import Calls

from .tasks import (
    background_hold,
    background_long,
    background_record,
    background_tick,
)


def calls() -> Calls:
    """django-background-tasks on the database."""

    def record_at(due: datetime, round_id: str, key: int, total: int) -> None:
        background_record(round_id, key, total, schedule=due)

    def start_periodic(round_id: str, every_s: float) -> None:
        # Its `repeat` is whole seconds.
        background_tick(round_id, repeat=int(every_s))

    def purge() -> None:
        Task.objects.all().delete()
        CompletedTask.objects.all().delete()

    return Calls(
        record=background_record,
        hold=background_hold,
        long=background_long,
        record_at=record_at,
        start_periodic=start_periodic,
        purge=purge,
    )
