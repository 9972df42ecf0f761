"""Tasks, and how they may stand when somebody is about to write to their records."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from django.db.models import Q
from django.utils import timezone

from taskbridge import control, task
from taskbridge.compat import task_backends
from taskbridge.models import TaskRecord
from taskbridge.store import Json, Store
from taskbridge.testing.memory import MemoryBackend
from tests.unit.store_records import ERROR, PAST, SOON, new_record

ALIAS = "durable_default"
PAUSED = "mail"
TOKEN = "worker"
CHUNK = "+worker"
"""Begins as the token of a claim of several tasks does."""
LEASE_S = 60
LATER = timedelta(days=3)

ran: list[str] = []
"""The keys of the tasks that this process has run."""


@task(backend=ALIAS)
def run(key: str) -> None:
    """Take note of it."""
    ran.append(key)


@task(backend=ALIAS, max_attempts=2, backoff=0)
def run_again(key: str) -> None:
    """Do the same; a failure would be followed by another attempt."""
    ran.append(key)


@task(backend=ALIAS)
def run_and_cancel(key: str) -> None:
    """Do the same, and be cancelled meanwhile."""
    ran.append(key)
    control.cancel(id_of(key), backend=ALIAS, by="itself")


@task(backend=ALIAS)
def run_slowly(key: str) -> None:
    """Do the same, and let others wait if this is a process to be killed."""
    ran.append(key)
    time.sleep(pace.slow_s)


class Pace:
    """How long slow tasks take in this process."""

    slow_s = 0.0


pace = Pace()

TASKS = {"repeating": run_again, "stopping": run_and_cancel, "slow": run_slowly}
"""Those of other kinds are `run`."""


def id_of(key: str) -> str:
    """Return the id of the record of a task, which both processes know."""
    return uuid.uuid5(uuid.NAMESPACE_OID, key).hex


def kind_of(key: str) -> str:
    """Return how a task stands before the write: a name in `KINDS`."""
    return key.partition(" ")[0]


def memory() -> MemoryBackend:
    """Return the backend whose tasks these are; its queue is in this process."""
    backend = task_backends[ALIAS]
    assert isinstance(backend, MemoryBackend)
    return backend


def let_time_pass() -> None:
    """Have all leases end, and all messages count as lost, that ever would."""
    held = Q(status="RUNNING") | Q(status="READY", pushes__gt=0)
    soon = TaskRecord.objects.filter(held, wake_at__lt=timezone.now() + LATER / 2)
    soon.update(wake_at=timezone.now() + PAST)


# How tasks stand before the write. The first word of a key is the name of one of these.


def _add(store: Store, key: str, wake_in: timedelta = PAST, **fields: Any) -> None:
    path = TASKS.get(kind_of(key), run).module_path
    record = new_record(
        wake_in,
        id=id_of(key),
        backend=ALIAS,
        task=path,
        arguments=Json.of([[key], {}]),
        **{"queue_name": "default", "pushes": 0, "pushed_to": ""} | fields,
    )
    store.insert([record], None)


def _claim(store: Store, key: str, token: str = TOKEN) -> None:
    _add(store, key, SOON)
    assert store.claim(
        [id_of(key)], attempt=0, worker_ids=["w"], token=token, lease_s=LEASE_S
    )


def _ask(store: Store, key: str) -> None:
    _claim(store, key)
    store.cancel([id_of(key)], by="ann")


def _cancel(store: Store, key: str) -> None:
    _add(store, key)
    store.cancel([id_of(key)], by="ann")


def _fail(store: Store, key: str) -> None:
    _claim(store, key)
    assert store.fail(id_of(key), token=TOKEN, errors=[ERROR])


def _retry(store: Store, key: str) -> None:
    _claim(store, key)
    after_s = LATER.total_seconds()
    assert store.retry(id_of(key), token=TOKEN, errors=[ERROR], after_s=after_s)


def _succeed(store: Store, key: str) -> None:
    _claim(store, key)
    assert store.succeed({id_of(key): Json("null")}, token=TOKEN)


def _hold(store: Store, key: str) -> None:
    store.pause(PAUSED, by="ann")
    _add(store, key, queue_name=PAUSED)


def _park(store: Store, key: str) -> None:
    _hold(store, key)
    assert store.park([id_of(key)], PAUSED) == 1


def _give_back_cancelled(store: Store, key: str) -> None:
    _claim(store, key, CHUNK)
    store.cancel([id_of(key)], by="ann")
    store.give_back([id_of(key)], token=CHUNK)


KINDS: Mapping[str, Callable[[Store, str], None]] = {
    "waiting": _add,
    "stopping": _add,
    "posted": lambda store, key: _add(store, key, queue_name=PAUSED),
    "slow": _add,
    "pushed": lambda store, key: _add(store, key, SOON, pushes=1),
    "delayed": lambda store, key: _add(store, key, LATER),
    "retried": _retry,
    "running": _claim,
    "repeating": _claim,
    "chunk": lambda store, key: _claim(store, key, CHUNK),
    "asked": _ask,
    "returned": _give_back_cancelled,
    "cancelled": _cancel,
    "failed": _fail,
    "successful": _succeed,
    "held": _hold,
    "parked": _park,
}
