"""How a project that uses TaskBridge enqueues and purges."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from taskbridge.backend import Backend
from taskbridge.compat import task_backends
from taskbridge.models import TaskRecord
from taskbridge_bench.contenders.model import Calls

from . import tasks


def bridge(alias: str) -> Calls:
    """Native delivery on the backend of an alias in TASKS."""
    backend = _backend(alias)
    return _calls(backend, lambda: backend.purge(["default"]))


def durable(alias: str) -> Calls:
    """Durable delivery on the backend of an alias in TASKS."""
    backend = _backend(alias)

    def purge() -> None:
        backend.purge(["default"])
        TaskRecord.objects.filter(backend=alias).delete()

    fail = {
        policy: each.using(backend=alias).enqueue for policy, each in tasks.FAIL.items()
    }
    return replace(_calls(backend, purge, backend.store.counts), fail=fail)


def _backend(alias: str) -> Backend:
    backend = task_backends[alias]
    assert isinstance(backend, Backend)  # noqa: S101 - settings.py says so
    return backend


def _calls(
    backend: Backend,
    purge: Callable[[], object],
    records: Callable[[], Mapping[str, int]] | None = None,
) -> Calls:
    record = tasks.record.using(backend=backend.alias)

    def record_at(due: datetime, round_id: str, key: int, total: int) -> None:
        record.using(run_after=due).enqueue(round_id, key, total)

    def record_many(calls: Sequence[tuple[str, int, int]]) -> None:
        record.enqueue_many(calls)

    return Calls(
        record=record.enqueue,
        hold=tasks.hold.using(backend=backend.alias).enqueue,
        long=tasks.long.using(backend=backend.alias).enqueue,
        record_at=record_at,
        record_many=record_many,
        purge=purge,
        records=records,
    )
