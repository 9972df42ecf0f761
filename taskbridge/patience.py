"""Trying again while a database or broker is busy or cannot be reached."""

import time
from collections.abc import Callable
from typing import TypeVar

from django.db import connections

from .exceptions import StoreUnavailable

T = TypeVar("T")

LONGEST_PAUSE_S = 2


def insist(
    query: Callable[[int], T],
    errors: type[Exception] | tuple[type[Exception], ...],
    *,
    for_s: float,
    only: Callable[[Exception], bool] = bool,
) -> T:
    """Return what the query returns, trying again after each of these errors.

    Args:
        query: called with the number of earlier tries, 0 at first. A try that raised
            may have done its work nevertheless.
        errors: those after which another try is worthwhile.
        for_s: seconds; an error after that is raised. A statement that was given up
            does not count: a database that makes everybody wait is not away.
        only: tells whether one of these errors may pass; by default they all may.
    """
    deadline = time.monotonic() + for_s
    pause_s = 0.05
    tries = 0
    while True:
        try:
            return query(tries)
        except errors as exc:
            if isinstance(exc, StoreUnavailable):
                deadline += exc.waited_s
            if not only(exc) or time.monotonic() + pause_s > deadline:
                raise
        drop_connections()
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
        tries += 1


def drop_connections() -> None:
    """Close the connections of this thread, so that the next statement has a fresh one.

    One that works is closed as well: it may lead to a server that is read-only by now,
    or be what a task has made of it. Those of an open transaction are left alone.
    """
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()
