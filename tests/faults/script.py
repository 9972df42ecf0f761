"""What a process of its own does to enqueue: ``manage.py shell -c "..."``."""

import os
import time

from django.core.management import call_command
from django.db import DatabaseError, close_old_connections

from taskbridge.compat import task_backends
from taskbridge.exceptions import StoreUnavailable

from . import tasks

ACCEPTED = "accepted"


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


def migrate() -> None:
    """Make the tables."""
    call_command("migrate", verbosity=0)
