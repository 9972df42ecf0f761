"""Runs the project's own `@background` functions, as `process_tasks` does."""

from __future__ import annotations

import os
import signal
import time

from background_task.models import Task as Row
from background_task.settings import app_settings
from background_task.tasks import autodiscover, tasks
from django.db import close_old_connections
from django.db.models import Q
from django.utils import timezone

TRIES = 5
"""How many rows are tried in turn, since another process may be faster."""


def run_native_worker(*, poll_s: float) -> None:
    """Run rows one after the other, by the library's own rules, until SIGTERM.

    The library's command would load the whole table for each of them, our rows too, and
    would be killed in the middle of a task.
    """
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    autodiscover()
    owner = str(os.getpid())
    while not stopping:
        row = _locked_row(owner)
        if row is not None:
            tasks.run_task(row)
        else:
            close_old_connections()
            time.sleep(poll_s)
    threads = tasks._pool_runner._pool_instance  # noqa: SLF001 - made on first use
    if threads:  # with BACKGROUND_TASK_RUN_ASYNC
        threads.close()
        threads.join()


def _locked_row(owner: str) -> Row | None:
    """Lock the next row that the library would run.

    Its own `find_available()` counts our rows, too: those that run take the place of a
    thread each, and those that wait hide the rows behind them.
    """
    now = timezone.now()
    theirs = Q(task_name__in=tasks._tasks, failed_at=None)  # noqa: SLF001 - what it has found
    if app_settings.BACKGROUND_TASK_RUN_ASYNC:
        running = Row.objects.locked(now).filter(theirs).count()
        if running >= app_settings.BACKGROUND_TASK_ASYNC_THREADS:
            return None
    order = f"{app_settings.BACKGROUND_TASK_PRIORITY_ORDERING}priority"
    rows = Row.objects.unlocked(now).filter(theirs, run_at__lte=now)
    for row in rows.order_by(order, "run_at")[:TRIES]:
        locked: Row | None = row.lock(owner)
        if locked:
            return locked
    return None
