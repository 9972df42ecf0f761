"""How a project that uses TaskBridge enqueues and purges."""

from taskbridge.backend import Backend
from taskbridge.compat import task_backends
from taskbridge_bench.contenders import Calls

from . import tasks


def bridge(alias: str) -> Calls:
    """TaskBridge on the backend of an alias in TASKS."""
    backend = task_backends[alias]
    assert isinstance(backend, Backend)  # noqa: S101 - settings.py says so

    def purge() -> None:
        backend.purge(["default"])

    return Calls(
        record=tasks.record.using(backend=alias).enqueue,
        hold=tasks.hold.using(backend=alias).enqueue,
        purge=purge,
    )
