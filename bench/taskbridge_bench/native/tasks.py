"""The tasks of Celery and django-background-tasks; Django-Q2 takes any function."""

from background_task import background
from celery import shared_task

from taskbridge_bench import work


@shared_task
def celery_record(round_id: str, key: int, total: int) -> None:
    """See `work.record`."""
    work.record(round_id, key, total)


@shared_task
def celery_hold(round_id: str, key: int, total: int) -> None:
    """See `work.hold`."""
    work.hold(round_id, key, total)


@background
def background_record(round_id: str, key: int, total: int) -> None:
    """See `work.record`."""
    work.record(round_id, key, total)


@background
def background_hold(round_id: str, key: int, total: int) -> None:
    """See `work.hold`."""
    work.hold(round_id, key, total)
