"""Tasks of an alias in durable delivery, with policies that native refuses."""

import builtins
import contextlib
import os
import signal
import sys
import time

from django.db import DatabaseError, transaction
from django.db.models import F

import taskbridge
from taskbridge.dispatcher import Dispatcher
from taskbridge.execution import run
from taskbridge.models import TaskRecord

ALIAS = "durable_default"


def run_envelopes(queue):
    """Run what waits in the queue, and nothing that a dispatcher would deliver."""
    while queue.envelopes:
        run(queue.envelopes.pop(0).body)


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


@taskbridge.task(backend=ALIAS, max_attempts=None, backoff=0, takes_context=True)
def fail_for_ever(context):
    raise ValueError(f"attempt {context.attempt}")


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


@taskbridge.task(backend=ALIAS)
def signal_itself(number, cleanup_fails):
    try:
        os.kill(os.getpid(), number)
        time.sleep(10)
    finally:
        if cleanup_fails:
            raise OSError("the connection is gone")


@taskbridge.task(backend=ALIAS)
def signal_itself_with_a_handler():
    before = signal.signal(signal.SIGHUP, lambda *_: sys.exit(3))
    try:
        os.kill(os.getpid(), signal.SIGHUP)
        time.sleep(10)
    finally:
        signal.signal(signal.SIGHUP, before)


@taskbridge.task(backend=ALIAS)
def raise_builtin(name):
    raise getattr(builtins, name)


@taskbridge.task(backend=ALIAS)
def signal_if(wanted):
    if wanted:
        os.kill(os.getpid(), signal.SIGHUP)
        time.sleep(10)


@taskbridge.task(backend=ALIAS)
def fork_a_program(code):
    pid = os.fork()
    if pid == 0:
        sys.exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
