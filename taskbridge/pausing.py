"""Pausing and resuming queues, for every worker of a backend at once."""

from __future__ import annotations

from collections.abc import Mapping

from .backend import Backend
from .compat import DEFAULT_TASK_BACKEND_ALIAS, task_backends
from .exceptions import NotDurable
from .legible import legible
from .store import PausedSince

LONGEST_BY = 255


def pause(
    queue: str, *, backend: str = DEFAULT_TASK_BACKEND_ALIAS, by: str = ""
) -> bool:
    """Have no task of a queue claimed until it is resumed.

    What is claimed goes on, and what is enqueued waits. A claim that is under way at
    this moment counts as before it. In a transaction it holds from the commit on.

    Args:
        queue: its name, as in `@task(queue_name=...)`.
        backend: alias in TASKS.
        by: who wants it, for those who look at it.

    Returns:
        False: it was paused already, which is left as it was.

    Raises:
        NotDurable: the backend has native delivery, or is not one of TaskBridge.
        ValueError: the backend has no such queue; or, in MariaDB and MySQL, one is
            paused whose name differs only in case.
        StoreUnavailable: the records cannot be written.
    """
    chosen = _durable(backend)
    _check_queue(chosen, queue)
    return chosen.store.pause(queue, by=legible(by)[:LONGEST_BY])


def resume(queue: str, *, backend: str = DEFAULT_TASK_BACKEND_ALIAS) -> bool:
    """Let the tasks of a queue start again, beginning with those that are due.

    Returns:
        False: it was not paused.

    Raises:
        NotDurable, ValueError, StoreUnavailable: see `pause`.
    """
    chosen = _durable(backend)
    store = chosen.store
    if queue not in store.paused():  # it may have left QUEUES meanwhile
        _check_queue(chosen, queue)
    return store.resume(queue)


def paused(*, backend: str = DEFAULT_TASK_BACKEND_ALIAS) -> Mapping[str, PausedSince]:
    """Return the queues that are paused: since when, and by whom.

    Raises:
        NotDurable, StoreUnavailable: see `pause`.
    """
    return _durable(backend).store.paused()


def _durable(alias: str) -> Backend:
    backend = task_backends[alias]
    if not isinstance(backend, Backend):
        raise NotDurable(
            f"Backend {alias!r} is a {type(backend).__name__}, and its queues cannot "
            f"be paused: use a backend of TaskBridge in durable delivery."
        )
    if not backend.keeps_records:
        raise NotDurable(
            f"{backend} has native delivery, in which queues cannot be paused: its "
            f"library starts what it has. Use DELIVERY = 'durable'."
        )
    return backend


def _check_queue(backend: Backend, queue: str) -> None:
    if backend.queues and queue not in backend.queues:
        raise ValueError(
            f"{backend} has no queue {queue!r}. "
            f"Its QUEUES are {', '.join(sorted(backend.queues))}."
        )


__all__ = ["PausedSince", "pause", "paused", "resume"]
