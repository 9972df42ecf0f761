"""Forks below the supervisor: no connection goes over one, and no handler of a worker.

Two processes that use one socket read each other's answers. The hooks also see forks
of libraries, such as billiard and multiprocessing, and those of tasks.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from functools import cache
from typing import Any

from django.core.cache import caches
from django.db import Error as DatabaseError
from django.db import connections

from taskbridge import wakeups
from taskbridge.attempt import ENDING, drop_handlers, flush_output, has_run_tasks

_inherited: list[Any] = []
"""Connections of the parent, kept because dropping them would end them there, too."""


_watched = False


@contextlib.contextmanager
def watched_forks() -> Iterator[None]:
    """Look after the forks in the block, and always in the processes that it forks."""
    global _watched  # noqa: PLW0603 - hooks cannot be removed
    _install_hooks()
    _watched = True
    try:
        yield
    finally:
        _watched = False


def close_connections() -> None:
    """Close what two processes must not share; it opens again when it is needed."""
    for connection in connections.all(initialized_only=True):
        with contextlib.suppress(DatabaseError):
            connection.close()
    for connection in _pooled():
        connection.close_pool()
    wakeups.close_all()
    caches.close_all()


class _Forking(threading.local):
    """What a thread that forks has blocked meanwhile."""

    mask: set[int] | None = None

    def block(self) -> None:
        self.mask = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)

    def restore_mask(self) -> None:
        if self.mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, self.mask)
            self.mask = None


_forking = _Forking()


@cache
def _install_hooks() -> None:
    os.register_at_fork(
        before=_before,
        after_in_parent=_forking.restore_mask,
        after_in_child=_after_in_child,
    )


def _before() -> None:
    if not _watched:
        return
    flush_output()  # what waits to be written would be written by both
    if has_run_tasks():
        # A signal must not reach the new process while it has the worker's handlers.
        _forking.block()
    else:
        close_connections()


def _after_in_child() -> None:
    if _watched and has_run_tasks():
        # The task may be in the middle of a transaction, so nothing is closed.
        _forget_connections()
        drop_handlers()
        _forking.restore_mask()


def _forget_connections() -> None:
    """Let a process that a task has forked open connections of its own."""
    for connection in connections.all(initialized_only=True):
        _inherited.append(connection)
        del connections[connection.alias]
    for connection in _pooled():
        pools = connection._connection_pools  # noqa: SLF001 - close_pool() would close
        _inherited.append(pools.pop(connection.alias, None))


def _pooled() -> Iterator[Any]:
    """Yield the databases whose closed connections go back to a pool.

    A pool belongs to its process, whichever thread used it, and has threads.
    """
    for alias in connections:
        is_pooled = connections.settings[alias]["OPTIONS"].get("pool")
        if is_pooled and hasattr(connections[alias], "close_pool"):
            yield connections[alias]
