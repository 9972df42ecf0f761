"""Tasks of an alias in durable delivery, with policies that native refuses."""

import contextlib

from django.db import DatabaseError, transaction
from django.db.models import F

import taskbridge
from taskbridge.dispatcher import Dispatcher
from taskbridge.models import TaskRecord

ALIAS = "durable_default"


@taskbridge.task(backend=ALIAS, at_most_once=True)
def once(number):
    return number


@taskbridge.task(backend=ALIAS)
def return_nan():
    return float("nan")


def _break(exception, result):
    raise LookupError("a bug in the backoff")


@taskbridge.task(backend=ALIAS, max_attempts=3, backoff=_break)
def broken_backoff():
    raise OSError("the service is away")


@taskbridge.task(backend=ALIAS, max_attempts=3, backoff=0, takes_context=True)
def look_back(context):
    if context.attempt < 3:
        raise ValueError(f"attempt {context.attempt}")
    return [
        error.traceback.rsplit("ValueError: ")[-1].strip()
        for error in context.task_result.errors
    ]


@taskbridge.task(backend=ALIAS, max_attempts=3, backoff=600)
def fail_slowly():
    raise ValueError


@taskbridge.task(backend=ALIAS)
def lose_lease():
    """Let the lease end, as a process that was suspended would."""
    TaskRecord.objects.update(wake_at=F("enqueued_at"))
    Dispatcher(lose_lease.get_backend()).step()


@taskbridge.task(backend=ALIAS)
def leave_connection(how):
    if how == "atomic":
        transaction.atomic().__enter__()
        TaskRecord.objects.count()
    elif how == "autocommit":
        transaction.set_autocommit(False)
        TaskRecord.objects.count()
    else:
        with contextlib.suppress(DatabaseError):
            TaskRecord.objects.raw("no SQL")[0]


def _leave(exception, result):
    raise SystemExit


@taskbridge.task(backend=ALIAS, max_attempts=3, backoff=_leave)
def leaving_backoff():
    raise OSError("the service is away")


@taskbridge.task(backend=ALIAS, max_attempts=3)
def retry_much_later():
    raise taskbridge.Retry(after=1e15)


@taskbridge.task(backend=ALIAS)
def return_much(size):
    return "x" * size


@taskbridge.task(backend=ALIAS, max_attempts=60, backoff=0)
def fail_at_length():
    raise ValueError("x" * 100_000)
