"""The tasks of Celery and django-background-tasks; Django-Q2 takes any function.

Celery's retries are those of its guide, "Tasks: Retrying", for each of `POLICIES`.
"""

from typing import Any

from background_task import background
from celery import shared_task

from taskbridge_bench import work
from taskbridge_bench.policies import POLICIES

_LISTED = POLICIES["listed"]


@shared_task
def celery_record(round_id: str, key: int, total: int) -> None:
    """See `work.record`."""
    work.record(round_id, key, total)


@shared_task
def celery_hold(round_id: str, key: int, total: int) -> None:
    """See `work.hold`."""
    work.hold(round_id, key, total)


@shared_task
def celery_long(round_id: str, key: int, total: int) -> None:
    """See `work.long`."""
    work.long(round_id, key, total)


@shared_task
def celery_tick(round_id: str) -> None:
    """See `work.tick`."""
    work.tick(round_id)


@shared_task(
    autoretry_for=(work.AlwaysFails,), retry_kwargs={"max_retries": 2, "countdown": 1}
)
def celery_fail_fixed(round_id: str, key: int, total: int) -> None:
    """See `work.fail`: 3 attempts, 1 s apart."""
    work.fail(round_id, key, total)


@shared_task(
    autoretry_for=(work.AlwaysFails,),
    max_retries=3,
    retry_backoff=1,
    retry_jitter=False,
)
def celery_fail_exponential(round_id: str, key: int, total: int) -> None:
    """See `work.fail`: 4 attempts, 1, 2 and 4 s apart."""
    work.fail(round_id, key, total)


@shared_task(bind=True, max_retries=len(_LISTED.gaps_s))
def celery_fail_listed(self: Any, round_id: str, key: int, total: int) -> None:
    """See `work.fail`: the gaps of a list."""
    try:
        work.fail(round_id, key, total)
    except work.AlwaysFails as exc:
        if self.request.retries == self.max_retries:
            raise
        countdown = _LISTED.gaps_s[self.request.retries]
        raise self.retry(exc=exc, countdown=countdown) from exc


@background
def background_tick(round_id: str) -> None:
    """See `work.tick`."""
    work.tick(round_id)


@background
def background_record(round_id: str, key: int, total: int) -> None:
    """See `work.record`."""
    work.record(round_id, key, total)


@background
def background_hold(round_id: str, key: int, total: int) -> None:
    """See `work.hold`."""
    work.hold(round_id, key, total)


@background
def background_long(round_id: str, key: int, total: int) -> None:
    """See `work.long`."""
    work.long(round_id, key, total)
