"""What a process of its own does to enqueue: ``manage.py shell -c "..."``."""

import itertools
import os
import signal
import time
from collections.abc import Callable
from typing import Any

from django.core.management import call_command
from django.db import DatabaseError, close_old_connections, connection

from taskbridge import control
from taskbridge.compat import task_backends
from taskbridge.exceptions import StoreUnavailable
from taskbridge.store import pausing

from . import tasks

ACCEPTED = "accepted"
PORTION = 50


def enqueue(alias: str, ledger: str, count: int, seconds: float) -> None:
    """Enqueue `count` tasks, trying each again until it is accepted; print the ids."""
    work = tasks.work.using(backend=alias)
    for n in range(count):
        tries = 0
        while True:
            close_old_connections()
            try:
                result = work.enqueue(ledger, f"{n} {tries}", seconds)
            except (StoreUnavailable, DatabaseError):
                tries += 1
                time.sleep(0.05)
            else:
                print(ACCEPTED, result.id, flush=True)  # noqa: T201
                break


def enqueue_task(alias: str, ledger: str, name: str) -> None:
    """Enqueue a task of this package that needs no other arguments than a key."""
    getattr(tasks, name).using(backend=alias).enqueue(ledger, name)


def enqueue_and_die(alias: str, ledger: str, key: str) -> None:
    """Enqueue a task, and die when its message is to be pushed."""
    backend = task_backends[alias]
    backend.push = lambda envelopes: os._exit(3)
    tasks.work.using(backend=alias).enqueue(ledger, key, 0)


def cancel_and_die(alias: str) -> None:
    """Cancel all that tell the time, 50 at once, and die when two portions are done."""
    control.PAGE = PORTION
    with connection.execute_wrapper(_die_before_update(2)):
        control.cancel(backend=alias, task=tasks.tell_time.module_path)


def resume_and_die(alias: str) -> None:
    """Resume the default queue, 50 tasks at once, and die when two portions are due."""
    pausing.ROWS_PER_UPDATE = PORTION
    with connection.execute_wrapper(_die_before_update(2)):
        control.resume("default", backend=alias)


def _die_before_update(number: int) -> Callable[..., Any]:
    updates = itertools.count()

    def execute(run: Callable[..., Any], sql: str, *args: Any) -> Any:
        if sql.lstrip().startswith("UPDATE") and next(updates) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return run(sql, *args)

    return execute


def migrate() -> None:
    """Make the tables."""
    call_command("migrate", verbosity=0)
