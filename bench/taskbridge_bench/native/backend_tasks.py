"""The tasks of a backend in TASKS: Django's own decorator, no TaskBridge."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import django

from taskbridge_bench import work
from taskbridge_bench.additions import added_backends

if TYPE_CHECKING or django.VERSION < (6, 0):
    from django_tasks import task
    from django_tasks.base import Task
else:
    from django.tasks import Task, task

# "default" is TaskBridge's; in a worker the first alias is the only one.
_task = task(backend=next(iter(added_backends(""))))


@_task
def record(round_id: str, key: int, total: int) -> None:
    """See `work.record`."""
    work.record(round_id, key, total)


@_task
def hold(round_id: str, key: int, total: int) -> None:
    """See `work.hold`."""
    work.hold(round_id, key, total)


@_task
def long(round_id: str, key: int, total: int) -> None:
    """See `work.long`."""
    work.long(round_id, key, total)


def bound(function: Callable[..., None], alias: str) -> "Task[Any, Any]":
    """Return the task of a function on another alias, of that backend's own class."""
    return task(backend=alias)(function)
